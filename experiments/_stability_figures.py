"""Theory as lines and measurement as markers: the picture of the stability of descents."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import mlcalc_jax as mc

from ._stability_theory import METHODS, Map, Row, best_step, factor, limit

# Where theory says a little below 1, a thousand steps may say a little above.
_DIVERGES = 1.005
_MEASURED: Any = {"linestyle": "none", "markersize": 6, "markerfacecolor": "white"}


def draw(
    limits: list[Row], factors: list[Row], rates: list[Row], mapped: Map, kappa: float
) -> Figure:
    """Limits, factors, best rates and the map on one page."""
    figure = mc.plots.figure(10.5, 8.0)
    stable, swept, best, region = figure.subplots(2, 2).ravel()
    _draw_limits([row for row in limits if row["momentum"] == 0], stable)
    _draw_factors(factors, kappa, swept)
    _draw_rates(rates, best)
    colours = _draw_map(mapped, [r for r in limits if r["problem"] != "heights"], kappa, region)
    figure.colorbar(colours, ax=region, label="measured factor per step")
    return figure


def _scatter(ax: Axes, rows: list[Row], x: str, look: mc.plots.Line, label: str) -> None:
    measured = [row["measured"] for row in rows]
    colour, marker = look.color, look.marker
    ax.plot([r[x] for r in rows], measured, color=colour, marker=marker, label=label, **_MEASURED)


def _draw_limits(rows: list[Row], ax: Axes) -> None:
    largest = np.array([row["largest"] for row in rows])
    ends = np.array([largest.min() / 3, largest.max() * 3])
    ax.plot(ends, limit(1) / ends, color="black", label=r"theory: $2 / \lambda_\mathrm{max}$")
    for name, look in mc.plots.lines(["quadratics", "heights"]).items():
        some = [row for row in rows if (row["problem"] == "heights") == (name == "heights")]
        _scatter(ax, some, "largest", look, f"measured: {name}")
    (heights,) = (row for row in rows if row["problem"] == "heights")
    said, at = f"{heights['measured']:.5g}, the course's heights", heights["largest"]
    ax.annotate(
        said,
        (at, heights["measured"]),
        xytext=(10, 2),
        textcoords="offset points",
        fontsize="small",
    )
    ax.set(xscale="log", yscale="log", xlabel=r"largest curvature $\lambda_\mathrm{max}$")
    ax.set(ylabel="largest stable step", title="how large a step may be")
    ax.legend(loc="lower left", fontsize="small")


def _draw_factors(rows: list[Row], kappa: float, ax: Axes) -> None:
    most, best = limit(kappa), best_step(kappa)
    fine = np.sort([*np.linspace(0, 1.1 * most, 500), best.step])
    theory = factor(fine, (1, kappa))
    ax.plot(fine / most, theory, color="black", label=r"theory: max $|1 - a \lambda|$")
    _scatter(ax, rows, "over_limit", mc.plots.lines(["swept"])["swept"], "measured")
    ax.axhline(1, color="grey", linewidth=0.8)
    ax.annotate("diverges", (0.02, 1), xytext=(0, 4), textcoords="offset points", color="0.35")
    low = best.factor - 0.15 * (1.1 - best.factor)
    ax.annotate(
        f"best: {best.factor:.4g} at " + r"$a = 2 / (\lambda_\mathrm{min} + \lambda_\mathrm{max})$",
        (best.step / most, low),
        ha="right",
        va="bottom",
        fontsize="small",
    )
    ax.set(xlabel="step / largest stable step", ylabel="factor of the error per step")
    ax.set(ylim=(low, None), title=f"steepest descent, condition number {kappa:g}")
    ax.legend(loc="upper center", fontsize="small")


def _draw_rates(rows: list[Row], ax: Axes) -> None:
    kappas = [row["condition"] for row in rows]
    fine = np.geomspace(min(kappas), max(kappas), 100)
    closed = {
        "steepest descent": r"$(\kappa - 1) / (\kappa + 1)$",
        "heavy ball": r"$(\sqrt{\kappa} - 1) / (\sqrt{\kappa} + 1)$",
    }
    for name, look in mc.plots.lines(METHODS).items():
        theory = [1 - METHODS[name](kappa).factor for kappa in fine]
        label = f"{name}, theory: 1 - {closed[name]}"
        ax.plot(fine, theory, color=look.color, linestyle=look.linestyle, label=label)
        some = [row for row in rows if row["method"] == name]
        _scatter(ax, some, "condition", look, f"{name}, measured")
    ax.set(xscale="log", yscale="log", xlabel=r"condition number $\kappa$")
    ax.set(ylabel="taken off the error per step, 1 - factor")
    ax.set_title("at the best step and momentum")
    ax.legend(loc="lower left", fontsize="small")


def _draw_map(mapped: Map, limits: list[Row], kappa: float, ax: Axes) -> Any:
    """Measured factors by colour, grey where the descent diverges; theory by lines."""
    stable = np.ma.masked_greater(mapped.measured, _DIVERGES)
    ax.set_facecolor("0.85")
    colours = ax.pcolormesh(
        mapped.step, mapped.momentum, stable, cmap="viridis", vmax=1, shading="nearest"
    )
    # Ten thousand cells as shapes would make the SVG slow to open.
    colours.set_rasterized(True)
    ax.plot(
        [0, 4], [-1, 1], color="black", label=r"theory: $a \lambda_\mathrm{max} = 2 (1 + \beta)$"
    )
    ax.plot([0, 0, 4], [-1, 1, 1], color="black")
    at = [row["measured"] * row["largest"] for row in limits]
    beta = [row["momentum"] for row in limits]
    ax.plot(at, beta, color="black", marker="o", label="measured limit", **_MEASURED)
    for (name, method), marker, size in zip(METHODS.items(), "D*", (6, 13), strict=True):
        best, label = method(kappa), f"best {name}"
        place = ([best.step * kappa], [best.momentum])
        ax.plot(*place, marker, color="white", mec="black", markersize=size, label=label)
    ax.set(xlabel=r"step times largest curvature, $a \lambda_\mathrm{max}$")
    ax.set(ylabel=r"momentum $\beta$", title=f"condition number {kappa:g} (grey: diverges)")
    ax.set(xlim=(-0.05, mapped.step[-1]), ylim=(mapped.momentum[0], mapped.momentum[-1]))
    ax.legend(loc="lower right", fontsize="small")
    return colours
