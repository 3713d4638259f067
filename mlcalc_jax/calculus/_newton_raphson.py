"""Newton-Raphson: roots by tangents, and how it fails."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Num

from .. import _check
from .._path import alone
from .._types import AnyArray, ArrayLike
from ._derivatives import computed, point, scalar

#: Converged where the step is at most so many units in the last place of x.
_ULPS = 8
_LONGEST_CYCLE = 12


class RootStatus(enum.IntEnum):
    """How an iteration ended."""

    CONVERGED = 0
    STEPS_USED = 1
    FLAT = 2
    NON_FINITE = 3
    CYCLE = 4

    @property
    def message(self) -> str:
        """A sentence for it."""
        return _MESSAGES[self]


_MESSAGES = {
    RootStatus.CONVERGED: "Converged: the step is below the rounding of x.",
    RootStatus.STEPS_USED: "All steps were taken, and the root is not there yet.",
    RootStatus.FLAT: "The tangent is level here: it meets the axis nowhere.",
    RootStatus.NON_FINITE: "The function or its slope is not finite here.",
    RootStatus.CYCLE: "The iterates repeat themselves and will go on so: start elsewhere.",
}


class RootSearch(NamedTuple):
    """The iterates ``x_{k+1} = x_k - f(x_k) / f'(x_k)``; those after the end repeat the last."""

    x: Num[AnyArray, "iterates"]
    value: Num[AnyArray, "iterates"]  #: f(x_k)
    steps_taken: Int[AnyArray, ""]
    status: Int[AnyArray, ""]  #: a :class:`RootStatus`

    @property
    def root(self) -> Any:
        """The last iterate."""
        return self.x[..., -1]

    @property
    def message(self) -> str:
        """How the iteration ended, as a sentence (on the host, one search at a time)."""
        alone(self.status, "searches", "search")
        return RootStatus(int(self.status)).message


def newton_raphson(f: Callable[[Any], Any], x0: ArrayLike | complex, steps: int = 50) -> RootSearch:
    """A root of f from ``x0``, every iterate kept: ``x_{k+1} = x_k - f(x_k) / f'(x_k)``.

    Nothing keeps the iteration from failing as it does on paper: it leaps from a flat place, runs
    off, or goes round in a cycle, and the status says so. It works under ``jit`` and ``vmap``: a
    map of starts is ``jax.vmap(lambda x: newton_raphson(f, x))(starts)``. A complex ``x0`` searches
    the complex plane, where f must be analytic.

    Args:
        f: a pure function of one number.
        x0: the start, real or complex. Its dtype decides the precision; bare numbers are float64.
        steps: at most so many.

    Raises:
        TypeError: f is no function or returns no scalar, x0 is no number, steps no whole number.
        ValueError: an x0 that is not finite or not one number, steps below 1.
    """
    if not callable(f):
        raise TypeError(f"f must be a function, got {f!r}")
    steps = _check.steps(steps)
    start = _start(x0)
    data = start.real if _check.is_concrete(start) else start
    return computed(data, lambda: _search(f, jnp.asarray(start), steps))


def _start(x0: Any) -> Any:
    if np.shape(x0) != ():
        raise ValueError(f"x0 must be one number, got shape {np.shape(x0)}")
    if not _check.is_concrete(x0):
        return x0
    if not np.iscomplexobj(x0):
        return point(x0, "x0")
    array = x0 if isinstance(x0, jax.Array) else np.asarray(x0)
    _check.finite("x0", array)
    return array


def _search(f: Callable[[Any], Any], x0: Any, steps: int) -> RootSearch:
    is_complex = jnp.iscomplexobj(x0)
    f = scalar(f, jnp.inexact if is_complex else jnp.floating)
    if is_complex and not jnp.issubdtype(jax.eval_shape(f, x0).dtype, jnp.complexfloating):
        raise TypeError("f of a complex number must be complex: it is not analytic")
    slope_of = jax.grad(f, holomorphic=True) if is_complex else jax.jacfwd(f)
    eps = jnp.finfo(x0.dtype).eps

    def step(state: Any, _: Any) -> tuple[Any, Any]:
        x, status, taken = state
        value, slope = f(x), slope_of(x)
        change = value / jnp.where(slope == 0, 1, slope)
        following = x - change
        is_root = (value == 0) | (jnp.abs(change) <= _ULPS * eps * jnp.abs(x))
        is_flat = (slope == 0) & (value != 0)
        is_finite = jnp.isfinite(following) & jnp.isfinite(value) & jnp.isfinite(slope)
        ended = jnp.select(
            [~is_finite, is_flat, is_root],
            [RootStatus.NON_FINITE, RootStatus.FLAT, RootStatus.CONVERGED],
            RootStatus.STEPS_USED,
        )
        running = status < 0
        moves = running & is_finite & ~is_flat
        now = jnp.where(running & (ended != RootStatus.STEPS_USED), ended, status)
        return (jnp.where(moves, following, x), now, taken + moves.astype(jnp.int32)), (x, value)

    begin = (x0, jnp.int32(-1), jnp.int32(0))
    (last, status, taken), (before, values) = jax.lax.scan(step, begin, length=steps)
    x = jnp.append(before, last)
    status = jnp.where(status < 0, _unfinished(x), status).astype(jnp.int32)
    return RootSearch(x, jnp.append(values, f(last)), taken, status)


@jax.jit
def _unfinished(x: Any) -> Any:
    """Whether iterates that reached no end go round in a cycle of 2 or more."""
    lags = range(2, min(_LONGEST_CYCLE, len(x) // 2) + 1)
    near = 1e3 * jnp.finfo(x.dtype).eps * jnp.abs(x[-1])
    repeats = [jnp.all(jnp.abs(x[-lag:] - x[-2 * lag : -lag]) <= near) for lag in lags]
    # A slow approach to a multiple root repeats nothing: its iterates still move apart.
    moves = jnp.abs(x[-1] - x[-2]) > 1e3 * near if len(x) > 2 else False
    is_cycle = moves & jnp.any(jnp.stack(repeats)) if repeats else False
    return jnp.where(is_cycle, RootStatus.CYCLE, RootStatus.STEPS_USED)
