"""The linear algebra of a step: the triangle of a least-squares problem, and what is read off it.

The QR factorisation of ``[J | r]`` leaves a triangle ``[R z; 0 rest]`` that holds all a step needs:
``|r + J d|^2 = |z + R d|^2 + rest^2`` for every d. Its condition number is that of J, not its
square, and triangles of pieces of the data combine to the triangle of the whole.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._problem import LeastSquares

#: Points in a piece: J is never larger than this times the parameters.
PIECE = 4096


class Triangle(NamedTuple):
    """The triangular factor of ``[J | r]``."""

    R: Float[Array, "parameters parameters"]
    z: Float[Array, "parameters"]  #: Q^T r, the part of r the parameters can reach
    rest: Float[Array, ""]  #: the length of the part they cannot, up to its sign


class Local(NamedTuple):
    """A least-squares problem as seen from one point: the cost there and its local model."""

    cost: Float[Array, ""]
    triangle: Triangle


def triangle(rows: Float[Array, "rows columns"]) -> Float[Array, "columns columns"]:
    """The R of the Householder QR factorisation of the rows, zeros added if they are too few."""
    missing = rows.shape[1] - rows.shape[0]
    if missing > 0:
        rows = jnp.concatenate([rows, jnp.zeros((missing, rows.shape[1]), rows.dtype)])
    return jnp.linalg.qr(rows, mode="r")


def local(
    problem: LeastSquares, params_of: Callable[[Array], Any], at: Float[Array, "parameters"]
) -> Local:
    """The problem as seen from ``params_of(at)``; many points are gone through piece by piece."""

    def piece(problem: LeastSquares) -> tuple[Array, Array]:
        cost, r, J = problem.local(params_of, at)
        return cost, triangle(jnp.concatenate([J, r[None]]).T)

    cost, R = _over_pieces(problem, piece, params_of, at)
    return Local(cost, Triangle(R[:-1, :-1], R[:-1, -1], R[-1, -1]))


def cost_and_curvature(
    problem: LeastSquares, params_of: Callable[[Array], Any], at: Float[Array, "parameters"]
) -> tuple[Float[Array, ""], Float[Array, "parameters parameters"]]:
    """The cost and the R of J alone, to be differentiated.

    The triangle of ``[J | r]`` has no derivative where nothing of r is left beyond the parameters'
    reach: an exact fit, or as many points as parameters.
    """

    def piece(problem: LeastSquares) -> tuple[Array, Array]:
        cost, _, J = problem.local(params_of, at, for_covariance=True)
        return cost, triangle(J.T)

    return _over_pieces(problem, piece, params_of, at)


def _over_pieces(
    problem: LeastSquares,
    piece: Callable[[LeastSquares], tuple[Array, Array]],
    params_of: Callable[[Array], Any],
    at: Array,
) -> tuple[Array, Array]:
    """The cost and the triangle of the whole, of those of its pieces."""
    pieces = problem.pieces(PIECE, jax.eval_shape(params_of, at))
    if pieces is None:
        return piece(problem)
    number, nth, remainder = pieces

    def add(so_far: tuple[Array, Array], one: tuple[Array, Array]) -> tuple[Array, Array]:
        return so_far[0] + one[0], triangle(jnp.concatenate([so_far[1], one[1]]))

    whole = lax.fori_loop(1, number, lambda k, so_far: add(so_far, piece(nth(k))), piece(nth(0)))
    return whole if remainder is None else add(whole, piece(remainder))


def damped(of: Triangle, damping: Float[Array, "parameters"]) -> Triangle:
    """The triangle of ``|r + J d|^2 + |damping d|^2``."""
    p = of.z.size
    top = jnp.concatenate([of.R, of.z[:, None]], axis=1)
    bottom = jnp.where(np.eye(p, p + 1, dtype=bool), damping[:, None], 0)
    R = triangle(jnp.concatenate([top, bottom]))
    return Triangle(R[:p, :p], R[:p, p], jnp.hypot(R[p, p], of.rest))


def step(
    of: Triangle, damping: Float[Array, "parameters"] | None = None
) -> Float[Array, "parameters"]:
    """The d that minimises ``|r + J d|^2 + |damping d|^2``.

    Without damping, a rank-deficient J gives NaN, infinity, or numbers of the size 1/eps, never a
    plausible answer.
    """
    R, z, _ = of if damping is None else damped(of, damping)
    return -jax.scipy.linalg.solve_triangular(R, z)


def step_and_inverse(
    of: Triangle,
) -> tuple[Float[Array, "parameters"], Float[Array, "parameters parameters"]]:
    """The undamped :func:`step` and the inverse of R, which is not accurate enough to make it."""
    both = jnp.concatenate([of.z[:, None], np.eye(of.z.size, dtype=of.z.dtype)], axis=1)
    solved = jax.scipy.linalg.solve_triangular(of.R, both)
    return -solved[:, 0], solved[:, 1:]


def inverted(R: Float[Array, "parameters parameters"]) -> Float[Array, "parameters parameters"]:
    """The inverse of an upper triangle."""
    return jax.scipy.linalg.solve_triangular(R, np.eye(len(R), dtype=R.dtype))


def bend(
    problem: LeastSquares,
    params_of: Callable[[Array], Any],
    at: Float[Array, "parameters"],
    along: Float[Array, "parameters"],
) -> Float[Array, "parameters"]:
    """``J^T r''``, with r'' the second derivative of the residuals along a direction."""
    pieces = problem.pieces(PIECE, jax.eval_shape(params_of, at))
    if pieces is None:
        return problem.bend(params_of, at, along)
    number, nth, remainder = pieces
    first = jnp.zeros_like(at) if remainder is None else remainder.bend(params_of, at, along)
    return lax.fori_loop(
        0, number, lambda k, so_far: so_far + nth(k).bend(params_of, at, along), first
    )


def product(R: Float[Array, "rows columns"], d: Float[Array, "columns"]) -> Float[Array, "rows"]:
    """``R @ d`` for a small R, as a sum that XLA can compute among what surrounds it."""
    return jnp.sum(R * d[None], axis=1)


def predicted_decrease(of: Triangle, d: Float[Array, "parameters"]) -> Float[Array, ""]:
    """``|r|^2 - |r + J d|^2``, computed without cancellation."""
    moved = product(of.R, d)
    return -jnp.vdot(moved, 2 * of.z + moved)


def needs_least_squares(optimiser: str, value_fn: Any) -> LeastSquares:
    """``value_fn``, if it is a least-squares problem; else an error that says what is needed."""
    if not isinstance(value_fn, LeastSquares):
        got = "nothing" if value_fn is None else getattr(value_fn, "__name__", repr(type(value_fn)))
        raise TypeError(
            f"{optimiser} needs the residuals of a LeastSquares problem (or Minibatches of one) as "
            f"the cost, got {got}"
        )
    return value_fn
