"""Arrays by name in one file of NumPy's NPZ format, without pickle; whole or not there."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._whole import written_whole

_BROKEN = (
    *(ValueError, EOFError, AttributeError, TypeError, KeyError, RuntimeError),
    *(zlib.error, zipfile.BadZipFile),
)


def write_arrays(file: Path, arrays: Mapping[str, Any]) -> None:
    """Write beside the file, then put the new one in its place.

    Raises:
        OSError: it cannot be written; nothing is left beside it.
    """
    with written_whole(file) as part, part.open("wb") as opened:
        np.savez_compressed(opened, **arrays)


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """What :func:`write_arrays` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file, or not whole.
    """
    with file.open("rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as arrays:
                return dict(arrays)
        except _BROKEN as error:
            raise ValueError(f"{file} holds no arrays") from error
