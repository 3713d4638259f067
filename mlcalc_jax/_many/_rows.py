"""Rows of a chunk of fits: taken out for a call, and put back where they belong."""

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from .._path import Status
from ._descent import Chunk, Settings, is_batched
from ._memory import Room, is_taken_as_it_is

Found = dict[str, Any]  # arrays or lists of them, the fits in the last axis
Rows: TypeAlias = np.ndarray | slice  # of a chunk


class UnderWay:
    """The fits of a chunk: each at its start, and later where it was left."""

    def __init__(
        self, chunk: Chunk, free: tuple[int, ...], new: np.ndarray, found: Found, room: Room
    ) -> None:
        self.starts, self.free, self.new, self.found = chunk["starts"], free, new, found
        places = list(chunk["starts"])
        for k, column in zip(free, found["at"], strict=True):
            places[k] = column
        self.damping = room.empty((len(found["status"]), len(new)), new.dtype)
        state = {"taken": found["iterations"], "damping": self.damping}
        self.chunk = {**chunk, "starts": places, **state}

    def begin(self, rows: Rows) -> None:
        """Put some rows at their start."""
        for k in self.free:
            start = self.starts[k]
            self.chunk["starts"][k][rows] = start[rows] if np.ndim(start) else start
        self.chunk["taken"][rows], self.damping[rows] = 0, self.new

    def left(self, rows: Rows, result: Found) -> np.ndarray:
        """Leave some rows where a call has left them: those that are unfinished."""
        damping = result.pop("damping")
        put(self.found, rows, result)
        some = np.flatnonzero(result["status"] == int(Status.STEPS_USED))
        left = rows.start + some if isinstance(rows, slice) else rows[some]
        self.damping[left] = damping[:, some].T
        return left

    def beside_its_like(self, rows: np.ndarray) -> np.ndarray:
        """Sorted: where lambda is high, steps were refused, and more will be needed."""
        bits = self.damping[rows, 0].astype(np.float32).view(np.uint32)
        return rows[np.argsort((bits >> 16).astype(np.uint16), kind="stable")]  # a radix sort


def taken(chunk: Chunk, rows: Rows, size: int, settings: Settings, room: Room) -> Chunk:
    """Some of the fits of a chunk, and room for more; the last of their blocks is filled up."""
    count = count_of(rows)
    filled = min(-(-count // settings.lanes) * settings.lanes, size)

    def some(name: str, leaf: Any) -> Any:
        if not is_batched(name, leaf, settings):
            return leaf
        if isinstance(rows, slice) and count == size and is_taken_as_it_is(leaf[rows]):
            return leaf[rows]
        wide = room.empty((size, *leaf.shape[1:]), leaf.dtype)
        if isinstance(rows, slice) or not leaf.flags.c_contiguous:
            wide[:count] = leaf[rows]
        else:
            np.take(leaf, rows, axis=0, out=wide[:count], mode="clip")  # the mode that copies once
        wide[count:filled] = wide[0]
        return wide

    return {
        name: value if value is None else jax.tree.map(partial(some, name), value)
        for name, value in chunk.items()
    }


@partial(jax.jit, static_argnums=1)
def _padded(arrays: list[jax.Array], size: int) -> list[jax.Array]:
    return [jnp.pad(a, [(0, size - len(a)), *[(0, 0)] * (a.ndim - 1)]) for a in arrays]


def widened(chunk: Chunk, size: int, settings: Settings) -> Chunk:
    """A chunk in the memory of an accelerator, with room for more fits."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(chunk)
    is_wide = [is_batched(path[0].key, leaf, settings) for path, leaf in leaves]
    some = [leaf for (_, leaf), wide in zip(leaves, is_wide, strict=True) if wide]
    padded = iter(_padded(some, size))
    wide = [next(padded) if wide else leaf for (_, leaf), wide in zip(leaves, is_wide, strict=True)]
    return jax.tree.unflatten(treedef, wide)


def count_of(rows: Rows) -> int:
    """How many."""
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def fits_last(array: np.ndarray) -> np.ndarray:
    """The same memory, its first axis the last."""
    return array if array.ndim == 1 else np.moveaxis(array, 0, -1)


def part(rows: Rows, start: int, stop: int) -> Rows:
    """Those from one to another."""
    if isinstance(rows, slice):
        return slice(rows.start + start, min(rows.start + stop, rows.stop))
    return rows[start:stop]


def put(found: Found, rows: Rows, result: Found) -> None:
    """Put what some rows have found where it belongs."""
    for name, values in result.items():
        columns = found[name]
        if isinstance(columns, list):
            for column, some in zip(columns, values, strict=True):
                column[rows] = some
        else:
            columns[..., rows] = values
