"""Results on disk as they come: a Zarr group that a killed run carries on with.

Each window of fits is a Zarr chunk of its own in every array, with a checksum; ``status`` is
written last, and is -1 where a window is still to come. The group's attributes hold the settings,
so that results of two settings never come to lie in one group.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ._descent import RUNNING
from ._fits import ManyFits

FORMAT = 2  # of the group; one of another may have windows of another size
_LAST = "status"


def _zarr() -> Any:
    try:
        import filelock
        import zarr
    except ImportError as error:
        raise ImportError(
            'results on disk need zarr and filelock: install "mlcalc_jax[stream]"'
        ) from error
    return zarr, filelock


class Store:
    """A Zarr group of results, held by this process alone.

    Args:
        path: of the group.
        settings: what results depend on, as JSON.
        arrays: shape beyond the fits, and dtype, of each array.
        fits: how many there are.
        window: how many are written at once.
        resume: whether to carry on with a group that is there.
        process, processes: which of several processes this is, each with windows of its own.

    Raises:
        FileExistsError: there is something at ``path``, and ``resume`` is not said.
        ValueError: it was made with other settings, or not by this package, or is damaged.
        BlockingIOError: another process is writing to it.
        NotADirectoryError: what it should lie in is a file.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        arrays: Mapping[str, tuple[tuple[int, ...], Any]],
        fits: int,
        window: int,
        resume: bool,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        zarr, filelock = _zarr()
        path = path.resolve()  # so that there is one lock, by whatever links it is reached
        self.path, self.fits, self.window_size = path, fits, window
        self.process, self.processes = process, processes
        is_there = path.exists()
        if is_there and not resume:
            raise FileExistsError(f"{path.name} exists: resume=True carries on with it")
        if path.parent.exists() and not path.parent.is_dir():
            raise NotADirectoryError(f"{path.parent.name} is a file: {path.name} cannot be in it")
        path.parent.mkdir(parents=True, exist_ok=True)
        tail = str(process) if processes > 1 and process else ""
        self.lock = filelock.FileLock(path.with_name(f".{path.name}.lock{tail}"))
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout:
            _writable(Path(self.lock.lock_file), path.name)
            raise BlockingIOError(f"another process is writing to {path.name}") from None
        try:
            _together("looked")
            if process == 0:
                if not path.exists():
                    _created(zarr, path, settings, arrays, fits, window)
                for unfinished in path.rglob("*.partial"):  # of chunks, by a run that was killed
                    unfinished.unlink()
            _together("created")
            self.names = [*(name for name in arrays if name != _LAST), _LAST]
            with _readable(path):
                group = zarr.open_group(path, mode="r+")
                there = dict(group.attrs)["fit_many"].items()
            _same_settings(path.name, dict(there), settings)
            with _readable(path):
                self.arrays = {name: group[name] for name in self.names}
        except BaseException:
            self.lock.release()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    def windows(self) -> Iterator[tuple[int, int]]:
        """This process's windows of fits."""
        starts = range(0, self.fits, self.window_size)
        for start in list(starts)[self.process :: self.processes]:
            yield start, min(start + self.window_size, self.fits)

    def is_done(self, start: int, stop: int) -> bool:
        """Whether a window is there, whole: every checksum is verified."""
        first = str(start // self.window_size)
        for name, array in self.arrays.items():  # Zarr reads a chunk that is missing as its fill
            if not self.path.joinpath(name, "c", first, *["0"] * (array.ndim - 1)).exists():
                return False
        try:
            if (self.arrays[_LAST][start:stop] == RUNNING).any():
                return False
            for array in self.arrays.values():
                array[start:stop]
        except Exception:  # what a truncated or altered chunk raises depends on where it is cut
            return False
        return True

    def finish(self) -> None:
        """Wait for the other processes."""
        _together("finished")

    def write(self, start: int, stop: int, found: Mapping[str, np.ndarray]) -> None:
        """Write a window, what says that it is done last."""
        for name in self.names:
            self.arrays[name][start:stop] = found[name]


def opened(path: Path) -> ManyFits:
    """The fits in a group."""
    zarr, _ = _zarr()
    if not path.exists():
        raise FileNotFoundError(f"there is no {path.name}")
    with _readable(path):
        group = zarr.open_group(path, mode="r")
        settings = dict(group.attrs)["fit_many"]
        names = settings["parameters"]
        return ManyFits(
            {name: group[f"params/{name}"] for name in names},
            {name: group[f"stderr/{name}"] for name in names},
            group["covariance"] if settings["covariance"] else None,
            *(group[name] for name in ("cost", "chi_squared", "degrees_of_freedom")),
            *(group[name] for name in ("status", "iterations")),
        )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Inside it, whatever Zarr raises says that the group is none of ours, or damaged."""
    try:
        yield
    except PermissionError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path.name} was not written by fit_many, or a zarr.json in it is lost or damaged: "
            "move it away, and fit again"
        ) from error


def digest(*arrays: Any, ends: bool = False) -> str:
    """Of the shape, the dtype and the values of arrays; of the first and last rows of large ones.

    With ``ends``, which is for what may be larger than memory, 64 rows at each end are read.
    """
    of = hashlib.sha256()
    for array in arrays:
        of.update(repr((array.shape, str(array.dtype))).encode())
        for some in (slice(0, 64), slice(-64, None)) if ends else ((),):
            of.update(np.ascontiguousarray(array[some]).tobytes())
    return of.hexdigest()[:16]


def _writable(lock: Path, name: str) -> None:
    """Raise if there can be no lock: it is asked for in vain there, as where another holds it."""
    if not lock.exists():
        try:
            lock.touch()
        except OSError as error:
            raise OSError(f"nothing can be written where {name} should be: {error}") from error


def _created(
    zarr: Any,
    path: Path,
    settings: Mapping[str, Any],
    arrays: Mapping[str, tuple[tuple[int, ...], Any]],
    fits: int,
    window: int,
) -> None:
    """A group without results, that is either whole or not there."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        group = zarr.open_group(part, mode="w-", zarr_format=3)
        group.attrs["fit_many"] = dict(settings)
        for name, (shape, dtype) in arrays.items():
            is_float = np.issubdtype(dtype, np.floating)
            group.create_array(
                name,
                shape=(fits, *shape),
                chunks=(min(window, fits), *shape),
                dtype=dtype,
                compressors=[zarr.codecs.Crc32cCodec()],
                fill_value=np.nan if is_float else RUNNING if name == _LAST else 0,
                config={"write_empty_chunks": True},
            )
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _same_settings(name: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if there.get(key) != value:
            raise ValueError(
                f"{name} was made with another {key}: {there.get(key)!r}, and not {value!r}"
            )


def _together(what: str) -> None:
    """Wait until all processes of a distributed run are here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"fit_many {what}")
