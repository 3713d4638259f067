"""Problems for any number n of parameters, here with those that the paper reports on.

Numbers in brackets are those of the paper; j counts parameters and i residuals, from 1. A minimum
above zero has twelve digits, cut off, of which the paper has six.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._entry import Entry

Residuals = Float[Array, "residuals"]


def _counted(p: Any) -> Array:
    """1, 2, ... for each parameter, in their precision."""
    return jnp.arange(1, len(p) + 1, dtype=jnp.result_type(p))


def watson(p: Any, powers: Any) -> Residuals:
    """[20] ``sum_j (j - 1) p_j t^(j-2) - (sum_j p_j t^(j-1))^2 - 1``, ``p_1``, ``p_2 - p_1^2 - 1``.

    The first for t = 1/29, 2/29, ..., 1: a polynomial that solves ``y' = 1 + y^2``, y(0) = 0. The
    powers of t are (n, 29).
    """
    y, slope = p @ powers, (p[1:] * _counted(p)[:-1]) @ powers[:-1]
    return jnp.concatenate([slope - y**2 - 1, jnp.stack([p[0], p[1] - p[0] ** 2 - 1])])


def extended_rosenbrock(p: Any, _: Any) -> Residuals:
    """[21] Rosenbrock's residuals for each pair of parameters."""
    a, b = jnp.reshape(p, (-1, 2)).T
    return jnp.concatenate([10 * (b - a**2), 1 - a])


def extended_powell(p: Any, _: Any) -> Residuals:
    """[22] Powell's singular residuals for each four parameters."""
    a, b, c, d = jnp.reshape(p, (-1, 4)).T
    linear = [a + 10 * b, jnp.sqrt(5) * (c - d)]
    return jnp.concatenate([*linear, (b - 2 * c) ** 2, jnp.sqrt(10) * (a - d) ** 2])


def penalty_1(p: Any, _: Any) -> Residuals:
    """[23] ``sqrt(10^-5) (p_j - 1)``, and ``sum_j p_j^2 - 1/4``."""
    p = jnp.asarray(p)
    return jnp.append(jnp.sqrt(1e-5) * (p - 1), jnp.sum(p**2) - 0.25)


def penalty_2(p: Any, _: Any) -> Residuals:
    """[24] ``p_1 - 0.2``, with e_j = exp(p_j / 10) ``sqrt(10^-5)`` times

    ``e_i + e_(i-1) - exp(i / 10) - exp((i - 1) / 10)`` and ``e_i - exp(-1/10)`` for i = 2, ..., n,
    and ``sum_j (n - j + 1) p_j^2 - 1``.
    """
    p, n = jnp.asarray(p), len(p)
    e, target = jnp.exp(p / 10), jnp.exp(jnp.arange(1, n + 1, dtype=p.dtype) / 10)
    small = [e[1:] + e[:-1] - target[1:] - target[:-1], e[1:] - jnp.exp(-0.1)]
    last = jnp.sum(_counted(p)[::-1] * p**2) - 1
    return jnp.hstack([p[0] - 0.2, *(jnp.sqrt(1e-5) * part for part in small), last])


def variably_dimensioned(p: Any, _: Any) -> Residuals:
    """[25] ``p_j - 1``, with ``s = sum_j j (p_j - 1)`` and ``s^2``."""
    off = jnp.asarray(p) - 1
    s = jnp.sum(_counted(off) * off)
    return jnp.hstack([off, s, s**2])


def trigonometric(p: Any, _: Any) -> Residuals:
    """[26] ``n - sum_j cos p_j + i (1 - cos p_i) - sin p_i``.

    There are many minima: descents from the standard start mostly end in 2.79506e-5 for n = 10.
    """
    cos, i = jnp.cos(p), _counted(p)
    return len(p) - jnp.sum(cos) + i * (1 - cos) - jnp.sin(p)


def brown_almost_linear(p: Any, _: Any) -> Residuals:
    """[27] ``p_i + sum_j p_j - (n + 1)`` for i < n, and ``prod_j p_j - 1``.

    It is 0 wherever all but the last are an a with ``n a^n - (n + 1) a^(n-1) + 1 = 0`` and the last
    is ``a^(1-n)``, as at 1. There is a higher minimum, 1, at (0, ..., 0, n + 1).
    """
    p = jnp.asarray(p)
    return jnp.append(p[:-1] + jnp.sum(p) - (len(p) + 1), jnp.prod(p) - 1)


def discrete_boundary_value(p: Any, _: Any) -> Residuals:
    """[28] ``2 p_i - p_(i-1) - p_(i+1) + h^2 (p_i + t_i + 1)^3 / 2``, 0 beyond the ends.

    With h = 1 / (n + 1) and t_i = i h: differences for ``y'' = (y + t + 1)^3 / 2``.
    """
    t, h = _grid(p)
    beyond = jnp.pad(p, 1)
    return 2 * p - beyond[:-2] - beyond[2:] + h**2 * (p + t + 1) ** 3 / 2


def discrete_integral(p: Any, _: Any) -> Residuals:
    """[29] The same boundary value problem as an integral equation.

    ``p_i + h / 2 ((1 - t_i) sum_(j <= i) t_j c_j + t_i sum_(j > i) (1 - t_j) c_j)``, with
    ``c_j = (p_j + t_j + 1)^3``.
    """
    t, h = _grid(p)
    cubes = (p + t + 1) ** 3
    below, all_above = jnp.cumsum(t * cubes), jnp.cumsum((1 - t) * cubes)
    return p + h / 2 * ((1 - t) * below + t * (all_above[-1] - all_above))


