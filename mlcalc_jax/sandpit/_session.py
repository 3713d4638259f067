"""One player at one pit: what the window and the terminal have in common."""

import itertools
import os
import random
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._precision import in_double
from . import _scores
from ._arena import Games, par, trials
from ._game import HURRY, LAST, Observation, Outcome, State, dip, give_up, new_game, predict, undo
from ._levels import Level, level_named, pit, seed_of_day
from ._pit import SIDE, Pit
from ._transcript import Transcript, save, transcript

#: The places along x and y at which the revealed floor is known, m.
TICKS = np.linspace(0, SIDE, 61)
_SAME_PLACE = 0.005  # m
_OUTSIDE = f"the pit goes from 0 to {SIDE:g} m along x and y"
_OVER = "the game is over: n for the next pit"
_GRID = np.stack(np.meshgrid(TICKS, TICKS), axis=-1)


@jax.jit
def _depths(pit: Pit, grid: Any) -> Any:
    return jax.vmap(jax.vmap(pit.depth))(grid)


def _is_inside(place: Any) -> bool:
    return bool(np.isfinite(place).all() and (place >= 0).all() and (place <= SIDE).all())


class Session:
    """A game that is being played: the pit, the state so far and the moves that led to it.

    Raises:
        TypeError, ValueError: an unknown level; a seed that is no whole number from 0 to 2^32 - 1.
    """

    level: Level
    seed: int
    state: State
    seen: Observation | None  #: of the last dip that stands
    message: str  #: what the last move told

    def __init__(
        self,
        level: str = "bowl",
        seed: int | None = None,
        *,
        practice: bool = False,
        save_to: str | os.PathLike[str] | None = None,
    ) -> None:
        self.level, self.practice = level_named(level), practice
        self.save_to = self._first_file = None if save_to is None else Path(save_to)
        self._own_file: Path | None = None
        if seed is None:
            seed = seed_of_day() if level == "day" else 0
        self._dig(seed)

    def _dig(self, seed: int) -> None:
        self.pit = pit(self.level.name, seed)
        self.seed = seed
        self.par, self.par_by = par(trials(self.pit))
        self._poke(new_game(), np.full(2, SIDE / 2))  # so that no dip waits for the compiler
        self.floor = np.asarray(in_double(_depths, self.pit, _GRID))
        self.state, self.seen = new_game(), None
        self.moves: list[Any] = []
        self.best = _scores.best(self.level.name, seed)
        self.is_record, self.save_trouble = False, ""
        self.message = f"find the phone within {LAST} dips"

    @property
    def name(self) -> str:
        """By which the pit can be shared."""
        return f"{self.level.name} {self.seed}"

    @property
    def story(self) -> str:
        """What the pit is, in a few words."""
        is_past = self.level.name == "day" and self.seed != seed_of_day()
        return "as the pit of the day" if is_past else self.level.story

    @property
    def is_over(self) -> bool:
        """Whether the floor is revealed."""
        return bool(self.state.is_over)

    @property
    def dips(self) -> int:
        """How many stand."""
        return int(self.state.dips)

    def dip(self, x: float, y: float) -> str:
        """Dip the stick; what it tells. A place outside the pit is refused and costs nothing."""
        place = np.array([x, y], float)
        if self.is_over:
            self.message = _OVER
        elif not _is_inside(place):
            self.message = _OUTSIDE
        elif self.dips and np.abs(place - self.state.places[self.dips - 1]).max() < _SAME_PLACE:
            self.message = f"dip {self.dips} was here"  # a double click, say: it costs nothing
        else:
            self.state, self.seen = self._poke(self.state, place)
            self._moved((float(x), float(y)))
            self.message = self.save_trouble + self._told()
        return self.message

    def _poke(self, state: State, place: Any) -> tuple[State, Observation]:
        """A dip, with NumPy's arrays also where JAX's x64 flag is set: to read them is quick."""
        return jax.tree.map(np.asarray, dip(self.pit, state, place))

    def undo(self) -> str:
        """Take the last dip back, in practice."""
        if not self.practice:
            self.message = "only practice has undo"
        elif self.dips == 0:
            self.message = "there is no dip to take back"
        else:
            self.state, self.seen = undo(self.state), None
            if self.dips:
                shorter = undo(self.state)
                _, self.seen = self._poke(shorter, self.state.places[self.dips - 1])
            self._moved("undo")
            self.message = f"{self.save_trouble}taken back: {self.dips} dips stand"
        return self.message

    def reveal(self) -> str:
        """Give up and see the floor."""
        if not self.is_over:
            self.state = give_up(self.state)
            self._moved("reveal")
        self.message = self.save_trouble + self._ending()
        return self.message

    def next(self, seed: int | None = None) -> str:
        """Another pit of the level: the next seed, or for the day's pit any, unless given."""
        if seed is None:
            is_day = self.level.name == "day"
            seed = random.randrange(2**32) if is_day else (self.seed + 1) % 2**32
        self._dig(seed)
        self._own_file = None
        if (file := self._first_file) is not None:  # the game before stays in its own file
            self.save_to = self._unused(file.with_name(f"{file.stem}-{self._slug}{file.suffix}"))
        return self.message

    def expect(self, x: float, y: float) -> str:
        """The depth to expect at a place, or why nothing can be said of it."""
        if self.is_over:
            return _OVER
        if not self.level.prediction:
            return "this level predicts nothing"
        if self.seen is None:
            return "there is no dip yet to predict from"
        return self.prediction(x, y) if _is_inside(np.array([x, y])) else _OUTSIDE

    def prediction(self, x: float, y: float) -> str:
        """The depth to expect at a place, from the last dip's Taylor polynomial; "" if none is."""
        if not self.level.prediction or self.seen is None or self.is_over:
            return ""
        step = np.array([x, y]) - self.state.places[self.dips - 1]
        curved = self.seen.hessian if self.level.prediction == "quadratic" else None
        depth = predict(self.seen.depth, self.seen.jacobian, curved, step)
        return f"{self.level.prediction} prediction at ({x:.2f}, {y:.2f}): {float(depth):.2f} m"

    def save(self) -> str:
        """Write the game down as it stands: where it is saved anyway, or in a file of its own."""
        if self.save_to is None and self._own_file is None:
            self._own_file = self._unused(Path(f"sandpit-{self._slug}.json"))
        file = self.save_to or self._own_file
        assert file is not None
        try:
            save(self.transcript(), file)
        except OSError as error:
            self.message = f"not saved: {error.strerror}"
        else:
            self.message = f"saved as {file}"
        return self.message

    @property
    def _slug(self) -> str:
        return f"{self.level.name}-{self.seed}"

    @staticmethod
    def _unused(file: Path) -> Path:
        """The file, or the first of ``-2``, ``-3`` and so on that is not there."""
        try:
            file.exists()
        except OSError:  # too long a name, say: saving will tell
            return file
        numbered = (file.with_stem(f"{file.stem}-{k}") for k in itertools.count(2))
        return next(name for name in itertools.chain([file], numbered) if not name.exists())

    def transcript(self) -> Transcript:
        """The game so far."""
        return transcript(self.level.name, self.seed, self.practice, self.moves, self.state)

    def rivals(self) -> dict[str, Games]:
        """What steepest descent, Newton and the hybrid would have done from the first dip."""
        first = self.state.places[0] if self.dips else np.full(2, SIDE / 2)
        played = trials(self.pit, first)
        return {name: played[name] for name in ("steepest descent", "Newton", "hybrid")}

    def score(self) -> str:
        """Dips, par and the best ever, in one line."""
        par = f"par {self.par} ({self.par_by})" if self.par else "par: no strategy found it"
        best = "none yet" if self.best is None else str(self.best)
        return f"dips {self.dips} of {LAST}, {par}, best here {best}"

    def _moved(self, move: Any) -> None:
        self.moves.append(move)
        if Outcome(int(self.state.outcome)) == Outcome.FOUND and not self.practice:
            self._keep_score()
        self.save_trouble = ""
        if self.save_to is not None:
            try:
                save(self.transcript(), self.save_to)
            except OSError as error:  # the game goes on
                self.save_trouble = f"not saved: {error.strerror}; "

    def _keep_score(self) -> None:
        try:
            self.is_record = _scores.record(self.level.name, self.seed, self.dips)
        except OSError:
            self.is_record = self.best is None or self.dips < self.best
        self.best = self.dips if self.best is None else min(self.best, self.dips)

    def _told(self) -> str:
        assert self.seen is not None
        if self.is_over:
            return self._ending()
        told = [f"dip {self.dips}: depth {float(self.seen.depth):.2f} m"]
        if self.level.jacobian:
            told.append("uphill ({:+.2f}, {:+.2f}) m/m".format(*self.seen.jacobian))
        if self.level.hessian:
            (xx, xy), (_, yy) = self.seen.hessian
            told.append(f"Hessian xx {xx:+.2f}, xy {xy:+.2f}, yy {yy:+.2f} 1/m")
        if self.seen.is_other_hole:
            told.append("no phone in this hole")
        if self.dips >= HURRY:
            told.append(f"hurry: {LAST - self.dips} left")
        return "; ".join(told)

    def _ending(self) -> str:
        outcome = Outcome(int(self.state.outcome))
        x, y = self.pit.phone
        text = f"{outcome.message}; it lay at ({x:.2f}, {y:.2f})"
        if outcome == Outcome.FOUND:
            text = f"found in {self.dips} dips"
            if self.practice:
                text += ", in practice"
            elif self.is_record:
                text += ", the fewest ever here"
        return text
