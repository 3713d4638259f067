"""Eight optimisers race on both assignments, from the same starts, under one protocol."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from tqdm import tqdm

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Race steepest descent, optax's optimisers and second-order methods on both assignments.

    Every optimiser starts from the same point and takes the same number of steps. One that has a
    learning rate gets the best, by final cost, of one grid for all: 1, 2, 5 times powers of ten.
    """

    heights_steps: int = 50
    """Steps on the fit to the heights (--quick: at most 50)."""
    curve_steps: int = 1000
    """Steps on the curve network (--quick: at most 100)."""
    repeats: int = 3
    """Timed runs of each optimiser, of which the fastest counts (--quick: 1)."""


class Problem(NamedTuple):
    """A race: what is descended, from where, by whom."""

    name: str
    cost: mc.LeastSquares
    start: Any
    steps: int
    momentum: float
    target: float | None
    """A cost to reach; within 1 % of the best found by anyone, if none is given."""


class Timed(NamedTuple):
    """A path, and what it took."""

    path: mc.Path
    compile_seconds: float
    seconds_per_step: float


def experiment(config: Config, run: Run) -> str | None:
    """Race on both problems; draw the costs, and the paths on the map of the heights."""
    with input_errors():
        if min(config.heights_steps, config.curve_steps, config.repeats) < 1:
            raise ValueError("heights-steps, curve-steps and repeats must be at least 1")
    repeats = 1 if config.quick else config.repeats
    for problem in (_heights(config), _curve(config)):
        entries = tqdm(_entries(problem), desc=problem.name, total=8, disable=None, leave=False)
        results = {name: _race(problem, optimiser, repeats) for name, optimiser in entries}
        rows = _rows(problem, results)
        _tell(problem, _target(problem, results), rows)
        run.table(problem.name, rows)
        for name, timed in results.items():
            run.path(f"{problem.name}_{name.split(' (')[0].replace(' ', '_')}", timed.path)
        _draw_costs(problem, results, run)
        if problem.name == "heights":
            _draw_paths(problem, results, run)
    return None


def _heights(config: Config) -> Problem:
    histogram = mc.data.heights_histogram()
    return Problem(
        name="heights",
        cost=mc.LeastSquares(mc.models.gaussian, histogram.centre, histogram.density),
        start={"mu": 155.0, "sigma": 6.0},
        steps=min(config.heights_steps, 50) if config.quick else config.heights_steps,
        momentum=0.8,
        target=None,
    )


def _curve(config: Config) -> Problem:
    target = mc.data.curve("heart")
    points = len(target.x)
    return Problem(
        name="curve",
        # Residuals over the square root of N make chi-squared the course's mean over points.
        cost=mc.LeastSquares(mc.models.network, target.x, target.y, sigma=points**0.5),
        start=mc.network.init_params(jax.random.key(config.seed)),
        steps=min(config.curve_steps, 100) if config.quick else config.curve_steps,
        momentum=0.9,
        target=0.002,
    )


def _entries(problem: Problem) -> Iterator[tuple[str, Any]]:
    """Who takes part, one after another, so that the progress bar shows the tuning as well."""
    momentum = problem.momentum
    for name, factory in {
        "steepest descent": mc.steepest_descent,
        f"momentum {momentum}": partial(optax.sgd, momentum=momentum),
        "RMSProp": optax.rmsprop,
        "Adam": optax.adam,
    }.items():
        rate = _best_rate(problem, factory)
        yield f"{name} ({rate:g})", factory(rate)
    yield "L-BFGS", optax.lbfgs()
    yield "Newton", mc.newton()
    yield "Gauss-Newton", mc.gauss_newton()
    yield "Levenberg-Marquardt", mc.levenberg_marquardt()


def _best_rate(problem: Problem, factory: Callable[[Any], Any]) -> float:
    """The learning rate that ends lowest, of 1e-4, 2e-4, 5e-4, ..., 5e4: one compilation."""
    rates = np.array([digit * 10.0**power for power in range(-4, 5) for digit in (1, 2, 5)])

    @jax.jit
    @jax.vmap
    def descend(rate: jax.Array) -> mc.Path:
        return mc.minimise(
            problem.cost, problem.start, factory(rate), problem.steps, every=problem.steps
        )

    return float(rates[np.argmin(descend(rates).cost[:, -1])])


