"""Uphill on a surface: its gradient field, ascents and descents, and its critical points."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Contours, surface, gradient field, steepest paths and critical points of any f(x, y)."""

    function: str = "x * exp(-x**2 - y**2) + (x**2 + y**2) / 20"
    """A formula in x and y."""
    x: tuple[float, float] = (-2.0, 2.0)
    """Lowest and highest x."""
    y: tuple[float, float] = (-2.0, 2.0)
    """Lowest and highest y."""
    start: tuple[float, float] = (1.1, -0.9)
    """Where the ascent and the descent begin."""
    aggression: float = 0.1
    """Step size of both (learning rate)."""
    steps: int = 300
    """Steps of both."""


def experiment(config: Config, run: Run) -> str | None:
    """Find the critical points; climb and descend; draw."""
    with input_errors():
        f = mc.expression(config.function, ("x", "y"))
        run.doing("looking for critical points")
        points = mc.critical_points(f, {"x": config.x, "y": config.y})
        start = dict(zip("xy", config.start, strict=True))
        optimiser = mc.steepest_descent(config.aggression)
        down = mc.minimise(f, start, optimiser, config.steps)
        up = mc.minimise(lambda p: -f(p), start, optimiser, config.steps)
    say(f"f = {config.function}\n{'kind':<12}{'x':>14}{'y':>14}{'f':>14}  eigenvalues")
    for point in points[:30]:
        eigenvalues = ", ".join(f"{value:.4g}" for value in point.eigenvalues)
        say(
            f"{point.kind:<12}{point.at['x']:>14.6g}{point.at['y']:>14.6g}"
            f"{point.value:>14.6g}  {eigenvalues}"
        )
    if len(points) > 30:
        say(f"... and {len(points) - 30} more")
    if not points:
        say("no critical point in the box")
    else:
        run.table("critical_points", [_row(point) for point in points])
    with input_errors():
        _draw(f, points, {"descent": down, "ascent": up}, config, run)
    return None


def _row(point: Any) -> dict[str, Any]:
    low, high = map(float, point.eigenvalues)
    return {**point.at, "f": point.value, "kind": point.kind, "lowest": low, "highest": high}


def _draw(f: Any, points: Any, paths: dict[str, mc.Path], config: Config, run: Run) -> None:
    x, y = ("x", *config.x), ("y", *config.y)
    figure = mc.plots.figure(11.5, 4.9)
    grid = figure.add_gridspec(1, 2, width_ratios=(1.2, 1))
    flat = figure.add_subplot(grid[0])
    shown = {name: path for name, path in paths.items() if np.isfinite(path.cost).all()}
    mc.plots.contour(f, shown, x=x, y=y, label="f", legend=False, ax=flat)
    mc.plots.gradient_field(f, x=x, y=y, ax=flat)
    mc.plots.critical_points(points, x="x", y="y", ax=flat)
    flat.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    flat.set_title(f"f = {config.function}", fontsize="small")
    solid = figure.add_subplot(grid[1], projection="3d")
    mc.plots.surface(f, x=x, y=y, points=points, ax=solid)
    run.figure(figure, "surface")


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
