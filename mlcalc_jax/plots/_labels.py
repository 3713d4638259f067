"""What is written in pictures: numbers that differ, and names that do not overlap."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from ._style import Line

_GAP = 0.052  # of the height of the axes, between two names


def told_apart(values: np.ndarray) -> list[str]:
    """Numbers with two digits, or as many more as tell them apart."""
    for digits in range(2, 17):
        shown = [f"{value:.{digits}g}" for value in values]
        if len({*shown}) == len({*values.tolist()}):
            break
    return shown


def label_ends(ax: Axes, ends: Mapping[str, float], styles: Mapping[str, Line]) -> None:
    """Write each name to the right of the axes at the height of its line's end.

    Args:
        ax: whose limits are final.
        ends: where each line ends, in data; one that is off the axes is named near their border,
            beside its marker: no line leads to where it went.
        styles: of the lines, by name.
    """
    if not ends:
        return
    names = sorted(ends, key=lambda name: ends[name])  # of equals, the last named stays above
    heights = np.array([_height(ax, ends[name]) for name in names])
    low, high = sorted(ax.get_ylim())
    for name, at, beside in zip(names, heights, _apart(heights), strict=True):
        style = styles[name]
        is_seen = low <= ends[name] <= high
        if not is_seen:
            ax.plot(
                1.018,
                beside,
                style.marker,
                color=style.color,
                markersize=4,
                transform=ax.transAxes,
                clip_on=False,
            )
        ax.annotate(
            name,
            xy=(1.0, float(at)),
            xytext=(1.035, float(beside)),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=style.color,
            va="center",
            fontsize="small",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0.0, 0.5),
                "color": style.color,
                "linestyle": style.linestyle,
                "linewidth": 0.8,
                "shrinkA": 0,
                "shrinkB": 0,
            }
            if is_seen
            else None,
        )


def _height(ax: Axes, value: float) -> float:
    if not np.isfinite(value):
        return 1.0 if value > 0 else 0.0
    across = ax.transData.transform((ax.get_xlim()[0], value))
    return float(np.clip(ax.transAxes.inverted().transform(across)[1], 0, 1))


def _apart(heights: np.ndarray) -> np.ndarray:
    """Rising heights, each at least a gap above the one before, moved as little as need be."""
    gap = min(_GAP, 1.05 / len(heights))
    # Isotonic regression of what is left without the gaps: pools of neighbours share their mean.
    pools: list[list[float]] = []
    for k, height in enumerate(heights):
        pools.append([height - k * gap])
        while len(pools) > 1 and np.mean(pools[-2]) >= np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    level = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    top = 1.02 - gap * (len(heights) - 1)
    return np.clip(level, min(-0.02, top), top) + gap * np.arange(len(heights))
