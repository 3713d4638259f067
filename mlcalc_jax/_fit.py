"""Least squares to convergence, with uncertainties: the front door."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from . import _check
from ._converge import State, converge, is_unsatisfying, second_damping
from ._global import Together, by_set, end_to_end
from ._linear import cost_and_curvature
from ._linearity import is_linear
from ._minimise import checked_cost, minimise
from ._packing import Scalars, packed, scalars
from ._parameters import Freedom, bounds_of, freedom, into_bounds
from ._path import Status
from ._precision import double, holds_double, holds_tracer, is_any_traced, is_tracing
from ._problem import LeastSquares, hashed, model_name
from ._result import Fit
from ._types import ArrayLike, Model, Params
from ._uncertainty import (
    covariance,
    differentiable_if,
    is_singular,
    reduced,
    regular_covariance,
    standard_errors,
)
from ._xla import await_soon, compiled
from .losses import Poisson
from .optimisers._levenberg_marquardt import damping_of
from .transforms import Transform

MOST_STEPS = 10**6


def fit(
    model: Model,
    params: Params | None,
    x: Any,
    y: Any,
    sigma: Any = None,
    *,
    absolute_sigma: bool = False,
    y_covariance: Any = None,
    mask: Any = None,
    loss: Any = None,
    bounds: Any = None,
    fixed: Any = (),
    transforms: Mapping[str, Transform] | None = None,
    tie: Callable[[Params], Params] | None = None,
    local: str | Iterable[str] | None = None,
    nan_policy: Literal["raise", "omit"] = "raise",
    method: optax.GradientTransformation | None = None,
    linear: bool | None = None,
    steps: int = 1000,
    tolerance: ArrayLike | None = None,
) -> Fit:
    """Fit a model to data by least squares, converged, with the uncertainty of every parameter.

    Minimises chi-squared, ``sum(((model(params, x) - y) / sigma)^2)``, or what the residuals cost
    under another ``loss``. Compiled once for a model and shapes of data: other data, another start
    or other bounds compile nothing. Works under ``jit`` and ``vmap``, and ``grad`` differentiates
    parameters, standard errors and covariance by the data, by fixed parameters and by what the
    model closes over (implicit function theorem; of any order, NaN where the data do not determine
    the parameters).

    A descent by Levenberg-Marquardt that stalls, or ends where the data do not determine the
    parameters, is tried once more from the same start with next to no damping; the lower end
    counts, and ``trace`` shows both.

    Args:
        model: a pure function ``f(params, x) -> y``. What else it reads, a global, an attribute or
            an array that it closes over, counts as it was when the model was compiled.
        params: the start, any pytree of real numbers; None asks the model for its own guess,
            of which bounds take the nearest value that they allow.
        x: an array, or a pytree of arrays for several predictors; points along the last axis. A
            list of plain numbers is an array.
        y: the response, in the shape the model returns.
        sigma: standard deviation of ``y``, broadcast against it; 1 unless given.
        absolute_sigma: whether ``sigma`` is in the unit of ``y``. If not, as unless said, only its
            ratios count: the covariance is scaled so that reduced chi-squared would be 1.
        y_covariance: covariance matrix of ``y``, in place of ``sigma``.
        mask: which points count, broadcast against ``y``.
        loss: one of :mod:`mlcalc_jax.losses`, or its name: "soft_l1", "huber", "cauchy", "arctan",
            "poisson". Standard errors under a robust one are rough, from the curvature of the cost
            and the cost a degree of freedom: measured, a third too small to two thirds too large;
            :meth:`Fit.bootstrap` knows better.
        bounds: a (low, high) pair for each leaf, in a tree like ``params``; of a mapping, only
            those that are bounded. None or infinity for an open end. Never traced.
        fixed: names of the parameters to leave at their start, or a tree of booleans.
        transforms: scales to fit named parameters on, of :mod:`mlcalc_jax.transforms`.
        tie: a function of ``params`` that gives the parameters the model takes; then it is these
            that are reported.
        local: for a global fit of several data sets. ``x``, ``y`` (and ``sigma``, ``mask``) are
            lists with an entry for each set, and the parameters named here have their own value in
            each (a leading axis of sets; a single start serves all). The others are shared. Needs
            ``params``.
        nan_policy: "raise", or "omit" to leave out every point with a NaN (not under ``jit``,
            ``vmap`` or ``grad``, which hide the values: give a mask).
        method: Levenberg-Marquardt unless given; else any optimiser of this package or of optax,
            without bounds.
        linear: whether the model is linear in its parameters, and one QR factorisation solves it;
            found out unless said.
        steps: the most to take, refused ones included; at most a million, as each has a row in the
            trace.
        tolerance: on the part of the residuals that the parameters can still reach, relative to
            their length; eps^(2/3) of the dtype unless given: 4e-11 in float64, 2e-5 in float32.

    Returns:
        a :class:`Fit`. Whether it converged is in its ``status``: check ``success``, or read
        ``report()``.

    Raises:
        TypeError: a model that cannot be called, data or parameters that are not real numbers, all
            of them of half a precision.
        ValueError: fewer points than free parameters, NaN or infinity in the data or the start,
            a masked array that masks something, ``sigma <= 0``, a start outside its bounds, a low
            bound above its high one, an unknown name, a parameter the model does not use, a model
            that fails, computes with NumPy, or returns another shape than ``y`` or complex numbers.
    """
    if nan_policy not in ("raise", "omit"):
        raise ValueError(f'nan_policy must be "raise" or "omit", got {nan_policy!r}')
    if bounds is not None and holds_tracer(bounds):
        raise ValueError("bounds must be numbers that jit, vmap and grad do not trace")
    if local is not None or nan_policy == "omit":  # else LeastSquares sees to it
        for name, values in (("x", x), ("y", y), ("sigma", sigma), ("mask", mask)):
            for leaf in jax.tree.leaves(values):
                _check.nothing_masked(name, leaf)
    model = hashed(model)
    sets = [(_check.arrays_of_lists(x, y), y, sigma, mask)]
    if local is not None:
        names = (local,) if isinstance(local, str) else tuple(local)
        params, sets = by_set(params, *sets[0], names)
        model = Together(model, names)
    if nan_policy == "omit":
        sets, y_covariance = _without_nan(sets, y_covariance)
    x, y, sigma, mask = sets[0] if local is None else end_to_end(sets)
    problem = LeastSquares(model, x, y, sigma, mask, loss, y_covariance)
    data = jax.tree.leaves(problem)
    if params is None:
        start = into_bounds(_check.float_params(_guessed(model, problem), data), bounds)
    else:
        start = _check.float_params(params, data)
    numbers = jax.tree.leaves(start)
    if min([leaf.dtype.itemsize for leaf in numbers]) < 4:
        raise TypeError("a fit is computed in float32 or float64: convert the data")
    spec = freedom(start, fixed, transforms, tie)
    bounded = bounds_of(start, bounds)
    steps = _check.steps(steps, most=MOST_STEPS)
    if tolerance is not None:
        _check.not_negative("tolerance", tolerance)
    _enough_points(problem, len(spec.free))
    is_absolute = bool(absolute_sigma) or isinstance(problem.loss, Poisson)
    damping = 1e-3 if method is None else damping_of(method)
    if damping is None and bounded is not None:
        raise ValueError("bounds need Levenberg-Marquardt: leave method out")
    leaves = [*data, *numbers, *jax.tree.leaves(model)]
    static = (spec.tie, spec.transforms, method, tolerance)
    is_traced = is_any_traced([*leaves, *jax.tree.leaves(static)])
    options = _Options(spec, is_absolute, linear, steps, is_traced)
    given = problem, start, bounded, tolerance
    with nullcontext() if is_traced else _of_constants(holds_double(leaves)):
        if damping is None:
            solution = _by_descent(options, method, *given)
        else:
            solution = _solved(options, damping, *given)
    return Fit(
        problem=problem,
        start=start,
        freedom=spec,
        absolute_sigma=is_absolute,
        bounds=bounded,
        **solution,
    )


def _of_constants(is_double: bool) -> AbstractContextManager[Any]:
    """Where to compute a fit of nothing that is traced."""
    if not is_tracing():
        return double() if is_double else nullcontext()
    # Inside a user's jit it is computed while that is traced. Only there: in this context every
    # constant of a function that is traced is compiled by itself.
    both = ExitStack()
    both.enter_context(jax.ensure_compile_time_eval())
    if is_double:
        both.enter_context(double())
    return both


class _Options(NamedTuple):
    """What a compilation depends on."""

    freedom: Freedom
    absolute_sigma: bool
    linear: bool | None
    steps: int
    is_traced: bool


def _by_descent(
    options: _Options,
    method: Any,
    problem: LeastSquares,
    start: Params,
    bounds: Any,
    tolerance: Any,
) -> dict[str, Any]:
    """Descend by any optimiser, then look at the result as :func:`_solved` does."""
    freed = _Freed(problem.model, options.freedom)
    free = problem.replace(model=freed, x=(problem.x, start))
    at = options.freedom.vector(start)
    slope = jnp.linalg.norm(jax.grad(free)(at))
    relative = jnp.finfo(at.dtype).eps ** (2 / 3) if tolerance is None else tolerance
    path = minimise(free, at, method, options.steps, gradient_tolerance=relative * slope)
    options = options._replace(steps=0)
    at = jnp.asarray(path.final)
    solution = _solved(options, 1.0, problem, start, None, tolerance, at)
    arrived = Status.GRADIENT_BELOW_TOLERANCE
    nothing = jnp.zeros_like(path.params, shape=(len(path.cost), 2))
    status = jnp.where(solution["status"] == Status.STEPS_USED, path.status, solution["status"])
    found = {
        **solution,
        "status": jnp.where(solution["status"] == arrived, arrived, status),
        "steps": path.steps_taken,
        "table": jnp.column_stack([path.params, path.cost, path.gradient_norm, nothing]),
    }
    return found if options.is_traced else jax.device_get(found)


@dataclass(frozen=True)
class _Freed:
    """A model as a function of the free vector; the start comes with the data."""

    model: Model
    freedom: Freedom

    @property
    def __name__(self) -> str:
        return model_name(self.model)

    def __call__(self, at: Array, x: Any) -> Any:
        x, start = x
        return self.model(self.freedom.params(at, start), x)


def _solved(
    options: _Options, damping: Any, problem: LeastSquares, start: Params, *rest: Any
) -> dict[str, Any]:
    """What a :class:`Fit` holds of its data; in NumPy arrays unless something is traced."""
    if options.is_traced:
        return _traced(options, (damping, options.steps, start), problem, *rest)
    return _attempted(options, damping, problem, start, *rest)


def _attempted(
    options: _Options, damping: Any, problem: LeastSquares, start: Params, *rest: Any
) -> dict[str, Any]:
    """What :func:`_fitted` finds, begun again where :func:`converge` would with 2 attempts.

    The second attempt runs the same program, and what a singular fit leaves undetermined is found
    by one of its own: a loop and a singular value decomposition would take longer to compile.
    """

    def run(damping: Any, steps: int) -> dict[str, Any]:
        found = _untraced(options, scalars((damping, steps, start)), problem, *rest)
        await_soon(found.vectors[0])
        return found.unpacked(on_host=True)

    found = run(damping, options.steps)
    left = options.steps - int(found["steps"]) - 1
    if found.pop("is_unsatisfying") and left >= 0:
        found = _lower_of(found, run(second_damping(found["at"].dtype), left))
    if found.pop("is_singular"):
        end = {name: found[name] for name in ("at", "cost", "status")}
        freedoms = problem.points_that_count() - found["at"].size
        end |= {"freedoms": freedoms, "R": found["triangle"].R}
        found |= jax.device_get(_looked_into(options, start, end))
    return _completed(found, problem, np)


def _completed(found: dict[str, Any], problem: LeastSquares, numpy: Any) -> dict[str, Any]:
    """What was found, with what is so unless it says otherwise."""
    return {
        "chi_squared": found["cost"],
        "is_at_bound": numpy.zeros(found["at"].shape, bool),
        "undetermined": numpy.zeros(found["covariance"].shape[:1], bool),
        "points": numpy.asarray(problem.points_that_count(), np.int32),
        **found,
    }


def _lower_of(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Of two attempts the one that ended lower, with the steps of both."""
    rows, more = first["steps"] + 1, second["steps"] + 1
    both = first["table"].copy()
    both[rows : rows + more] = second["table"][:more]
    kept = second if second["cost"] < first["cost"] else first
    return {
        **{name: kept[name] for name in first},
        "steps": np.asarray(first["steps"] + more),
        "bends": np.asarray(first["bends"] + second["bends"]),
        "table": both,
    }


