"""The linear algebra of a step: flat Jacobians, and least squares by orthogonal factorisation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ._problem import LeastSquares
from ._types import Params


def flat_residuals_and_jacobian(
    problem: LeastSquares, params: Params
) -> tuple[Float[Array, "points"], Float[Array, "points parameters"], Callable[[Array], Any]]:
    """Residuals r, their Jacobian J, and the way from a flat vector to the parameters' tree."""
    flat, unravel = ravel_pytree(params)

    def residuals(vector: Array) -> tuple[Array, Array]:
        r = jnp.ravel(problem.residuals(unravel(vector)))
        return r, r

    J, r = jax.jacfwd(residuals, has_aux=True)(flat)
    return r, J, unravel


def least_squares(
    A: Float[Array, "rows columns"], b: Float[Array, "rows"]
) -> Float[Array, "columns"]:
    """The x that minimises ``|A x - b|^2``, by Householder QR of the column-scaled A.

    The condition number is that of A, not its square. Columns are scaled to length 1 first, so
    that parameters of very different size cost no digits. A rank-deficient A gives NaN or infinity,
    or numbers of the size 1/eps, never a plausible answer.
    """
    length = jnp.linalg.norm(A, axis=0)
    scale = jnp.where(length > 0, length, 1)
    Q, R = jnp.linalg.qr(A / scale[None, :])
    return jax.scipy.linalg.solve_triangular(R, Q.T @ b) / scale


def needs_least_squares(optimiser: str, value_fn: Any) -> LeastSquares:
    """``value_fn``, if it is a least-squares problem; else an error that says what is needed."""
    if not isinstance(value_fn, LeastSquares):
        got = "nothing" if value_fn is None else getattr(value_fn, "__name__", repr(type(value_fn)))
        raise TypeError(
            f"{optimiser} needs the residuals of a LeastSquares problem (or Minibatches of one) as "
            f"the cost, got {got}"
        )
    return value_fn
