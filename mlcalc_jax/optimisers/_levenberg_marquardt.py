"""Levenberg-Marquardt for least squares."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float

from .. import _check
from .._linear import flat_residuals_and_jacobian, least_squares, needs_least_squares
from .._types import ArrayLike, Params


class LevenbergMarquardtState(NamedTuple):
    """What a step leaves for the next."""

    damping: Float[Array, ""]  #: lambda
    growth: Float[Array, ""]  #: the factor on lambda if the next step is rejected
    scale: Float[Array, "parameters"]  #: D, the longest each column of J has been


def levenberg_marquardt(damping: ArrayLike = 1e-3) -> optax.GradientTransformationExtraArgs:
    """Levenberg-Marquardt: the step d that minimises ``|r + J d|^2 + lambda |D d|^2``.

    r are the weighted residuals of a :class:`mlcalc_jax.LeastSquares` problem, J their Jacobian and
    D the diagonal of the largest column norms of J so far (Marquardt's scaling, kept from shrinking
    as More proposed), so that the units of the parameters do not matter. A step that lowers
    chi-squared is taken; any other, NaN included, is refused: the update is zero and lambda grows.
    After a step taken, lambda follows Nielsen's rule from the gain ratio, the actual over the
    predicted decrease.

    Args:
        damping: the first lambda, a pure number; 1e-3 trusts the start, 1 does not.

    Raises:
        TypeError: ``damping`` is not a number; in ``update``, the cost is no least-squares problem.
        ValueError: ``damping`` is not finite and above zero.

    Source: Madsen, Nielsen and Tingleff, Methods for Non-Linear Least Squares Problems, 2nd edition
    (2004), section 3.2; More, The Levenberg-Marquardt Algorithm: Implementation and Theory (1978).
    """
    _check.positive("damping", damping)
    return optax.GradientTransformationExtraArgs(Partial(_init, damping), Partial(_update))


def _init(damping: ArrayLike, params: Params) -> LevenbergMarquardtState:
    flat, _ = ravel_pytree(params)
    first = jnp.asarray(damping, flat.dtype)
    return LevenbergMarquardtState(first, jnp.full_like(first, 2), jnp.zeros_like(flat))


def _update(
    updates: Params,
    state: LevenbergMarquardtState,
    params: Params = None,
    *,
    value: Any = None,
    value_fn: Any = None,
    **extra_args: Any,
) -> tuple[Params, LevenbergMarquardtState]:
    problem = needs_least_squares("levenberg_marquardt", value_fn)
    r, J, unravel = flat_residuals_and_jacobian(problem, params)
    scale = jnp.maximum(state.scale, jnp.linalg.norm(J, axis=0))
    damped = jnp.sqrt(state.damping) * jnp.where(scale > 0, scale, 1)
    step = least_squares(
        jnp.concatenate([J, jnp.diag(damped)]), jnp.concatenate([-r, jnp.zeros_like(damped)])
    )

    before = jnp.sum(r**2) if value is None else value
    after = value_fn(optax.apply_updates(params, unravel(step)))
    predicted = before - jnp.sum((r + J @ step) ** 2)
    is_better = after < before
    gain = (before - after) / jnp.where(predicted > 0, predicted, 1)
    shrink = jnp.maximum(1 / 3, 1 - (2 * jnp.where(is_better, gain, 0) - 1) ** 3)
    damping = state.damping * jnp.where(is_better, shrink, state.growth)
    widest = 1 / jnp.finfo(step.dtype).eps ** 2  # keeps a long stay at the optimum from overflowing
    return unravel(jnp.where(is_better, step, 0)), LevenbergMarquardtState(
        damping=jnp.clip(damping, 1 / widest, widest).astype(step.dtype),
        growth=jnp.where(is_better, 2, jnp.minimum(2 * state.growth, widest)).astype(step.dtype),
        scale=scale,
    )