def _fitted(
    options: _Options,
    begin: Any,
    problem: LeastSquares,
    bounds: Any,
    tolerance: Any,
    at: Any = None,
) -> Any:
    """Converge from ``begin``: lambda, the most steps and the start, perhaps in one array."""
    damping, steps, start = begin.unpacked() if isinstance(begin, Scalars) else begin
    spec = options.freedom
    at = spec.vector(start) if at is None else at
    checked_cost(problem if spec.tie is None else _tied(problem, spec), start)

    def params_of(at: Array) -> Params:
        return spec.params(at, start)

    linear = options.linear
    if linear is None:
        linear = problem.loss is None and is_linear(
            lambda at: _predicted(problem, params_of(at)), at
        )
    if bounds is not None:
        bounds = bounds[0].astype(at.dtype), bounds[1].astype(at.dtype)
    limits = None if bounds is None else spec.limits(bounds, start)
    if tolerance is None:
        tolerance = jnp.finfo(at.dtype).eps ** (2 / 3)
    is_solved_at_once = linear and bounds is None

    def descend(at: Array) -> State:
        return converge(
            problem,
            params_of,
            at,
            limits,
            damping,
            steps,
            tolerance,
            options.steps + 1,
            is_solved_at_once,
            attempts=2 if options.is_traced else 1,
        )

    if options.is_traced:  # a loop has no derivative: _implicit gives that of its end
        constant, closed_over = jax.closure_convert(descend, at)
        last = constant(*jax.lax.stop_gradient((at, *closed_over)))
    else:
        last = descend(at)
    at = last.at
    if options.is_traced:
        at = _implicit(problem, params_of, at, limits, ~is_singular(last.here.triangle.R))
    solution = _solution(problem, params_of, at, last, limits, options)
    if options.is_traced:
        return _completed(solution, problem, jnp)
    again = False if is_solved_at_once else is_unsatisfying(last)
    return packed({**solution, "is_unsatisfying": again})