def _grid(p: Any) -> tuple[Array, float]:
    h = 1 / (len(p) + 1)
    return _counted(p) * h, h


def broyden_tridiagonal(p: Any, _: Any) -> Residuals:
    """[30] ``(3 - 2 p_i) p_i - p_(i-1) - 2 p_(i+1) + 1``, 0 beyond the ends."""
    beyond = jnp.pad(p, 1)
    return (3 - 2 * p) * p - beyond[:-2] - 2 * beyond[2:] + 1


def broyden_banded(p: Any, _: Any) -> Residuals:
    """[31] ``p_i (2 + 5 p_i^2) + 1 - sum_j p_j (1 + p_j)``, for j from i - 5 to i + 1 without i."""
    p, n = jnp.asarray(p), len(p)
    beyond = jnp.pad(p * (1 + p), (5, 1))
    near = jnp.stack([beyond[k : k + n] for k in (0, 1, 2, 3, 4, 6)])
    return p * (2 + 5 * p**2) + 1 - jnp.sum(near, axis=0)


def linear_full_rank(p: Any, i: Any) -> Residuals:
    """[32] ``p_i - 2/m sum_j p_j - 1``, without the first term for i > n."""
    own = jnp.pad(p, (0, i.size - len(p)))
    return own - 2 / i.size * jnp.sum(p) - 1


def linear_rank_1(p: Any, i: Any) -> Residuals:
    """[33] ``i sum_j j p_j - 1``."""
    return jnp.ravel(i) * jnp.sum(_counted(p) * p) - 1


def linear_rank_1_zero(p: Any, i: Any) -> Residuals:
    """[34] ``(i - 1) sum_(1 < j < n) j p_j - 1``, the last -1."""
    inner = jnp.sum(_counted(p)[1:-1] * p[1:-1])
    return jnp.where(jnp.ravel(i) < i.size, (jnp.ravel(i) - 1) * inner, 0) - 1


def chebyquad(p: Any, _: Any) -> Residuals:
    """[35] The mean over j of Chebyshev's polynomial ``T_i(2 p_j - 1)``, less its integral.

    The integral from 0 to 1 is 0 for odd i, and ``-1 / (i^2 - 1)`` for even i.
    """
    n, x = len(p), 2 * jnp.asarray(p) - 1
    T = [jnp.ones_like(x), x]
    while len(T) <= n:
        T.append(2 * x * T[-1] - T[-2])
    i = np.arange(1, n + 1)
    integral = np.where(i % 2 == 0, -1 / np.where(i == 1, 1, i**2 - 1), 0)
    return jnp.mean(jnp.stack(T[1:]), axis=1) - integral.astype(x.dtype)


_N = 10  # parameters, where the paper leaves the choice
_ZERO, _ONE = np.zeros(_N), np.ones(_N)
_T = np.arange(1, _N + 1) / (_N + 1)
# m = 10 residuals in n = 5 parameters, as in MINPACK; i is a column, because its entries are no
# points that could be dealt into batches.
_LINEAR = (np.arange(1.0, 11)[:, None], np.zeros(10))

TABLE = {
    "watson": Entry(
        watson,
        np.zeros(6),
        (np.vander(np.arange(1, 30) / 29, 6, increasing=True).T, np.zeros(31)),
        2.28767005355e-3,
    ),
    "extended_rosenbrock": Entry(extended_rosenbrock, np.tile([-1.2, 1], _N // 2), _N, 0, _ONE),
    "extended_powell": Entry(extended_powell, np.tile([3.0, -1, 0, 1], 3), 12, 0, np.zeros(12)),
    "penalty_1": Entry(penalty_1, np.arange(1, _N + 1), _N + 1, 7.08765146709e-5),
    "penalty_2": Entry(penalty_2, np.full(_N, 0.5), 2 * _N, 2.93660537456e-4),
    "variably_dimensioned": Entry(
        variably_dimensioned, 1 - np.arange(1, _N + 1) / _N, _N + 2, 0, _ONE
    ),
    "trigonometric": Entry(trigonometric, np.full(_N, 1 / _N), _N, 0, _ZERO),
    "brown_almost_linear": Entry(brown_almost_linear, np.full(_N, 0.5), _N, 0, _ONE),
    "discrete_boundary_value": Entry(discrete_boundary_value, _T * (_T - 1), _N, 0),
    "discrete_integral": Entry(discrete_integral, _T * (_T - 1), _N, 0),
    "broyden_tridiagonal": Entry(broyden_tridiagonal, -_ONE, _N, 0),
    "broyden_banded": Entry(broyden_banded, -_ONE, _N, 0),
    "linear_full_rank": Entry(linear_full_rank, np.ones(5), _LINEAR, 5, -np.ones(5)),
    "linear_rank_1": Entry(linear_rank_1, np.ones(5), _LINEAR, 15 / 7, (1 / 7, 0, 0, 0, 0)),
    "linear_rank_1_zero": Entry(
        linear_rank_1_zero, np.ones(5), _LINEAR, 62 / 17, (0, 3 / 34, 0, 0, 0)
    ),
    "chebyquad": Entry(chebyquad, np.arange(1, 9) / 9, 8, 3.51687372567e-3),
}
