"""What a fit leaves uncertain: joint contours of two parameters, correlations of all."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from .._result import Fit
from ._style import BLACK, BLUE, VERMILION, axes


def contours(
    fit: Fit,
    x: str,
    y: str,
    *,
    levels: tuple[float, ...] = (0.68, 0.95),
    resolution: int = 41,
    labels: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Joint confidence regions of two parameters: profile likelihood, and the ellipses of C.

    Where the two differ, the model is not straight on the scale of its uncertainty, and standard
    errors mislead.

    Args:
        fit: a fit in which both parameters are free.
        x, y: their names.
        levels: of joint confidence.
        resolution: points along each axis at which the others are refitted.
        labels: what to write at the axes, by name.
        ax: where to draw; a new figure unless given.
    """
    chart = fit.profile_map(x, y, levels=levels, resolution=resolution)
    ax = axes(ax)
    heights, dashes = np.array(chart.heights), ("-", "--", "-.", ":")
    order = np.argsort(heights)
    drawn = ax.contour(
        chart.x,
        chart.y,
        np.nan_to_num(chart.rise, nan=np.inf, posinf=1e3 * heights.max()),
        heights[order],
        colors=[BLUE],
        linestyles=[dashes[k % 4] for k in range(len(order))],
    )
    names = {heights[k]: f"{chart.levels[k]:.0%}" for k in order}
    ax.clabel(drawn, fmt=lambda height: names.get(height, ""), fontsize="small")
    best = fit._index(x), fit._index(y)
    C = fit.covariance[np.ix_(best, best)]
    scale = 1.0 if fit.absolute_sigma else float(fit.cost / fit.degrees_of_freedom)
    centre = [float(fit._flat()[k]) for k in best]
    for height in heights:
        ax.add_patch(_ellipse(centre, C * height / scale))
    ax.plot(*centre, "+", color=BLACK, markersize=9)
    ax.plot([], [], color=BLUE, label="profile likelihood")
    ax.plot([], [], color=VERMILION, linestyle=":", label="covariance matrix")
    named = dict(labels or {})
    ax.set(xlabel=named.get(x, x), ylabel=named.get(y, y))
    ax.legend(fontsize="small")
    return ax


def _ellipse(centre: list[float], C: np.ndarray) -> Ellipse:
    """Where ``d C^-1 d = 1``."""
    scale = np.sqrt(np.diag(C))
    values, vectors = np.linalg.eigh(C)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    width, height = 2 * np.sqrt(np.maximum(values[::-1], 0))
    assert scale.all()
    return Ellipse(
        (centre[0], centre[1]),
        width,
        height,
        angle=angle,
        fill=False,
        edgecolor=VERMILION,
        linestyle=":",
        linewidth=1.4,
    )


def correlation(fit: Fit, *, ax: Axes | None = None) -> Axes:
    """The correlation matrix of the parameters that are free and determined.

    Args:
        fit: the fit.
        ax: where to draw; a new figure unless given.
    """
    C = fit.correlation
    shown = np.flatnonzero(np.isfinite(np.diag(C)))
    names, C = [fit.names[k] for k in shown], C[np.ix_(shown, shown)]
    ax = axes(ax, 3.2 + 0.75 * len(names), 1.8 + 0.6 * len(names))
    image = ax.imshow(C, cmap="PuOr", vmin=-1, vmax=1)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set_yticks(range(len(names)), names)
    for i, row in enumerate(C):
        for j, value in enumerate(row):
            dark = abs(value) > 0.7
            ax.text(
                j, i, f"{value:.2f}", ha="center", va="center", color="white" if dark else "black"
            )
    ax.figure.colorbar(image, ax=ax, label="correlation")
    return ax