_traced = jax.jit(_fitted, static_argnums=0)
# JAX 0.10 compiles it in half the time without its newer way to write loops.
_untraced = compiled(static_argnums=0, xla_cpu_use_fusion_emitters=False)(_fitted)


def _solution(
    problem: LeastSquares,
    params_of: Callable[[Array], Params],
    at: Array,
    last: State,
    limits: Any,
    options: _Options,
) -> dict[str, Any]:
    """What a fit finds, at the end of its loop; :func:`_completed` has the rest."""
    params = params_of(at)
    cost, R = last.here.cost, last.here.triangle.R
    if options.is_traced:
        cost, R = cost_and_curvature(problem, params_of, at)
    elif problem.loss is not None and not isinstance(problem.loss, Poisson):
        R = cost_and_curvature(problem, params_of, at)[1]
    freedoms = problem.points_that_count() - at.size
    found = {
        **_uncertainty(options, params_of, at, cost, freedoms, last.status, R),
        "params": params,
        "cost": cost,
        "steps": last.steps,
        "bends": last.bends,
        "at": at,
        "triangle": last.here.triangle._replace(R=jax.lax.stop_gradient(R)),
        "table": last.table,
    }
    if problem.loss is not None:
        found["chi_squared"] = jnp.sum(problem.residuals(params) ** 2)
    if limits is not None:
        found["is_at_bound"] = (at <= limits[0]) | (at >= limits[1])
    return found


