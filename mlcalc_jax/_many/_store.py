"""Results on disk as they come: a Zarr group that a killed run carries on with.

Each window of fits is a Zarr chunk of its own in every array, with a checksum; ``status`` is
written last, and is -1 where a window is still to come. The group's attributes hold the settings,
so that results of two settings never come to lie in one group, and what another program needs to
read them: the names of the parameters, and what each status means.
"""

import glob
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

FORMAT = 4  # of the group; one of another may have windows of another size
_WHOLE_SINCE = 3  # the format from which on every chunk of a window that is done is there
_LAST = "status"
_DIGEST = "digest "


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
        about: what else other programs need to read them, as JSON.
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
        OSError: it is a link to itself.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        about: Mapping[str, Any],
        arrays: Mapping[str, tuple[tuple[int, ...], Any]],
        fits: int,
        window: int,
        resume: bool,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        zarr, filelock = _zarr()
        path = _resolved(path)  # so that there is one lock, by whatever links it is reached
        self.path, self.fits, self.window_size = path, fits, window
        self.process, self.processes = process, processes
        self.is_new = self.is_written = False
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
                _without_half_made(path)
                if not path.exists():
                    attributes = {"fit_many": dict(settings), **about}
                    _created(zarr, path, attributes, arrays, fits, window)
                    self.is_new = True
            _together("created")
            self.names = [*(name for name in arrays if name != _LAST), _LAST]
            with _readable(path):
                group = zarr.open_group(path, mode="r+")
                there = dict(group.attrs)["fit_many"].items()
            _same_settings(path.name, dict(there), settings)
            # Kept by an array from when it is opened: a chunk of nothing but NaN is a file as well.
            with _readable(path), zarr.config.set({"array.write_empty_chunks": True}):
                self.arrays = {name: group[name] for name in self.names}
                for name, (shape, dtype) in arrays.items():
                    _same_layout(self.arrays[name], (fits, *shape), dtype, window)
            if process == 0:
                self._without_half_written()
            _together("tidied")
        except BaseException:
            self.lock.release()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Let others write; a group that this call made and wrote nothing to is in nobody's way."""
        is_empty = self.is_new and not self.is_written
        if kind is not None and is_empty and self.processes == 1:
            shutil.rmtree(self.path, ignore_errors=True)
        self.lock.release()

    def _without_half_written(self) -> None:
        """Remove the chunks that a run was writing when it was killed."""
        for array in self.arrays.values():
            for unfinished in self.path.joinpath(array.path, "c").rglob("*.partial"):
                if unfinished.is_file():
                    unfinished.unlink()

    def windows(self) -> Iterator[tuple[int, int]]:
        """This process's windows of fits."""
        starts = range(0, self.fits, self.window_size)
        for start in list(starts)[self.process :: self.processes]:
            yield start, min(start + self.window_size, self.fits)

    def is_done(self, start: int, stop: int) -> bool:
        """Whether a window is there, whole: every checksum is verified."""
        first = str(start // self.window_size)
        for array in self.arrays.values():  # Zarr reads a chunk that is missing as its fill
            if not self.path.joinpath(array.path, "c", first, *["0"] * (array.ndim - 1)).is_file():
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
        self.is_written = True


def local(path: str | Path) -> Path:
    """A path on the disks of this machine; ``~`` is the user's home.

    Raises:
        ValueError: it is an address, such as ``s3://...``, or there is no such home.
    """
    try:
        path = Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"there is no folder {path}: {error}") from None
    first = path.parts[0] if path.parts else ""
    is_drive = len(first) < 3
    if first.endswith(":") and not is_drive and not Path(first).exists():
        raise ValueError(
            f"results must lie in a folder on this machine, got an address of {first}//"
        )
    return path


def opened(path: Path, check: bool = False) -> ManyFits:
    """The fits in a group.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ValueError: what is there was not written by this package, or is damaged; with ``check``,
            also if a chunk is lost, which Zarr would read as NaN.
    """
    zarr, _ = _zarr()
    if not path.exists():
        raise FileNotFoundError(f"there is no {path.name}")
    with _readable(path):
        group = zarr.open_group(path, mode="r")
        settings = dict(group.attrs)["fit_many"]
        names = settings["parameters"]
        found = ManyFits(
            {name: group[f"params/{name}"] for name in names},
            {name: group[f"stderr/{name}"] for name in names},
            group["covariance"] if settings["covariance"] else None,
            *(group[name] for name in ("cost", "chi_squared", "degrees_of_freedom")),
            *(group[name] for name in ("status", "iterations")),
        )
        arrays = jax.tree.leaves(vars(found))
        if any(array.shape[0] != settings["fits"] for array in arrays):
            raise ValueError("another number of fits")
    if check and settings["format"] >= _WHOLE_SINCE:
        _none_lost(path, found.status, arrays)
    return found


