"""The cost along one or several paths."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from .._path import Path
from ._style import Line, axes, lines


def cost(
    paths: Path | Mapping[str, Path],
    *,
    seconds_per_step: Mapping[str, float] | None = None,
    styles: Mapping[str, Line] | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Cost against step on a logarithmic axis, a line for each path.

    Args:
        paths: one path, or several by name.
        seconds_per_step: by the same names; draws the cost against seconds instead, both axes
            logarithmic.
        styles: of the paths, by the same names, as from :func:`lines`.
        legend: whether to name the paths, where there are several.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax)
    named = {"": paths} if isinstance(paths, Path) else paths
    styles = lines(named) if styles is None else styles
    for name, path in named.items():
        line = styles[name]
        path = path.trimmed()
        scale = 1.0 if seconds_per_step is None else seconds_per_step[name]
        across = np.asarray(path.step) * scale
        up = np.asarray(path.cost, float)
        shown = (up > 0) & ((across > 0) | (seconds_per_step is None))
        every = max(1, int(shown.sum()) // 8)
        ax.plot(
            across[shown],
            up[shown],
            color=line.color,
            linestyle=line.linestyle,
            linewidth=1.0,
            marker=line.marker if len(named) > 1 else "",
            markevery=every,
            markersize=4,
            label=name,
        )
    ax.set_yscale("log")
    ax.set_ylabel("cost")
    if seconds_per_step is None:
        ax.set_xlabel("step")
    else:
        ax.set_xscale("log")
        ax.set_xlabel("seconds (compilation apart)")
    if len(named) > 1 and legend:
        ax.legend(fontsize="small")
    return ax