def _uncertainty(
    options: _Options,
    params_of: Callable[[Array], Params],
    at: Array,
    cost: Array,
    freedoms: Any,
    status: Array,
    R: Array,
    is_whole: bool = False,
) -> dict[str, Any]:
    """Covariance and standard errors, what the data do not determine, and the status by that.

    Untraced and unless asked for the whole of it: as if nothing were undetermined, and whether
    something is.
    """
    flat, unravel = ravel_pytree(params_of(at))
    expand = None
    if options.freedom.tie is not None or not options.freedom.is_plain(flat.size):
        expand = jax.jacfwd(lambda at: ravel_pytree(params_of(at))[0])(at)
    if is_whole or options.is_traced:
        found = covariance(R, expand)
        is_lost = jnp.any(found.undetermined) & (status != Status.NON_FINITE)
        status = jnp.where(is_lost, Status.SINGULAR, status).astype(jnp.int32)
        extra = {"undetermined": found.undetermined}
    else:
        found, is_regular = regular_covariance(R, expand)
        extra = {"is_singular": ~is_regular}
    matrix = found.matrix
    if not options.absolute_sigma:
        matrix = matrix * reduced(cost, freedoms)
    return {
        **extra,
        "stderr": unravel(standard_errors(matrix, expand)),
        "covariance": matrix,
        "status": status,
    }


