"""Uncertainty beyond the covariance matrix: profile likelihood and bootstrap."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from . import _check
from ._converge import converge
from ._parameters import Freedom
from ._path import Status
from ._precision import in_precision_of
from ._problem import LeastSquares
from ._random import as_key
from ._types import Params
from ._xla import compiled

_STEPS = 200


class Bootstrap(NamedTuple):
    """Refitted parameters, a row for each resampled data set."""

    params: Params  #: each leaf with a leading axis of samples
    converged: Bool[np.ndarray, "samples"]

    @property
    def stderr(self) -> Params:
        """Standard deviation over the samples that converged."""
        return jax.tree.map(lambda leaf: np.std(leaf[self.converged], axis=0, ddof=1), self.params)

    def interval(self, level: float = 0.95) -> tuple[Params, Params]:
        """Percentile interval over the samples that converged: lower and upper ends."""
        _probability(level)
        ends = ((1 - level) / 2, (1 + level) / 2)
        low, high = (
            jax.tree.map(
                lambda leaf, q=q: np.quantile(leaf[self.converged], q, axis=0), self.params
            )
            for q in ends
        )
        return low, high


class ProfileMap(NamedTuple):
    """The rise of the cost above its minimum over a grid of two parameters."""

    names: tuple[str, str]
    x: Float[np.ndarray, "x"]
    y: Float[np.ndarray, "y"]
    rise: Float[np.ndarray, "y x"]
    levels: tuple[float, ...]  #: of joint confidence
    heights: tuple[float, ...]  #: the rise at the edge of each


def quantile(level: float, freedoms: int | None) -> float:
    """How many standard errors an interval reaches: of t, or of the normal for None."""
    from scipy import special  # here: SciPy doubles what importing the package costs

    _probability(level)
    if freedoms is None:
        return float(special.ndtri((1 + level) / 2))
    return float(special.stdtrit(freedoms, (1 + level) / 2)) if freedoms > 0 else float("nan")


def rise_at(level: float, parameters: int, cost: float, freedoms: int | None) -> float:
    """By how much the cost rises at the edge of a joint confidence region."""
    from scipy import special

    _probability(level)
    if freedoms is None:
        return float(special.chdtri(parameters, 1 - level))
    if freedoms < 1:
        raise ValueError("without degrees of freedom the scale of the residuals is unknown")
    f = special.fdtri(parameters, freedoms, level)
    return float(cost / freedoms * parameters * f)


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


def bootstrap(fit: Any, samples: int, kind: str, key: Any) -> Bootstrap:
    """Refit resampled data sets."""
    samples = _check.count("samples", samples)
    if kind not in ("residual", "case"):
        raise ValueError(f'kind must be "residual" or "case", got {kind!r}')
    problem = fit.problem
    if jnp.ndim(problem.y) != 1:
        raise ValueError("a bootstrap draws points of a 1-D y")
    if kind == "case" and problem.cholesky is not None:
        raise ValueError('correlated points cannot be drawn by themselves: use kind="residual"')
    if kind == "residual" and problem.loss is not None:
        raise ValueError('residuals are drawn for plain least squares: use kind="case"')
    run = partial(_bootstrap, fit.freedom, kind, samples)
    counts = None if problem.mask is None else np.broadcast_to(problem.mask, problem.y.shape)
    key = as_key(key)
    params, status = in_precision_of(
        (problem, fit.start), run, problem, fit.start, fit.at, fit.bounds, counts, key
    )
    converged = np.isin(status, [s for s in Status if s.has_converged])
    return Bootstrap(jax.tree.map(np.asarray, params), converged)


@compiled(static_argnums=(0, 1, 2))
def _bootstrap(
    freedom: Freedom,
    kind: str,
    samples: int,
    problem: LeastSquares,
    start: Params,
    at: Array,
    bounds: Any,
    counts: Any,
    key: Array,
) -> Any:
    at = jnp.asarray(at)
    params_of = partial(_params_of, freedom, start)
    limits = None if bounds is None else freedom.limits(*bounds)
    y = jnp.asarray(problem.y)
    sigma = jnp.broadcast_to(jnp.asarray(1.0 if problem.sigma is None else problem.sigma), y.shape)

    def off(r: Array) -> Array:
        """By how much y is off the curve, where the weighted residuals are r."""
        return r * sigma if problem.cholesky is None else jnp.asarray(problem.cholesky) @ r

    weights = None if counts is None else jnp.asarray(counts, y.dtype)
    chances = None if weights is None else weights / jnp.sum(weights)
    left = jnp.asarray(problem.residuals(params_of(at)))
    curve = y + off(left)
    # Residuals of a fit are too short by the degrees of freedom it used.
    count = y.size if weights is None else jnp.sum(weights)
    r = left * jnp.sqrt(count / (count - at.size))

    def drawn(key: Array) -> LeastSquares:
        if kind == "residual":
            picked = jax.random.choice(key, r, (y.size,), p=chances)
            centre = jnp.sum(r) / count
            return problem.replace(y=curve + off(picked - centre))
        which = jax.random.choice(key, y.size, (y.size,), p=chances)
        times = jnp.zeros(y.size, y.dtype).at[which].add(1.0)
        is_in = times > 0
        return problem.replace(sigma=sigma / jnp.sqrt(jnp.where(is_in, times, 1)), mask=is_in)

    def refit(key: Array) -> Any:
        last = converge(drawn(key), params_of, at, limits, 1e-3, _STEPS, _tolerance(at), 0)
        return params_of(last.at), last.status

    return jax.lax.map(refit, jax.random.split(key, samples), batch_size=min(samples, 256))


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
    columns = np.array(held.columns)
    others = np.array([k for k in range(at.size) if k not in held.columns], int)
    limits = None if bounds is None else freedom.limits(*bounds)

    def one(values: Array) -> Array:
        def whole(rest: Array) -> Array:
            """The free vector that holds the values; as it was where that cannot be."""
            here = at.at[others].set(rest)
            if freedom.tie is None:
                places = np.array(held.places)
                flat, unravel = jax.flatten_util.ravel_pytree(start)
                own = freedom.vector(unravel(flat.at[places].set(values)))
                return here.at[columns].set(own[columns])

            def miss(moved: Array) -> Array:
                reported = _reported(freedom, start, here.at[columns].set(moved))
                return (reported[np.array(held.places)] - values) / scale

            return here.at[columns].set(_root(miss, at[columns]))

        def cost_if_held(at: Array, cost: Array) -> Array:
            if freedom.tie is None:
                return cost
            reported = _reported(freedom, start, at)[np.array(held.places)]
            near = 1e-4 * scale + 8 * jnp.finfo(at.dtype).eps * jnp.abs(values)
            return jnp.where(jnp.all(jnp.abs(reported - values) <= near), cost, jnp.inf)

        if others.size == 0:
            here = whole(at[others])
            return cost_if_held(here, jnp.asarray(problem(freedom.params(here, start))))
        inner = None if limits is None else (limits[0][others], limits[1][others])
        last = converge(
            problem,
            lambda rest: freedom.params(whole(rest), start),
            at[others],
            inner,
            1e-3,
            _STEPS,
            _tolerance(at),
            0,
        )
        return cost_if_held(whole(last.at), last.here.cost)

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


def _params_of(freedom: Freedom, start: Params, at: Array) -> Params:
    return freedom.params(at, start)


def _tolerance(at: Array) -> Any:
    return jnp.finfo(at.dtype).eps ** 0.5


def _probability(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
