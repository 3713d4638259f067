"""All 27 certified problems of NIST, from both starts and from many others, beside peers."""

import sys
import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

import mlcalc_jax as mc

from ._nist_peers import Solver, peers
from ._run import Config as Common
from ._run import Run, input_errors, main, say

_OURS, _SINGLE = "mlcalc_jax", "mlcalc_jax, float32"


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Fit NIST's problems with default settings, and count the correct digits.

    A run counts as solved with 6 correct digits in its worst parameter. From perturbed starts (each
    parameter of start 1 and start 2 times a factor drawn log-uniformly from 1/3 to 3) it counts if
    the residual sum of squares is within 1e-6 of the certified one, since several problems have
    equal optima with parameters exchanged.
    """

    starts: int = 100
    """Perturbed starts of each of the two (--quick: 5)."""
    alone: bool = False
    """Leave the peers out (they take most of the time)."""


def experiment(config: Config, run: Run) -> str | None:
    """Solve, count, compare, draw."""
    with input_errors():
        if config.starts < 0:
            raise ValueError(f"starts must not be negative, got {config.starts}")
    others = [] if config.alone else peers()
    starts = min(config.starts, 5) if config.quick else config.starts
    rows, rates = [], []
    began = time.monotonic()
    for name in tqdm(mc.data.NIST, desc="problems", leave=False, disable=None):
        problem = mc.data.nist(name)
        solvers = {peer.name: peer.of(problem) for peer in others}
        rows += _certified_starts(problem, solvers)
        if starts:
            rates.append(_perturbed_starts(problem, solvers, starts, config.seed))
            run.table("perturbed", rates)
        run.table("runs", rows)
    _tell(rows, rates, [_OURS, *(peer.name for peer in others), _SINGLE])
    say(f"took {time.monotonic() - began:.0f} s")
    _draw(rows, [_OURS, *(peer.name for peer in others)], run)
    failed = [f"{r['problem']} from start {r['start']}" for r in rows if _is_ours_unsolved(r)]
    return f"not solved: {', '.join(failed)}" if failed else None


def digits(found: Any, certified: Any) -> float:
    """Correct digits of the worst entry: at most 11, as many as are certified; 0 for NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.abs(np.asarray(found) - certified) / np.abs(certified)
        each = np.clip(-np.log10(error), 0, 11)
    return float(np.min(np.where(np.isnan(each), 0, each)))


def _certified_starts(
    problem: mc.data.NistProblem, solvers: dict[str, Solver]
) -> list[dict[str, Any]]:
    rows = []
    for number, start in enumerate(problem.starts, start=1):
        common = {"problem": problem.name, "start": number}
        for name, dtype in ((_OURS, np.float64), (_SINGLE, np.float32)):
            x, y, b = jax.tree.map(lambda a, t=dtype: a.astype(t), (problem.x, problem.y, start))
            fit = mc.fit(problem.model, b, x, y)
            rows.append(
                {
                    **common,
                    "solver": name,
                    "digits": digits(fit.params, problem.certified),
                    "digits_of_stderr": digits(fit.stderr, problem.certified_stderr),
                    "digits_of_rss": digits(fit.chi_squared, problem.residual_sum_of_squares),
                    "evaluations": int(fit.evaluations) + int(fit.bends),
                    "status": mc.Status(int(fit.status)).name,
                }
            )
        for name, solve in solvers.items():
            found, evaluations = solve(start)
            rows.append(
                {
                    **common,
                    "solver": name,
                    "digits": digits(found, problem.certified),
                    "digits_of_stderr": "",
                    "digits_of_rss": "",
                    "evaluations": evaluations,
                    "status": "",
                }
            )
    return rows


def _perturbed_starts(
    problem: mc.data.NistProblem, solvers: dict[str, Solver], starts: int, seed: int
) -> dict[str, Any]:
    draw = np.random.default_rng([seed, mc.data.NIST.index(problem.name)])
    factors = 3 ** draw.uniform(-1, 1, (2, starts, problem.certified.size))
    many = (np.stack(problem.starts)[:, None] * factors).reshape(-1, problem.certified.size)
    cost = mc.LeastSquares(problem.model, problem.x, problem.y)
    enough = max(problem.residual_sum_of_squares * (1 + 1e-6), 1e-20)

    fits = jax.jit(jax.vmap(lambda b: mc.fit(problem.model, b, problem.x, problem.y).cost))(many)
    rates = {"problem": problem.name, _OURS: float(np.mean(np.asarray(fits) <= enough))}
    for name, solve in solvers.items():
        rates[name] = float(np.mean([cost(solve(start)[0]) <= enough for start in many]))
    return rates


def _is_ours_unsolved(row: dict[str, Any]) -> bool:
    return row["solver"] == _OURS and row["digits"] < 6


def _tell(rows: list[dict[str, Any]], rates: list[dict[str, Any]], solvers: list[str]) -> None:
    say(f"{'solver':<22}{'solved':>8}{'mean':>7}{'worst':>7}{'evaluations':>13}{'perturbed':>11}")
    for name in solvers:
        some = [row for row in rows if row["solver"] == name]
        found = np.array([row["digits"] for row in some])
        rate = [row[name] for row in rates if name in row]
        say(
            f"{name:<22}{np.sum(found >= 6):>5}/{len(found)}{found.mean():>7.2f}{found.min():>7.1f}"
            f"{sum(row['evaluations'] for row in some):>13}"
            + (f"{100 * np.mean(rate):>10.1f}%" if rate else f"{'':>11}")
        )
    ours = [r for r in rows if r["solver"] == _OURS and r["problem"] != "Lanczos1"]
    for what in ("digits_of_stderr", "digits_of_rss"):
        values = [row[what] for row in ours]
        say(f"{what.replace('_', ' ')}: mean {np.mean(values):.2f}, worst {min(values):.1f}")
    single = [r for r in rows if r["solver"] == _SINGLE and r["digits"] < 2]
    say(
        "float32, fewer than 2 digits: " + ", ".join(f"{r['problem']}-{r['start']}" for r in single)
    )


def _draw(rows: list[dict[str, Any]], solvers: list[str], run: Run) -> None:
    """Correct digits of every run, solver by solver."""
    figure = mc.plots.figure(9, 8)
    ax = figure.add_subplot()
    runs = [f"{r['problem']} {r['start']}" for r in rows if r["solver"] == _OURS]
    styles = mc.plots.lines(solvers)
    for k, name in enumerate(solvers):
        found = [row["digits"] for row in rows if row["solver"] == name]
        ax.plot(
            found,
            np.arange(len(found)) + 0.12 * (k - len(solvers) / 2),
            linestyle="",
            marker=styles[name].marker,
            color=styles[name].color,
            fillstyle="full" if k == 0 else "none",
            markersize=5,
            label=f"{name}: mean {np.mean(found):.2f}",
        )
    ax.axvline(6, color="grey", linewidth=0.8)
    ax.set_yticks(range(len(runs)), runs, fontsize=6)
    ax.set(xlabel="correct digits of the worst parameter (11 are certified)", ylim=(len(runs), -1))
    ax.set_title("NIST's problems, from start 1 and start 2")
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    run.figure(figure, "digits")


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
