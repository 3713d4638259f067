"""The one loop: an explicit descent, compiled once, that keeps its path."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from . import _check
from ._noisy import Noisy
from ._path import Path, Status
from ._precision import floating, holds_tracer, in_precision_of
from ._problem import LeastSquares, Minibatches, hashed, model_name
from ._types import ArrayLike, Cost, Params

Progress = Callable[[int, float], None]

#: Costs of which a step sees a sample.
SAMPLED = (Minibatches, Noisy)


def minimise(
    cost: Cost,
    params: Params,
    optimiser: optax.GradientTransformation | optax.MultiSteps,
    steps: int,
    *,
    every: int = 1,
    target: ArrayLike | None = None,
    gradient_tolerance: ArrayLike | None = None,
    progress: Progress | None = None,
) -> Path:
    """Descend from ``params`` by ``steps`` steps of ``optimiser``, and keep the path.

    Every step computes the cost and its gradient once and asks the optimiser for an update:
    ``params <- params + update(gradient)``. A step onto a point where the cost or a parameter is
    not finite is not taken, and ends the descent. Numbers are traced: another start, data set of
    the same shape, learning rate, noise or seed (of our optimisers, or of a
    :func:`mlcalc_jax.tunable` one) compiles nothing. Works under ``jit``, ``vmap`` and ``grad``;
    but optimisers with a loop in their step, ``levenberg_marquardt()`` and ``optax.lbfgs()``, are
    differentiated forward alone: by ``jax.jacfwd`` in place of ``grad``, or use
    :func:`mlcalc_jax.fit`.

    Args:
        cost: a pure function ``params -> scalar``, a :class:`mlcalc_jax.LeastSquares` problem,
            :class:`mlcalc_jax.Minibatches` of one, or a :class:`mlcalc_jax.Noisy` cost. A function
            is compiled once per object; data in a pytree, such as
            ``jax.tree_util.Partial(f, x=x, y=y)``, are traced.
        params: any pytree of real numbers. Bare Python numbers are as precise as the data of the
            cost and the other parameters, without any of JAX's own precision (float32 unless its
            x64 flag is on).
        optimiser: ours or any of optax's, line searches included.
        steps: how many to take, at the most.
        every: keep every k-th row; the first and the last are always kept.
        target: stop as soon as the cost is at or below it.
        gradient_tolerance: stop as soon as the Euclidean norm of the gradient is at or below it.
        progress: called with (steps taken, cost) some fifty times while the descent runs; Ctrl-C
            then ends it with the path so far. Not under ``jit``, ``vmap`` or ``grad``.

    Returns:
        the path, of ``ceil(steps / every) + 1`` rows, with a status.

    Raises:
        TypeError: a cost that cannot be called or traced or is not a real scalar, an optimiser that
            is not one, params, a target or a tolerance that are not real numbers.
        ValueError: params that are empty or not finite, a parameter that is missing or that the
            model does not use, ``steps < 0``, ``every < 1``, early stopping on a sampled cost, a
            target that is not finite, a tolerance that is not or is negative.
    """
    if not callable(cost):
        raise TypeError(f"cost must be a function params -> scalar, got {cost!r}")
    if isinstance(optimiser, optax.MultiSteps):
        optimiser = optimiser.gradient_transformation()
    if not isinstance(optimiser, optax.GradientTransformation):
        raise TypeError(
            f"optimiser must be an optax.GradientTransformation, such as optax.adam(1e-2), "
            f"got {optimiser!r}"
        )
    steps, every = _check.steps(steps, least=0), _check.count("every", every)
    for name, value in (("target", target), ("gradient_tolerance", gradient_tolerance)):
        if value is not None and isinstance(cost, SAMPLED):
            raise ValueError(
                f"{name} tests the whole cost, which a step on a minibatch or through noise never "
                "knows"
            )
        if value is not None and np.shape(_check.real_array(name, value)):
            raise ValueError(f"{name} must be one number, got {value!r}")
    if target is not None:
        _check.finite("target", target)
    # What JAX computed, of a gradient say, may be NaN where that is: the status will tell.
    if gradient_tolerance is not None and not isinstance(gradient_tolerance, jax.Array):
        _check.not_negative("gradient_tolerance", gradient_tolerance)
    params = _check.float_params(params, cost)
    numbers, fixed = split((cost, optimiser))
    limits = _Limits(steps, target, gradient_tolerance)
    arguments = (numbers, params, limits, fixed, -(-steps // every), every)
    decisive = (cost, params, getattr(_whole(cost), "model", None))
    if progress is None:
        return in_precision_of(decisive, _descend, *arguments)
    if holds_tracer((decisive, arguments)):
        raise ValueError("progress cannot be shown under jit, vmap or grad")
    return in_precision_of(decisive, _descend_in_sight, *arguments, progress)


class _Limits(NamedTuple):
    steps: Any
    target: Any
    gradient_tolerance: Any


class _Point(NamedTuple):
    """Where the descent stands. Parameters and gradient are flat: one vector each is what makes the
    loop fast, since every small array carried and kept costs a copy a step."""

    params: Array
    value: Array
    gradient: Array
    state: Any  # the optimiser's
    order: Any  # of the points, for minibatches
    step: Array
    status: Array


class _Row(NamedTuple):
    params: Array
    cost: Array
    gradient_norm: Array
    step: Array


_RUNNING = Status.STEPS_USED  # what the status is until something else happens


@partial(jax.jit, static_argnames=("fixed", "rows", "every"))
def _descend(
    numbers: list[Any], params: Params, limits: _Limits, fixed: "_Fixed", rows: int, every: int
) -> Path:
    descent = _Descent(join(numbers, fixed), params, limits, every)
    first = descent.start(params)
    last, kept = descent.advance(first, rows)
    kept = jax.tree.map(
        lambda many, one: jnp.concatenate([many, one[None]]), kept, descent.row(last)
    )
    return Path(
        params=jax.vmap(descent.unravel)(kept.params),
        cost=kept.cost,
        gradient_norm=kept.gradient_norm,
        step=kept.step,
        status=_ended(last.status, kept.cost),
    )


class _Descent:
    """The pieces of the loop for one cost and one optimiser, inside a trace."""

    def __init__(self, joined: Any, params: Params, limits: _Limits, every: int) -> None:
        self.cost, optimiser = joined
        checked_cost(self.cost, params)
        self.limits, self.every = limits, every
        self.optimiser = optax.with_extra_args_support(optimiser)
        _, self.unravel = ravel_pytree(params)

    def start(self, params: Params) -> _Point:
        order = self.cost.first_order() if isinstance(self.cost, SAMPLED) else None
        flat, _ = ravel_pytree(params)
        step = jnp.zeros((), jnp.int32)
        value, gradient = self.value_and_gradient(flat, step, order)
        state = jax.tree.map(jnp.asarray, self.optimiser.init(self.unravel(flat)))
        status = jnp.where(jnp.isfinite(value), _RUNNING, Status.NON_FINITE)
        point = _Point(flat, value, gradient, state, order, step, status.astype(jnp.int32))
        return point._replace(status=self.stopped(point))

    def advance(self, point: _Point, rows: int) -> tuple[_Point, _Row]:
        def next_row(point: _Point, _: None) -> tuple[_Point, _Row]:
            row = self.row(point)
            if self.every == 1:
                return self.unless_done(point), row
            return lax.fori_loop(0, self.every, lambda _, now: self.unless_done(now), point), row

        return lax.scan(next_row, point, None, length=rows)

    def unless_done(self, point: _Point) -> _Point:
        # A scan of conditional steps, not a while loop: it can be differentiated in reverse.
        is_running = (point.status == _RUNNING) & (point.step < self.limits.steps)
        return lax.cond(is_running, self.take_step, lambda point: point, point)

    def take_step(self, now: _Point) -> _Point:
        params, gradient = self.unravel(now.params), self.unravel(now.gradient)
        updates, state = self.optimiser.update(
            gradient,
            now.state,
            params,
            value=now.value,
            grad=gradient,
            value_fn=self.cost_at(now.step, now.order),
        )
        flat, _ = ravel_pytree(optax.apply_updates(params, updates))
        step = now.step + 1
        order = self.cost.order_at(step, now.order) if isinstance(self.cost, SAMPLED) else None
        value, gradient = self.value_and_gradient(flat, step, order)
        there = _Point(flat, value, gradient, as_before(state, now.state), order, step, now.status)
        there = there._replace(status=self.stopped(there))
        here = now._replace(status=jnp.full_like(now.status, Status.NON_FINITE))
        is_finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(flat))
        return jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), there, here)

    def stopped(self, point: _Point) -> Array:
        """The status, with the early stops looked at."""
        status = point.status
        _, target, tolerance = self.limits
        if tolerance is not None:
            is_flat = (status == _RUNNING) & (_norm(point.gradient) <= tolerance)
            status = jnp.where(is_flat, Status.GRADIENT_BELOW_TOLERANCE, status)
        if target is not None:
            is_there = (status == _RUNNING) & (point.value <= target)
            status = jnp.where(is_there, Status.TARGET_REACHED, status)
        return status.astype(jnp.int32)

    def cost_at(self, step: Array, order: Any) -> Cost:
        return self.cost.batch(step, order) if isinstance(self.cost, SAMPLED) else self.cost

    def value_and_gradient(self, flat: Array, step: Array, order: Any) -> tuple[Array, Array]:
        cost = self.cost_at(step, order)
        return jax.value_and_grad(lambda vector: cost(self.unravel(vector)))(flat)

    def row(self, point: _Point) -> _Row:
        value, gradient = point.value, point.gradient
        if isinstance(self.cost, SAMPLED):
            cost = self.cost
            value, gradient = jax.value_and_grad(lambda flat: cost(self.unravel(flat)))(
                point.params
            )
        return _Row(point.params, value, _norm(gradient), point.step)


@partial(jax.jit, static_argnames=("fixed", "every"))
def _begin(numbers: list[Any], params: Params, limits: _Limits, fixed: "_Fixed", every: int) -> Any:
    descent = _Descent(join(numbers, fixed), params, limits, every)
    point = descent.start(params)
    return point, descent.row(point)


@partial(jax.jit, static_argnames=("fixed", "rows", "every"))
def _go_on(
    numbers: list[Any],
    params: Params,
    limits: _Limits,
    fixed: "_Fixed",
    rows: int,
    every: int,
    point: _Point,
) -> Any:
    descent = _Descent(join(numbers, fixed), params, limits, every)
    point, kept = descent.advance(point, rows)
    return point, descent.row(point), kept


def _descend_in_sight(
    numbers: list[Any],
    params: Params,
    limits: _Limits,
    fixed: "_Fixed",
    rows: int,
    every: int,
    progress: Progress,
) -> Path:
    """The same descent, compiled as a piece of some fifty, between which the host looks up."""
    length = max(1, -(-rows // 50))
    # Everything known so far in one name, so that Ctrl-C cannot fall between two halves of it.
    now: tuple[_Point, _Row, list[_Row]] = (*_begin(numbers, params, limits, fixed, every), [])
    was_interrupted = False
    try:
        for _ in range(0, rows, length):
            point, _, kept = now
            if point.status != _RUNNING:
                break
            point, last, some = _go_on(numbers, params, limits, fixed, length, every, point)
            now = (point, last, [*kept, jax.device_get(some)])
            progress(int(last.step), float(last.cost))
    except KeyboardInterrupt:
        was_interrupted = True

    point, last, kept = now

    def padded(end: Any, *pieces: Any) -> np.ndarray:
        seen = np.concatenate([end[None][:0], *pieces])[:rows]
        return np.concatenate([seen, np.repeat(end[None], rows + 1 - len(seen), axis=0)])

    every_row: _Row = jax.tree.map(padded, jax.device_get(last), *kept)
    status = _ended(point.status, every_row.cost)
    return Path(
        params=jax.vmap(ravel_pytree(params)[1])(jnp.asarray(every_row.params)),
        cost=jnp.asarray(every_row.cost),
        gradient_norm=jnp.asarray(every_row.gradient_norm),
        step=jnp.asarray(every_row.step),
        status=jnp.full_like(status, Status.INTERRUPTED) if was_interrupted else status,
    )


def _ended(status: Any, cost: Any) -> Array:
    """The final status: a descent that took all its steps but stayed above its start diverged.

    A noisy descent may happen to end on a spike, so the last tenth of the rows is looked at.
    """
    slack = jnp.sqrt(jnp.finfo(cost.dtype).eps) * jnp.abs(cost[0])
    lowest = jnp.min(cost[-max(1, len(cost) // 10) :])
    has_risen = (status == _RUNNING) & (lowest > cost[0] + slack)
    return jnp.where(has_risen, Status.DIVERGED, status).astype(jnp.int32)


def _norm(flat: Array) -> Array:
    """Euclidean norm, with derivative 0 at 0 instead of NaN."""
    squared = jnp.vdot(flat, flat)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def as_before(state: Any, before: Any) -> Any:
    """The optimiser's new state in the dtypes of its old one, as a loop needs it."""

    def like(new: Any, old: Any) -> Any:
        is_alike = hasattr(new, "dtype") and new.dtype == old.dtype  # a bare number has none
        return new if is_alike else jnp.asarray(new, old.dtype)

    return jax.tree.map(like, state, before)


