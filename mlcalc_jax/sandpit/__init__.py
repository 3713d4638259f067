"""The sandpit: a phone lies at the lowest point of a pit of sand whose floor is hidden.

A dip of the stick tells the depth and its Jacobian. Find the phone in as few dips as you can, by
hand (:func:`show`, or ``python -m mlcalc_jax.sandpit``), or by a strategy in the arena
(:func:`play`).
"""

from typing import TYPE_CHECKING, Any

from ._arena import Games, par, play, trials
from ._game import (
    HURRY,
    LAST,
    REACH,
    Observation,
    Outcome,
    State,
    dip,
    give_up,
    new_game,
    predict,
    undo,
)
from ._levels import LEVELS, Ground, Level, ground, pit, pits, seed_of_day
from ._pit import SIDE, Pit, dig
from ._session import Session
from ._strategies import (
    Memory,
    fixed_step,
    hybrid,
    inside,
    momentum,
    newton,
    restarts,
    steepest,
    strategies,
)
from ._transcript import Transcript, load, replay, save

if TYPE_CHECKING:
    from ._view import View, show

__all__ = [
    "HURRY",
    "LAST",
    "LEVELS",
    "REACH",
    "SIDE",
    "Games",
    "Ground",
    "Level",
    "Memory",
    "Observation",
    "Outcome",
    "Pit",
    "Session",
    "State",
    "Transcript",
    "View",
    "dig",
    "dip",
    "fixed_step",
    "give_up",
    "ground",
    "hybrid",
    "inside",
    "load",
    "momentum",
    "new_game",
    "newton",
    "par",
    "pit",
    "pits",
    "play",
    "predict",
    "replay",
    "restarts",
    "save",
    "seed_of_day",
    "show",
    "steepest",
    "strategies",
    "trials",
    "undo",
]


def __getattr__(name: str) -> Any:
    """The window, with matplotlib, only where it is asked for."""
    if name in ("View", "show"):
        from . import _view

        return getattr(_view, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
