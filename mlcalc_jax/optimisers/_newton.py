"""Newton's method on the full Hessian."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from .._types import Params


def newton() -> optax.GradientTransformationExtraArgs:
    """Undamped Newton: the step d that solves ``H d = -J``, H the Hessian of the cost.

    It is drawn to any stationary point, saddles and maxima too, and converges quadratically near a
    minimum. A singular H gives a step that is not finite or enormous. The Hessian is dense: n
    parameters cost n gradients and n^3 operations a step.

    Raises:
        TypeError: in ``update``, if there is no cost (``value_fn``) to differentiate.

    Source: Nocedal and Wright, Numerical Optimization, 2nd edition, section 3.3.
    """
    return optax.GradientTransformationExtraArgs(Partial(optax.init_empty_state), Partial(_update))


def _update(
    updates: Params,
    state: optax.EmptyState,
    params: Params = None,
    *,
    value_fn: Any = None,
    **extra_args: Any,
) -> tuple[Params, optax.EmptyState]:
    if value_fn is None:
        raise TypeError("newton needs the cost as value_fn, got nothing")
    flat, unravel = ravel_pytree(params)
    J, _ = ravel_pytree(updates)
    H = jax.hessian(lambda vector: value_fn(unravel(vector)))(flat)
    return unravel(jnp.linalg.solve(H, -J)), state
