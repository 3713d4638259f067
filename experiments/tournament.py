"""Twelve optimisers, or more, on many problems: which share each solves, within what effort."""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import mlcalc_jax as mc

from ._entrants import ALL, from_contrib
from ._run import Config as Common
from ._run import Run, input_errors, main, say
from .compare_optimisers import draw_profiles, named, save


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Race all optimisers on many problems, and draw performance and data profiles.

    Takes some minutes, most of it to compile each optimiser for each problem.
    """

    problems: tuple[str, ...] = (
        *("heights", "line", "logistic_regression", "quadratic(100, 10)", "quadratic(10000, 10)"),
        *("rosenbrock", "beale", "himmelblau", "saddle", "ravine"),
        *("helical_valley", "bard", "powell_singular", "wood", "kowalik_osborne", "biggs_exp6"),
        *("osborne_1", "extended_rosenbrock", "trigonometric", "brown_almost_linear"),
    )
    """Names of problems, or sets of them: course, surfaces, mgh, all (--quick: the first 3)."""
    contrib: tuple[str, ...] = ()
    """More optimisers, by their names in optax.contrib: prodigy, muon, ..."""
    steps: int = 1000
    """Steps of every run (--quick: at most 100)."""
    trials: int = 24
    """Settings that each optimiser may try (--quick: at most 6)."""
    tuning_seeds: int = 4
    """Seeds that choose the setting."""
    seeds: int = 8
    """Fresh seeds that judge it."""
    resume: Path | None = None
    """A folder in which finished tuning is kept, and from which a stopped tournament goes on."""


def experiment(config: Config, run: Run) -> str | None:
    """Race; print who solves what, and draw the profiles."""
    with input_errors():
        names = config.problems[:3] if config.quick else config.problems
        entrants = ALL | {name: from_contrib(name) for name in config.contrib}
        run.doing("racing")
        comparison = mc.compare(
            named(names),
            entrants,
            steps=min(config.steps, 100) if config.quick else config.steps,
            trials=min(config.trials, 6) if config.quick else config.trials,
            tuning_seeds=config.tuning_seeds,
            seeds=config.seeds,
            key=config.seed,
            repeats=0,
            out=config.resume,
            resume=config.resume is not None,
            progress=sys.stderr.isatty(),
        )
    save(comparison, run)
    draw_profiles(comparison, run)
    rows = _summary(comparison)
    run.table("summary", rows)
    say(f"{'optimiser':<22}{'solved':>8}{'best on':>9}")
    for row in rows:
        say(f"{row['optimiser']:<22}{row['share']:>8.0%}{row['best_on']:>9}")
    return None


def _summary(comparison: mc.Comparison) -> list[dict[str, str | float | int]]:
    """Who solves most of all problems and seeds, and on how many problems each is the best."""
    best = Counter(comparison.winners().values())
    shares: Counter[str] = Counter()
    for standing in comparison.problems:
        for row in comparison.table(standing.name):
            shares[row["optimiser"]] += row["share"] / len(comparison.problems)
    return [
        {"optimiser": name, "share": shares[name], "best_on": best[name]}
        for name in sorted(comparison.optimisers, key=lambda name: -shares[name])
    ]


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
