"""Descents of many fits on a GPU: one kernel from start to end, a fit a thread.

What a fit knows of itself stays in registers; its data are read once an evaluation, point by point,
from what is nearest to the thread. So it goes with a model that is computed point by point, number
by number, with what the compiler of kernels knows; any other is computed as on a CPU, in one block.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jaxtyping import Array

from .._path import Status
from ._descent import (
    RUNNING,
    Chunk,
    Descent,
    Points,
    Settings,
    Terms,
    begun,
    is_batched,
    results,
)
from ._lanes import at_a_point

LANES = 32  #: fits of a block, which stops on its own: a warp
_FIRST_STEPS = 8  # after which what is unfinished is gathered
_MORE = 4  # times as many steps for what is left, as often as need be
_ROOM = 8  # of so many fits one can be gathered at once


def descended(
    settings: Settings, chunk: Chunk, tolerance: Any, steps: Any, used: Any
) -> dict[str, Array]:
    """What each of the first ``used[0]`` fits of a chunk finds, the fits in the last axis.

    Of a chunk without a state of before. A start may be one number for all of its fits.

    A warp goes on as long as the slowest of its fits. So what is unfinished after a few steps is
    gathered and carried on with, again and again.
    """
    chunk = _fits_last(chunk, settings)
    fits, used = chunk["y"].shape[-1], used[0]
    free = len(settings.free)
    state = begun(free, chunk["y"].dtype)
    chunk |= {
        "taken": jnp.zeros(fits, jnp.int32),
        "damping": jnp.broadcast_to(state[:, None], (free + 2, fits)),
    }
    steps = jnp.asarray(steps, jnp.int32)
    limit = jnp.minimum(_FIRST_STEPS, steps)
    found = _kernel(settings, chunk, tolerance, limit, used)
    room = min(fits, max(fits // _ROOM // settings.lanes, 2) * settings.lanes)
    is_given = jnp.arange(fits, dtype=jnp.int32) < used

    def is_left(found: dict[str, Array], limit: Any) -> Array:
        is_unfinished = found["status"] == Status.STEPS_USED
        return is_given & is_unfinished & (found["iterations"] < limit)

    def go_on(now: tuple[dict[str, Array], Array]) -> tuple[dict[str, Array], Array]:
        found, limit = now
        limit = jnp.where(jnp.any(is_left(found, limit)), limit, jnp.minimum(_MORE * limit, steps))
        left = is_left(found, limit)
        rows = jnp.flatnonzero(left, size=room, fill_value=0)
        count = jnp.minimum(jnp.sum(left, dtype=jnp.int32), room)
        some = _taken(chunk, rows, settings)
        for column, k in enumerate(settings.free):
            some["starts"][k] = found["at"][column, rows]
        some |= {"taken": found["iterations"][rows], "damping": found["damping"][:, rows]}
        more = _kernel(settings, some, tolerance, limit, count)
        to = jnp.where(jnp.arange(room, dtype=jnp.int32) < count, rows, fits)
        found = {
            name: values.at[..., to].set(more[name], mode="drop") for name, values in found.items()
        }
        return found, limit

    found, _ = lax.while_loop(lambda now: jnp.any(is_left(now[0], steps)), go_on, (found, limit))
    del found["damping"]
    return found


def can_run(settings: Settings, chunk: Chunk, platform: str | None = None) -> bool:
    """Whether the descents of such a chunk can be made in one kernel, here or elsewhere."""
    fits = 2 * settings.lanes  # it is the same for any number

    def few(path: Any, leaf: Any) -> Any:
        shape = np.shape(leaf)
        shape = (fits, *shape[1:]) if is_batched(path[0].key, leaf, settings) else shape
        return shape, leaf.dtype if hasattr(leaf, "dtype") else chunk["y"].dtype

    leaves, treedef = jax.tree_util.tree_flatten_with_path(chunk)
    return _can_run(settings, treedef, tuple(few(*leaf) for leaf in leaves), platform)


@lru_cache(maxsize=256)
def _can_run(
    settings: Settings, treedef: Any, leaves: tuple[Any, ...], platform: str | None
) -> bool:
    structs = [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]

    def run(leaves: Any, tolerance: Any, steps: Any, used: Any) -> Any:
        return descended(settings, jax.tree.unflatten(treedef, leaves), tolerance, steps, used)

    is_double = any(dtype == np.float64 for _, dtype in leaves)
    try:
        with jax.enable_x64(is_double):
            traced = jax.jit(run).trace(structs, 1e-4, np.int32(1), np.zeros(1, np.int32))
            traced.lower(lowering_platforms=(platform,) if platform else None)
    except Exception:  # something in the model that the compiler of kernels does not know
        return False
    return True


def _fits_last(chunk: Chunk, settings: Settings) -> Chunk:
    """With the fits in the last axis, and what is the same for all of them an array as well."""

    def turned(name: str, leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        if leaf.dtype == bool:
            leaf = leaf.astype(jnp.int8)
        return leaf.T if is_batched(name, leaf, settings) else jnp.atleast_1d(leaf)

    return {name: jax.tree.map(partial(turned, name), leaf) for name, leaf in chunk.items()}


def _taken(chunk: Chunk, rows: Array, settings: Settings) -> Chunk:
    """Some of the fits of a chunk."""
    fits = chunk["y"].shape[-1]

    def taken(name: str, leaf: Any) -> Any:
        return leaf[..., rows] if _is_of_fits(name, leaf, fits, settings) else leaf

    return {name: jax.tree.map(partial(taken, name), leaf) for name, leaf in chunk.items()}


def _is_of_fits(name: str, leaf: Any, fits: int, settings: Settings) -> bool:
    """Whether a leaf that has its fits last has any."""
    if name in ("starts", "low", "high", "held", "taken"):
        return bool(leaf.shape == (fits,))
    return bool(is_batched(name, leaf, settings))


def _kernel(
    settings: Settings, chunk: Chunk, tolerance: Any, steps: Any, used: Any
) -> dict[str, Array]:
    """One kernel: what the first ``used`` fits find in so many steps."""
    (points, fits), dtype = chunk["y"].shape, chunk["y"].dtype
    size, lanes = len(settings.free), settings.lanes
    one_x = settings.x_of_one(chunk["x"])
    predict = at_a_point(settings.of_numbers, len(chunk["starts"]), one_x, dtype)
    numbers = {
        "tolerance": jnp.asarray(tolerance, dtype)[None],
        "steps": jnp.asarray(steps, jnp.int32)[None],
        "used": jnp.asarray(used, jnp.int32)[None],
    }

    def spec(name: str, leaf: Any) -> pl.BlockSpec:
        if name in numbers or not _is_of_fits(name, leaf, fits, settings):
            return pl.BlockSpec(leaf.shape, lambda i: (0,) * len(leaf.shape))
        return _lanes_of(leaf.shape[:-1], lanes)

    scales, loss = jax.tree.flatten(chunk["loss"])
    given = chunk | numbers | {"loss": scales}
    specs = {name: jax.tree.map(partial(spec, name), leaf) for name, leaf in given.items()}
    found = results(settings, dtype) | {"damping": ((size + 2,), dtype)}
    if chunk["loss"] is None:
        del found["chi_squared"]  # it is the cost

    def body(given: Any, found: Any) -> None:
        scales = [ref[0] for ref in given["loss"]]
        given = given | {"loss": jax.tree.unflatten(loss, scales)}
        descent = _Lanes(settings, given, predict, points)
        for name, rows in descent.descended().items():
            _store(found[name], rows, ())

    call = pl.pallas_call(
        body,
        grid=(fits // lanes,),
        in_specs=[specs],
        out_specs={name: _lanes_of(shape, lanes) for name, (shape, _) in found.items()},
        out_shape={
            name: jax.ShapeDtypeStruct((*shape, fits), kind)
            for name, (shape, kind) in found.items()
        },
        interpret=settings.is_interpreted,
        name="descents",
        **_compiler(lanes),
    )
    return call(given)


def _compiler(lanes: int) -> dict[str, Any]:
    from jax.experimental.pallas import triton

    return {"compiler_params": triton.CompilerParams(num_warps=max(lanes // 32, 1), num_stages=1)}


def _lanes_of(shape: tuple[int, ...], lanes: int) -> pl.BlockSpec:
    """All of an array but its last axis, of which a block has some lanes."""
    return pl.BlockSpec((*shape, lanes), lambda i: (*(0,) * len(shape), i))


def _store(ref: Any, rows: Any, place: tuple[int, ...]) -> None:
    if isinstance(rows, list):
        for k, row in enumerate(rows):
            _store(ref, row, (*place, k))
    else:
        ref[(*place, slice(None))] = rows


class _Lanes(Descent):
    """The fits of a block; their data are read point by point."""

    def __init__(self, settings: Settings, given: Any, predict: Any, points: int) -> None:
        self.data, self.points, self.predict = given, points, predict
        lanes, dtype = settings.lanes, given["y"].dtype

        def row(ref: Any) -> Any:
            return ref[:] if ref.shape == (lanes,) else ref[0]

        block = {
            "loss": given["loss"],
            "taken": given["taken"][:],
            "damping": [given["damping"][k, :] for k in range(given["damping"].shape[0])],
            **{name: [None if r is None else row(r) for r in given[name]]
               for name in ("starts", "low", "high")},
            "held": [None if r is None else row(r) != 0 for r in given["held"]],
        }  # fmt: skip
        lane = pl.program_id(0) * lanes + jnp.arange(lanes, dtype=jnp.int32)
        self.is_used = lane < given["used"][0]
        super().__init__(settings, block, lanes, dtype, given["tolerance"][0], given["steps"][0])

    def begins(self) -> Array:
        """RUNNING; but what is not used has stopped already."""
        return jnp.where(self.is_used, RUNNING, Status.STEPS_USED).astype(jnp.int32)

    def _at(self, k: Any) -> Points:
        """The data at a point."""

        def read(ref: Any) -> Any:
            return ref[k, :] if len(ref.shape) == 2 else ref[k]

        data = {name: jax.tree.map(read, self.data[name]) for name in Points._fields}
        if data["mask"] is not None:
            data["mask"] = data["mask"] != 0
        return Points(**data)

    def added(self, terms: Terms) -> list[Array]:
        """The sums over the points, one after another."""

        def shapes() -> Any:
            struct = {
                name: jax.tree.map(
                    lambda ref: jax.ShapeDtypeStruct(ref.shape[1:], ref.dtype), self.data[name]
                )
                for name in Points._fields
            }
            if struct["mask"] is not None:
                struct["mask"] = jax.ShapeDtypeStruct(struct["mask"].shape, bool)
            return jax.eval_shape(terms, Points(**struct))

        zero = [jnp.zeros((self.lanes,), of.dtype) for of in shapes()]

        def add(k: Any, sums: list[Array]) -> list[Array]:
            return [a + b for a, b in zip(sums, terms(self._at(k)), strict=True)]

        return lax.fori_loop(0, self.points, add, zero)

    def predicted(self, numbers: Sequence[Array], x: Any) -> tuple[Array, list[Array]]:
        """The model at a point, (lanes,), and its derivatives, alike or ()."""
        return self.predict(numbers, x, self.settings.free)

    def used(self) -> Any:
        """How many points count."""
        if self.data["mask"] is None:
            return self.points
        return self.added(lambda of: [jnp.where(of.mask, jnp.int32(1), 0)])[0]

    def is_any(self, lanes: Array) -> Array:
        """Whether it is so in one lane at least."""
        return jnp.max(lanes.astype(jnp.int32)) > 0