def _race(problem: Problem, optimiser: Any, repeats: int) -> Timed:
    def descend() -> tuple[mc.Path, float]:
        began = time.perf_counter()
        path = mc.minimise(problem.cost, problem.start, optimiser, problem.steps)
        jax.block_until_ready(path)
        return path, time.perf_counter() - began

    jax.clear_caches()  # what an earlier race compiled would be a gift
    _, first = descend()
    path, best = min((descend() for _ in range(repeats)), key=lambda pair: pair[1])
    return Timed(path, first - best, best / max(1, int(path.steps_taken)))


def _rows(problem: Problem, results: Mapping[str, Timed]) -> list[dict[str, Any]]:
    """One row an optimiser: where it ended, and when it reached the target."""
    target = _target(problem, results)
    rows = []
    for name, (path, compiling, per_step) in results.items():
        near = np.flatnonzero(np.asarray(path.cost) <= target)
        rows.append(
            {
                "optimiser": name,
                "final_cost": float(path.cost[-1]),
                "steps_to_target": int(path.step[near[0]]) if near.size else None,
                "seconds_to_target": float(path.step[near[0]]) * per_step if near.size else None,
                "microseconds_per_step": 1e6 * per_step,
                "compile_seconds": compiling,
                "status": mc.Status(int(path.status)).name,
            }
        )
    return rows


def _target(problem: Problem, results: Mapping[str, Timed]) -> float:
    best = min(float(np.min(timed.path.cost)) for timed in results.values())
    return 1.01 * best if problem.target is None else problem.target


def _tell(problem: Problem, target: float, rows: list[dict[str, Any]]) -> None:
    say(
        f"\n{problem.name}: {problem.steps} steps each from the same start; "
        f"the target is a cost of {target:.4g}"
    )
    say(
        f"{'':<25}{'final':>11}{'steps to':>10}{'ms to':>9}{'us per':>9}{'compile':>9}\n"
        f"{'optimiser':<25}{'cost':>11}{'target':>10}{'target':>9}{'step':>9}{'s':>9}  status"
    )
    for row in rows:
        steps, seconds = row["steps_to_target"], row["seconds_to_target"]
        say(
            f"{row['optimiser']:<25}{row['final_cost']:>11.4g}"
            f"{'-' if steps is None else steps:>10}"
            f"{'-' if seconds is None else format(1e3 * seconds, '.3g'):>9}"
            f"{row['microseconds_per_step']:>9.1f}{row['compile_seconds']:>9.2f}  {row['status']}"
        )


def _draw_costs(problem: Problem, results: Mapping[str, Timed], run: Run) -> None:
    figure = mc.plots.figure(13, 5)
    by_step, by_seconds = figure.subplots(1, 2, sharey=True)
    paths = {name: timed.path for name, timed in results.items()}
    mc.plots.cost(paths, ax=by_step, legend=False)
    mc.plots.cost(
        paths,
        seconds_per_step={name: timed.seconds_per_step for name, timed in results.items()},
        legend=False,
        ax=by_seconds,
    )
    figure.legend(*by_step.get_legend_handles_labels(), loc="outside right upper")
    by_step.set_title(f"{problem.name}: by step")
    by_seconds.set_title("by time")
    run.figure(figure, f"{problem.name}_cost")


def _draw_paths(problem: Problem, results: Mapping[str, Timed], run: Run) -> None:
    """The map twice, first and second order apart: eight paths on one map cannot be read."""
    figure = mc.plots.figure(12, 5)
    names = list(results)
    for some, title, ax in zip(
        (names[:5], names[5:]),
        ("from gradients", "from second derivatives or residuals"),
        figure.subplots(1, 2, sharey=True),
        strict=True,
    ):
        mc.plots.contour(
            problem.cost,
            {name: results[name].path for name in some},
            x=("mu", 145, 205),
            y=("sigma", 1, 40),
            label=r"$\chi^2$",
            styles=mc.plots.lines(results),
            ax=ax,
        )
        ax.set(title=title, xlabel=r"$\mu$ / cm", ylabel=r"$\sigma$ / cm")
    run.figure(figure, "heights_paths")


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
