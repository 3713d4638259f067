"""Uncertainty beyond the covariance matrix: profile likelihood and bootstrap."""

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
    """Profile likelihood interval of one free parameter."""
    k, place = _free_place(fit, name)
    best, cost = float(fit._flat()[place]), float(fit.cost)
    freedoms = None if fit.absolute_sigma else int(fit.degrees_of_freedom)
    rise = rise_at(level, 1, cost, freedoms)
    stderr = float(np.sqrt(fit.covariance[place, place]))
    if not np.isfinite(stderr) or stderr == 0:
        raise ValueError(f"{name} is undetermined: it has no profile interval")
    low, high = (-np.inf, np.inf) if fit.bounds is None else (b[place] for b in fit.bounds)
    refit = _refitter(fit, (k,))
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
            if not np.isfinite(found):
                return sign * np.inf
            if found > 0:
                from scipy.optimize import brentq

                return float(brentq(above, inside, value, xtol=1e-9 * stderr, rtol=1e-12))
            inside, width = value, 2 * width
        return sign * np.inf

    return end(-1.0, low), end(1.0, high)


def profile_map(fit: Any, x: str, y: str, levels: tuple[float, ...], resolution: int) -> ProfileMap:
    """The rise of the cost over a grid of two free parameters."""
    resolution = _check.count("resolution", resolution, least=3)
    if x == y:
        raise ValueError(f"a map needs two parameters, got {x!r} twice")
    (kx, px), (ky, py) = _free_place(fit, x), _free_place(fit, y)
    cost, flat = float(fit.cost), fit._flat()
    freedoms = None if fit.absolute_sigma else int(fit.degrees_of_freedom)
    heights = tuple(rise_at(level, 2, cost, freedoms) for level in levels)
    one = rise_at(0.6827, 1, cost, freedoms)
    reach = 1.4 * np.sqrt(max(heights) / one)
    axes = []
    for place in (px, py):
        half = reach * np.sqrt(fit.covariance[place, place])
        if not np.isfinite(half) or half == 0:
            raise ValueError(f"{fit.names[place]} is undetermined: it has no profile")
        low, high = (-np.inf, np.inf) if fit.bounds is None else (b[place] for b in fit.bounds)
        axes.append(
            np.linspace(max(flat[place] - half, low), min(flat[place] + half, high), resolution)
        )
    grid = np.stack(np.meshgrid(*axes), axis=-1)
    costs = _refitter(fit, (kx, ky))(grid.reshape(-1, 2)).reshape(grid.shape[:2])
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


def _refitter(fit: Any, held: tuple[int, ...]) -> Callable[[np.ndarray], Any]:
    """The cost with some of the free vector held at values, minimised over the rest.

    Takes one row of values, or rows of them, on the scale of the parameters.
    """
    arguments = (fit.problem, fit.start, fit.at, fit.bounds)

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
    held: tuple[int, ...],
    problem: LeastSquares,
    start: Params,
    at: Array,
    bounds: Any,
    rows: Array,
) -> Array:
    at = jnp.asarray(at)
    others = np.array([k for k in range(at.size) if k not in held], int)
    limits = None if bounds is None else freedom.limits(*bounds)
    places = np.array([freedom.free[k] for k in held])

    def one(values: Array) -> Array:
        flat, unravel = jax.flatten_util.ravel_pytree(start)
        whole = unravel(flat.at[places].set(values))
        fixed = freedom.vector(whole)
        here = at.at[np.array(held)].set(fixed[np.array(held)])
        if others.size == 0:
            return jnp.asarray(problem(freedom.params(here, start)))

        def params_of(free: Array) -> Params:
            return freedom.params(here.at[others].set(free), start)

        inner = None if limits is None else (limits[0][others], limits[1][others])
        last = converge(problem, params_of, here[others], inner, 1e-3, _STEPS, _tolerance(at), 0)
        return last.here.cost

    return jax.lax.map(one, rows, batch_size=min(len(rows), 256))


def _params_of(freedom: Freedom, start: Params, at: Array) -> Params:
    return freedom.params(at, start)


def _tolerance(at: Array) -> Any:
    return jnp.finfo(at.dtype).eps ** 0.5


def _free_place(fit: Any, name: str) -> tuple[int, int]:
    """The place of a parameter in the free vector, and among all."""
    place = fit._index(name)
    if fit.freedom.tie is not None:
        raise ValueError("profiles are for untied parameters")
    if place not in fit.freedom.free:
        raise ValueError(f"{name} is fixed: it has no profile")
    return fit.freedom.free.index(place), place


def _probability(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
