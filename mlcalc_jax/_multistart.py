"""Many starts at once, and every optimum they lead to."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from . import _check
from ._converge import converge
from ._fit import fit
from ._parameters import Freedom, names_of
from ._path import Status
from ._precision import holds_tracer, in_precision_of, is_tracing
from ._problem import LeastSquares
from ._random import as_key
from ._result import Fit
from ._types import Model, Params
from ._xla import compiled

_STEPS = 300


def multistart(
    model: Model,
    params: Params,
    x: Any,
    y: Any,
    sigma: Any = None,
    *,
    starts: int = 100,
    spread: float | None = None,
    key: Any = 0,
    **options: Any,
) -> list[Fit]:
    """Fit from many starts, and return the distinct optima, best first.

    Without ``spread`` the starts are drawn uniformly between ``bounds``, which every free parameter
    must then have on both sides (a transformed one, between the transformed bounds). With it, each
    free parameter of ``params`` is multiplied by a factor drawn log-uniformly from
    ``[1 / spread, spread]``. ``params`` itself is always one of the starts. All starts run at once
    under ``vmap``; those that do not converge, or end where the data do not determine the
    parameters, are left out, and each distinct optimum is then fitted once more with all its
    uncertainties.

    Args:
        model, params, x, y, sigma: as for :func:`mlcalc_jax.fit`.
        starts: how many.
        spread: the largest factor on a parameter, above 1.
        key: seed, or a key of ``jax.random``.
        options: what else :func:`mlcalc_jax.fit` takes: bounds, fixed, loss, mask, transforms, ...

    Returns:
        fits in order of their cost; an empty list if no start converged.

    Raises:
        TypeError: called under ``jit``, ``vmap`` or ``grad``; what :func:`mlcalc_jax.fit` raises.
        ValueError: a parameter without bounds on both sides where no spread is given, a spread not
            above 1, and what :func:`mlcalc_jax.fit` raises.
    """
    if is_tracing() or holds_tracer((model, params, x, y, sigma, spread, options)):
        raise TypeError("multistart runs on the host: it cannot be called under jit, vmap or grad")
    starts = _check.count("starts", starts)
    if spread is not None:
        _check.positive("spread", spread)
        if spread <= 1:
            raise ValueError(f"spread must be above 1, got {spread}")
    one = fit(model, params, x, y, sigma, **options)
    if spread is None and (bare := _without_bounds(one)):
        raise ValueError(f"give spread, or bounds on both sides of {', '.join(bare)}")

    def start_at(at: Any) -> Params:
        return in_precision_of(one.start, lambda: one.freedom.untied(jnp.asarray(at), one.start))

    at = in_precision_of(one.start, one.freedom.vector, one.start)
    ends, costs, status = in_precision_of(
        (one.problem, one.start),
        _from_everywhere,
        one.freedom,
        starts,
        one.problem,
        one.start,
        at,
        one.bounds,
        spread,
        as_key(key),
    )
    ends, costs = np.asarray(ends), np.asarray(costs)
    converged = np.isin(status, [s for s in Status if s.has_converged])
    found: list[Fit] = []
    for k in np.argsort(np.where(converged, costs, np.inf), kind="stable"):
        if not converged[k] or not np.isfinite(costs[k]):
            break
        if any(_is_same(fitted, ends[k], float(costs[k])) for fitted in found):
            continue
        again = fit(model, start_at(ends[k]), x, y, sigma, **options)
        end = np.asarray(again.at)
        is_new = not any(_is_same(fitted, end, float(again.cost)) for fitted in found)
        if again.success and is_new:
            found.append(again)
    return sorted(found, key=lambda fitted: float(fitted.cost))


def _without_bounds(fitted: Fit) -> list[str]:
    names = names_of(fitted.start)
    if fitted.bounds is None:
        return [names[k] for k in fitted.freedom.free]
    finite = np.isfinite(fitted.bounds[0]) & np.isfinite(fitted.bounds[1])
    return [names[k] for k in fitted.freedom.free if not finite[k]]


@compiled(static_argnums=(0, 1))
def _from_everywhere(
    free: Freedom,
    starts: int,
    problem: LeastSquares,
    start: Params,
    at: Array,
    bounds: Any,
    spread: Any,
    key: Array,
) -> tuple[Array, Array, Array]:
    """Where each start leads, at what cost, and how it ended."""
    at = jnp.asarray(at)
    if bounds is not None:
        bounds = jnp.asarray(bounds[0], at.dtype), jnp.asarray(bounds[1], at.dtype)
    limits = None if bounds is None else free.limits(bounds, start)
    shape = (starts - 1, at.size)
    if spread is None:
        assert limits is not None
        others = jax.random.uniform(key, shape, at.dtype, *limits)
    else:
        numbers = free.vector(start, on_scale=False)
        factors = jnp.exp(jnp.log(spread) * jax.random.uniform(key, shape, at.dtype, -1, 1))
        others = jax.vmap(lambda some: free.vector(free.placed(some, start)))(
            numbers[None] * factors
        )
        if limits is not None:
            others = jnp.clip(others, *limits)

    def run(at: Array) -> tuple[Array, Array, Array]:
        tolerance = jnp.finfo(at.dtype).eps ** 0.5
        last = converge(
            problem, lambda u: free.params(u, start), at, limits, 1e-3, _STEPS, tolerance, 0
        )
        return last.at, last.here.cost, last.status

    all_starts = jnp.concatenate([at[None], others])
    return jax.lax.map(run, all_starts, batch_size=min(starts, 256))


def _is_same(fitted: Fit, at: np.ndarray, cost: float) -> bool:
    """Whether a point is the optimum of a fit, by how far apart the two are for the data."""
    apart = np.linalg.norm(fitted.triangle.R @ (at - fitted.at))
    rounding = 1e-6 * np.linalg.norm(np.abs(fitted.triangle.R) @ np.abs(fitted.at))
    near = 1e-3 * np.sqrt(fitted.cost) + rounding
    return bool(apart <= near and np.sqrt(cost) <= np.sqrt(fitted.cost) + near)
