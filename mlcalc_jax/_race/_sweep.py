"""All runs of one contender on one problem, compiled once: every setting with every seed.

A run is a lane of a vectorised descent. Lanes are taken a block at a time, which stays near the
core from one step to the next, and the number of blocks is traced, so that one compiled program
serves any number of runs.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from .._minimise import SAMPLED, as_before, join, split
from .._problem import Minibatches
from .._types import Cost, Params
from .._xla import cpu_options
from ..problems import Problem, scattered
from ._contenders import Contender
from ._lanes import lanewise
from ._oracle import WEIGHTS, counted_update

# On a CPU: few lanes keep a block in the nearest cache, and what is done to it in one thread, since
# other blocks run beside it. Where lanes are the last axis they fill vectors and want to be more.
_LANES_FIRST, _LANES_LAST = 16, 64
_IN_CACHE = 1 << 15  # bytes of the matrices that a block's optimisers factorise
_LANES_OF_A_CALL = 256
_LANES_OF_ACCELERATOR = 4096


class Swept(NamedTuple):
    """What is kept of runs, one a row: the history by kept step, and how each ended."""

    cost: Any  #: (runs, rows); where a run has ended, its last finite cost
    lowest: Any  #: (runs, rows), the lowest cost of all steps so far
    oracle: Any  #: (runs, rows), evaluations of the model so far, as :data:`WEIGHTS` count them
    is_finite: Any  #: (runs,), False where a step led to a cost that is not finite
    steps: Any  #: (runs,), taken
    passes: Any  #: (runs, 3), values, tangents and cotangents in all


class Luck(NamedTuple):
    """What seeds decide, alike for every contender: one row a seed."""

    starts: Params
    optimiser: Any  #: data of the keys that optimisers draw their noise from
    samples: Any  #: data of the keys of minibatches, or of the noise of a cost


def luck_of(problem: Problem, root: int, seeds: Any) -> Luck:
    """The starts and the keys of seeds of a race."""
    draw = scattered(problem.start) if problem.draw is None else problem.draw
    numbers, fixed = split(draw)
    with precision(problem)():
        return jax.device_get(
            _luck(numbers, np.uint32(root), np.asarray(seeds, np.uint32), fixed=fixed)
        )


@partial(jax.jit, static_argnames="fixed")
def _luck(numbers: list[Any], root: Any, seeds: Array, *, fixed: Any) -> Luck:
    def one(seed: Array) -> Luck:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(root), seed), 3)
        _, optimiser, samples = jax.random.key_data(keys)
        return Luck(join(numbers, fixed)(keys[0]), optimiser, samples)

    return jax.vmap(one)(seeds)


class _Point(NamedTuple):
    """Where a run stands. Parameters are flat: fewer small arrays make a faster loop."""

    params: Array
    before: Array  #: the last parameters at which the cost was finite
    state: Any  #: the optimiser's
    order: Any  #: of the points, for minibatches
    cost: Array
    lowest: Array
    passes: Array  #: that led to these parameters
    step: Array
    is_running: Array
    is_finite: Array


def _descend(
    made: Callable[[Any], tuple[Cost, Any]],
    mine: Any,
    starts: Params,
    steps: Array,
    rows: int,
    every: int,
    axis: int,
) -> Swept:
    """Descents side by side, of which the parameters are not kept.

    They take the steps of :func:`mlcalc_jax.minimise`. The cost stands in one place of the program,
    so that compiling takes half as long: each turn looks at a point and, if it is not the last,
    goes on to the next.

    Args:
        made: the cost and the optimiser of one run.
        mine: what they are made of, of all runs, one a row.
        starts: one a row.
        steps: of every run.
        rows: kept.
        every: steps between two rows.
        axis: the one of the runs while they go on, 0 or -1.
    """

    def of_one(all: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), all)

    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], starts))

    def first(mine: Any, start: Params) -> _Point:
        cost, optimiser = made(mine)
        flat, _ = ravel_pytree(start)
        dtype = jax.eval_shape(cost, start).dtype
        return _Point(
            params=flat,
            before=flat,
            state=jax.tree.map(jnp.asarray, optimiser.init(start)),
            order=cost.first_order() if isinstance(cost, SAMPLED) else None,
            cost=jnp.asarray(jnp.inf, dtype),
            lowest=jnp.asarray(jnp.inf, dtype),
            passes=jnp.zeros(3, jnp.int32),
            step=jnp.zeros((), jnp.int32),
            is_running=jnp.ones((), bool),
            is_finite=jnp.ones((), bool),
        )

    def turn(mine: Any, steps: Array, now: _Point) -> tuple[_Point, tuple[Array, Array, Array]]:
        cost, optimiser = made(mine)
        is_sampled, sampled = isinstance(cost, SAMPLED), cast(Minibatches, cost)
        here = sampled.batch(now.step, now.order) if is_sampled else cost
        value, gradient = jax.value_and_grad(lambda flat: here(unravel(flat)))(now.params)
        whole = cost(unravel(now.params)) if is_sampled else value
        is_finite = jnp.isfinite(value) & jnp.isfinite(whole) & jnp.all(jnp.isfinite(now.params))
        is_new = now.is_running & is_finite
        seen = now._replace(
            cost=jnp.where(is_new, whole, now.cost),
            lowest=jnp.where(is_new, jnp.minimum(whole, now.lowest), now.lowest),
            before=jnp.where(is_finite, now.params, now.before),
            step=jnp.maximum(now.step - (now.is_running & ~is_finite).astype(jnp.int32), 0),
            is_finite=now.is_finite & is_finite,
        )
        updates, state, passes = counted_update(
            optimiser, unravel(gradient), now.state, unravel(now.params), value, here
        )
        there, _ = ravel_pytree(optax.apply_updates(unravel(now.params), updates))
        goes_on = is_new & (now.step < steps)
        step = seen.step + goes_on.astype(jnp.int32)
        gone = seen._replace(
            params=jnp.where(goes_on, there, seen.before),
            state=as_before(state, now.state),
            order=sampled.order_at(step, now.order) if is_sampled else None,
            passes=seen.passes + jnp.where(goes_on, passes, 0),
            step=step,
            is_running=goes_on,
        )
        return gone, (seen.cost, seen.lowest, jnp.dot(seen.passes, jnp.array(WEIGHTS, jnp.int32)))

    now = jax.vmap(first, out_axes=axis)(mine, starts)
    if axis == 0:
        turns = partial(jax.vmap(turn, in_axes=(0, None, 0)), mine, steps)
    else:
        one = jax.eval_shape(first, of_one(mine), of_one(starts))
        limit = jnp.broadcast_to(steps, now.step.shape)
        last = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), mine)
        turns = partial(lanewise(turn, of_one(mine), of_one(limit), one), last, limit)

    def row(now: _Point, _: None) -> tuple[_Point, tuple[Array, Array, Array]]:
        now, kept = turns(now)
        if every > 1:
            now = lax.fori_loop(1, every, lambda _, now: turns(now)[0], now)
        return now, kept

    end, kept = lax.scan(row, now, None, length=rows + 1)
    costs, lowest, oracle = (one.T for one in kept)
    passes = jnp.moveaxis(end.passes, axis, 0)
    return Swept(costs, lowest, oracle, end.is_finite, end.step, passes)


@partial(jax.jit, static_argnames=("contender", "fixed", "rows", "every", "axis"))
def _sweep(
    numbers: list[Any],
    hyper: Mapping[str, Array],
    luck: Luck,
    blocks: Array,
    steps: Array,
    *,
    contender: Contender,
    fixed: Any,
    rows: int,
    every: int,
    axis: int,
) -> Swept:
    cost = join(numbers, fixed)

    def made(mine: tuple[Mapping[str, Array], Luck]) -> tuple[Cost, Any]:
        hyper, luck = mine
        optimiser = contender.optimiser(hyper, jax.random.wrap_key_data(luck.optimiser))
        if isinstance(cost, SAMPLED):
            return cost.seeded(jax.random.wrap_key_data(luck.samples)), optimiser
        return cost, optimiser

    def block(number: Array, found: Swept) -> Swept:
        mine = jax.tree.map(lambda leaf: leaf[number], (hyper, luck))
        results = _descend(made, mine, mine[1].starts, steps, rows, every, axis)
        return jax.tree.map(lambda all, one: all.at[number].set(one), found, results)

    shape = luck.optimiser.shape[:2]
    dtype = jax.eval_shape(cost, jax.tree.map(lambda leaf: leaf[0, 0], luck.starts)).dtype
    empty = Swept(
        cost=jnp.zeros((*shape, rows + 1), dtype),
        lowest=jnp.zeros((*shape, rows + 1), dtype),
        oracle=jnp.zeros((*shape, rows + 1), jnp.int32),
        is_finite=jnp.zeros(shape, bool),
        steps=jnp.zeros(shape, jnp.int32),
        passes=jnp.zeros((*shape, 3), jnp.int32),
    )
    return lax.fori_loop(0, blocks, block, empty)


class Sweep:
    """The runs of one contender on one problem; making one compiles it, unless that was done.

    ``runs`` is how many there are at once, at the most; ``names`` are those of the hyper-parameters
    that each run has its own of.
    """

    def __init__(
        self,
        problem: Problem,
        contender: Contender,
        names: tuple[str, ...],
        runs: int,
        steps: int,
        every: int,
    ) -> None:
        self.numbers, fixed = split(problem.cost)
        self.precision = precision(problem)
        self.names, self.steps = names, steps
        self.share = problem.cost.share if isinstance(problem.cost, SAMPLED) else 1.0
        is_on_cpu = jax.default_backend() == "cpu"
        axis, most = 0, _LANES_OF_ACCELERATOR
        if is_on_cpu:
            with self.precision():
                axis, most = _layout(contender, fixed, names, self.numbers, problem.start)
        self.lanes = min(most, runs)
        self.blocks = max(1, min(_LANES_OF_A_CALL // self.lanes, -(-runs // self.lanes)))
        with self.precision():
            none = {name: np.zeros(1) for name in names}
            trial = self._arguments(none, luck_of(problem, 0, np.zeros(1)))
            rows = -(-steps // every)
            self.program = _compiled(contender, fixed, rows, every, axis, *_abstract(trial))

    @property
    def runs_a_call(self) -> int:
        """How many runs one call computes."""
        return self.lanes * self.blocks

    def __call__(self, hyper: Mapping[str, Any], luck: Luck) -> Swept:
        """At most ``runs_a_call`` runs, each with its own setting and luck."""
        runs = len(luck.optimiser)
        beside = nullcontext() if self.program.goes_beside_others else _alone
        with self.precision(), beside:
            found = jax.device_get(self.program.run(*self._arguments(hyper, luck)))
        found = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:runs], found)
        return found._replace(oracle=found.oracle * self.share) if self.share != 1 else found

    def _arguments(self, hyper: Mapping[str, Any], luck: Luck) -> tuple[Any, ...]:
        def blocks(values: Any, dtype: Any = None) -> np.ndarray:
            values = np.asarray(values, dtype)
            return np.resize(values, (self.blocks, self.lanes, *values.shape[1:]))

        runs = len(luck.optimiser)
        return (
            self.numbers,
            {name: blocks(hyper[name], jnp.result_type(float)) for name in self.names},
            jax.tree.map(blocks, luck),
            np.int32(-(-runs // self.lanes)),
            np.int32(self.steps),
        )


def precision(problem: Problem) -> Callable[[], Any]:
    """The context in which a problem is computed: the data decide."""
    leaves = jax.tree.leaves((problem.cost, problem.start))
    is_double = any(getattr(leaf, "dtype", None) == np.float64 for leaf in leaves)
    return partial(jax.enable_x64, True) if is_double else nullcontext


#: Operations that wait for XLA's pool of threads from inside it. Two programs at once in which each
#: thread of the pool waits for the others would wait for ever.
_WAITING = ("custom_call", "fft", "convolution", "sort")
_alone = threading.Lock()


class _Program(NamedTuple):
    run: Any
    compile_seconds: float
    goes_beside_others: bool


def _abstract(tree: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """What a function of these arrays is compiled for, to be a key."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, tuple(map(jax.typeof, leaves)), jax.config.read("jax_enable_x64")