@compiled(static_argnums=0)
def _looked_into(options: _Options, start: Params, end: dict[str, Any]) -> dict[str, Any]:
    """The whole :func:`_uncertainty` of an untraced fit that is singular at its end."""

    def params_of(at: Array) -> Params:
        return options.freedom.params(at, start)

    return _uncertainty(options, params_of, **end, is_whole=True)


def _implicit(
    problem: LeastSquares,
    params_of: Callable[[Array], Params],
    at: Array,
    limits: Any,
    is_regular: Array,
) -> Array:
    """``at``, with the derivatives of the optimum: ``d at = -H^-1 dg``, g the gradient there.

    And theirs, of any order. They are NaN unless the curvature ``is_regular``.
    """

    def cost(at: Array) -> Array:
        return jnp.asarray(problem(params_of(at)))

    # Backwards, a masked point where the model has no derivative would make 0 times NaN.
    slope = jax.grad(cost) if problem.mask is None else jax.jacfwd(cost)
    end = jax.lax.stop_gradient(at)

    def vanishing(at: Array) -> Array:
        # Where H is singular another matrix takes its place, that the NaN find their way.
        g = jnp.where(is_regular, slope(at), slope(end) + at - end)
        if limits is None:
            return g
        return jnp.where((end <= limits[0]) | (end >= limits[1]), at - end, g)

    def solved(linear: Callable[[Array], Array], of: Array) -> Array:
        return jnp.linalg.solve(jax.jacfwd(linear)(of), of)

    root = jax.lax.custom_root(vanishing, end, lambda _, at: at, solved)
    return differentiable_if(is_regular, root)


def _predicted(problem: LeastSquares, params: Params) -> Array:
    return jnp.asarray(problem.model(params, jax.tree.map(jnp.asarray, problem.x)))


def _tied(problem: LeastSquares, spec: Freedom) -> LeastSquares:
    model, tie = problem.model, spec.tie

    def tied(params: Params, x: Any) -> Any:
        assert tie is not None
        return model(tie(params), x)

    tied.__name__ = model_name(model)
    return problem.replace(model=tied)


def _guessed(model: Model, problem: LeastSquares) -> Params:
    guess = getattr(model, "guess", None)
    if guess is None:
        raise ValueError(f"{model_name(model)} has no guess of its own: give params, the start")
    if holds_tracer(problem):
        raise ValueError("a model cannot guess its start under jit, vmap or grad: give params")
    y, counts = np.asarray(problem.y), np.ones(np.shape(problem.y), bool)
    if problem.mask is not None:
        counts = np.broadcast_to(np.asarray(problem.mask), y.shape)
    x = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), y.shape)[counts], problem.x)
    return guess(x, y[counts])


def _enough_points(problem: LeastSquares, free: int) -> None:
    points = problem.points_that_count()
    if _check.is_concrete(points) and points < free:
        raise ValueError(f"{points} points cannot determine {free} free parameters")


def _without_nan(sets: Sequence[tuple[Any, ...]], y_covariance: Any) -> tuple[Any, Any]:
    """Each set without its points that hold a NaN, and the covariance without them."""
    if holds_tracer((sets, y_covariance)):
        raise ValueError('nan_policy="omit" looks at the data: under jit, vmap or grad give a mask')
    complete, keep = zip(*(_complete(*one) for one in sets), strict=True)
    if y_covariance is not None:
        every = np.concatenate(keep)
        y_covariance = np.asarray(y_covariance)[np.ix_(every, every)]
    return complete, y_covariance


def _complete(x: Any, y: Any, sigma: Any, mask: Any) -> tuple[tuple[Any, ...], np.ndarray]:
    """The data without the points (along the last axis) where anything is NaN, and which stay."""
    arrays = [np.asarray(leaf) for leaf in (*jax.tree.leaves(x), y, sigma) if leaf is not None]
    points = np.shape(y)[-1] if np.ndim(y) else 1
    keep = np.ones(points, bool)
    for array in arrays:
        if array.ndim and array.shape[-1] == points and array.dtype.kind == "f":
            keep &= ~np.isnan(array).any(axis=tuple(range(array.ndim - 1)))

    def kept(values: Any) -> Any:
        array = np.asarray(values)
        return array[..., keep] if array.ndim and array.shape[-1] == points else values

    every = np.broadcast_to(keep, (*np.shape(y)[:-1], points)).ravel()
    rest = [None if values is None else kept(values) for values in (y, sigma, mask)]
    return (jax.tree.map(kept, x), *rest), every
