"""Regression: the straight line three ways, its chi-squared surface, Anscombe's four stories."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say

_TOLERANCE = 1e-12  # of the gradient, relative to that at the start


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
    errors = {"slope": float(line.slope_stderr), "intercept": float(line.intercept_stderr)}
    best = {"as measured": intercept, "centred": intercept + centre * slope}
    _draw_surfaces(
        problems, paths, {name: {"slope": slope, "intercept": c} for name, c in best.items()},
        errors, run,
    )  # fmt: skip
    run.figure(mc.plots.fit(by_qr).figure, "fit")
    failure = None
    if not bool(by_qr.success):
        failure = f"the line is not determined to the last digits: {by_qr.message}"
    elif min(float(by_qr.stderr[name]) for name in ("slope", "intercept")) > 0:
        run.figure(mc.plots.contours(by_qr, "slope", "intercept").figure, "ellipse")
    else:
        say("the line goes through every point: there are no errors to draw")
    _anscombe(run)
    return failure


def _data(config: Config) -> tuple[np.ndarray, np.ndarray]:
    if config.data is not None:
        x, y = mc.data.read_columns(config.data, ["x", "y"])
        if x.size < 3 or np.ptp(x) == 0:
            raise ValueError(
                f"{config.data.name}: a line with errors needs three points that differ in x"
            )
        far = x - x.mean()
        with np.errstate(over="ignore"):
            if not (np.isfinite([x @ x, y @ y]).all() and far @ far > 0):
                raise ValueError(f"{config.data.name}: the squares are beyond a float64")
        return x, y
    rng = np.random.default_rng(config.seed)
    x = np.sort(rng.uniform(2, 10, 20))
    return x, 1.7 * x - 3 + rng.normal(0, 1.0, x.size)


def _descend(problem: mc.LeastSquares, steps: int) -> mc.Path:
    """By one over the largest curvature, which goes down without a zigzag."""
    start = {"slope": 0.0, "intercept": 0.0}
    step = 1 / float(np.linalg.eigvalsh(mc.hessian(problem, start).matrix)[-1])
    steepest = np.hypot(*mc.gradient(problem, start).values())
    descent = mc.steepest_descent(step)
    return mc.minimise(problem, start, descent, steps, gradient_tolerance=_TOLERANCE * steepest)


def _draw_surfaces(
    problems: dict[str, Any],
    paths: dict[str, mc.Path],
    best: dict[str, dict[str, float]],
    errors: dict[str, float],
    run: Run,
) -> None:
    """Chi-squared about the best line, as far as the descent went and the errors reach."""
    figure = mc.plots.figure(11.5, 4.6)
    for ax, (name, problem) in zip(figure.subplots(1, 2), problems.items(), strict=True):
        path = paths[name]
        sides = []
        for key, middle in best[name].items():
            far = np.max(np.abs(path.params[key][: int(path.steps_taken) + 1] - middle))
            reach = 1.15 * max(float(far), 3 * errors[key]) or 1.0
            sides.append((key, middle - reach, middle + reach))
        mc.plots.contour(problem, path, x=sides[0], y=sides[1], label="chi-squared", ax=ax)
        ax.plot(*best[name].values(), "x", color="black", markersize=9)
        ax.set_title(f"x {name}: {path.steps_taken} steps (cross: closed form)")
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
