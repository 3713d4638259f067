"""Profile likelihood: the cost with one or two parameters held, minimised over the rest."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import _check
from ._confidence import rise_at
from ._converge import converge
from ._parameters import Freedom
from ._precision import in_precision_of
from ._problem import LeastSquares
from ._types import Params
from ._xla import compiled

_STEPS = 200


class ProfileMap(NamedTuple):
    """The rise of the cost above its minimum over a grid of two parameters."""

    names: tuple[str, str]
    x: Float[np.ndarray, "x"]
    y: Float[np.ndarray, "y"]
    rise: Float[np.ndarray, "y x"]
    levels: tuple[float, ...]  #: of joint confidence
    heights: tuple[float, ...]  #: the rise at the edge of each


def profile(fit: Any, name: str, level: float) -> tuple[float, float]:
    """Profile likelihood interval of one parameter."""
    held = _held(fit, (name,))
    (place,) = held.places
    best, cost = float(fit._flat()[place]), float(fit.cost)
    freedoms = None if fit.absolute_sigma else int(fit.degrees_of_freedom)
    rise = rise_at(level, 1, cost, freedoms)
    stderr = float(np.sqrt(fit.covariance[place, place]))
    low, high = _limits(fit, place)
    refit = _refitter(fit, held)
    expected = stderr * np.sqrt(rise / rise_at(0.6827, 1, cost, freedoms)) if rise else stderr

    def above(value: float) -> float:
        return refit(np.array([value])) - cost - rise

    def end(sign: float, limit: float) -> float:
        inside, width = best, 1.0
        while width < 1e3:
            value = best + sign * width * expected
            if sign * value >= sign * limit:
                if above(limit) <= 0:
                    return float(limit)
                value = limit
            found = above(value)
            if np.isnan(found):
                return sign * np.inf
            if found > 0:
                from scipy.optimize import bisect, brentq

                root = brentq if np.isfinite(found) else bisect
                return float(root(above, inside, value, xtol=1e-9 * stderr, rtol=1e-12))
            inside, width = value, 2 * width
        return sign * np.inf

    return end(-1.0, low), end(1.0, high)


def profile_map(fit: Any, x: str, y: str, levels: tuple[float, ...], resolution: int) -> ProfileMap:
    """The rise of the cost over a grid of two free parameters."""
    resolution = _check.count("resolution", resolution, least=3)
    if x == y:
        raise ValueError(f"a map needs two parameters, got {x!r} twice")
    held = _held(fit, (x, y))
    cost, flat = float(fit.cost), fit._flat()
    freedoms = None if fit.absolute_sigma else int(fit.degrees_of_freedom)
    heights = tuple(rise_at(level, 2, cost, freedoms) for level in levels)
    one = rise_at(0.6827, 1, cost, freedoms)
    reach = 1.4 * np.sqrt(max(heights) / one)
    axes = []
    for place in held.places:
        half = reach * np.sqrt(fit.covariance[place, place])
        low, high = _limits(fit, place)
        axes.append(
            np.linspace(max(flat[place] - half, low), min(flat[place] + half, high), resolution)
        )
    grid = np.stack(np.meshgrid(*axes), axis=-1)
    costs = _refitter(fit, held)(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    return ProfileMap((x, y), axes[0], axes[1], costs - cost, tuple(levels), heights)


class _Held(NamedTuple):
    """The parameters that a profile holds, and the free numbers that are moved to hold them."""

    places: tuple[int, ...]  #: among the parameters that are reported
    columns: tuple[int, ...]  #: of the free vector


def _held(fit: Any, names: tuple[str, ...]) -> _Held:
    """Which free numbers hold these parameters best.

    Their own; of tied parameters those that move them most, in units of what the data leave open,
    and that no bound holds back.
    """
    places = tuple(map(fit._index, names))
    free = fit.freedom.free
    for name, place in zip(names, places, strict=True):
        if fit.freedom.tie is None and place not in free:
            raise ValueError(f"{name} is fixed: it has no profile")
        variance = fit.covariance[place, place]
        if variance == 0:
            raise ValueError(f"the standard error of {name} is 0: it has no profile")
        if not np.isfinite(variance):
            if fit.degrees_of_freedom <= 0 and not fit.absolute_sigma:
                raise ValueError(
                    "no degrees of freedom are left, from which the scatter would be known: give "
                    "more points, or sigma with absolute_sigma=True"
                )
            raise ValueError(f"{name} is undetermined: it has no profile")
    if fit.freedom.tie is None:
        return _Held(places, tuple(map(free.index, places)))
    slopes = in_precision_of((fit.problem, fit.start), _slopes, fit.freedom, fit.start, fit.at)
    R = np.asarray(fit.triangle.R)
    spread = np.asarray(slopes)[list(places)] * np.linalg.norm(np.linalg.pinv(R), axis=1)
    choices = list(itertools.combinations(_unbounded(fit), len(places)))
    sizes = [abs(np.linalg.det(spread[:, choice])) for choice in choices]
    if max(sizes, default=0) <= 1e-6 * np.prod(np.linalg.norm(spread, axis=1)):
        several = "one by one" if len(names) > 1 else "at all"
        raise ValueError(f"free numbers without bounds cannot move {' and '.join(names)} {several}")
    return _Held(places, choices[int(np.argmax(sizes))])


def _unbounded(fit: Any) -> list[int]:
    free = fit.freedom.free
    if fit.bounds is None:
        return list(range(len(free)))
    low, high = fit.bounds
    return [k for k, place in enumerate(free) if np.isneginf(low[place]) and np.isinf(high[place])]


def _reported(freedom: Freedom, start: Params, at: Array) -> Array:
    return jax.flatten_util.ravel_pytree(freedom.params(at, start))[0]


@compiled(static_argnums=0)
def _slopes(freedom: Freedom, start: Params, at: Array) -> Array:
    return jax.jacfwd(partial(_reported, freedom, start))(jnp.asarray(at))


def _limits(fit: Any, place: int) -> tuple[float, float]:
    """The bounds of a reported parameter; those of a start that is tied bound something else."""
    if fit.bounds is None or fit.freedom.tie is not None:
        return -np.inf, np.inf
    low, high = (float(bound[place]) for bound in fit.bounds)
    return low, high


def _refitter(fit: Any, held: _Held) -> Callable[[np.ndarray], Any]:
    """The cost with some parameters held at values, minimised over the rest.

    Takes one row of values, or rows of them, on the scale of the parameters. Infinite where a tie
    allows no such values.
    """
    variances = np.diag(fit.covariance)[list(held.places)]
    scale = np.sqrt(variances).astype(np.result_type(fit.at))
    arguments = (fit.problem, fit.start, fit.at, fit.bounds, scale)

    def cost(values: np.ndarray) -> Any:
        rows = np.atleast_2d(np.asarray(values, np.result_type(fit.at)))
        found = in_precision_of(
            (fit.problem, fit.start), _refit, fit.freedom, held, *arguments, rows
        )
        return float(found[0]) if values.ndim == 1 else np.asarray(found)

    return cost


@compiled(static_argnums=(0, 1))
def _refit(
    freedom: Freedom,
    held: _Held,
    problem: LeastSquares,
    start: Params,
    at: Array,
    bounds: Any,
    scale: Array,
    rows: Array,
) -> Array:
    at = jnp.asarray(at)
    places, columns = np.array(held.places), np.array(held.columns)
    others = np.array([k for k in range(at.size) if k not in held.columns], int)
    limits = None if bounds is None else freedom.limits(bounds, start)
    inner = None if limits is None else (limits[0][others], limits[1][others])

    def one(values: Array) -> Array:
        def miss(at: Array) -> Array:
            return (_reported(freedom, start, at)[places] - values) / scale

        def at_values(rest: Array) -> Array:
            """The free vector that holds the values, the others at ``rest``; if there is one."""
            here = at.at[others].set(rest)
            if freedom.tie is None:
                flat, unravel = jax.flatten_util.ravel_pytree(start)
                own = freedom.vector(unravel(flat.at[places].set(values)))
                return here.at[columns].set(own[columns])
            moved = _root(lambda moved: miss(here.at[columns].set(moved)), at[columns])
            return here.at[columns].set(moved)

        def params_of(rest: Array) -> Params:
            return freedom.params(at_values(rest), start)

        rest = at[others]
        if others.size:
            last = converge(
                problem,
                params_of,
                rest,
                inner,
                1e-3,
                _STEPS,
                jnp.finfo(at.dtype).eps ** 0.5,
                rows=0,
            )
            rest, cost = last.at, last.here.cost
        else:
            cost = jnp.asarray(problem(params_of(rest)))
        if freedom.tie is None:
            return cost
        rounding = 8 * jnp.finfo(at.dtype).eps * jnp.abs(values) / scale
        is_held = jnp.all(jnp.abs(miss(at_values(rest))) <= 1e-4 + rounding)
        return jnp.where(is_held, cost, jnp.inf)

    return jax.lax.map(one, rows, batch_size=min(len(rows), 256))


def _root(miss: Callable[[Array], Array], start: Array) -> Array:
    """Where ``miss`` is 0: Newton's method, every step halved until it leads nearer.

    What the function closes over is differentiated through the last step (implicit function
    theorem).
    """

    def step(now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        tries, at, part = now
        error = miss(at)
        trial = at - part * jnp.linalg.solve(jax.jacfwd(miss)(at), error)
        is_nearer = jnp.linalg.norm(miss(trial)) < jnp.linalg.norm(error)
        return (
            tries + 1,
            jnp.where(is_nearer, trial, at),
            jnp.where(is_nearer, 1, part / 2).astype(part.dtype),
        )

    one, none = jnp.ones((), start.dtype), jnp.zeros((), jnp.int32)
    found = jax.lax.while_loop(
        lambda now: (now[0] < 100) & (now[2] > 1e-3), step, (none, start, one)
    )
    at = jax.lax.stop_gradient(found[1])
    return at - jnp.linalg.solve(jax.lax.stop_gradient(jax.jacfwd(miss)(at)), miss(at))
