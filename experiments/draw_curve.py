"""The course's first assignment: a network learns to draw a curve."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.tree_util import Partial
from tqdm import tqdm

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say

COSTS = {"backprop": mc.network.cost_by_backprop, "grad": mc.network.cost}


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """A sigmoid network learns to draw a curve, by steepest descent on its Jacobians."""

    curve: str = "heart"
    """heart, circle, figure_eight, lissajous, spiral, letter_m, or a CSV file of two columns."""
    points: int = 100
    """Points on a named curve."""
    sizes: tuple[int, ...] = (1, 6, 7, 2)
    """Widths of the layers; a curve needs 1 input and 2 outputs."""
    aggression: float = 7.0
    """Step size of the steepest descent (learning rate)."""
    noise: float = 1.0
    """Every array's Jacobian is multiplied, every step, by 1 + noise * N(0, 1)."""
    steps: int = 10_000
    """Steps of the descent (--quick: at most 2,000); of more than 10,000, as many rows are kept."""
    jacobian: Literal["backprop", "grad"] = "backprop"
    """The chain rule written out, or jax.grad; both give the same path."""
    seeds: int = 32
    """Networks trained together for the spread of the cost (--quick: at most 4; 0: none)."""
    animation: Literal["gif", "html", "none"] = "gif"
    """Animation of the drawing (--quick: none)."""


def experiment(config: Config, run: Run) -> str | None:
    """Train one network and keep its path; then several at once, for the spread of the cost."""
    steps = min(config.steps, 2000) if config.quick else config.steps
    seeds = min(config.seeds, 4) if config.quick else config.seeds
    with input_errors():
        target = _target(config)
        optimiser = mc.steepest_descent(config.aggression, config.noise, key=config.seed)
        if steps < 1 or seeds < 0:
            raise ValueError(f"steps must be at least 1 and seeds at least 0, got {steps}, {seeds}")
        if (config.sizes[:1], config.sizes[-1:]) != ((1,), (2,)):
            raise ValueError(f"sizes must begin with 1 and end with 2, got {config.sizes}")
        start = mc.network.init_params(jax.random.key(config.seed), config.sizes)
    cost = Partial(COSTS[config.jacobian], x=target.x, y=target.y)

    run.doing("compiling")
    with tqdm(total=steps, desc="descent", unit="step", disable=None, leave=False) as bar:

        def progress(step: int, now: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(cost=f"{now:.3g}")

        every = -(-steps // 10_000)
        path = mc.minimise(cost, start, optimiser, steps, every=every, progress=progress)
    run.path("path", path)
    run.numbers("curve", x=target.x, target=target.y, drawn=mc.models.network(path.final, target.x))
    say(f"\n{'step':>8}  {'cost':>9}")
    for row in _milestones(path.trimmed().step):
        say(f"{path.step[row]:>8}  {path.cost[row]:9.3g}")
    _draw(path, target, run)
    status = mc.Status(int(path.status))
    if status.is_failure:
        return f"the descent failed after {path.steps_taken} steps: {path.message}"
    if status is mc.Status.INTERRUPTED:
        raise KeyboardInterrupt

    if seeds:
        run.doing(f"training {seeds} networks")
        costs = _spread(cost, config, steps, every, seeds)
        rows = [
            {"step": int(step), **_quantiles(costs[:, row])} for row, step in enumerate(path.step)
        ]
        run.table("seeds", rows[:: max(1, len(rows) // 1000)])
        say(f"\ncost of {seeds} networks trained together:")
        say(f"{'step':>8}  {'lowest':>9}  {'median':>9}  {'highest':>9}")
        for row in _milestones(path.step):
            step, lowest, _, median, _, highest = rows[row].values()
            say(f"{step:>8}  {lowest:9.3g}  {median:9.3g}  {highest:9.3g}")
    if config.animation != "none" and not config.quick:
        _animate(path, target, config.animation, run)
    return None


def _target(config: Config) -> mc.data.Curve:
    if config.curve in mc.data.CURVES:
        return mc.data.curve(config.curve, config.points)
    if not Path(config.curve).suffix:
        known = ", ".join(mc.data.CURVES)
        raise ValueError(
            f"there is no curve {config.curve!r}: expected a CSV file or one of {known}"
        )
    return mc.data.read_curve(config.curve)


def _draw(path: mc.Path, target: mc.data.Curve, run: Run) -> None:
    figure = mc.plots.figure(11, 4.6)
    drawing, costs = figure.subplots(1, 2)
    mc.plots.learning(path, target.x, target.y, ax=drawing)
    mc.plots.cost(path, ax=costs)
    run.figure(figure, "learning")


def _milestones(steps: Any) -> list[int]:
    """The first rows at or after 0, 100, 1000, ... steps, and the last row."""
    last = int(steps[-1])
    marks = [step for step in (0, 100, 1000, 10_000, 100_000, 1_000_000) if step < last]
    return [*np.searchsorted(np.asarray(steps), marks).tolist(), len(steps) - 1]


def _spread(cost: Any, config: Config, steps: int, every: int, seeds: int) -> np.ndarray:
    """Costs of networks from several starts, each with noise of its own, (seeds, rows)."""

    @jax.jit
    @jax.vmap
    def train(key: jax.Array) -> Any:
        key_start, key_noise = jax.random.split(key)
        start = mc.network.init_params(key_start, config.sizes)
        optimiser = mc.steepest_descent(config.aggression, config.noise, key=key_noise)
        return mc.minimise(cost, start, optimiser, steps, every=every).cost

    keys = jax.random.split(jax.random.key(config.seed), seeds)
    groups = [keys[first : first + 8] for first in range(0, seeds, 8)]
    return np.concatenate(
        [train(group) for group in tqdm(groups, desc="8 networks each", disable=None, leave=False)]
    )


def _quantiles(costs: np.ndarray) -> dict[str, float]:
    names = ("lowest", "20 %", "median", "80 %", "highest")
    return dict(zip(names, map(float, np.quantile(costs, (0, 0.2, 0.5, 0.8, 1))), strict=True))


def _animate(path: mc.Path, target: mc.data.Curve, kind: str, run: Run) -> None:
    animation = mc.plots.animate_learning(path, target.x, target.y)
    if kind == "html":
        with run.whole("learning.html") as file:
            file.write_text(animation.to_jshtml(), encoding="utf-8")
        return
    with (
        tqdm(desc="animation", unit="frame", disable=None, leave=False) as bar,
        run.whole("learning.gif") as file,
    ):
        animation.save(file, writer="pillow", progress_callback=lambda *_: bar.update())


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
