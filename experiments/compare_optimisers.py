"""Optimisers race on any problem under one protocol: who reaches the target, how soon, how sure."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

import mlcalc_jax as mc

from ._entrants import FEWER
from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Race steepest descent, optax's optimisers and second-order methods on problems by name.

    Every optimiser gets the same number of settings, tried on the same tuning seeds; the best is
    judged on fresh seeds. `python -m experiments.tournament` races more of them on many problems.
    """

    problems: tuple[str, ...] = ("heights", "curve")
    """Names, such as rosenbrock, "quadratic(1000, 10)", bard; or a set: course, surfaces, mgh."""
    steps: int = 500
    """Steps of every run (--quick: at most 100)."""
    trials: int = 24
    """Learning rates that each optimiser may try (--quick: at most 12)."""
    tuning_seeds: int = 8
    """Seeds that choose the learning rate (--quick: at most 4)."""
    seeds: int = 16
    """Fresh seeds that judge it (--quick: at most 8)."""
    repeats: int = 3
    """Timed runs of each optimiser, of which the fastest counts (--quick: 1)."""
    target: float | None = None
    """A cost to reach; else a thousandth of the way above the minimum, or the lowest cost found.
    (The curve has 0.005, which more than one of them can reach.)"""


_TARGETS = {"curve(heart)": 5e-3}


def _targets(problems: Sequence[mc.problems.Problem]) -> dict[str, float] | None:
    return {one.name: _TARGETS[one.name] for one in problems if one.name in _TARGETS} or None


def experiment(config: Config, run: Run) -> str | None:
    """Race; print a page for each problem, draw the costs, the sensitivity and the paths."""
    with input_errors():
        problems = named(config.problems)
        run.doing("racing")
        comparison = mc.compare(
            problems,
            FEWER,
            steps=_at_most(config.steps, 100, config),
            trials=_at_most(config.trials, 12, config),
            tuning_seeds=_at_most(config.tuning_seeds, 4, config),
            seeds=_at_most(config.seeds, 8, config),
            repeats=_at_most(config.repeats, 1, config),
            target=_targets(problems) if config.target is None else config.target,
            key=config.seed,
            progress=sys.stderr.isatty(),
        )
    save(comparison, run)
    for problem in problems:
        draw_race(comparison, problem.name, run)
        if problem.view is not None:
            draw_paths(comparison, problem, run)
    if len(problems) > 1:
        draw_profiles(comparison, run)
    return None


def named(names: Sequence[str]) -> list[mc.problems.Problem]:
    """The problems of these names; the name of a set stands for all in it."""
    if not names:
        raise ValueError("name at least one problem")
    each = [one for name in names for one in mc.problems.SETS.get(name, (name,))]
    return [mc.problems.named(name) for name in dict.fromkeys(each)]


def save(comparison: mc.Comparison, run: Run) -> None:
    """Print the report; keep it, every run, the medians, and all of it."""
    say("\n" + comparison.report())
    with run.whole("report.txt") as file:
        file.write_text(comparison.report(), encoding="utf-8")
    run.table("runs", comparison.records())
    run.table(
        "medians",
        [
            {
                "problem": standing.name,
                "target": standing.target,
                "optimiser": row["optimiser"],
                **{f"{name}_to_target": row[name].median for name in ("oracle", "steps")},
                "seconds_to_target": row["seconds"].median,
                "share": row["share"],
                "lowest_cost": row["lowest_cost"],
                "setting": "; ".join(f"{n} {v:g}" for n, v in row["setting"].items()),
                "error": row["error"],
            }
            for standing in comparison.problems
            for row in comparison.table(standing.name)
        ],
    )
    with run.whole("comparison.npz") as file:
        comparison.save(file)


