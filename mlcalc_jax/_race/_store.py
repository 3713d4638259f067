"""A folder in which finished tuning is kept, so that a race that was stopped can go on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._files import read_arrays, write_arrays

_RULES = "rules.json"


class Store:
    """One file for each contender and problem; either whole or not there.

    Raises:
        FileExistsError: the folder holds something and is not to be carried on with.
        ValueError: it was made under other rules, the first of which is named.
    """

    def __init__(self, folder: Path, rules: Mapping[str, Any], resume: bool) -> None:
        self.folder = folder
        file = folder / _RULES
        if file.exists() and resume:
            _same(_rules_of(file), rules, folder)
            return
        part = folder / f".{_RULES}"  # which a process that was killed may have left
        if folder.exists() and any(held != part for held in folder.iterdir()):
            raise FileExistsError(f"{folder} already holds something: give another, or resume=True")
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(rules, indent=1) + "\n", encoding="utf-8")
        part.replace(file)

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """What was written by that name; None if it is not there, or not whole."""
        try:
            return read_arrays(self._file(name))
        except (OSError, ValueError):
            return None

    def write(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Keep arrays by a name."""
        write_arrays(self._file(name), arrays)

    def _file(self, name: str) -> Path:
        plain = "".join(c if c.isalnum() else "_" for c in name)[:60]
        return self.folder / f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.npz"


def _rules_of(file: Path) -> dict[str, Any]:
    try:
        rules = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        rules = None
    if not isinstance(rules, dict):
        raise ValueError(f"{file} is damaged: the race cannot be carried on with")
    return rules


def _same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    for name in before.keys() | now.keys():
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{folder} was made with other rules: {name} was {before.get(name)}, "
                f"now it is {now.get(name)}"
            )