def _none_lost(path: Path, last: Any, arrays: list[Any]) -> None:
    """Raise if a chunk is missing of a window that is done."""
    done = _chunks(path, last)  # asked first: a run may be writing
    for array in arrays:
        if lost := done - _chunks(path, array):
            raise ValueError(
                f"{path.name} has lost {array.path} of {len(lost)} of {len(done)} windows of fits: "
                "fit_many with resume=True fits them again"
            )


def _chunks(path: Path, array: Any) -> set[str]:
    """The windows of which there is a chunk of an array."""
    folder = path / array.path / "c"
    there = folder.glob("/".join(["*", *["0"] * (array.ndim - 1)]))
    names = (chunk.relative_to(folder).parts[0] for chunk in there if chunk.is_file())
    return {name for name in names if name.isdecimal()}


def _resolved(path: Path) -> Path:
    """A path without links."""
    try:
        whole = path.resolve()
    except RuntimeError:  # of Python before 3.13, in circles
        whole = path
    if any(part.is_symlink() for part in (whole, *whole.parents)):
        raise OSError(f"{path.name} is, or lies in, a link to itself")
    return whole


def _without_half_made(path: Path) -> None:
    """Remove the groups that runs were creating when they were killed, and nobody's files."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if left.name.removeprefix(f".{path.name}.").isdecimal() and not left.is_symlink():
            files = [file for file in left.rglob("*") if file.is_symlink() or not file.is_dir()]
            if all(file.name == "zarr.json" or file.suffix == ".partial" for file in files):
                shutil.rmtree(left, ignore_errors=True)


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
    return as_digest(of)


def as_digest(of: Any) -> str:
    """A hash, as settings hold it."""
    return _DIGEST + of.hexdigest()[:16]


def plain(number: Any) -> float | str | None:
    """A number as JSON has it; an array as its digest."""
    if number is None or np.ndim(number):
        return None if number is None else digest(number)
    value = float(str(np.asarray(number)[()]))  # the shortest of its precision
    return value if np.isfinite(value) else str(value)


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
    attributes: Mapping[str, Any],
    arrays: Mapping[str, tuple[tuple[int, ...], Any]],
    fits: int,
    window: int,
) -> None:
    """A group without results, that is either whole or not there."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        group = zarr.open_group(part, mode="w-", zarr_format=3)
        group.attrs.update(attributes)
        for name, (shape, dtype) in arrays.items():
            is_float = np.issubdtype(dtype, np.floating)
            group.create_array(
                name,
                shape=(fits, *shape),
                chunks=(min(window, fits), *shape),
                dtype=dtype,
                compressors=[zarr.codecs.Crc32cCodec()],
                fill_value=np.nan if is_float else RUNNING if name == _LAST else 0,
                dimension_names=("fit", *["parameter"] * len(shape)),
            )
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _same_layout(array: Any, shape: tuple[int, ...], dtype: Any, window: int) -> None:
    """Raise if an array is not as it was created."""
    chunks = (min(window, shape[0]), *shape[1:])
    if (array.shape, array.dtype, array.chunks) != (shape, np.dtype(dtype), chunks):
        raise ValueError(f"{array.path} has another shape, dtype or size of chunks")


def _same_settings(name: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if there.get("format") != wanted["format"]:
        raise ValueError(
            f"{name} was written by another version of mlcalc_jax, in its format "
            f"{there.get('format')}, and not {wanted['format']}: move it away, and fit again"
        )
    for key, value in wanted.items():
        if there.get(key) != value:
            said = _difference(key.replace("_", " "), there.get(key), value)
            raise ValueError(f"{name} was made with other settings: {said}")


def _difference(what: str, there: Any, wanted: Any) -> str:
    """The first part of a setting that is not as it was."""
    if isinstance(there, Mapping) and isinstance(wanted, Mapping):
        for key, value in wanted.items():
            if there.get(key) != value:
                return _difference(f"{what} of {key!r}", there.get(key), value)
    before, now = _said(there), _said(wanted)
    return f"{what}: other values" if before == now else f"{what}: {before}, and not {now}"


def _said(setting: Any) -> str:
    """A setting, in a message."""
    if setting is None:
        return "none"
    if isinstance(setting, Mapping):
        return "given"
    if isinstance(setting, list):
        return f"[{', '.join(map(_said, setting))}]"
    is_array = isinstance(setting, str) and setting.startswith(_DIGEST)
    return "an array" if is_array else str(setting)


def _together(what: str) -> None:
    """Wait until all processes of a distributed run are here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"fit_many {what}")
