"""Refits of resampled data: uncertainty without the assumption that the model is straight."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from . import _check
from ._confidence import probability
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
        probability(level)
        ends = ((1 - level) / 2, (1 + level) / 2)
        low, high = (
            jax.tree.map(
                lambda leaf, q=q: np.quantile(leaf[self.converged], q, axis=0), self.params
            )
            for q in ends
        )
        return low, high


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


class _Repeated(NamedTuple):
    """A loss of points that are there several times."""

    loss: Any
    times: Array

    def terms(self, r: Array, y: Array) -> Array:
        return self.times * self.loss.terms(r, y)

    def weights(self, r: Array, y: Array) -> tuple[Array, Array]:
        a, b = self.loss.weights(r, y)
        root = jnp.sqrt(self.times)
        return root * a, root * b

    def information(self, r: Array, y: Array) -> Array:
        return jnp.sqrt(self.times) * self.loss.information(r, y)


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
    tolerance = jnp.finfo(at.dtype).eps ** 0.5
    params_of = partial(_params_of, freedom, start)
    limits = None if bounds is None else freedom.limits(bounds, start)
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
        if problem.loss is not None:
            return problem.replace(loss=_Repeated(problem.loss, times), mask=is_in)
        return problem.replace(sigma=sigma / jnp.sqrt(jnp.where(is_in, times, 1)), mask=is_in)

    def refit(key: Array) -> Any:
        last = converge(drawn(key), params_of, at, limits, 1e-3, _STEPS, tolerance, 0)
        return params_of(last.at), last.status

    return jax.lax.map(refit, jax.random.split(key, samples), batch_size=min(samples, 256))


def _params_of(freedom: Freedom, start: Params, at: Array) -> Params:
    return freedom.params(at, start)
