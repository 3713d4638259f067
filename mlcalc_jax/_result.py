"""What a fit found: parameters, their uncertainties, how it ended, and what follows from them."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from ._bootstrap import Bootstrap, bootstrap
from ._confidence import quantile
from ._converge import Trace, trace_of
from ._linear import Triangle
from ._parameters import Freedom, names_of
from ._path import Path, Status, alone
from ._precision import holds_tracer, in_precision_of
from ._problem import LeastSquares, model_name
from ._profile import ProfileMap, profile, profile_map
from ._report import as_html, as_text
from ._types import AnyArray, Params
from ._uncertainty import least_cost, reduced, root
from .losses import Poisson


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "problem",
        "start",
        "params",
        "stderr",
        "covariance",
        "cost",
        "chi_squared",
        "points",
        "status",
        "steps",
        "bends",
        "undetermined",
        "is_at_bound",
        "at",
        "triangle",
        "table",
        "bounds",
    ],
    meta_fields=["freedom", "absolute_sigma"],
)
@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
    """The result of :func:`mlcalc_jax.fit`.

    Arrays over the parameters run in the order of ``names``. Under ``vmap`` every field has a
    leading batch axis.
    """

    problem: LeastSquares  #: model, data, weights
    start: Params
    params: Params  #: what the model takes at the optimum
    stderr: Params  #: standard errors, in a tree like ``params``; NaN for what is undetermined
    covariance: Float[AnyArray, "*batch parameters parameters"]
    cost: Float[AnyArray, "*batch"]  #: what was minimised: chi-squared unless there is a loss
    chi_squared: Float[AnyArray, "*batch"]  #: the weighted sum of squares
    points: Int[AnyArray, "*batch"]  #: how many count
    status: Int[AnyArray, "*batch"]  #: a :class:`Status`
    steps: Int[AnyArray, "*batch"]  #: taken and refused
    bends: Int[AnyArray, "*batch"]  #: of its second derivative along a step
    undetermined: Bool[AnyArray, "*batch parameters"]  #: what the data cannot tell
    is_at_bound: Bool[AnyArray, "*batch free"]
    at: Float[AnyArray, "*batch free"]  #: the free vector at the optimum
    triangle: Triangle  #: of the local model there
    table: Float[AnyArray, "*batch rows columns"]  #: the ``trace``, in one array
    bounds: Any
    freedom: Freedom
    absolute_sigma: bool

    @property
    def model(self) -> Any:
        """The model that was fitted."""
        return self.problem.model

    @property
    def degrees_of_freedom(self) -> Any:
        """Points that count, less free parameters."""
        return self.points - len(self.freedom.free)

    @property
    def trace(self) -> Trace:
        """The descent row by row, refused steps included."""
        return trace_of(self.table)

    @property
    def evaluations(self) -> Any:
        """Of the model and its Jacobian."""
        return self.steps + 1

    @property
    def names(self) -> list[str]:
        """The parameters, one by one; of a batch, those of each fit."""
        batch = np.ndim(self.status)
        return names_of(jax.tree.map(lambda a: np.empty(np.shape(a)[batch:]), self.params))

    @property
    def success(self) -> Any:
        """Whether it converged and the data determine every parameter."""
        ends = np.array([status for status in Status if status.has_converged])
        return self._numpy.isin(self.status, ends)[()]

    @property
    def message(self) -> str:
        """How it ended, as a sentence (one fit at a time)."""
        self._check_alone("a message", "status")
        status = Status(int(self.status))
        text = status.message
        if status == Status.GRADIENT_BELOW_TOLERANCE:
            text = "Converged: the parameters can reach no more of the residuals."
        cost = np.asarray(self.cost)
        is_small = cost < least_cost(cost.dtype)
        if status == Status.NON_FINITE and (self.steps == 0 or is_small):
            text = (
                "The model or its derivative is NaN or infinite at the start, or squares are "
                "beyond the range of the precision: start elsewhere, or fit in another unit or in "
                "float64."
            )
        if status == Status.SINGULAR:
            who = [name for name, bad in zip(self.names, self.undetermined, strict=True) if bad]
            text += f" Undetermined: {', '.join(who)}."
        if status == Status.STEPS_USED:
            text += " It has not converged: give more steps, or a better start."
        return text

    @property
    def at_bound(self) -> list[str]:
        """The parameters that ended at a bound: their standard errors do not hold.

        Of one fit at a time.
        """
        self._check_alone("names", "is_at_bound")
        names = names_of(self.start)
        places = zip(self.freedom.free, self.is_at_bound, strict=True)
        return [names[k] for k, is_there in places if is_there]

    @property
    def reduced_chi_squared(self) -> Any:
        """Chi-squared over the degrees of freedom; NaN without any."""
        if self._numpy is jnp:
            return reduced(jnp.asarray(self.chi_squared), jnp.asarray(self.degrees_of_freedom))
        freedoms = np.where(self.degrees_of_freedom > 0, self.degrees_of_freedom, np.nan)
        return (self.chi_squared / freedoms)[()]

    @property
    def correlation(self) -> Float[AnyArray, "*batch parameters parameters"]:
        """Correlation matrix of the parameters; NaN for fixed ones."""
        numpy = self._numpy
        deviation = numpy.sqrt(numpy.diagonal(self.covariance, axis1=-2, axis2=-1))
        product = deviation[..., :, None] * deviation[..., None, :]
        with np.errstate(invalid="ignore"):
            return numpy.asarray(self.covariance) / numpy.where(product > 0, product, np.nan)

    @property
    def aic(self) -> Any:
        """Akaike's criterion, ``-2 log L + 2 k``, up to a constant; see ``bic``."""
        return (self._minus_two_log_likelihood() + 2 * len(self.freedom.free))[()]

    @property
    def bic(self) -> Any:
        """Schwarz's criterion, ``-2 log L + k log n``, up to a constant.

        ``-2 log L`` is the cost if sigma is absolute, else ``n log(cost / n)``.
        """
        points = self._points_as_numbers()
        penalty = self._numpy.log(points) * len(self.freedom.free)
        return (self._minus_two_log_likelihood() + penalty)[()]

    def _minus_two_log_likelihood(self) -> Any:
        numpy, points = self._numpy, self._points_as_numbers()
        if self.absolute_sigma:
            return numpy.asarray(self.cost)
        with np.errstate(divide="ignore"):
            return points * numpy.log(self.cost / points)

    def _points_as_numbers(self) -> Any:
        """How many points count; where that is traced, in the dtype of the cost."""
        if self._numpy is np:
            return self.points
        return jnp.asarray(self.points, jnp.result_type(self.cost))

    @property
    def r_squared(self) -> Any:
        """1 minus chi-squared over that of the weighted mean; NaN if that is zero."""
        problem, batch, numpy = self.problem, np.ndim(self.status), self._numpy
        y = numpy.asarray(problem.y)
        points = tuple(range(batch, y.ndim))

        def of_points(values: Any) -> AnyArray:
            array = numpy.asarray(values)
            ones = (1,) * (y.ndim - array.ndim)
            return numpy.broadcast_to(
                array.reshape(array.shape[:batch] + ones + array.shape[batch:]), y.shape
            )

        def total(values: AnyArray) -> Any:
            return numpy.sum(values, axis=points, keepdims=True)

        counts = numpy.ones(y.shape, bool) if problem.mask is None else of_points(problem.mask)
        residual = numpy.where(counts, self.predict() - y, 0)
        y = numpy.where(counts, y, 0)
        one = counts.astype(y.dtype)
        y = y - one * total(y) / total(one)  # so that a large mean rounds nothing
        if problem.sigma is not None:
            sigma = numpy.where(counts, of_points(problem.sigma), 1)
            one, y, residual = one / sigma, y / sigma, residual / sigma
        if problem.cholesky is not None:
            columns = numpy.stack([one, y, residual], axis=-1)
            solve = partial(jax.scipy.linalg.solve_triangular, lower=True)
            white = in_precision_of(columns, solve, problem.cholesky, columns)
            one, y, residual = numpy.moveaxis(numpy.asarray(white), -1, 0)
        with np.errstate(over="ignore"):
            variation = total((y - one * total(one * y) / total(one**2)) ** 2)
            left = total(residual**2) / numpy.where(variation > 0, variation, np.nan)
        if batch or numpy is jnp:
            return numpy.reshape(1 - left, y.shape[:batch])
        return (1 - left).item()

    @property
    def path(self) -> Path:
        """The descent, as ``minimise`` keeps it, refused steps included (one fit at a time)."""
        self._check_alone("a path", "trace")
        rows = int(self.steps) + 1
        trace = jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], self.trace)

        def params() -> Any:
            return jax.vmap(lambda at: self.freedom.params(at, self.start))(jnp.asarray(trace.at))

        stacked = in_precision_of((self.problem, self.start), params)
        return Path(stacked, trace.cost, trace.gradient_norm, np.arange(rows), self.status)

    def predict(self, x: Any = None) -> Float[AnyArray, "*points"]:
        """The fitted model at ``x``, at the data's own unless given; of a batch, every fit's."""
        axis = 0 if x is None else None
        x = self.problem.x if x is None else x

        def predicted() -> Array:
            model = self.model
            for _ in range(np.ndim(self.status)):
                model = jax.vmap(model, in_axes=(0, axis))
            return jnp.asarray(model(self.params, jax.tree.map(jnp.asarray, x)))

        return in_precision_of((self.problem, self.params, x), predicted)

    def band(
        self,
        x: Any = None,
        *,
        level: float = 0.95,
        kind: Literal["confidence", "prediction"] = "confidence",
        sigma: Any = None,
    ) -> tuple[Float[AnyArray, "*points"], Float[AnyArray, "*points"]]:
        """Where the model (or a new observation) lies at ``x``: lower and upper edge.

        By the delta method, ``f +- q sqrt(g C g^T)`` with g the derivative of the model by the
        parameters and C their covariance; q is the quantile of the t-distribution, of the normal
        one if sigma is absolute. Each point by itself, not the curve as a whole.

        Args:
            x: where; at the data unless given.
            level: of confidence, between 0 and 1.
            kind: "confidence" for the curve, "prediction" for a new observation.
            sigma: its standard deviation, for a prediction; that of the data if it is one number.

        Raises:
            ValueError: a level outside 0 to 1, an unknown kind, a prediction from data that have
                no one sigma, a batch of fits, a fit that is traced.
        """
        self._check_alone("a band", "predict", x)
        if kind not in ("confidence", "prediction"):
            raise ValueError(f'kind must be "confidence" or "prediction", got {kind!r}')
        q = quantile(level, None if self.absolute_sigma else int(self.degrees_of_freedom))
        f, spread = self._spread(x)
        variance = spread**2
        if kind == "prediction":
            if sigma is None and (
                self.problem.cholesky is not None or isinstance(self.problem.loss, Poisson)
            ):
                raise ValueError("the data have no one sigma: give that of the prediction")
            sigma = self.problem.sigma if sigma is None else sigma
            sigma = 1.0 if sigma is None else np.asarray(sigma)
            try:
                sigma = np.broadcast_to(sigma, np.shape(f))
            except ValueError:
                raise ValueError("sigma differs from point to point: give that at x") from None
            scale = 1.0 if self.absolute_sigma else self.cost / self.degrees_of_freedom
            variance = variance + scale * sigma**2
        half = q * np.sqrt(variance)
        return f - half, f + half

    def _spread(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """The model at ``x`` and its standard error there."""
        x = self.problem.x if x is None else x

        def spread() -> tuple[Array, Array]:
            flat, unravel = ravel_pytree(self.params)
            points = jax.tree.map(jnp.asarray, x)

            def model(flat: Array) -> Array:
                return jnp.asarray(self.model(unravel(flat), points))

            f, push = jax.linearize(model, flat)
            return f, jnp.sqrt(jnp.sum(jax.vmap(push)(self._root().T) ** 2, axis=0))

        f, s = in_precision_of((self.problem, self.params, x), spread)
        return np.asarray(f), np.asarray(s)

    def _root(self) -> Array:
        """A root of the covariance, (parameters, free); of the triangle, which has more digits."""
        at, start = jnp.asarray(self.at), self.start

        def reported(at: Array) -> Array:
            return ravel_pytree(self.freedom.params(at, start))[0]

        is_all = self.freedom.tie is None and self.freedom.is_plain(self._flat().size)
        found = root(jnp.asarray(self.triangle.R), None if is_all else jax.jacfwd(reported)(at))
        if not self.absolute_sigma:
            found = found * jnp.sqrt(self.cost / np.maximum(self.degrees_of_freedom, 1))
        is_known = jnp.all(jnp.isfinite(jnp.asarray(self.covariance)))
        return jnp.where(is_known, found, jnp.nan)

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of one parameter by the delta method: ``value +- q stderr``.

        Raises:
            ValueError: an unknown name, a level outside 0 to 1, a batch of fits, a fit that is
                traced.
        """
        self._check_alone("an interval", "stderr")
        k = self._index(name)
        q = quantile(level, None if self.absolute_sigma else int(self.degrees_of_freedom))
        value, half = self._flat()[k], q * np.sqrt(self.covariance[k, k])
        return float(value - half), float(value + half)

    def profile(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Profile likelihood interval of one free or tied parameter.

        Its ends are where the cost, minimised over all others, has risen by the quantile of
        chi-squared with one degree of freedom (times ``F`` over it, if sigma is not absolute). An
        end the cost never reaches comes back as infinite, or as the bound or the last value a tie
        allows. A tied parameter is held by moving a free number without bounds.

        Raises:
            ValueError: an unknown name, a parameter that is fixed or undetermined, or tied to
                nothing that could be moved, a batch of fits, a fit that is traced.
        """
        self._check_alone("a profile", "stderr")
        return profile(self, name, level)

    def profile_map(
        self, x: str, y: str, *, levels: tuple[float, ...] = (0.68, 0.95), resolution: int = 41
    ) -> ProfileMap:
        """The rise of the cost over a grid of two parameters, minimised over all others."""
        self._check_alone("a profile", "covariance")
        return profile_map(self, x, y, levels, resolution)

    def bootstrap(
        self,
        samples: int = 1000,
        *,
        kind: Literal["residual", "case"] = "residual",
        key: Any = 0,
    ) -> Bootstrap:
        """Refit ``samples`` resampled data sets, all at once.

        "residual" draws weighted residuals with replacement and adds them to the fitted curve,
        "case" draws whole points. Of correlated data the residuals are whitened, r = L^-1 (f - y)
        with the Cholesky factor L of the covariance of y, and come back as L r. The spread of the
        refitted parameters is their uncertainty, without the delta method's assumption that the
        model is straight.
        """
        self._check_alone("a bootstrap", "covariance")
        return bootstrap(self, samples, kind, key)

    def report(self) -> str:
        """The fit as a table in plain text (one fit at a time)."""
        self._check_alone("a report", "params and stderr")
        return as_text(self)

    def __str__(self) -> str:
        return repr(self) if np.ndim(self.status) or holds_tracer(self) else self.report()

    def __repr__(self) -> str:
        if np.ndim(self.status):
            return f"<Fit of {model_name(self.model)}, batch of {np.shape(self.status)}>"
        return f"<Fit of {model_name(self.model)}: {self.params}>"

    def _repr_html_(self) -> str:
        return as_html(self)

    @property
    def _numpy(self) -> Any:
        """What computes with the fit: NumPy, but ``jax.numpy`` where something is traced."""
        return jnp if holds_tracer(self) else np

    def _check_alone(self, what: str, instead: str, at: Any = None) -> None:
        """Raise what to do instead, if this is a batch of fits, or traced (here or ``at``)."""
        alone(self.status, "fits", "fit")
        if holds_tracer((self, at)):
            raise ValueError(f"{what} cannot be traced: under jit, vmap or grad use {instead}")

    def _flat(self) -> np.ndarray:
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(self.params)])

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise ValueError(f"there is no parameter {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)
