"""Lagrange multipliers: where a function is stationary on a constraint."""

import sys
from dataclasses import dataclass

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say

#: The course's two exercises: f, g, range of x, range of y.
EXERCISES = {
    "ellipse": (
        "exp(-(2*x**2 + y**2 - x*y) / 2)",
        "x**2 + 3*(y + 1)**2 - 1",
        (-1.6, 1.6),
        (-2.2, 0.6),
    ),
    "catenary": ("-exp(x - y**2 + x*y)", "cosh(y) + x - 2", (-3.0, 1.3), (-2.5, 2.0)),
}

_SAID = 40  # points of an exercise that are printed


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """All stationary points of f on the line g = 0, with multiplier and kind."""

    function: str | None = None
    """A formula in x and y; the course's two exercises unless given."""
    constraint: str | None = None
    """A formula that is zero on the constraint."""
    x: tuple[float, float] = (-2.0, 2.0)
    """Lowest and highest x, for a formula of one's own."""
    y: tuple[float, float] = (-2.0, 2.0)
    """Lowest and highest y."""


def experiment(config: Config, run: Run) -> str | None:
    """Solve; draw f, g and the points, where the two gradients are parallel."""
    if (config.function is None) != (config.constraint is None):
        with input_errors():
            raise ValueError("function and constraint go together")
    exercises = EXERCISES
    if config.function is not None and config.constraint is not None:
        exercises = {"own": (config.function, config.constraint, config.x, config.y)}
    rows = []
    figure = mc.plots.figure(6.2 * len(exercises), 5)
    for ax, (name, (text_f, text_g, x, y)) in zip(
        figure.subplots(1, len(exercises), squeeze=False)[0], exercises.items(), strict=True
    ):
        run.doing(name)
        with input_errors():
            f, g = (_formula(text) for text in (text_f, text_g))
            points = mc.constrained(f, g, {"x": x, "y": y})
        say(f"f = {text_f} where {text_g} = 0")
        say(f"  {'kind':<12}{'x':>10}{'y':>10}{'lambda':>12}{'f':>12}")
        for k, p in enumerate(points):
            if k < _SAID:
                say(
                    f"  {p.kind:<12}{p.at['x']:>10.5f}{p.at['y']:>10.5f}"
                    f"{p.multiplier:>12.5f}{p.value:>12.6f}"
                )
            rows.append(
                {"exercise": name, **p.at, "lambda": p.multiplier, "f": p.value, "kind": p.kind}
            )
        if len(points) > _SAID:
            say(f"  ... and {len(points) - _SAID} more: stationary_points.csv has all")
        across, up = ("x", *x), ("y", *y)
        mc.plots.contour(f, x=across, y=up, label="f", ax=ax)
        mc.plots.gradient_field(f, x=across, y=up, resolution=15, ax=ax)
        mc.plots.constraint(g, x=across, y=up, label=f"{text_g} = 0", ax=ax)
        mc.plots.critical_points(points, x="x", y="y", ax=ax)
        ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
        ax.set_title(f"f = {text_f}", fontsize="small")
        if not points:
            say("  no stationary point in the box")
    if rows:
        run.table("stationary_points", rows)
    run.figure(figure, "lagrange")
    return None


def _formula(text: str) -> mc.calculus.Expression:
    return mc.expression(text, ("x", "y"))


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