def _whole(cost: Cost) -> Cost:
    """The cost of all points, without noise."""
    return cost.whole if isinstance(cost, SAMPLED) else cost


def checked_cost(cost: Cost, params: Params) -> None:
    """Raise, while tracing, what is wrong with the cost at these parameters."""
    whole = _whole(cost)
    with _check.traceable("cost", has_keys=True):
        jaxpr, result = jax.make_jaxpr(whole, return_shape=True)(params)
    if not hasattr(result, "shape") or result.shape != () or not floating(result.dtype):
        shown = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", result)
        raise TypeError(f"cost must return a real scalar, got {shown}")
    if isinstance(whole, LeastSquares):
        used = {id(v) for eqn in jaxpr.jaxpr.eqns for v in eqn.invars}
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        unused = [p for p, v in zip(paths, jaxpr.jaxpr.invars, strict=True) if id(v) not in used]
        if unused:
            names = ", ".join("params" + jax.tree_util.keystr(path) for path in unused)
            raise ValueError(f"{model_name(whole.model)} does not use {names}")


class _Fixed(NamedTuple):
    """What of a pytree is not data: its structure and the leaves that are functions."""

    treedef: Any
    leaves: tuple[Any, ...]


def split(tree: Any) -> tuple[list[Any], _Fixed]:
    """The numbers of a tree, to be traced, and the rest of it, on which a compilation depends.

    A function without a hash is another each time: it may have changed meanwhile.
    """
    tree = jax.tree.map(_with_hash, tree, is_leaf=lambda leaf: isinstance(leaf, LeastSquares))
    leaves, treedef = jax.tree.flatten(tree)
    is_data = [_check.is_numeric(leaf) for leaf in leaves]
    numbers = [leaf if data else None for leaf, data in zip(leaves, is_data, strict=True)]
    others = [None if data else leaf for leaf, data in zip(leaves, is_data, strict=True)]
    return numbers, _Fixed(treedef, tuple(others))


def _with_hash(leaf: Any) -> Any:
    if isinstance(leaf, LeastSquares):
        model = hashed(leaf.model)
        return leaf if model is leaf.model else leaf.replace(model=model)
    return leaf if _check.is_numeric(leaf) else hashed(leaf)


def join(numbers: list[Any], fixed: _Fixed) -> Any:
    """The tree that :func:`split` took apart."""
    leaves = [b if a is None else a for a, b in zip(numbers, fixed.leaves, strict=True)]
    return jax.tree.unflatten(fixed.treedef, leaves)
