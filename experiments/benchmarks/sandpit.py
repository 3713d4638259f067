"""The sandpit's speed: pits dug, games played, and how long a dip takes on the screen."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import mlcalc_jax as mc

from .._run import Config as Common
from .._run import Run, main, say

_LENGTH = 0.3


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Time the arena beside the same games played by NumPy, one after another."""

    pits: int = 10_000
    """Pits of the level dunes (--quick: at most 300)."""
    repeats: int = 5
    """Timed runs, of which the fastest counts."""


def experiment(config: Config, run: Run) -> str | None:
    """Measure; print seconds and ratios."""
    count = min(config.pits, 300) if config.quick else config.pits
    run.doing("digging")
    mc.sandpit.pits("dunes", 2)
    dug, pits = _seconds(lambda: mc.sandpit.pits("dunes", count))
    run.doing("playing")
    strategy = mc.sandpit.fixed_step(_LENGTH)
    starts = np.random.default_rng(config.seed).uniform(0.3, 5.7, (count, 2))
    first, games = _seconds(lambda: mc.sandpit.play(strategy, pits, starts))
    again = min(
        _seconds(lambda: mc.sandpit.play(strategy, pits, starts))[0] for _ in range(config.repeats)
    )
    run.doing("playing by NumPy")
    few = min(count, 100)
    looped, dips = _seconds(lambda: [_by_numpy(pits, starts[k], k) for k in range(few)])
    same = int(np.sum(np.array(dips) == np.where(games.won, games.dips, 0)[:few]))
    run.doing("dipping on the screen")
    shown = _on_the_screen()
    rows = [
        {"what": "dig a pit", "seconds": dug / count},
        {"what": f"{count} games, compilation included", "seconds": first},
        {"what": f"{count} games, compiled before", "seconds": again},
        {"what": "a game of them", "seconds": again / count},
        {"what": "a game by NumPy", "seconds": looped / few},
        {"what": "a dip and its drawing, the slowest of 20", "seconds": max(shown[:-1])},
        {"what": "the reveal and its drawing", "seconds": shown[-1]},
    ]
    for row in rows:
        say(f"{row['what']:<42}{row['seconds']:>12.3g} s")
    say(f"a game by NumPy takes {looped / few / (again / count):.0f} times as long")
    say(f"{same} of {few} games end alike")
    run.table("sandpit", rows)
    return None


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def _by_numpy(pits: Any, start: np.ndarray, k: int) -> int:
    """Dips to the phone with the formula written out, or 0."""
    amplitude, across, up, phase = pits.shape.waves[k].T
    rim, place = pits.shape.rim[k], start
    for dips in range(1, mc.sandpit.LAST + 1):
        if np.hypot(*(place - pits.phone[k])) <= mc.sandpit.REACH:
            return dips
        slope = -amplitude * np.sin(across * place[0] + up * place[1] + phase)
        gradient = np.array([slope @ across, slope @ up]) + 8 / 3 * rim * ((place - 3) / 3) ** 7
        step = -_LENGTH * gradient / np.hypot(*gradient)
        place = np.clip(place + step, 0, mc.sandpit.SIDE)
    return 0


def _on_the_screen() -> list[float]:
    """Seconds of twenty dips, each with its drawing by Agg, and of the reveal."""
    view = mc.sandpit.show("dunes", 1, practice=True)
    canvas: Any = view.figure.canvas
    canvas.draw()
    seconds = []
    for x, y in np.random.default_rng(0).uniform(3, 6, (20, 2)):
        seconds.append(_seconds(partial(view.dip, x, y))[0])  # on Agg it draws at once
    view.session.reveal()
    seconds.append(_seconds(view.draw)[0])
    return seconds


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
