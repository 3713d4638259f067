"""Gauss-Newton for least squares."""

from typing import Any

import optax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from .._linear import local, needs_least_squares, step
from .._types import Params


def gauss_newton() -> optax.GradientTransformationExtraArgs:
    """Undamped Gauss-Newton: the step d that minimises ``|r + J d|^2``.

    r are the weighted residuals of a :class:`mlcalc_jax.LeastSquares` problem and J their Jacobian.
    One step solves a linear model; far from the optimum of a nonlinear one it may leap. Damp it by
    a line search, ``optax.chain(gauss_newton(), optax.scale_by_backtracking_linesearch(15))``, or
    use :func:`levenberg_marquardt`. A singular J gives a step that is not finite or enormous.

    Raises:
        TypeError: in ``update``, if the cost is not a least-squares problem.

    Source: Nocedal and Wright, Numerical Optimization, 2nd edition, section 10.3.
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
    problem = needs_least_squares("gauss_newton", value_fn)
    flat, unravel = ravel_pytree(params)
    return unravel(step(local(problem, unravel, flat).triangle)), state
