"""Taylor polynomials of the course's functions: how accurate they are, with proof."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say

#: How far beyond its radius 1/x is drawn: past the asymptote at 0, and to 2 and more, its series
#: is useless.
BEYOND = {"reciprocal": 1.7}
#: name: function, centre, radius
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "cos": (jnp.cos, 0.0, 3.0),
    "exp": (jnp.exp, 0.0, 2.0),
    "reciprocal": (lambda x: 1 / x, 1.0, 0.9),
    "x-sin-x": (lambda x: x * jnp.sin(x), 0.0, 3.0),
    "sum": (lambda x: jnp.exp(x) + x + jnp.sin(x), 0.0, 2.0),
    "asymptotes": (lambda x: 2 / (x**2 - x), 0.5, 0.4),
    "decay": (lambda x: jnp.exp(-2 * x), 2.0, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Approximate a function by its Taylor polynomials, and prove how wrong they are."""

    function: str = "all"
    """cos, exp, reciprocal (1/x), x-sin-x, sum (e^x + x + sin x), asymptotes (2/(x^2 - x)), decay
    (e^(-2x)), all of these, or a formula in x such as "x * sin(x)"."""
    centre: float | None = None
    """Where to expand; each function's own unless given, 0 for a formula."""
    radius: float | None = None
    """How far from the centre; each function's own unless given, 1 for a formula."""
    orders: tuple[int, ...] = (1, 2, 4, 6)
    """Orders of the polynomials (--quick: the first two)."""


def experiment(config: Config, run: Run) -> str | None:
    """Expand, bound, draw."""
    with input_errors():
        functions = _functions(config.function)
        if not config.orders:
            raise ValueError("orders is empty")
    orders = config.orders[:2] if config.quick else config.orders
    rows = []
    say(f"{'function':<12}{'order':>6}{'radius':>8}  {'f - polynomial is within':<28}{'guess':>11}")
    for name, (f, own_centre, own_radius) in functions.items():
        run.doing(name)
        with input_errors():
            centre = own_centre if config.centre is None else config.centre
            radius = own_radius if config.radius is None else config.radius
            found = {order: mc.taylor(f, centre, order) for order in orders}
            rows += [_row(name, taylor, radius) for taylor in found.values()]
        _draw(name, found, radius, run)
    run.table("bounds", rows)
    return None


def _functions(name: str) -> dict[str, tuple[Callable[[Any], Any], float, float]]:
    """Those of the name, or the one of the formula."""
    if name == "all":
        return FUNCTIONS
    if name in FUNCTIONS:
        return {name: FUNCTIONS[name]}
    if name.isidentifier() and name != "x":
        known = ", ".join(FUNCTIONS)
        raise ValueError(f"function must be one of {known}, all, or a formula in x, got {name!r}")
    return {"formula": (mc.expression(name), 0.0, 1.0)}


def _row(name: str, found: mc.Taylor, radius: float) -> dict[str, Any]:
    low, high = found.remainder(radius)
    guess = found.guess(radius)
    say(f"{name:<12}{found.order:>6}{radius:>8.3g}  {low:>13.6g} {high:>13.6g}{guess:>13.3g}")
    return {
        "function": name,
        "centre": found.x0,
        "order": found.order,
        "radius": radius,
        "low": low,
        "high": high,
        "guess": guess,
        "coefficients": " ".join(repr(float(c)) for c in found.coefficients),
    }


def _draw(name: str, found: dict[int, mc.Taylor], radius: float, run: Run) -> None:
    figure = mc.plots.figure(3.4 * len(found), 6.4)
    grid = figure.subplots(2, len(found), sharey="row", squeeze=False)
    for column, (order, taylor) in enumerate(found.items()):
        above, below = grid[:, column]
        mc.plots.taylor(taylor, radius, reach=BEYOND.get(name, 1.0) * radius, ax=above)
        mc.plots.taylor_error(taylor, radius, ax=below)
        above.set_title(f"order {order}")
        if column:
            above.set_ylabel("")
            below.set_ylabel("")
        for ax in (above, below):
            if (legend := ax.get_legend()) is not None:
                legend.remove()
    handles, labels = grid[0, 0].get_legend_handles_labels()
    labels = ["polynomial" if "polynomial of" in label else label for label in labels]
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize="small")
    handles, labels = grid[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    run.figure(figure, name)


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
