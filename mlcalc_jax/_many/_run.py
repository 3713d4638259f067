"""Many fits, window by window: what is read, computed and handed over while the next is read.

A window is what is held in memory and written at once. It is cut into chunks, each a call of
compiled code: first a few steps of all fits; those that are unfinished then are gathered and
carried on with together, so that they hold up nobody. A fit does not know with which others it is
computed.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from .._cores import cores
from .._path import Status
from ._blocks import sums_apart
from ._compiled import descend, placement
from ._descent import Chunk, Settings, begun, is_batched
from ._input import Input

Found = dict[str, Any]  # arrays, the fits in the last axis
_Rows: TypeAlias = np.ndarray | slice  # of a chunk, one after the other or not

_FIRST_STEPS = 12  # after which what is unfinished is gathered, until it is known how many are
_MORE = 4  # times as many steps for what is left, as often as need be
_SAMPLE = 1 << 13  # fits that tell
_FEWEST, _LANES = 4, 128  # fits of a block on a CPU, at least and at most
_LANES_APART = 64  # where sums are taken a few at a time
_IN_CACHE = 1 << 14  # bytes of y in a block on a CPU: half of what is nearest to a core
_VALUES = 1 << 22  # of y in a chunk on a CPU
_MOST_FITS = 1 << 15  # the same
_CHUNKS = 4  # of a window on a CPU
_ON_DEVICE = 32  # windows at once of what is in the memory of an accelerator

_CONVERGED = [int(status) for status in Status if status.has_converged]


def window_size(points: int) -> int:
    """Fits that are read and written at once: the same on every machine."""
    return _CHUNKS * _chunk_size(points)


def part_size(data: Input) -> int:
    """Fits that are held at once where nothing is written."""
    return window_size(data.points) * (_ON_DEVICE if data.is_on_device else 1)


def windows(
    data: Input,
    settings: Settings,
    parts: Iterable[tuple[int, int]],
    tolerance: float | None,
    steps: int,
    polish: bool,
) -> Iterator[tuple[int, int, Found]]:
    """The results of windows of fits, in order; two are under way at any time."""
    waiting: deque[Future[tuple[int, int, Found]]] = deque()

    def next_one() -> tuple[int, int, Found]:
        found = waiting[0].result()
        waiting.popleft()
        return found

    with _threads() as (pool, ahead):
        machine = _Machine(data, settings, tolerance, steps, polish, pool)
        try:
            for part in parts:
                waiting.append(ahead.submit(machine.window, *part))
                if len(waiting) > 2:
                    yield next_one()
            while waiting:
                yield next_one()
        finally:
            machine.is_stopped = True
            for future in waiting:
                future.cancel()
            wait(waiting)


_Threads: TypeAlias = tuple[ThreadPoolExecutor, ThreadPoolExecutor]
_idle: dict[int, _Threads] = {}  # by how many compute


@contextmanager
def _threads() -> Iterator[_Threads]:
    """Threads that compute, and two that read ahead: no other call has them at the same time.

    They are kept for the next call, since to start them takes as long as thousands of fits.
    """
    count = _cores_of_a_device()
    count += count > 1  # to copy for the next call while all cores compute
    threads = _idle.pop(count, None) or (ThreadPoolExecutor(count), ThreadPoolExecutor(2))
    try:
        yield threads
    finally:
        if _idle.setdefault(count, threads) is not threads:
            for pool in threads:
                pool.shutdown()


def is_accelerated() -> bool:
    """Whether another device than the CPU computes."""
    return jax.default_backend() != "cpu"


def _chunk_size(points: int) -> int:
    fitting = max(_VALUES // points, _FEWEST)
    return int(min(1 << (fitting.bit_length() - 1), _MOST_FITS))


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
        tolerance: float | None,
        steps: int,
        polish: bool,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.data, self.tolerance, self.steps = data, tolerance, steps
        self.polish = polish and data.dtype == np.float32
        devices = len(jax.local_devices())
        self.chunk = _chunk_size(data.points)
        apart = sums_apart(data.points, data.dtype)
        lanes = _LANES_APART if apart else _lanes(data.points, data.dtype)
        if is_accelerated():
            # One loop for a whole chunk: an accelerator is kept busy by many lanes, not by blocks.
            self.chunk = lanes = self.chunk * _CHUNKS // devices
        self.settings = settings._replace(lanes=lanes, devices=devices, sums_apart=apart)
        self.cores, self.pool = _cores_of_a_device(), pool
        self.is_stopped = False
        self.first_steps = 0  # not known yet
        self.learning = threading.Lock()

    def window(self, start: int, stop: int) -> tuple[int, int, Found]:
        """Read and fit the fits from ``start`` to ``stop``."""
        chunk = self.data.window(start, stop)
        found = self._fitted(chunk)
        if self.polish:
            fits = stop - start
            found = {name: np.array(values[..., :fits]) for name, values in found.items()}
            again = np.flatnonzero(~np.isin(found["status"], _CONVERGED))
            if again.size:
                exact = self.data.window(start, stop, np.float64)
                double = _rows(exact, again, len(again), self.settings)
                better = self._fitted(double)
                with np.errstate(over="ignore"):  # of a fit that went far away
                    for name, values in better.items():
                        found[name][..., again] = values.astype(found[name].dtype)
        held = [s for k, s in enumerate(chunk["starts"]) if k not in self.settings.free]
        return start, stop, found | {"held": held}

    def _fitted(self, chunk: Chunk) -> Found:
        found: Found = {}
        fits = len(chunk["y"])
        if is_accelerated() and (kernel := self._kernel(chunk)):
            found = self._call(kernel, chunk, slice(0, fits), self.steps)
            return {"chi_squared": found["cost"], **found}
        if self.data.is_on_device:
            loss = chunk["loss"]
            chunk = jax.tree.map(np.asarray, {**chunk, "loss": None}) | {"loss": loss}
        # A start of each fit also where all have one: so it is when they are carried on with.
        starts = [
            np.broadcast_to(s, (fits,)) if k in self.settings.free else s
            for k, s in enumerate(chunk["starts"])
        ]
        damping = begun(len(self.settings.free), chunk["y"].dtype)
        chunk = {
            **chunk,
            "starts": starts,
            "taken": np.broadcast_to(np.int32(0), (fits,)),
            "damping": np.broadcast_to(damping, (fits, len(damping))),
        }
        rows = np.arange(fits)
        with self.learning:
            if not self.first_steps:
                some, rows = np.split(rows, [self.cores * self.chunk])
                self._go_on(chunk, some, _FIRST_STEPS, found)
                if len(some) < self.data.fits:  # else nobody is left to use it
                    tell = found["iterations"][some[:_SAMPLE]]
                    self.first_steps = _least_work(tell, self.settings.lanes)
        if rows.size:
            self._go_on(chunk, rows, self.first_steps, found)
        del found["damping"]
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

    def _go_on(self, chunk: Chunk, left: np.ndarray, steps: int, found: Found) -> None:
        """Fit some rows of a chunk to their end."""
        steps = min(steps, self.steps)
        while True:
            share = -(-len(left) // self.cores)
            self._run(chunk, self._cut(left, min(share, self.chunk)), steps, found)
            left = left[found["status"][left] == Status.STEPS_USED]
            if steps == self.steps or not left.size:
                return
            # Beside its like: where lambda is high, steps were refused, and more will be needed.
            left = left[np.argsort(found["damping"][0][left], kind="stable")]
            chunk = self._carried_on(chunk, found)
            steps = min(_MORE * steps, self.steps)

    def _carried_on(self, chunk: Chunk, found: Found) -> Chunk:
        """The same fits, from where they are."""
        starts = list(chunk["starts"])
        for column, k in enumerate(self.settings.free):
            starts[k] = found["at"][column]
        state = {"taken": found["iterations"], "damping": found["damping"].T}
        return {**chunk, "starts": starts, **state}

    def _cut(self, rows: np.ndarray, size: int) -> list[_Rows]:
        block = self.settings.lanes
        size = self.settings.devices * max(block, -(-size // block) * block)
        return [_span(rows[k : k + size]) for k in range(0, len(rows), size)]

    def _run(self, chunk: Chunk, parts: list[_Rows], steps: int, found: Found) -> None:
        """Fit the rows of each part, and put what comes out into ``found``."""
        for rows, result in zip(
            parts,
            self.pool.map(lambda rows: self._call(self.settings, chunk, rows, steps), parts),
            strict=True,
        ):
            for name, values in result.items():
                if name not in found:
                    found[name] = np.empty((*values.shape[:-1], len(chunk["y"])), values.dtype)
                found[name][..., rows] = values

    def _call(self, settings: Settings, chunk: Chunk, rows: _Rows, steps: int) -> Found:
        """One call of the compiled code; fits are added so that few sizes are ever compiled."""
        if self.is_stopped:
            raise RuntimeError("stopped")
        lanes, devices = settings.lanes, settings.devices
        count = _count(rows)
        # Never one block alone: the compiler would lay it out in another way, to other last bits.
        blocks = max(-(-count // (lanes * devices)), 2)
        blocks = 1 << (blocks - 1).bit_length()
        share = blocks * lanes
        used = np.clip(count - np.arange(devices) * share, 0, share).astype(np.int32)
        is_double, stays = chunk["y"].dtype == np.float64, isinstance(chunk["y"], jax.Array)
        tolerance = self.tolerance or (1e-8 if is_double else 1e-4)
        with jax.enable_x64(True) if is_double else nullcontext():
            if not stays:
                chunk = _rows(chunk, rows, share * devices, settings)
            elif count < share * devices:
                chunk = _widened(chunk, share * devices, settings)
            if devices > 1:
                mesh, specs = placement(settings, chunk)
                chunk = jax.tree.map(
                    lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, spec)), chunk, specs
                )
            of_chunk = jax.tree.structure(chunk), chunk["y"].shape, chunk["y"].dtype
            with _compilation(settings, *of_chunk).alone():
                found = descend(settings, chunk, tolerance, steps, used)
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

    first = slowest(iterations)
    tried = np.arange(3, 33)
    work = []
    for steps in tried:
        left = np.minimum(iterations[iterations > steps], _MORE * steps)
        more = (slowest(left) - steps + 2).mean() * len(left) if len(left) else 0
        work.append(np.minimum(first, steps).mean() + more / len(iterations))
    return int(tried[np.argmin(work)])


def _rows(chunk: Chunk, rows: _Rows, size: int, settings: Settings) -> Chunk:
    """Some of the fits of a chunk, and room for more; the last of their blocks is filled up."""
    count = _count(rows)
    filled = min(-(-count // settings.lanes) * settings.lanes, size)

    def taken(name: str, leaf: Any) -> Any:
        if not is_batched(name, leaf, settings):
            return leaf
        some = leaf[rows]
        if count == size:
            return some
        wide = np.empty((size, *leaf.shape[1:]), leaf.dtype)
        wide[:count] = some
        wide[count:filled] = some[0]
        return wide

    return {name: jax.tree.map(partial(taken, name), value) for name, value in chunk.items()}


@partial(jax.jit, static_argnums=1)
def _padded(arrays: list[jax.Array], size: int) -> list[jax.Array]:
    return [jnp.pad(a, [(0, size - len(a)), *[(0, 0)] * (a.ndim - 1)]) for a in arrays]


def _widened(chunk: Chunk, size: int, settings: Settings) -> Chunk:
    """A chunk in the memory of an accelerator, with room for more fits."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(chunk)
    is_wide = [is_batched(path[0].key, leaf, settings) for path, leaf in leaves]
    some = [leaf for (_, leaf), wide in zip(leaves, is_wide, strict=True) if wide]
    padded = iter(_padded(some, size))
    wide = [next(padded) if wide else leaf for (_, leaf), wide in zip(leaves, is_wide, strict=True)]
    return jax.tree.unflatten(treedef, wide)


def _count(rows: _Rows) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def _span(rows: np.ndarray) -> _Rows:
    """Rows, as a slice if they follow one another: that copies nothing."""
    first, last = int(rows[0]), int(rows[-1])
    follow = last - first + 1 == len(rows) and bool(np.all(np.diff(rows) == 1))
    return slice(first, last + 1) if follow else rows


def _cores_of_a_device() -> int:
    """How many calls are computed at once; an accelerator has one to work on while one is read."""
    if is_accelerated():
        return 2
    return max(1, cores() // len(jax.local_devices()))


if hasattr(os, "register_at_fork"):  # threads, and what they hold locked, stay with the parent
    os.register_at_fork(after_in_child=_idle.clear)
    os.register_at_fork(after_in_child=_compilation.cache_clear)
