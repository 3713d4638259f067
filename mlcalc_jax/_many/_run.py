"""Many fits, window by window: what is read, computed and handed over while the next is read.

A window is what is held in memory and written at once. It is cut into chunks, each a call of
compiled code: first a few steps of all fits; those that are unfinished then are gathered and
carried on with together, so that they hold up nobody. A fit does not know with which others it is
computed.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import NamedSharding

from .._cores import cores
from .._path import Status
from ._blocks import sums_apart
from ._compiled import descend, placement
from ._descent import Chunk, Settings, begun, results
from ._input import Input
from ._memory import Room, Rooms
from ._rows import Found, Rows, UnderWay, count_of, fits_last, part, put, taken, widened

#: Where the results of the fits from one to another are to be: arrays by name, the fits first.
Place = Callable[[int, int], dict[str, np.ndarray]]

_FIRST_STEPS = 12  # after which what is unfinished is gathered, until it is known how many are
_MORE = 4  # times as many steps for what is left, as often as need be
_LEAST_STEPS, _MOST_STEPS = 3, 32  # after which to gather, once that is known
_SAMPLE = 1 << 13  # fits that tell
_FEWEST, _LANES = 4, 128  # fits of a block on a CPU, at least and at most
_LANES_APART = 64  # where sums are taken a few at a time
_IN_CACHE = 1 << 14  # bytes of y in a block on a CPU: half of what is nearest to a core
_VALUES = 1 << 22  # of y in a chunk on a CPU; a window has up to four times as many
_MOST_FITS = 1 << 15  # the same
_CHUNKS = 8  # of a window, at most
_KEPT = 1 << 23  # bytes of memory that a thread keeps for the next call
_ON_DEVICE = 128  # chunks at once of what is in the memory of an accelerator

_CONVERGED = [int(status) for status in Status if status.has_converged]


def window_size(points: int) -> int:
    """Fits that are read and written at once: the same on every machine."""
    return min(4 * _fitting(points), _CHUNKS * _MOST_FITS)


def part_size(data: Input) -> int:
    """Fits that are held at once where nothing is written."""
    if data.is_on_device:
        return _chunk_size(data.points) * _ON_DEVICE
    return window_size(data.points)


class Options(NamedTuple):
    """When a fit ends, and what then."""

    tolerance: float | None
    steps: int
    polish: bool  #: whether float32 fits that have not converged are repeated in float64


def windows(
    data: Input,
    settings: Settings,
    parts: Iterable[tuple[int, int]],
    options: Options,
    place: Place | None,
    known: np.ndarray | None = None,
) -> Iterator[tuple[int, int, Found]]:
    """The results of windows of fits, in order; two are under way at any time.

    They are in the arrays of ``place``; without it, as they were found. From the first of them it
    is learned after how many steps to gather the others; or from the iterations that are ``known``
    of it, where it is done.
    """
    waiting: deque[Future[tuple[int, int, Found]]] = deque()

    def next_one() -> tuple[int, int, Found]:
        found = waiting[0].result()
        waiting.popleft()
        return found

    with _threads() as (pool, ahead, rooms):
        machine = _Machine(data, settings, options, place, pool, rooms)
        if known is not None:
            machine.learn(known)
            machine.has_learned.set()
        try:
            for k, (start, stop) in enumerate(parts):
                is_first = k == 0 and known is None
                waiting.append(ahead.submit(machine.window, start, stop, is_first))
                if len(waiting) > 2:
                    yield next_one()
            while waiting:
                yield next_one()
        finally:
            machine.is_stopped = True
            for future in waiting:
                future.cancel()
            wait(waiting)


_Threads: TypeAlias = tuple[ThreadPoolExecutor, ThreadPoolExecutor, tuple[Rooms, Rooms]]
_idle: dict[int, _Threads] = {}  # by how many compute


@contextmanager
def _threads() -> Iterator[_Threads]:
    """Threads that compute, two that read ahead, and the memory of both: nobody else has them.

    They are kept for the next call, since to start them takes as long as thousands of fits.
    """
    count = _cores_of_a_device()
    count += count > 1  # to copy for the next call while all cores compute
    threads = _idle.pop(count, None)
    threads = threads or (ThreadPoolExecutor(count), ThreadPoolExecutor(2), (Rooms(), Rooms()))
    *pools, rooms = threads
    try:
        yield threads
    finally:
        for some in rooms:
            some.give_back(_KEPT)
        if _idle.setdefault(count, threads) is not threads:
            for pool in pools:
                pool.shutdown()


def is_accelerated() -> bool:
    """Whether another device than the CPU computes."""
    return jax.default_backend() != "cpu"


def _chunk_size(points: int) -> int:
    return min(_fitting(points), _MOST_FITS)


def _fitting(points: int) -> int:
    """Fits of no more values than a chunk has."""
    return int(1 << (max(_VALUES // points, _FEWEST).bit_length() - 1))


def _lanes(points: int, dtype: np.dtype[Any]) -> int:
    """Fits of a block on a CPU: their data stay near the core from one step to the next."""
    fitting = max(_IN_CACHE // (points * dtype.itemsize), _FEWEST)
    return int(min(1 << (fitting.bit_length() - 1), _LANES))


class _Machine:
    """What runs chunks: the cores of this machine, or its accelerators."""

    def __init__(
        self,
        data: Input,
        settings: Settings,
        options: Options,
        place: Place | None,
        pool: ThreadPoolExecutor,
        rooms: tuple[Rooms, Rooms],
    ) -> None:
        self.data, self.options, self.place = data, options, place
        devices = len(jax.local_devices())
        self.chunk = _chunk_size(data.points)
        apart = sums_apart(data.points, data.dtype)
        lanes = _LANES_APART if apart else _lanes(data.points, data.dtype)
        if is_accelerated():
            # One loop for a whole chunk: an accelerator is kept busy by many lanes, not by blocks.
            self.chunk = lanes = window_size(data.points) // devices
        self.settings = settings._replace(lanes=lanes, devices=devices, sums_apart=apart)
        self.cores, self.pool = _cores_of_a_device(), pool
        self.rooms_of_calls, self.rooms_of_windows = rooms
        self.is_stopped = False
        self.first_steps, self.has_learned = _FIRST_STEPS, threading.Event()

    def telling(self, fits: int) -> int:
        """How many of a window's fits tell after how many steps to gather those that follow."""
        return min(self.cores * self.chunk, fits)

    def learn(self, iterations: np.ndarray) -> None:
        """After how many steps to gather, by those that the first fits took.

        So a run that is resumed gathers its fits as one that was not stopped: the last bits of a
        product of large matrices depend on where in a block they lie.
        """
        tell = iterations[: self.telling(len(iterations))][:_SAMPLE]
        self.first_steps = _least_work(tell, self.settings.lanes)

    def window(self, start: int, stop: int, is_first: bool) -> tuple[int, int, Found]:
        """Read and fit the fits from ``start`` to ``stop``; the first tells how to go on."""
        try:
            chunk = self.data.window(start, stop)
            arrays = self.place(start, stop) if self.place else None
            columns = None if arrays is None else self._columns(arrays)
            found = self._fitted(chunk, columns, is_first)
        finally:
            if is_first:  # also if it fails: the others wait for it
                self.has_learned.set()
        if self.options.polish and self.data.dtype == np.float32:
            if arrays is None:
                found = {
                    name: np.array(values[..., : stop - start]) for name, values in found.items()
                }
            again = np.flatnonzero(~np.isin(found["status"], _CONVERGED))
            if again.size:
                exact = self.data.window(start, stop, np.float64)
                double = taken(exact, again, len(again), self.settings, Room())
                with np.errstate(over="ignore"):  # of a fit that went far away
                    put(found, again, self._fitted(double, None, False))
        held = {
            name: value
            for k, (name, value) in enumerate(zip(self.data.names, chunk["starts"], strict=True))
            if k not in self.settings.free
        }
        if arrays is None:
            return start, stop, found | {"held": list(held.values())}
        for name, value in held.items():
            arrays[f"params/{name}"][:], arrays[f"stderr/{name}"][:] = value, 0
        return start, stop, arrays

    def _columns(self, arrays: dict[str, np.ndarray]) -> Found:
        """The same arrays, as they are filled."""
        names = [self.data.names[k] for k in self.settings.free]
        ends = {name: fits_last(array) for name, array in arrays.items() if "/" not in name}
        at, stderr = ([arrays[f"{what}/{name}"] for name in names] for what in ("params", "stderr"))
        return {"at": at, "stderr": stderr, **ends}

    def _empty(self, fits: int, dtype: Any) -> Found:
        """Arrays for what is found."""
        wanted = results(self.settings, dtype)
        return {name: np.empty((*shape, fits), kind) for name, (shape, kind) in wanted.items()}

    def _fitted(self, chunk: Chunk, found: Found | None, is_first: bool) -> Found:
        """What the fits of a chunk find, in ``found`` if that is given."""
        fits, dtype = len(chunk["y"]), chunk["y"].dtype
        if is_accelerated() and (kernel := self._kernel(chunk)):
            result = self._call(kernel, chunk, slice(0, fits), self.options.steps)
            if found is None:
                return result
            put(found, slice(0, fits), result)
            return found
        if self.data.is_on_device:
            loss = chunk["loss"]
            chunk = jax.tree.map(np.asarray, {**chunk, "loss": None}) | {"loss": loss}
        found = found or self._empty(fits, dtype)
        with self.rooms_of_windows.one() as room:
            new = begun(len(self.settings.free), dtype)
            under_way = UnderWay(chunk, self.settings.free, new, found, room)
            done = 0
            if is_first:
                done = self.telling(fits)
                self._go_on(under_way, slice(0, done), _FIRST_STEPS)
                if done < self.data.fits:  # else nobody is left to use it
                    self.learn(found["iterations"][:fits])
            else:
                self.has_learned.wait()
            if done < fits:
                self._go_on(under_way, slice(done, fits), self.first_steps)
        return found

    def _kernel(self, chunk: Chunk) -> Settings | None:
        """The settings of a kernel, if that can be had of the model."""
        from . import _kernel

        settings = self.settings._replace(
            lanes=_kernel.LANES,
            sums_apart=False,
            in_kernel=True,
            is_interpreted=jax.default_backend() == "cpu",
        )
        return settings if _kernel.can_run(settings, chunk) else None

    def _go_on(self, fits: UnderWay, new: slice, steps: int) -> None:
        """Fit some rows of a chunk to their end."""
        left: Rows = new
        steps = min(steps, self.options.steps)
        while True:
            count, devices = count_of(left), self.settings.devices
            parts = -(-count // (self.cores * devices * self.chunk)) * self.cores
            block = devices * self.settings.lanes
            size = -(-count // (parts * block)) * block
            cut = [part(left, k, k + size) for k in range(0, count, size)]
            run = partial(self._run, fits, steps=steps, is_new=left is new)
            left = np.concatenate(self._on_all_cores(run, cut))
            if steps == self.options.steps or not left.size:
                return
            left = fits.beside_its_like(left)
            steps = min(_MORE * steps, self.options.steps)

    def _on_all_cores(
        self, run: Callable[[Rows], np.ndarray], parts: list[Rows]
    ) -> list[np.ndarray]:
        """What is made of each part; nothing runs any more when this ends, whatever happens."""
        # Of a small batch the first here, where nothing else is to be done meanwhile.
        is_small = self.data.fits <= self.cores * self.chunk and len(parts) <= self.cores
        here, there = (parts[:1], parts[1:]) if is_small else ([], parts)
        others = [self.pool.submit(run, part) for part in there]
        try:
            return [*map(run, here), *(other.result() for other in others)]
        finally:
            for other in others:
                other.cancel()
            wait(others)

    def _run(self, fits: UnderWay, rows: Rows, steps: int, is_new: bool) -> np.ndarray:
        """Go on with some rows: those that are unfinished."""
        if is_new:
            fits.begin(rows)
        return fits.left(rows, self._call(self.settings, fits.chunk, rows, steps))

    def _call(self, settings: Settings, chunk: Chunk, rows: Rows, steps: int) -> Found:
        """One call of the compiled code; fits are added so that few sizes are ever compiled."""
        if self.is_stopped:
            raise RuntimeError("stopped")
        lanes, devices = settings.lanes, settings.devices
        count = count_of(rows)
        # Never one block alone: the compiler would lay it out in another way, to other last bits.
        blocks = max(-(-count // (lanes * devices)), 2)
        blocks = 1 << (blocks - 1).bit_length()
        share = blocks * lanes
        used = np.clip(count - np.arange(devices) * share, 0, share).astype(np.int32)
        is_double, stays = chunk["y"].dtype == np.float64, isinstance(chunk["y"], jax.Array)
        tolerance = self.options.tolerance or (1e-8 if is_double else 1e-4)
        precision = jax.enable_x64(True) if is_double else nullcontext()
        with self.rooms_of_calls.one() as room, precision:
            if not stays:
                chunk = taken(chunk, rows, share * devices, settings, room)
            elif count < share * devices:
                chunk = widened(chunk, share * devices, settings)
            if devices > 1:
                mesh, specs = placement(settings, chunk)
                chunk = jax.tree.map(
                    lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, spec)), chunk, specs
                )
            of_chunk = jax.tree.structure(chunk), chunk["y"].shape, chunk["y"].dtype
            with _compilation(settings, *of_chunk).alone():
                found = descend(settings, chunk, tolerance, steps, used)
            found = {"chi_squared": found["cost"]} | found
            if stays:
                return jax.block_until_ready(found)  # so that no more than two are under way
            if is_accelerated():
                found = jax.device_get(found)  # all that is on its way at once
            return {name: np.asarray(value)[..., :count] for name, value in found.items()}


class _Compilation:
    """A program that is compiled by the first call of it, for which the others wait."""

    def __init__(self) -> None:
        self.compiling, self.is_done = threading.Lock(), False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else, until one was here."""
        if self.is_done:
            yield
            return
        with self.compiling:
            yield
            self.is_done = True


@lru_cache(maxsize=256)
def _compilation(settings: Settings, *of_chunk: Any) -> _Compilation:
    """That of a program, by what it depends on."""
    return _Compilation()


def _least_work(iterations: np.ndarray, lanes: int) -> int:
    """After how many steps to gather what is unfinished, so that the fewest steps are made in all.

    A block goes on as long as the slowest of its fits; what is gathered is copied, which costs
    about a step, and evaluated once more.
    """

    def slowest(some: np.ndarray) -> np.ndarray:
        blocks = -(-len(some) // lanes)
        return np.resize(some, blocks * lanes).reshape(blocks, lanes).max(axis=1)

    iterations = np.minimum(iterations, _MORE * _MOST_STEPS).astype(np.uint8)
    first, left, work = slowest(iterations), iterations, list[float]()
    for steps in range(_LEAST_STEPS, _MOST_STEPS + 1):
        work.append(np.minimum(first, steps).mean())
        left = left[left > steps]
        if not left.size:
            break
        more = slowest(np.minimum(left, _MORE * steps)).mean() - steps + 2
        work[-1] += more * left.size / iterations.size
    return _LEAST_STEPS + int(np.argmin(work))


def _cores_of_a_device() -> int:
    """How many calls are computed at once; an accelerator has one to work on while one is read."""
    if is_accelerated():
        return 2
    return max(1, cores() // len(jax.local_devices()))


if hasattr(os, "register_at_fork"):  # threads, and what they hold locked, stay with the parent
    os.register_at_fork(after_in_child=_idle.clear)
    os.register_at_fork(after_in_child=_compilation.cache_clear)
