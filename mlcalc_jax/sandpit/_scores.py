"""The fewest dips ever on this machine, in one small file of the user's."""

import json
from pathlib import Path
from typing import Any

import platformdirs

from .._whole import written_whole
from ._game import LAST


def score_file() -> Path:
    """Where the scores are kept."""
    return platformdirs.user_data_path("mlcalc_jax", appauthor=False) / "sandpit.json"


def best(level: str, seed: int) -> int | None:
    """The fewest dips with which this pit was ever won here, if it was."""
    found = _read().get(f"{level} {seed}")
    return found if type(found) is int and 1 <= found <= LAST else None


def record(level: str, seed: int, dips: int) -> bool:
    """Keep a won game's dips if they are the fewest; returns whether they are.

    Raises:
        OSError: the file cannot be written.
    """
    before = best(level, seed)
    if before is not None and before <= dips:
        return False
    file = score_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    scores = {**_read(), f"{level} {seed}": dips}
    with written_whole(file) as part:
        part.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    return True


def _read() -> dict[str, Any]:
    """The scores; none from a file that is missing or damaged."""
    try:
        found = json.loads(score_file().read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
