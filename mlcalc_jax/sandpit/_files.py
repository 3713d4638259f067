"""Small files that are either whole or as they were."""

import os
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write beside the file, then put the new one in its place.

    Raises:
        OSError: it cannot be written; nothing is left beside it.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
