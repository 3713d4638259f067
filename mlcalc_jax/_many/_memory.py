"""Memory for the arrays of many fits: asked for once, and used again."""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

_LARGE = 1 << 22  # bytes from which on NumPy asks for large pages
_LINE = 64  # bytes of a cache line: JAX takes an array on a CPU as it is where it begins at one


class Room:
    """Memory for the arrays of one call, and then for those of the next."""

    def __init__(self, size: int = 0) -> None:
        self._whole = _aligned(size)
        self._used = 0  # of it, or of what there should be

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._whole)

    def clear(self) -> None:
        """Nobody needs the arrays that were made any more."""
        if self._used > len(self._whole):
            self._whole = _aligned(self._used)
        self._used = 0

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array with anything in it; where there is no room left, in memory of its own."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        start, self._used = self._used, self._used + _lines(size)
        there = self._whole[start : start + size]
        return (there if len(there) == size else _aligned(size)).view(dtype).reshape(shape)


class Rooms:
    """Those that nobody is in."""

    def __init__(self) -> None:
        self._free = deque[Room]()

    @contextmanager
    def one(self) -> Iterator[Room]:
        """The one that was left last."""
        try:
            room = self._free.pop()
        except IndexError:
            room = Room()
        room.clear()
        try:
            yield room
        finally:
            self._free.append(room)

    def give_back(self, limit: int) -> None:
        """Keep no room of more bytes than that."""
        self._free = deque(room for room in list(self._free) if room.size <= limit)


def side_by_side(
    arrays: Mapping[str, tuple[tuple[int, ...], Any]], rows: int
) -> dict[str, np.ndarray]:
    """Arrays of so many rows of a shape, side by side in one piece of memory unless they are large.

    So large pages serve them, which are there ten times as soon.
    """
    sizes = [rows * math.prod(shape) * np.dtype(kind).itemsize for shape, kind in arrays.values()]
    room = Room(sum(map(_lines, sizes)) if max(sizes) < _LARGE else 0)
    return {name: room.empty((rows, *shape), kind) for name, (shape, kind) in arrays.items()}


def is_taken_as_it_is(array: Any) -> bool:
    """Whether JAX on a CPU computes from an array where it lies."""
    is_array = isinstance(array, np.ndarray) and array.flags.c_contiguous
    return is_array and array.ctypes.data % _LINE == 0


def _aligned(size: int) -> np.ndarray:
    """So many bytes, from the beginning of a cache line."""
    some = np.empty(size + _LINE, np.uint8)
    start = -some.ctypes.data % _LINE
    return some[start : start + size]


def _lines(size: int) -> int:
    return -(-size // _LINE) * _LINE
