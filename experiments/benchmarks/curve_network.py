"""Microseconds a step of the curve network: this package against NumPy and PyTorch."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

import mlcalc_jax as mc

from .._run import Config as Common
from .._run import Run, main, say
from . import _peers


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Time a step of the 1-6-7-2 network on 100 points, full batch, by every way there is.

    The fastest of several runs counts, compilation apart. PyTorch takes part where it is there.
    """

    repeats: int = 7
    """Timed runs of each way (--quick: 3)."""
    models: int = 256
    """Networks trained together under vmap."""


def experiment(config: Config, run: Run) -> str | None:
    """Measure every way in one run, and print times and ratios to the course's loop."""
    repeats = 3 if config.quick else config.repeats
    target = mc.data.curve("heart")
    x, y = target.x[None], target.y
    start = mc.network.init_params(jax.random.key(config.seed))
    layers = [(np.asarray(W, float), np.asarray(b, float)[:, None]) for W, b in start]
    draw = np.random.default_rng(config.seed).standard_normal

    rows: list[dict[str, Any]] = []

    def measure(way: str, steps: int, models: int, go: Callable[[], object]) -> None:
        run.doing(way)
        began = time.perf_counter()
        go()
        first = time.perf_counter() - began
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            go()
            times.append(time.perf_counter() - began)
        best = min(times)
        rows.append(
            {
                "way": way,
                "microseconds_per_model_step": 1e6 * best / steps / models,
                "times_the_course": 0.0,
                "compile_seconds": max(0.0, first - best),
            }
        )

    def numpy_loop(step: Any, n: int) -> Callable[[], object]:
        def go() -> None:
            now = layers
            for _ in range(n):
                now = step(now, x, y, 7.0, draw)

        return go

    measure("NumPy, the course's six Jacobians", 500, 1, numpy_loop(_peers.course_step, 500))
    measure("NumPy, fused by hand", 2000, 1, numpy_loop(_peers.fused_step, 2000))
    if torch_steps := _peers.torch_steps(layers, x, y, 7.0):
        measure("PyTorch, float32, one thread, no noise", 500, 1, lambda: torch_steps(500))
    for dtype in (np.float64, np.float32):
        for name, cost in (("grad", mc.network.cost), ("backprop", mc.network.cost_by_backprop)):
            problem = Partial(cost, x=x.astype(dtype), y=y.astype(dtype))
            begin = jax.tree.map(lambda leaf, dtype=dtype: np.asarray(leaf, dtype), start)
            for noise in (1.0, 0.0):
                optimiser = mc.steepest_descent(7.0, noise)
                measure(
                    f"minimise, {name}, {dtype.__name__}{', no noise' if not noise else ''}",
                    10_000,
                    1,
                    partial(_alone, problem, begin, optimiser),
                )
            measure(
                f"minimise under vmap over {config.models}, {name}, {dtype.__name__}",
                200,
                config.models,
                _together(problem, config, dtype),
            )
    for row in rows:
        row["times_the_course"] = (
            rows[0]["microseconds_per_model_step"] / row["microseconds_per_model_step"]
        )
    run.table("curve_network", rows)
    say(f"{'way':<52}{'us/step':>9}{'ratio':>8}{'compile s':>11}")
    for row in rows:
        say(
            f"{row['way']:<52}{row['microseconds_per_model_step']:>9.2f}"
            f"{row['times_the_course']:>8.1f}{row['compile_seconds']:>11.2f}"
        )
    return None


def _alone(problem: Any, start: Any, optimiser: Any) -> None:
    """Train one network and keep every step."""
    jax.block_until_ready(mc.minimise(problem, start, optimiser, 10_000))


def _together(problem: Any, config: Config, dtype: Any) -> Callable[[], object]:
    """Train many networks at once, noise and all, and keep every step of each."""
    keys = jax.random.split(jax.random.key(config.seed), config.models)
    starts = jax.vmap(lambda key: mc.network.init_params(key, dtype=dtype))(keys)

    @jax.jit
    @jax.vmap
    def train(start: Any, key: jax.Array) -> mc.Path:
        return mc.minimise(problem, start, mc.steepest_descent(7.0, 1.0, key=key), 200)

    return lambda: jax.block_until_ready(train(starts, keys))


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
