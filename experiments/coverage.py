"""Do 95 % intervals hold the truth 95 % of the time? Thousands of simulated data sets tell."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
from tqdm import tqdm

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say

LEVELS = (0.68, 0.95)


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Count how often intervals of three kinds hold the true parameters.

    Delta method for every data set; profile likelihood and bootstrap for the first few.
    """

    sets: int = 10_000
    """Simulated data sets of each model (--quick: 1000)."""
    refitted: int = 300
    """Of these, how many get profile and bootstrap intervals (--quick: 20)."""
    samples: int = 500
    """Resampled data sets of a bootstrap."""


class Case(NamedTuple):
    """A model, the truth, where it is observed and how noisily."""

    model: Callable[[Any, Any], Any]
    truth: dict[str, float]
    x: np.ndarray
    sigma: float


CASES = {
    "line": Case(mc.models.line, {"slope": 2.0, "intercept": -1.0}, np.linspace(0, 1, 20), 0.3),
    "gaussian_peak": Case(
        mc.models.gaussian_peak,
        {"amplitude": 3.0, "mu": 0.4, "sigma": 0.8, "offset": 1.0},
        np.linspace(-4, 4, 60),
        0.1,
    ),
    "exponential_decay": Case(
        mc.models.exponential_decay,
        {"amplitude": 5.0, "rate": 0.7, "offset": 1.0},
        np.linspace(0, 8, 60),
        0.1,
    ),
}


def experiment(config: Config, run: Run) -> str | None:
    """Simulate, fit, count, draw."""
    sets = min(config.sets, 1000) if config.quick else config.sets
    refitted = min(config.refitted, 20 if config.quick else sets, sets)
    with input_errors():
        for what, number in (("sets", config.sets), ("samples", config.samples)):
            if number < 1:
                raise ValueError(f"{what} must be at least 1, got {number}")
        if refitted < 0:
            raise ValueError(f"refitted must not be negative, got {config.refitted}")
    rows = []
    for k, (name, case) in enumerate(CASES.items()):
        run.doing(name)
        draw = np.random.default_rng([config.seed, k])
        curve = np.asarray(case.model(case.truth, case.x))
        y = curve + case.sigma * draw.normal(size=(sets, case.x.size))
        rows += _rows(name, "delta", delta_holds(case, y))
        if refitted:
            rows += _rows(name, "profile", _profile_holds(case, y[:refitted]))
            rows += _rows(name, "bootstrap", _bootstrap_holds(case, y[:refitted], config))
        run.table("coverage", rows)
    say(f"{'model':<20}{'interval':<12}{'parameter':<12}{'level':>6}{'held':>9}{'off by':>9}")
    for row in rows:
        say(
            f"{row['model']:<20}{row['kind']:<12}{row['parameter']:<12}{row['level']:>6}"
            f"{row['held']:>9.4f}{row['off_by_errors']:>+8.1f}s"
        )
    say("off by: from the level, in binomial standard errors")
    _draw(rows, run)
    return None


Holds = dict[str, np.ndarray]  # for each parameter, (levels, sets) of whether the interval holds it


def delta_holds(case: Case, y: np.ndarray) -> Holds:
    """Which intervals ``value +- t stderr`` hold the truth, for every data set at once."""

    @jax.jit
    def fits(y: jax.Array) -> Any:
        def one(y: jax.Array) -> Any:
            fit = mc.fit(case.model, case.truth, case.x, y, steps=50)
            return fit.params, fit.stderr, fit.status

        return jax.lax.map(one, y, batch_size=500)

    params, stderr, status = jax.device_get(fits(jnp.asarray(y)))
    assert all(mc.Status(int(s)).has_converged for s in np.unique(status))
    t = special.stdtrit(case.x.size - len(case.truth), (1 + np.array(LEVELS)) / 2)
    return {
        name: np.abs(params[name] - truth) <= t[:, None] * stderr[name]
        for name, truth in case.truth.items()
    }


def _profile_holds(case: Case, y: np.ndarray) -> Holds:
    held: dict[str, list[list[bool]]] = {name: [] for name in case.truth}
    for one in tqdm(y, desc="profiles", leave=False, disable=None):
        fit = mc.fit(case.model, case.truth, case.x, one)
        for name, truth in case.truth.items():
            ends = [fit.profile(name, level) for level in LEVELS]
            held[name].append([low <= truth <= high for low, high in ends])
    return {name: np.array(flags).T for name, flags in held.items()}


def _bootstrap_holds(case: Case, y: np.ndarray, config: Config) -> Holds:
    held: dict[str, list[list[bool]]] = {name: [] for name in case.truth}
    for k, one in enumerate(tqdm(y, desc="bootstraps", leave=False, disable=None)):
        fit = mc.fit(case.model, case.truth, case.x, one)
        key = jax.random.fold_in(jax.random.key(config.seed), k)
        samples = fit.bootstrap(config.samples, key=key)
        ends = [samples.interval(level) for level in LEVELS]
        for name, truth in case.truth.items():
            held[name].append([bool(low[name] <= truth <= high[name]) for low, high in ends])
    return {name: np.array(flags).T for name, flags in held.items()}


def _rows(model: str, kind: str, held: Holds) -> list[dict[str, Any]]:
    rows = []
    for name, flags in held.items():
        for level, some in zip(LEVELS, flags, strict=True):
            error = np.sqrt(level * (1 - level) / some.size)
            rows.append(
                {
                    "model": model,
                    "kind": kind,
                    "parameter": name,
                    "level": level,
                    "sets": some.size,
                    "held": float(some.mean()),
                    "off_by_errors": float((some.mean() - level) / error),
                }
            )
    return rows


def _draw(rows: list[dict[str, Any]], run: Run) -> None:
    """Coverage of every interval, with two binomial standard errors, against its level."""
    figure = mc.plots.figure(9, 4.8)
    panels = figure.subplots(1, len(LEVELS))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    styles = mc.plots.lines(kinds)
    names = list(dict.fromkeys(f"{row['model']}: {row['parameter']}" for row in rows))
    for panel, level in zip(panels, LEVELS, strict=True):
        for k, kind in enumerate(kinds):
            some = [row for row in rows if row["kind"] == kind and row["level"] == level]
            held = np.array([row["held"] for row in some])
            spread = np.array([2 * np.sqrt(level * (1 - level) / row["sets"]) for row in some])
            panel.errorbar(
                held,
                np.arange(len(some)) + 0.2 * (k - 1),
                xerr=[np.minimum(spread, held), np.minimum(spread, 1 - held)],
                color=styles[kind].color,
                marker=styles[kind].marker,
                linestyle="",
                capsize=2,
                label=f"{kind}, {some[0]['sets']} data sets",
            )
        panel.axvline(level, color="grey", linewidth=0.8)
        panel.set(xlabel="share of intervals that hold the truth", title=f"level {level:.0%}")
        panel.set_yticks(range(len(names)), names if panel is panels[0] else [])
        panel.invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    run.figure(figure, "coverage")


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
