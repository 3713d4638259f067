"""A histogram and the model of it."""

from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from .._precision import in_double
from .._types import Model, Params
from ..data import Histogram
from ._style import BLACK, BLUE, GREY, VERMILION, axes

_MOST_BARS = 2000  # each a shape of its own; more are drawn as one
_MOST_POINTS = 40_000  # of the model's line


def histogram(
    histogram: Histogram,
    model: Model,
    params: Params,
    *,
    unit: str = "",
    quantity: str = "height",
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Bars of a histogram and a model of its density: what they share, and where either is above.

    Args:
        histogram: as from ``mlcalc_jax.data``.
        model: a density ``f(params, x)``.
        params: its parameters.
        unit: of the quantity, for the labels.
        quantity: what was measured.
        legend: whether to say which part is which.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax)
    centre, density, width = histogram.centre, histogram.density, histogram.width
    edges = np.append(centre - width / 2, centre[-1] + width / 2)
    points = min(20 * len(centre), _MOST_POINTS)
    fine = np.linspace(edges[0], edges[-1], points + 1)
    density_of = jax.jit(model)  # one compilation, not one for each operation
    modelled, smooth = (np.asarray(in_double(density_of, params, at)) for at in (centre, fine))
    both = np.minimum(density, modelled)
    top = np.fmax(density, modelled)
    filled = centre[top > 0.005 * top.max()]  # the rest of the axis is empty

    def bars(low: Any, high: np.ndarray, **look: Any) -> None:
        if len(centre) > _MOST_BARS:
            ax.stairs(high, edges, baseline=low, fill=True, linewidth=0, **look)
        else:
            ax.bar(centre, high - low, width, low, linewidth=0.6, **look)

    bars(np.zeros_like(both), both, facecolor=GREY, edgecolor="white", label="overlap")
    bars(
        both,
        np.maximum(density, both),
        facecolor=BLUE,
        edgecolor="white",
        hatch="////",
        label="data above model",
    )
    bars(
        both,
        np.maximum(modelled, both),
        facecolor="white",
        edgecolor=VERMILION,
        hatch="....",
        label="model above data",
    )
    ax.plot(fine, smooth, color=BLACK, label="model")
    per = f" / (1/{unit})" if unit else ""
    ax.set(
        xlim=(filled[0] - width, filled[-1] + width),
        xlabel=f"{quantity} / {unit}" if unit else quantity,
        ylabel=f"probability density{per}",
    )
    if legend:
        ax.margins(y=0.3)  # room above the bars
        ax.legend(loc="upper center", ncols=2, fontsize="small")
    return ax
