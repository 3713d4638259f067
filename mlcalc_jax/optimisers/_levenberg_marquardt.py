"""Levenberg-Marquardt for least squares."""

from typing import Any

import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from .. import _check
from .._linear import bend, local, needs_least_squares
from .._trust import Trust, first_trust, judge, lengths, propose
from .._types import ArrayLike, Params


def levenberg_marquardt(damping: ArrayLike = 1e-3) -> optax.GradientTransformationExtraArgs:
    """Levenberg-Marquardt: the step d that minimises ``|r + J d|^2 + lambda |D d|^2``.

    r are the weighted residuals of a :class:`mlcalc_jax.LeastSquares` problem, J their Jacobian and
    D the diagonal of its column lengths (Marquardt's scaling, which forgets longer ones of earlier
    steps slowly, after More), so that the units of the parameters do not matter. Where the surface
    is found curved, the step is bent along it by geodesic acceleration. A step that lowers the cost
    is taken; any other, NaN included, is refused: the update is zero and lambda grows. After a step
    taken, lambda follows Nielsen's rule from the gain ratio, actual over predicted decrease.

    Args:
        damping: the first lambda, a pure number; 1e-3 trusts the start, 1 does not.

    Raises:
        TypeError: ``damping`` is not a number; in ``update``, the cost is no least-squares problem.
        ValueError: ``damping`` is not finite and above zero.

    Source: Madsen, Nielsen and Tingleff, Methods for Non-Linear Least Squares Problems, 2nd edition
    (2004), section 3.2; More, The Levenberg-Marquardt Algorithm: Implementation and Theory (1978);
    Transtrum and Sethna, Improvements to the Levenberg-Marquardt algorithm (2012), section 4.
    """
    _check.positive("damping", damping)
    return optax.GradientTransformationExtraArgs(Partial(_init, damping), Partial(_update))


def _init(damping: ArrayLike, params: Params) -> Trust:
    flat, _ = ravel_pytree(params)
    return first_trust(flat, damping)


def _update(
    updates: Params,
    state: Trust,
    params: Params = None,
    *,
    value: Any = None,
    value_fn: Any = None,
    **extra_args: Any,
) -> tuple[Params, Trust]:
    problem = needs_least_squares("levenberg_marquardt", value_fn)
    flat, unravel = ravel_pytree(params)
    here = local(problem, unravel, flat)
    state = state._replace(scale=lengths(here.triangle, state, flat))
    proposed = propose(here.triangle, flat, state, lambda d: bend(problem, unravel, flat, d))
    before = here.cost if value is None else value
    decrease = before - value_fn(optax.apply_updates(params, unravel(proposed.d)))
    is_better = decrease > 0
    update = jnp.where(is_better, proposed.d, 0)
    return unravel(update), judge(state, proposed, decrease, is_better)


def damping_of(optimiser: Any) -> ArrayLike | None:
    """The first lambda of an optimiser, if it is Levenberg-Marquardt; else None."""
    update = getattr(optimiser, "update", None)
    if isinstance(update, Partial) and update.func is _update:
        return optimiser.init.args[0]
    return None
