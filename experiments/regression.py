"""Regression: the straight line three ways, its chi-squared surface, Anscombe's four stories."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """A straight line by closed form, QR and steepest descent, with its errors and residuals."""

    data: Path | None = None
    """CSV file with columns x and y; 20 points about y = 1.7 x - 3 unless given."""
    steps: int = 4000
    """Steps of the steepest descent, at most."""


def experiment(config: Config, run: Run) -> str | None:
    """Fit; compare; draw the surface over slope and intercept, tilted and level."""
    with input_errors():
        x, y = _data(config)
        line = mc.straight_line(x, y)
        by_qr = mc.fit(mc.models.line, None, x, y)
        centre = float(np.mean(x))
        problems = {
            "as measured": mc.LeastSquares(mc.models.line, x, y),
            "centred": mc.LeastSquares(mc.models.line, x - centre, y),
        }
        paths = {name: _descend(problem, config.steps) for name, problem in problems.items()}
    slope, intercept = float(line.slope), float(line.intercept)
    by_descent = paths["centred"].final
    moved = float(by_descent["intercept"]) - centre * float(by_descent["slope"])
    say(f"{'':<18}{'slope':>22}{'intercept':>22}")
    say(f"{'closed form':<18}{slope:>22.15g}{intercept:>22.15g}")
    q = by_qr.params
    say(f"{'QR':<18}{float(q['slope']):>22.15g}{float(q['intercept']):>22.15g}")
    say(f"{'steepest descent':<18}{float(by_descent['slope']):>22.15g}{moved:>22.15g}")
    say(
        f"{'standard errors':<18}{float(line.slope_stderr):>22.6g}"
        f"{float(line.intercept_stderr):>22.6g}"
    )
    for name, path in paths.items():
        say(f"steps of the steepest descent, x {name}: {path.steps_taken} ({path.message})")
    run.table(
        "line",
        [
            {"way": "closed form", "slope": slope, "intercept": intercept},
            {"way": "QR", "slope": float(q["slope"]), "intercept": float(q["intercept"])},
            {
                "way": "steepest descent",
                "slope": float(by_descent["slope"]),
                "intercept": moved,
            },
        ],
    )
    _draw_surfaces(problems, paths, run)
    run.figure(mc.plots.fit(by_qr).figure, "fit")
    if min(float(by_qr.stderr[name]) for name in ("slope", "intercept")) > 0:
        run.figure(mc.plots.contours(by_qr, "slope", "intercept").figure, "ellipse")
    else:
        say("the line goes through every point: there are no errors to draw")
    _anscombe(run)
    return None


def _data(config: Config) -> tuple[np.ndarray, np.ndarray]:
    if config.data is not None:
        x, y = mc.data.read_columns(config.data, ["x", "y"])
        if x.size < 3 or np.ptp(x) == 0:
            raise ValueError(
                f"{config.data.name}: a line with errors needs three points that differ in x"
            )
        return x, y
    rng = np.random.default_rng(config.seed)
    x = np.sort(rng.uniform(2, 10, 20))
    return x, 1.7 * x - 3 + rng.normal(0, 1.0, x.size)


def _descend(problem: mc.LeastSquares, steps: int) -> mc.Path:
    """By one over the largest curvature, which goes down without a zigzag."""
    start = {"slope": 0.0, "intercept": 0.0}
    step = 1 / float(np.linalg.eigvalsh(mc.hessian(problem, start).matrix)[-1])
    return mc.minimise(problem, start, mc.steepest_descent(step), steps, gradient_tolerance=1e-9)


def _draw_surfaces(problems: dict[str, Any], paths: dict[str, mc.Path], run: Run) -> None:
    figure = mc.plots.figure(11.5, 4.6)
    for ax, (name, problem) in zip(figure.subplots(1, 2), problems.items(), strict=True):
        path = paths[name]
        m, c = (float(path.final[key]) for key in ("slope", "intercept"))
        wide = {"slope": 1.3 * abs(m) + 0.5, "intercept": 1.3 * abs(c) + 2.0}
        mc.plots.contour(
            problem,
            path,
            x=("slope", m - wide["slope"], m + wide["slope"]),
            y=("intercept", c - wide["intercept"], c + wide["intercept"]),
            label="chi-squared",
            ax=ax,
        )
        ax.set_title(f"x {name}: {path.steps_taken} steps")
    run.figure(figure, "chi_squared")


def _anscombe(run: Run) -> None:
    """The same line through four sets, their residuals, and a robust line beside each."""
    say("\nAnscombe's four sets:")
    say(f"{'set':<5}{'slope':>8}{'intercept':>11}{'R^2':>7}{'robust slope':>14}{'intercept':>11}")
    figure = mc.plots.figure(13, 5.6)
    grid = figure.subplots(2, 4, sharex="col", sharey="row", height_ratios=(2, 1))
    plain, robust = mc.plots.lines(["least squares", "Cauchy loss"]).values()
    rows = []
    for k, (x, y) in enumerate(mc.data.anscombe()):
        line = mc.straight_line(x, y)
        resistant = mc.fit(
            mc.models.line,
            {"slope": line.slope, "intercept": line.intercept},
            x,
            y,
            loss="cauchy",
            sigma=0.1,
        ).params
        residual = y - (line.slope * x + line.intercept)
        r_squared = float(1 - np.sum(residual**2) / np.sum((y - y.mean()) ** 2))
        name = ("I", "II", "III", "IV")[k]
        say(
            f"{name:<5}{float(line.slope):>8.4f}{float(line.intercept):>11.4f}{r_squared:>7.3f}"
            f"{float(resistant['slope']):>14.4f}{float(resistant['intercept']):>11.4f}"
        )
        rows.append(
            {
                "set": name,
                "slope": float(line.slope),
                "intercept": float(line.intercept),
                "r_squared": r_squared,
                "robust_slope": float(resistant["slope"]),
                "robust_intercept": float(resistant["intercept"]),
            }
        )
        above, below = grid[:, k]
        across = np.array([3.0, 20.0])
        above.plot(x, y, "o", color="black", markersize=4)
        for params, style, dash, label in (
            (line._asdict(), plain, "-", "least squares"),
            (resistant, robust, "--", "robust (Cauchy loss)"),
        ):
            above.plot(
                across,
                params["slope"] * across + params["intercept"],
                color=style.color,
                linestyle=dash,
                label=label,
            )
        above.set_title(f"set {name}")
        below.axhline(0, color=plain.color, linestyle=plain.linestyle)
        below.vlines(x, 0, residual, color="black", linewidth=1)
        below.plot(x, residual, "o", color="black", markersize=4)
        below.set_xlabel("x")
    grid[0, 0].set_ylabel("y")
    grid[1, 0].set_ylabel("y - line")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, fontsize="small")
    run.table("anscombe", rows)
    run.figure(figure, "anscombe")


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
