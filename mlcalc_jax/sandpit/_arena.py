"""The arena: a strategy against thousands of pits at once."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Int

from .. import _check
from .._precision import in_double
from .._random import as_key
from ._game import LAST, Outcome, State, dip, new_game
from ._pit import SIDE, Pit
from ._strategies import Memory, Strategy, strategies


@dataclass(frozen=True)
class Games:
    """Games played by one strategy, along the leading axis of every array."""

    places: Float[np.ndarray, "games rows 2"]  #: of the dips, m; rows from ``dips`` on are zero
    depths: Float[np.ndarray, "games rows"]  #: m
    dips: Int[np.ndarray, "games"]
    outcome: Int[np.ndarray, "games"]  #: an :class:`Outcome`

    def __len__(self) -> int:
        return len(self.dips)

    @property
    def won(self) -> np.ndarray:
        """Whether each game was won."""
        return self.outcome == Outcome.FOUND

    @property
    def win_rate(self) -> float:
        """Share of the games won."""
        return float(np.mean(self.won))

    def win_rate_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Wilson's score interval of the win rate, of that confidence.

        Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
        """
        z, n, p = _quantile(level), len(self), self.win_rate
        middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        scale = 1 + z * z / n
        low, high = (middle - spread) / scale, (middle + spread) / scale
        return (0.0 if p == 0 else low), (1.0 if p == 1 else high)  # whatever the rounding

    @property
    def mean_dips(self) -> float:
        """Mean dips of the games won; NaN where none was."""
        return float(np.mean(self.dips[self.won])) if self.won.any() else math.nan

    def mean_dips_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of the mean dips of the games won, by Student's t; NaN below two of them.

        Of few games it may reach beyond what a mean can be, from 1 to ``LAST``: there it is cut.
        """
        from scipy.stats import t

        won = self.dips[self.won]
        if len(won) < 2:
            return math.nan, math.nan
        _quantile(level)
        half = t.ppf((1 + level) / 2, len(won) - 1) * np.std(won, ddof=1) / math.sqrt(len(won))
        low, high = np.clip([np.mean(won) - half, np.mean(won) + half], 1, LAST)
        return float(low), float(high)

    def __repr__(self) -> str:
        return f"<Games: {len(self)}, of which {np.sum(self.won)} won>"

    def report(self) -> str:
        """How many games ended how."""
        low, high = self.win_rate_interval()
        lines = [f"{len(self)} games, {self.win_rate:.1%} won (95 %: {low:.1%} to {high:.1%})"]
        if self.won.any():
            low, high = self.mean_dips_interval()
            lines.append(f"dips of those: {self.mean_dips:.2f} (95 %: {low:.2f} to {high:.2f})")
        for outcome in Outcome:
            count = int(np.sum(self.outcome == outcome))
            if count and outcome != Outcome.FOUND:
                lines.append(f"{count}: {outcome.message}")
        return "\n".join(lines)


def _quantile(level: float) -> float:
    from scipy.stats import norm

    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    return float(norm.ppf((1 + level) / 2))


def play(strategy: Strategy, pits: Pit, starts: Any = None, *, seed: int = 0) -> Games:
    """Let a strategy play many games at once, each to its end.

    The first dip is given; every next one is a step of the strategy's from the last. A strategy
    that gives a step that is not finite, or leaves the pit, loses that game and no other.

    Args:
        strategy: a pure function ``next_step(depth, jacobian, hessian, memory) -> step``: what the
            last dip told (m, m per m, 1/m), a :class:`Memory` of all of them, and a step in m
            along x and y. Numbers among the leaves of a ``jax.tree_util.Partial`` are traced:
            another value compiles nothing. (What it reads from outside counts as it was when the
            strategy was first played.)
        pits: one pit or many, from :func:`pit` or :func:`pits`.
        starts: of the games, in m: one place, or one for each game (for one pit: how many games
            there are); drawn evenly from the square, 0.3 m off its border, unless given.
        seed: of the starts and of the strategies' own luck.

    Raises:
        TypeError, ValueError: something that is no strategy; a step that is no two real numbers;
            no pits, starts outside the pit, or not as many as pits.
    """
    if not callable(strategy):
        raise TypeError(f"a strategy must be a function, got {strategy!r}")
    if not isinstance(pits, Pit):
        raise TypeError(f"pits must be a Pit, as from mlcalc_jax.sandpit.pits, got {pits!r}")
    count, is_many = _games(pits, starts)
    key = as_key(seed)
    starts = _starts(starts, count, key)
    traced = strategy if isinstance(strategy, Partial) else Partial(strategy)

    def compute() -> State:
        return _played(traced, pits, jnp.asarray(starts), jax.random.fold_in(key, 1), is_many)

    with _check.traceable("the strategy"):
        state = jax.tree.map(np.asarray, in_double(compute))
    return Games(state.places, state.depths, state.dips, state.outcome)


def _games(pits: Pit, starts: Any) -> tuple[int, bool]:
    """How many games there are, and whether each has its own pit."""
    many = np.ndim(pits.highest)
    if many > 1 or np.size(pits.highest) == 0:
        raise ValueError(f"pits must have one leading axis, got {np.shape(pits.highest)}")
    if many:
        return len(pits.highest), True
    return (len(starts) if starts is not None and np.ndim(starts) == 2 else 1), False


def _starts(starts: Any, count: int, key: Any) -> np.ndarray:
    if starts is None:
        drawn = in_double(
            lambda: jax.random.uniform(
                jax.random.fold_in(key, 0), (count, 2), float, 0.3, SIDE - 0.3
            )
        )
        return np.asarray(drawn)
    array = np.asarray(_check.real_array("starts", starts), float)
    if array.shape not in ((2,), (count, 2)):
        raise ValueError(f"starts must have shape (2,) or ({count}, 2), got {array.shape}")
    if array.size == 0:
        raise ValueError("starts holds no place")
    if not ((array >= 0) & (array <= SIDE)).all():
        raise ValueError(f"starts must lie in the pit, from 0 to {SIDE} m")
    return np.broadcast_to(array, (count, 2))


@partial(jax.jit, static_argnames="is_many")
def _played(strategy: Partial, pits: Pit, starts: Any, key: Any, is_many: bool) -> State:
    def game(pit: Pit, start: Any, number: Any) -> State:
        luck = jax.random.fold_in(key, number)

        def turn(carry: tuple[State, Any], _: Any) -> tuple[tuple[State, Any], None]:
            state, seen = carry
            luck_now = jax.random.fold_in(luck, state.dips)
            memory = Memory(state.places, state.depths, state.jacobians, state.dips, luck_now)
            step = _two_numbers(strategy(seen.depth, seen.jacobian, seen.hessian, memory))
            after, now = dip(pit, state, memory.here + step.astype(start.dtype))
            return (after, now._replace(is_other_hole=seen.is_other_hole)), None

        first, seen = dip(pit, new_game(), start)
        return jax.lax.scan(turn, (first, seen), length=LAST - 1)[0][0]

    numbers = jnp.arange(len(starts))
    return jax.vmap(game, in_axes=(0 if is_many else None, 0, 0))(pits, starts, numbers)


def _two_numbers(step: Any) -> Any:
    try:
        step = jnp.asarray(step)
    except (TypeError, ValueError) as error:
        raise TypeError(f"a strategy must return a step of two numbers, got {step!r}") from error
    if step.shape != (2,) or not jnp.issubdtype(step.dtype, jnp.floating):
        raise TypeError(
            f"a strategy must return a step of two real numbers, got {step.dtype}{step.shape}"
        )
    return step


def trials(pit: Pit, start: Any = (SIDE / 2, SIDE / 2)) -> dict[str, Games]:
    """One game of every built-in strategy in a pit, all from the same first dip.

    Raises:
        TypeError, ValueError: a start that is no place in the pit; more than one pit.
    """
    if not isinstance(pit, Pit):
        raise TypeError(f"pit must be a Pit, as from mlcalc_jax.sandpit.pit, got {pit!r}")
    if np.ndim(pit.highest):
        raise ValueError("trials plays in one pit: take one of these")
    first = _starts(start, 1, None)
    state = jax.tree.map(np.asarray, in_double(_all_played, pit, jnp.asarray(first)))
    return {
        name: Games(state.places[k], state.depths[k], state.dips[k], state.outcome[k])
        for k, name in enumerate(strategies())
    }


@jax.jit
def _all_played(pit: Pit, starts: Any) -> State:
    """One program for all the strategies: in each lane another's step is taken."""
    each = tuple(strategies().values())

    def played(number: Any) -> State:
        return _played(Partial(_nth, each, number), pit, starts, jax.random.key(0), False)

    return jax.vmap(played)(jnp.arange(len(each)))


def _nth(each: Any, number: Any, *dip: Any) -> Any:
    return jnp.stack([strategy(*dip) for strategy in each])[number]


def par(played: dict[str, Games]) -> tuple[int | None, str]:
    """Dips of the best of these games, as from :func:`trials`, and its name.

    None, and no name, where none of them found the phone.
    """
    won = {name: int(games.dips[0]) for name, games in played.items() if games.won[0]}
    if not won:
        return None, ""
    name = min(won, key=lambda name: won[name])
    return won[name], name
