"""How a fit came to its end, step by step."""

import numpy as np
from matplotlib.axes import Axes

from .._result import Fit
from ._style import BLUE, GREEN, VERMILION, figure, style


def trace(fit: Fit) -> list[Axes]:
    """Cost, damping and length of the step against the step; crosses are refused steps.

    The length is ``|D d|``, with each parameter in the unit of its column of the Jacobian.
    """
    rows = int(fit.steps) + 1
    step = np.arange(rows)
    cost, damping, length = (
        np.asarray(values)[:rows]
        for values in (fit.trace.cost, fit.trace.damping, fit.trace.length)
    )
    refused = np.r_[False, np.diff(cost) == 0]
    with style():
        panels = list(figure(6.0, 6.4).subplots(3, 1, sharex=True))
    for ax, values, colour, name in zip(
        panels,
        (cost, damping, length),
        (BLUE, VERMILION, GREEN),
        ("cost", "damping", "length of step"),
        strict=True,
    ):
        shown = values > 0
        ax.plot(step[shown], values[shown], color=colour, marker="o", markersize=3.5)
        crossed = shown & refused
        ax.plot(step[crossed], values[crossed], "x", color="black", label="refused")
        ax.set_yscale("log")
        ax.set_ylabel(name)
    panels[-1].set_xlabel("step")
    if refused.any():
        panels[0].legend(fontsize="small")
    return panels
