"""What a fit leaves undecided: covariance, and the parameters the data do not determine."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ._linear import inverted


class Covariance(NamedTuple):
    """Of the model's parameters, before any scale of the residuals."""

    matrix: Float[Array, "parameters parameters"]  #: NaN for what the data do not determine
    undetermined: Bool[Array, "parameters"]


def covariance(
    R: Float[Array, "free free"], expand: Float[Array, "parameters free"] | None
) -> Covariance:
    """``G (R^T R)^-1 G^T``, with G the derivative of the parameters by the free vector.

    G is ``expand``, or None for the identity. Columns of R are scaled to length 1, so that units do
    not matter. If the scaled R is singular to rounding, its null directions are left out, and the
    parameters they move are named.
    """
    regular, is_regular = regular_covariance(R, expand)

    def singular() -> Covariance:
        scaled, scale, _ = _inverted(R)
        held = lax.stop_gradient((scaled, expand, scale))
        return _singular(held[0], lambda of: _expanded(held[1], of, held[2]), _rounding(R))

    found = lax.cond(is_regular, lambda: regular, singular)
    return found._replace(matrix=differentiable_if(is_regular, found.matrix))


def regular_covariance(
    R: Float[Array, "free free"], expand: Float[Array, "parameters free"] | None
) -> tuple[Covariance, Bool[Array, ""]]:
    """The covariance if nothing is undetermined, and whether that is so."""
    scaled, scale, inverse = _inverted(R)
    condition = jnp.linalg.norm(scaled) * jnp.linalg.norm(lax.stop_gradient(inverse))
    spread = _expanded(expand, inverse, scale)
    nothing = jnp.zeros(len(spread), bool)
    return Covariance(spread @ spread.T, nothing), condition * _rounding(R) < 1


def root(
    R: Float[Array, "free free"], expand: Float[Array, "parameters free"] | None
) -> Float[Array, "parameters free"]:
    """``G R^-1``, a root of the covariance, with the condition number of J and not its square."""
    _, scale, inverse = _inverted(R)
    return _expanded(expand, inverse, scale)


def least_cost(dtype: Any) -> float:
    """The least that is a sum of squares in full precision."""
    of = jnp.finfo(dtype)
    return float(of.tiny / of.eps)


def is_lost(cost: Array, noise: Array, is_data: Array) -> Array:
    """Whether the squares of the residuals are lost below the range of the precision.

    It looks as if a fit were exact then, and whether it is cannot be told.

    Args:
        cost: the sum of squares.
        noise: rounding errors of the residuals, at least.
        is_data: whether any y is not 0.
    """
    is_small = noise**2 < jnp.finfo(cost.dtype).tiny
    return is_small & is_data & (cost < least_cost(cost.dtype))


def reduced(cost: Array, freedoms: Any) -> Array:
    """The cost for each degree of freedom; NaN where there is none."""
    return jnp.where(freedoms > 0, cost / jnp.maximum(freedoms, 1).astype(cost.dtype), jnp.nan)


def _inverted(R: Array) -> tuple[Array, Array, Array]:
    """R with columns of length 1, their lengths, and its inverse."""
    length = jnp.linalg.norm(R, axis=0)
    scale = jnp.where(length > 0, length, 1)
    scaled = R / scale[None]
    return scaled, scale, inverted(scaled)


def _expanded(expand: Array | None, of: Array, scale: Array) -> Array:
    """From directions of the scaled free vector to directions of the parameters."""
    return of / scale[:, None] if expand is None else (expand / scale[None]) @ of


def standard_errors(
    matrix: Float[Array, "parameters parameters"], expand: Float[Array, "parameters free"] | None
) -> Float[Array, "parameters"]:
    """Roots of the diagonal; a parameter that nothing free moves has 0, and a derivative of 0."""
    variance = jnp.diag(matrix)
    if expand is None:
        return jnp.sqrt(variance)
    is_fixed = ~jnp.any(expand != 0, axis=1)
    return jnp.where(is_fixed, 0, jnp.sqrt(jnp.where(is_fixed, 1, variance)))


@jax.custom_jvp
def differentiable_if(condition: Bool[Array, ""], values: Array) -> Array:
    """The values, whose derivative is NaN unless the condition holds."""
    return values


@differentiable_if.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    condition, values = primals
    return values, tangents[1] * jnp.where(condition, 1, jnp.nan).astype(values.dtype)


def is_singular(R: Float[Array, "free free"]) -> Bool[Array, ""]:
    """Whether the column-scaled R is singular to rounding."""
    scaled, _, inverse = _inverted(R)
    return ~(jnp.linalg.norm(scaled) * jnp.linalg.norm(inverse) * _rounding(R) < 1)


def _rounding(R: Array) -> float:
    return 10.0 * len(R) * float(jnp.finfo(R.dtype).eps)


def _singular(scaled: Array, expanded: Callable[[Array], Array], rounding: float) -> Covariance:
    finite = jnp.where(jnp.isfinite(scaled), scaled, 0)
    _, values, Vt = jnp.linalg.svd(finite)
    is_null = values <= rounding * jnp.max(values)
    kept = jnp.where(is_null, 0, 1 / jnp.where(is_null, 1, values))
    every = expanded(Vt.T)
    spread = every * kept[None]
    along_null = jnp.linalg.norm(jnp.where(is_null[None], every, 0), axis=1)
    undetermined = along_null > 1e-3 * jnp.linalg.norm(every, axis=1)
    either = undetermined[:, None] | undetermined[None]
    return Covariance(jnp.where(either, jnp.nan, spread @ spread.T), undetermined)
