"""Least squares of many independent small problems at once: one fit a lane."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from . import _check
from ._lanes import lanewise
from ._path import Status
from ._precision import holds_tracer
from ._problem import model_name
from ._types import Model, Params

_RUNNING = -1
_UNFINISHED = Status.STEPS_USED
_LANES = 128  # of a block, which stops on its own
_CHUNK = 1 << 15  # fits that are computed in one call
_FIRST_STEPS = 12  # after which what is unfinished is gathered

_CONVERGED = [status for status in Status if status.has_converged]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ManyFits:
    """Parameters, uncertainties and fate of each of many fits, along a leading axis."""

    params: Params  #: each leaf with a leading axis of fits
    stderr: Params  #: the same; NaN where a fit has none
    covariance: Float[np.ndarray, "fits free free"] | None
    chi_squared: Float[np.ndarray, "fits"]
    degrees_of_freedom: Int[np.ndarray, "fits"]
    status: Int[np.ndarray, "fits"]  #: a :class:`Status` each
    iterations: Int[np.ndarray, "fits"]

    @property
    def success(self) -> Bool[np.ndarray, "fits"]:
        """Which fits have converged."""
        return np.isin(self.status, _CONVERGED)

    def report(self) -> str:
        """How many fits ended how, and the median of each parameter."""
        count = len(self.status)
        lines = [f"{count:,} fits, {self.success.sum():,} converged"]
        for status in Status:
            if number := int(np.sum(self.status == status)):
                lines.append(f"{number:>12,}  {status.message}")
        leaves = jax.tree_util.tree_leaves_with_path(self.params)
        for (path, leaf), error in zip(leaves, jax.tree.leaves(self.stderr), strict=True):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            of_good = leaf[self.success]
            if of_good.size:
                middle, spread = np.median(of_good), np.nanmedian(error[self.success])
                lines.append(f"{name:>12}  median {middle:.6g}, median standard error {spread:.2g}")
        return "\n".join(lines)


class _Config(NamedTuple):
    """What a compilation depends on."""

    model: Model
    treedef: Any
    free: tuple[int, ...]  # which of the numbers are fitted
    is_shared: bool  # one x for all
    has_mask: bool
    absolute_sigma: bool
    wants_covariance: bool
    has_bounds: bool


class _Sums(NamedTuple):
    """What one evaluation tells: r.r, J^T r and the lower triangle of J^T J, a row a fit lane."""

    cost: Any
    slope: tuple[Any, ...]
    square: tuple[Any, ...]


def fit_many(
    model: Model,
    params: Params,
    x: Any,
    y: Any,
    sigma: Any = None,
    *,
    absolute_sigma: bool = False,
    mask: Any = None,
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    fixed: Iterable[str] = (),
    covariance: bool = False,
    steps: int = 100,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> ManyFits:
    """Fit one model to each row of ``y``: millions of small independent problems.

    Each fit is Levenberg-Marquardt on the normal equations, with Marquardt's scaling and Nielsen's
    rule for the damping. A fit that goes wrong ends in a status of its own and touches no other.
    Fits that need more steps than most are gathered and carried on together. All cores work, each
    on a chunk of its own.

    The normal equations square the condition number of the Jacobian: in float32 some 3 digits of a
    well-conditioned problem are exact, in float64 some 8; where that does not do, :func:`fit` is
    more careful.

    Args:
        model: a pure function ``f(params, x) -> y`` of one fit, points along the last axis.
        params: the start, a pytree of numbers: one for all fits, or an array of one for each.
        x: of one fit, (points,) or a pytree of them, for all; or (fits, points).
        y: (fits, points). Its dtype decides the precision.
        sigma: standard deviations, (points,) or (fits, points); 1 unless given.
        absolute_sigma: whether sigma is in the unit of y; if not, only ratios count.
        mask: which points count, (points,) or (fits, points); so rows of different length are
            padded. What is masked may be NaN.
        bounds: (low, high) by the name of a parameter, one for all fits; None for no bound.
        fixed: names of parameters that stay at their start.
        covariance: whether to return the covariance matrix of each fit.
        steps: at most so many evaluations a fit.
        tolerance: a fit has converged when the part of the residuals that the parameters can still
            reach is shorter than this times the residuals; 1e-4 in float32 and 1e-8 in float64
            unless given.
        progress: called with the number of fits that are done and that of all, as they come.

    Returns:
        the fits, as NumPy arrays. An all-masked fit, or one with fewer points than parameters, is
        SINGULAR; one that is not finite at its start, data included, is NON_FINITE.

    Raises:
        TypeError: parameters or data that are not real numbers; a model that is no function.
        ValueError: no fits; shapes that do not go together; sigma that is not above zero; an
            unknown name in ``bounds`` or ``fixed``; bounds that do not rise, or without the start.

    Source: Madsen, Nielsen and Tingleff, Methods for Non-Linear Least Squares Problems (2004).
    """
    if holds_tracer((params, x, y, sigma, mask)):
        raise TypeError("fit_many takes arrays of numbers; inside jit or vmap use fit")
    data = _checked(model, params, x, y, sigma, mask, bounds, fixed)
    config = _Config(
        model,
        data.treedef,
        data.free,
        data.is_shared,
        data.mask is not None,
        absolute_sigma,
        covariance,
        data.limits is not None,
    )
    is_double = data.y.dtype == np.float64
    if tolerance is None:
        tolerance = 1e-8 if is_double else 1e-4
    _check.positive("tolerance", tolerance)
    most = _check.count("steps", steps)
    with _check.traceable(model_name(model)):
        results = _all_chunks(data, config, float(tolerance), most, is_double, progress)
    return _many_fits(results, data, config)


class _Data(NamedTuple):
    """The checked input, host arrays; what is shared by all fits has no leading axis."""

    starts: list[np.ndarray]  # of each number, () or (fits,)
    treedef: Any
    names: list[str]
    free: tuple[int, ...]
    limits: np.ndarray | None  # (2, free)
    x: Any
    is_shared: bool
    y: np.ndarray
    weight: np.ndarray | None  # 1 / sigma
    mask: np.ndarray | None


def _checked(
    model: Any, params: Any, x: Any, y: Any, sigma: Any, mask: Any, bounds: Any, fixed: Any
) -> _Data:
    if not callable(model):
        raise TypeError(f"model must be a function f(params, x), got {model!r}")
    y = np.asarray(_check.real_array("y", y))
    if y.dtype not in (np.float32, np.float64):
        y = y.astype(np.float32 if y.dtype.itemsize < 4 else np.float64)
    if y.ndim != 2 or y.size == 0:
        raise ValueError(f"y must be (fits, points) with something in it, got shape {y.shape}")
    fits, points = y.shape
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    if not leaves:
        raise ValueError("params holds no parameter: expected a pytree of numbers")
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    starts = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if not _check.is_numeric(leaf):
            raise TypeError(f"params[{name!r}] must be a number or one for each fit, got {leaf!r}")
        start = np.asarray(_check.real_array(f"params[{name!r}]", leaf)).astype(y.dtype)
        if start.shape not in ((), (fits,)):
            raise ValueError(
                f"params[{name!r}] must be one number or {fits} of them, got shape {start.shape}"
            )
        starts.append(start)
    x = jax.tree.map(lambda leaf: np.asarray(_check.real_array("x", leaf)).astype(y.dtype), x)
    shapes = {leaf.shape for leaf in jax.tree.leaves(x)}
    is_shared = shapes != {y.shape}
    if is_shared and any(shape[-1:] != (points,) or len(shape) > 2 for shape in shapes):
        raise ValueError(f"x must have {points} points along its last axis, as y, got {shapes}")
    if is_shared and any(shape == (fits, points) for shape in shapes):
        raise ValueError("some of x is of one fit and some of each: give all of it one way")
    weight = None
    if sigma is not None:
        sigma = np.asarray(_check.real_array("sigma", sigma)).astype(y.dtype)
        sigma = np.broadcast_to(sigma, _row_shape("sigma", sigma, y))
        on = True if mask is None else np.asarray(mask, bool)
        bad = ~(np.isfinite(sigma) & (sigma > 0)) & on
        if bad.any():
            raise ValueError(f"sigma must be finite and above zero, got {bad.sum()} that are not")
        weight = np.divide(1, sigma, out=np.ones(sigma.shape, y.dtype), where=sigma > 0)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(f"mask must be True or False, got dtype {mask.dtype}")
        mask = np.broadcast_to(mask, _row_shape("mask", mask, y))
    fixed = {fixed} if isinstance(fixed, str) else set(fixed)
    for what, given in (("fixed", fixed), ("bounds", set(bounds or ()))):
        if unknown := given - set(names):
            known = ", ".join(names)
            raise ValueError(f"{what} names {sorted(unknown)[0]!r}; the parameters are {known}")
    free = tuple(k for k, name in enumerate(names) if name not in fixed)
    if not free:
        raise ValueError("every parameter is fixed: there is nothing to fit")
    limits = _limits(bounds, names, free, starts, y.dtype) if bounds else None
    return _Data(starts, treedef, names, free, limits, x, is_shared, y, weight, mask)


def _row_shape(name: str, array: np.ndarray, y: np.ndarray) -> tuple[int, ...]:
    """(points,) or (fits, points): the shape an array of the data is made."""
    try:
        shape = np.broadcast_shapes(array.shape, y.shape[1:])
    except ValueError:
        shape = ()
    if shape == y.shape[1:] or array.shape == y.shape:
        return array.shape if array.shape == y.shape else shape
    raise ValueError(f"{name} must be (points,) or (fits, points) = {y.shape}, got {array.shape}")


def _limits(
    bounds: Any, names: list[str], free: tuple[int, ...], starts: list[np.ndarray], dtype: Any
) -> np.ndarray:
    limits = np.array([[-np.inf] * len(free), [np.inf] * len(free)], dtype)
    for column, k in enumerate(free):
        low, high = bounds.get(names[k], (None, None))
        limits[:, column] = (-np.inf if low is None else low, np.inf if high is None else high)
        if not limits[0, column] < limits[1, column]:
            raise ValueError(f"bounds of {names[k]!r} must be (low, high), got {bounds[names[k]]}")
        outside = (starts[k] < limits[0, column]) | (starts[k] > limits[1, column])
        if np.any(outside):
            raise ValueError(f"{np.sum(outside)} start(s) of {names[k]!r} lie outside its bounds")
    return limits


def _all_chunks(
    data: _Data,
    config: _Config,
    tolerance: float,
    steps: int,
    is_double: bool,
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """Every fit, chunk by chunk: first a few steps of all, then the rest of those unfinished."""
    fits = len(data.y)
    first = min(steps, _FIRST_STEPS)
    found: dict[str, np.ndarray] = {}

    def run(rows: np.ndarray, last: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        size = _padded(len(rows))
        taken = np.concatenate([rows, np.broadcast_to(rows[:1], size - len(rows))])
        with jax.enable_x64(True) if is_double else nullcontext():
            result = _chunk(
                config,
                [s if s.ndim == 0 else s[taken] for s in data.starts],
                None if data.limits is None else jnp.asarray(data.limits),
                data.x if data.is_shared else jax.tree.map(lambda leaf: leaf[taken], data.x),
                data.y[taken],
                _rows(data.weight, taken),
                _rows(data.mask, taken),
                tolerance,
                last,
                -(-len(rows) // _LANES),
            )
            return rows, {name: np.asarray(v)[: len(rows)] for name, v in result.items()}

    def keep(rows: np.ndarray, result: dict[str, np.ndarray]) -> None:
        for name, values in result.items():
            if name not in found:
                found[name] = np.empty((fits, *values.shape[1:]), values.dtype)
            found[name][rows] = values

    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress and more:
            progress(done, fits)

    for rows, result in _in_threads(run, _cut(np.arange(fits)), first):
        keep(rows, result)
        tell(len(rows) - (int(np.sum(result["status"] == _UNFINISHED)) if steps > first else 0))
    if steps > first:
        unfinished = np.flatnonzero(found["status"] == _UNFINISHED)
        for rows, result in _in_threads(run, _cut(unfinished), steps):
            keep(rows, result)
            tell(len(rows))
    return found


def _in_threads(run: Any, parts: list[np.ndarray], last: int) -> Iterator[Any]:
    """Results as they come; each core computes a chunk, and few wait for one."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if len(parts) <= 1 or cores == 1:
        yield from (run(part, last) for part in parts)
        return
    with ThreadPoolExecutor(cores) as pool:
        waiting: list[Future[Any]] = []
        try:
            for part in parts:
                waiting.append(pool.submit(run, part, last))
                if len(waiting) > cores + 1:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _rows(array: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return array[rows] if array is not None and array.ndim == 2 else array


def _cut(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[k : k + _CHUNK] for k in range(0, len(rows), _CHUNK)]


def _padded(size: int) -> int:
    """The next of few sizes, so that few are compiled."""
    blocks = -(-size // _LANES)
    return _LANES * min(1 << (blocks - 1).bit_length(), _CHUNK // _LANES)


@partial(jax.jit, static_argnums=0)
def _chunk(
    config: _Config,
    starts: Any,
    limits: Any,
    x: Any,
    y: Any,
    weight: Any,
    mask: Any,
    tolerance: Any,
    steps: Any,
    used: Any,
) -> dict[str, Array]:
    """Each of the first ``used`` blocks of lanes on its own.

    The number is traced: were it known, the compiler would unroll the loop of a single block, and
    its last bits would differ from those of the same fits among more.
    """
    fits, dtype = len(y), y.dtype

    def blocks(array: Any) -> Any:
        return array.reshape(fits // _LANES, _LANES, *array.shape[1:])

    starts = [jnp.broadcast_to(jnp.asarray(s, dtype), (fits,)) for s in starts]
    each: dict[str, Any] = {"starts": [blocks(s) for s in starts], "y": blocks(y)}
    if not config.is_shared:
        each["x"] = jax.tree.map(blocks, x)
    for name, array in (("weight", weight), ("mask", mask)):
        if array is not None and array.ndim == 2:
            each[name] = blocks(array)
    shared = {"x": x, "weight": weight, "mask": mask}

    def one(block: dict[str, Any]) -> dict[str, Array]:
        def of(name: str) -> Any:
            if name in block:
                return jax.tree.map(lambda leaf: leaf.T, block[name])
            array = shared[name]
            return array if name == "x" or array is None else array[:, None]

        return _block(
            config, block["starts"], limits, of("x"), block["y"].T, of("weight"), of("mask"),
            jnp.asarray(tolerance, dtype), steps,
        )  # fmt: skip

    def body(k: Any, found: dict[str, Array]) -> dict[str, Array]:
        block = one(jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, k, 0, False), each))
        return {
            name: lax.dynamic_update_index_in_dim(found[name], value, k, 0)
            for name, value in block.items()
        }

    shapes = jax.eval_shape(one, jax.tree.map(lambda leaf: leaf[0], each))
    begun = {name: jnp.zeros((fits // _LANES, *of.shape), of.dtype) for name, of in shapes.items()}
    found = lax.fori_loop(0, used, body, begun)
    return {name: value.reshape(fits, *value.shape[2:]) for name, value in found.items()}


def _block(
    config: _Config,
    starts: list[Array],
    limits: Any,
    x: Any,
    y: Array,
    weight: Any,
    mask: Any,
    tolerance: Array,
    steps: Any,
) -> dict[str, Array]:
    """Levenberg-Marquardt of the lanes of one block; every array is (rows, lanes) or (lanes,)."""
    free, size = config.free, len(config.free)
    points, lanes = y.shape
    eps = jnp.finfo(y.dtype).eps
    constants = [s[None] for s in starts]

    def of_one(numbers: Any, x: Any) -> Any:
        predicted = config.model(jax.tree.unflatten(config.treedef, numbers), x)
        if jnp.shape(predicted) != (points,):
            raise ValueError(
                f"{model_name(config.model)} returned shape {jnp.shape(predicted)} for one fit, "
                f"expected {(points,)}"
            )
        return predicted

    single = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape if config.is_shared else leaf.shape[:-1],
                                          leaf.dtype), x,
    )  # fmt: skip
    predict = lanewise(of_one, len(starts), single, y.dtype, config.is_shared)

    def weighed(values: Array) -> Array:
        values = values if weight is None else values * weight
        return values if mask is None else jnp.where(mask, values, 0)

    def sums(at: tuple[Array, ...]) -> _Sums:
        numbers = list(constants)
        for k, value in zip(free, at, strict=True):
            numbers[k] = value[None]
        predicted, columns = predict(numbers, x, free)
        r = weighed(predicted.astype(y.dtype) - y)
        columns = [weighed(column.astype(y.dtype)) for column in columns]
        terms = [r * r, *(c * r for c in columns)]
        terms += [columns[i] * columns[j] for i in range(size) for j in range(i + 1)]
        zero = jnp.zeros((), y.dtype)
        out = lax.reduce(
            tuple(terms), (zero,) * len(terms),
            lambda a, b: tuple(p + q for p, q in zip(a, b, strict=True)), (0,),
        )  # fmt: skip
        return _Sums(out[0], tuple(out[1 : size + 1]), tuple(out[size + 1 :]))

    def held(at: tuple[Array, ...], of: _Sums) -> list[Any]:
        if limits is None:
            return [None] * size
        return [
            ((a <= limits[0, k]) & (g > 0)) | ((a >= limits[1, k]) & (g < 0))
            for k, (a, g) in enumerate(zip(at, of.slope, strict=True))
        ]

    size_of_y = jnp.sqrt(jnp.sum(weighed(y) ** 2, axis=0))

    class State(NamedTuple):
        at: tuple[Array, ...]
        sums: _Sums
        damping: Array
        growth: Array
        scale: tuple[Array, ...]  # D^2
        status: Array
        taken: Array

    def go(now: State) -> State:
        running = now.status == _RUNNING
        scale = tuple(
            jnp.maximum(0.64 * old, now.sums.square[_place(k, k)])
            for k, old in enumerate(now.scale)
        )
        scale = tuple(jnp.where(s > 0, s, 1) for s in scale)
        stuck = held(now.at, now.sums)
        slope = [g if h is None else jnp.where(h, 0, g) for g, h in zip(now.sums.slope, stuck,
                                                                        strict=True)]  # fmt: skip
        d = _solved(now.sums.square, slope, scale, now.damping, stuck)
        if limits is not None:
            d = [
                jnp.clip(a + s, limits[0, k], limits[1, k]) - a
                for k, (a, s) in enumerate(zip(now.at, d, strict=True))
            ]
        promised = -sum(g * s for g, s in zip(slope, d, strict=True)) + now.damping * sum(
            q * s * s for q, s in zip(scale, d, strict=True)
        )
        trial = tuple(a + s for a, s in zip(now.at, d, strict=True))
        there = sums(trial)
        cost = now.sums.cost
        rounding = 2 * eps * (cost + jnp.sqrt(cost) * size_of_y)
        decrease = cost - there.cost
        is_finite = jnp.isfinite(there.cost)
        for part in (*there.slope, *there.square):
            is_finite &= jnp.isfinite(part)
        is_level = jnp.abs(decrease) <= rounding
        is_trusted = now.damping <= 1
        is_better = is_finite & ((decrease > 0) | (is_level & is_trusted))
        is_tiny = jnp.ones_like(running)
        for s, a in zip(d, trial, strict=True):
            is_tiny &= jnp.abs(s) <= 2 * eps * jnp.abs(a)
        # What is promised is the square of the part of r that the parameters can reach.
        has_arrived = promised <= jnp.maximum(tolerance**2 * cost, (eps * size_of_y) ** 2)
        is_exact = jnp.where(is_better, there.cost, cost) <= (4 * eps * size_of_y) ** 2
        gain = jnp.where(is_better & (promised > 0), decrease / promised, 0)
        factor = jnp.maximum(1 / 3, 1 - (2 * jnp.clip(gain, -1, 2) - 1) ** 3)
        damping = now.damping * jnp.where(is_better, factor, now.growth)
        ends = [
            (is_better & has_arrived & is_trusted, Status.GRADIENT_BELOW_TOLERANCE),
            (is_exact | (is_level & is_trusted & is_finite), Status.COST_CONVERGED),
            (is_tiny & is_trusted, Status.STEP_CONVERGED),
            (is_tiny | (damping > 1 / eps**2), Status.STALLED),
            (now.taken + 1 >= steps, Status.STEPS_USED),
        ]
        status = jnp.select([c for c, _ in ends], [s for _, s in ends], _RUNNING)

        def kept(new: Any, old: Any, where: Array) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(where, a, b), new, old)

        moves = running & is_better
        return State(
            at=kept(trial, now.at, moves),
            sums=kept(there, now.sums, moves),
            damping=jnp.where(running, damping, now.damping),
            growth=jnp.where(running, jnp.where(is_better, 2, 2 * now.growth), now.growth),
            scale=kept(scale, now.scale, running),
            status=jnp.where(running, status, now.status).astype(jnp.int32),
            taken=now.taken + running,
        )

    at = tuple(starts[k] for k in free)
    begun = sums(at)
    is_good = jnp.isfinite(begun.cost)
    for part in (*begun.slope, *begun.square):
        is_good &= jnp.isfinite(part)
    used = jnp.full((lanes,), points) if mask is None else jnp.broadcast_to(
        jnp.sum(mask, axis=0), (lanes,)
    )  # fmt: skip
    freedoms = used - size
    status = jnp.where(is_good, _RUNNING, Status.NON_FINITE)
    status = jnp.where(freedoms < 0, Status.SINGULAR, status).astype(jnp.int32)
    start = State(
        at, begun, jnp.full((lanes,), 1e-2, y.dtype), jnp.full((lanes,), 2, y.dtype),
        tuple(jnp.zeros((lanes,), y.dtype) for _ in free), status, jnp.ones((lanes,), jnp.int32),
    )  # fmt: skip
    last = lax.while_loop(lambda now: jnp.any(now.status == _RUNNING), go, start)
    return _described(config, last, freedoms, eps)


def _described(config: _Config, last: Any, freedoms: Array, eps: Any) -> dict[str, Array]:
    """The result of a block, a row a fit: what its last sums say of its uncertainty."""
    size = len(config.free)
    diagonal = [last.sums.square[_place(k, k)] for k in range(size)]
    root = [jnp.sqrt(jnp.where(q > 0, q, 1)) for q in diagonal]
    L, least = _cholesky(
        [last.sums.square[_place(i, j)] / (root[i] * root[j]) for i in range(size)
         for j in range(i + 1)], size,
    )  # fmt: skip
    is_singular = (least <= 8 * size * eps) | jnp.any(jnp.stack(diagonal) <= 0, axis=0)
    inverse = _inverse(L, root, size)
    variance = jnp.where(freedoms > 0, last.sums.cost / jnp.maximum(freedoms, 1), jnp.nan)
    variance = jnp.ones_like(variance) if config.absolute_sigma else variance
    is_known = ~is_singular & (last.status != Status.NON_FINITE) & (freedoms >= 0)
    variance = jnp.where(is_known, variance, jnp.nan)
    has_converged = jnp.isin(last.status, jnp.array(_CONVERGED))
    ended = jnp.where(is_singular & has_converged, Status.SINGULAR, last.status)
    found = {
        "at": jnp.stack(last.at, axis=-1),
        "cost": jnp.where(last.status == Status.NON_FINITE, jnp.nan, last.sums.cost),
        "stderr": jnp.sqrt(
            jnp.stack([inverse[_place(k, k)] * variance for k in range(size)], axis=-1)
        ),
        "freedoms": freedoms.astype(jnp.int32),
        "status": ended.astype(jnp.int32),
        "taken": last.taken,
    }
    if config.wants_covariance:
        rows = [
            jnp.stack([inverse[_place(max(i, j), min(i, j))] * variance for j in range(size)], -1)
            for i in range(size)
        ]
        found["covariance"] = jnp.stack(rows, axis=-2)
    return found


def _place(i: int, j: int) -> int:
    """Where entry (i, j), i >= j, of a lower triangle is kept."""
    return i * (i + 1) // 2 + j


def _cholesky(A: list[Any], size: int) -> tuple[list[Any], Any]:
    """The factor of a matrix with a unit diagonal, entry by entry, and its least squared pivot."""
    L: list[Any] = list(A)
    least: Any = None
    for i in range(size):
        for j in range(i + 1):
            value = A[_place(i, j)]
            for k in range(j):
                value = value - L[_place(i, k)] * L[_place(j, k)]
            if i == j:
                least = value if least is None else jnp.minimum(least, value)
                tiny = jnp.finfo(value.dtype).tiny
                L[_place(i, i)] = jnp.sqrt(jnp.maximum(value, tiny))
            else:
                L[_place(i, j)] = value / L[_place(j, j)]
    return L, least


def _solved(
    square: tuple[Any, ...],
    slope: list[Any],
    scale: tuple[Any, ...],
    damping: Any,
    stuck: list[Any],
) -> list[Any]:
    """``d`` with ``(J^T J + lambda D^2) d = -J^T r``; what is stuck stays."""
    size = len(slope)
    root = [jnp.sqrt(s) for s in scale]
    A = []
    for i in range(size):
        for j in range(i + 1):
            value = square[_place(i, j)] / (root[i] * root[j])
            if i == j:
                value = value + damping
            for h in {i, j}:
                if stuck[h] is not None:
                    value = jnp.where(stuck[h], float(i == j), value)
            A.append(value)
    L, _ = _cholesky(A, size)
    z: list[Any] = []
    for i in range(size):
        value = -slope[i] / root[i]
        for k in range(i):
            value = value - L[_place(i, k)] * z[k]
        z.append(value / L[_place(i, i)])
    d: list[Any] = [None] * size
    for i in reversed(range(size)):
        value = z[i]
        for k in range(i + 1, size):
            value = value - L[_place(k, i)] * d[k]
        d[i] = value / L[_place(i, i)]
    return [value / r for value, r in zip(d, root, strict=True)]


def _inverse(L: list[Any], root: list[Any], size: int) -> list[Any]:
    """The lower triangle of the inverse of ``D L L^T D``."""
    M: dict[tuple[int, int], Any] = {}  # the inverse of L
    for j in range(size):
        M[j, j] = 1 / L[_place(j, j)]
        for i in range(j + 1, size):
            value = sum(L[_place(i, k)] * M[k, j] for k in range(j, i))
            M[i, j] = -value / L[_place(i, i)]
    return [
        sum(M[k, i] * M[k, j] for k in range(i, size)) / (root[i] * root[j])
        for i in range(size)
        for j in range(i + 1)
    ]


def _many_fits(found: dict[str, np.ndarray], data: _Data, config: _Config) -> ManyFits:
    fits = len(data.y)
    columns = {k: column for column, k in enumerate(data.free)}
    values, errors = [], []
    for k, start in enumerate(data.starts):
        if k in columns:
            values.append(found["at"][:, columns[k]])
            errors.append(found["stderr"][:, columns[k]])
        else:
            values.append(np.broadcast_to(start, (fits,)).copy())
            errors.append(np.zeros(fits, data.y.dtype))
    return ManyFits(
        jax.tree.unflatten(data.treedef, values),
        jax.tree.unflatten(data.treedef, errors),
        found.get("covariance"),
        found["cost"],
        found["freedoms"],
        found["status"],
        found["taken"],
    )