def draw_race(comparison: mc.Comparison, problem: str, run: Run) -> None:
    """Cost against evaluations and seconds; sensitivity to the learning rate."""
    styles = mc.plots.lines(comparison.optimisers)
    name = plain(problem)
    figure = mc.plots.figure(14, 4.6)
    left, right = figure.subplots(1, 2, sharey=True)
    mc.plots.race(comparison, problem, styles=styles, labels=False, ax=left)
    mc.plots.race(comparison, problem, against="seconds", styles=styles, ax=right)
    left.set_title(f"{problem}: median and 20-80 % of fresh seeds")
    right.set_ylabel("")
    run.figure(figure, f"{name}_race")
    figure = mc.plots.figure(14, 4.6)
    left, right = figure.subplots(1, 2)
    mc.plots.sensitivity(comparison, problem, styles=styles, labels=False, ax=left)
    mc.plots.sensitivity(comparison, problem, what="diverged", styles=styles, ax=right)
    left.set_title(f"{problem}: tuning seeds; a star is the rate that was chosen")
    run.figure(figure, f"{name}_sensitivity")


def draw_paths(comparison: mc.Comparison, problem: mc.problems.Problem, run: Run) -> None:
    """The map twice, first and second order apart: eight paths on one map cannot be read.

    Each path ends where it reaches the target; what it does there may hide all others.
    """
    assert problem.view is not None
    target = comparison.standing(problem.name).target
    replayed = mc.replay(comparison, problem, FEWER)
    paths = {name: _until(path, target) for name, path in replayed.items()}
    longest_first = sorted(paths, key=lambda name: -len(paths[name].step))
    view = _around(list(paths.values()), problem.view)
    styles = mc.plots.lines(comparison.optimisers)
    figure = mc.plots.figure(13, 5.2)
    names = list(FEWER)
    for some, title, ax in zip(
        (names[:5], names[5:]),
        ("from gradients", "by curvature"),
        figure.subplots(1, 2, sharey=True),
        strict=True,
    ):
        mc.plots.contour(
            problem.cost,
            {name: paths[name] for name in longest_first if name in some},
            x=view.x,
            y=view.y,
            styles=styles,
            ax=ax,
        )
        ax.set_title(f"{problem.name}: {title}; as far as the target")
    run.figure(figure, f"{plain(problem.name)}_paths")


def _until(path: mc.Path, target: float) -> mc.Path:
    """The path as far as the first row whose cost is the target or less."""
    reached = np.flatnonzero(path.cost <= target)
    if not reached.size:
        return path
    rows = int(reached[0]) + 1
    params, cost, gradient_norm, step = jax.tree.map(lambda leaf: leaf[:rows], path[:4])
    return mc.Path(params, cost, gradient_norm, step, path.status)


def _around(paths: Sequence[mc.Path], view: mc.problems.View) -> mc.problems.View:
    """The part of a view that the paths go through, and a margin."""

    def between(name: str, least: float, most: float) -> tuple[str, float, float]:
        gone = np.concatenate([path.params[name] for path in paths])
        gone = np.clip(gone, least, most)
        margin = max(0.25 * np.ptp(gone), 0.02 * (most - least))
        return name, max(least, gone.min() - margin), min(most, gone.max() + margin)

    return mc.problems.View(between(*view.x), between(*view.y))


def draw_profiles(comparison: mc.Comparison, run: Run) -> None:
    """Who solves which share of the problems, within what effort."""
    styles = mc.plots.lines(comparison.optimisers)
    figure = mc.plots.figure(14, 4.8)
    left, right = figure.subplots(1, 2, sharey=True)
    mc.plots.performance_profile(comparison, styles=styles, labels=False, ax=left)
    mc.plots.data_profile(comparison, styles=styles, ax=right)
    left.set_title(f"performance profile: {len(comparison.problems)} problems")
    right.set(title="data profile", ylabel="")
    run.figure(figure, "profiles")


def plain(name: str) -> str:
    """A name for files."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)


def _at_most(value: int, most: int, config: Config) -> int:
    return min(value, most) if config.quick else value


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