def _structs(treedef: Any, shapes: tuple[Any, ...]) -> Any:
    structs = [jax.ShapeDtypeStruct(of.shape, of.dtype, weak_type=of.weak_type) for of in shapes]
    return jax.tree.unflatten(treedef, structs)


def _layout(
    contender: Contender, fixed: Any, names: tuple[str, ...], numbers: Any, start: Params
) -> tuple[int, int]:
    """The axis of the runs on a CPU, and how many make a block at the most.

    Matrices are factorised run by run, and with the runs last they would not lie together.
    """
    if _factorises(contender, fixed, names, *_abstract((numbers, start))):
        at, _ = ravel_pytree(start)
        return 0, min(max(_IN_CACHE // (at.size**2 * at.dtype.itemsize), 1), _LANES_FIRST)
    if _multiplies(fixed, *_abstract((numbers, start))):
        return -1, _LANES_LAST
    return 0, _LANES_FIRST


#: JAX's operations on whole matrices, as a traced program has them.
_FACTORISE = re.compile(r"\b(lu|cholesky|geqrf|qr|householder_product|eigh|svd|triangular_solve)\[")


@lru_cache(maxsize=128)
def _factorises(
    contender: Contender,
    fixed: Any,
    names: tuple[str, ...],
    treedef: Any,
    shapes: tuple[Any, ...],
    is_double: bool,
) -> bool:
    """Whether an update of the optimiser factorises matrices."""

    def updated(numbers: list[Any], params: Params) -> Any:
        cost = join(numbers, fixed)
        if isinstance(cost, SAMPLED):
            sampled = cast(Minibatches, cost)
            cost = sampled.batch(jnp.int32(0), sampled.first_order())
        optimiser = contender.optimiser(dict.fromkeys(names, jnp.ones(())), jax.random.key(0))
        value, gradient = jax.value_and_grad(cost)(params)
        return optax.with_extra_args_support(optimiser).update(
            gradient, optimiser.init(params), params, value=value, grad=gradient, value_fn=cost
        )

    traced = jax.make_jaxpr(updated)(*_structs(treedef, shapes))
    return _FACTORISE.search(str(traced)) is not None


@lru_cache(maxsize=128)
def _multiplies(fixed: Any, treedef: Any, shapes: tuple[Any, ...], is_double: bool) -> bool:
    """Whether the gradient of a cost is made of products of matrices."""

    def gradient(numbers: list[Any], params: Params) -> Params:
        return jax.grad(join(numbers, fixed))(params)

    return "dot_general" in str(jax.make_jaxpr(gradient)(*_structs(treedef, shapes)))


@lru_cache(maxsize=128)
def _compiled(
    contender: Contender,
    fixed: Any,
    rows: int,
    every: int,
    axis: int,
    treedef: Any,
    shapes: tuple[Any, ...],
    is_double: bool,
) -> _Program:
    arguments = _structs(treedef, shapes)
    began = time.perf_counter()
    lowered = _sweep.lower(
        *arguments, contender=contender, fixed=fixed, rows=rows, every=every, axis=axis
    )
    # Vectors as wide as the processor has them; LLVM takes half of them where it is not told.
    run = lowered.compile(cpu_options(xla_cpu_prefer_vector_width="512"))
    seconds = time.perf_counter() - began
    text = lowered.as_text()
    return _Program(run, seconds, not any(f"stablehlo.{name}" in text for name in _WAITING))
