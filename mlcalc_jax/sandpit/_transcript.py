"""Transcripts: a game written down as JSON, and played again from it."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._whole import written_whole
from ._game import Outcome, State, dip, give_up, new_game, undo
from ._levels import level_named, pit

_FORMAT, _VERSION = "mlcalc_jax sandpit", 1
_AGREE = 1e-6  # m: depths computed on another machine differ by rounding


@dataclass(frozen=True)
class Transcript:
    """All that a game consisted of."""

    level: str
    seed: int
    practice: bool
    moves: tuple[Any, ...]  #: places (x, y) of the dips in m, "undo" and "reveal", in their order
    depths: tuple[float, ...]  #: of the dips that stand at the end, m
    outcome: str  #: the name of an :class:`Outcome`


def transcript(level: str, seed: int, practice: bool, moves: Any, state: State) -> Transcript:
    """The transcript of a game."""
    return Transcript(
        level,
        int(seed),
        bool(practice),
        tuple(move if isinstance(move, str) else tuple(map(float, move)) for move in moves),
        tuple(map(float, state.depths[: int(state.dips)])),
        Outcome(int(state.outcome)).name,
    )


def save(game: Transcript, file: str | os.PathLike[str]) -> None:
    """Write a transcript as JSON; the file is either whole or as it was.

    Raises:
        OSError: the file cannot be written.
    """
    body = asdict(game)
    record = {"format": _FORMAT, "version": _VERSION, **body, "sha256": _digest(body)}
    with written_whole(Path(file)) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def load(file: str | os.PathLike[str]) -> Transcript:
    """Read a transcript and check that it is whole.

    Raises:
        OSError: the file cannot be read.
        ValueError: no transcript, of another version, truncated, or changed since it was written;
            an unknown level.
    """
    name = Path(file).name
    try:
        record = json.loads(Path(file).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no whole transcript: {error}") from None
    if not isinstance(record, dict) or record.pop("format", None) != _FORMAT:
        raise ValueError(f"{name} is no transcript of a sandpit game")
    version, digest = record.pop("version", None), record.pop("sha256", None)
    if version != _VERSION:
        raise ValueError(f"{name} is of version {version}; this package reads {_VERSION}")
    if digest != _digest(record):
        raise ValueError(f"{name} was changed after it was written, or is not whole")
    try:
        return _read(**record)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is no transcript of a sandpit game: {error}") from None


def _read(
    level: Any, seed: Any, practice: Any, moves: Any, depths: Any, outcome: Any
) -> Transcript:
    """A transcript from what JSON makes of it."""
    level_named(level)
    if type(seed) is not int or type(practice) is not bool:
        raise ValueError(f"seed must be a whole number and practice true or false, got {seed!r}")
    if outcome not in Outcome.__members__:
        raise ValueError(f"there is no outcome {outcome!r}")
    read = tuple(m if m in ("undo", "reveal") else _place(m) for m in moves)
    return Transcript(level, seed, practice, read, tuple(map(float, depths)), outcome)


def replay(game: Transcript) -> State:
    """Play a transcript again.

    Raises:
        ValueError: an unknown level; depths or an outcome that its pit does not give.
    """
    floor, state = pit(game.level, game.seed), new_game()
    for move in game.moves:
        if move == "undo":
            state = undo(state)
        elif move == "reveal":
            state = give_up(state)
        else:
            state, _ = dip(floor, state, np.asarray(move))
    seen = state.depths[: int(state.dips)]
    if len(seen) != len(game.depths) or not np.allclose(seen, game.depths, rtol=0, atol=_AGREE):
        raise ValueError(f"the depths are not those of the pit {game.level} {game.seed}")
    if Outcome(int(state.outcome)).name != game.outcome:
        raise ValueError(f"the game ends {Outcome(int(state.outcome)).name}, not {game.outcome}")
    return state


def _place(move: Any) -> tuple[float, float]:
    x, y = move
    return float(x), float(y)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
