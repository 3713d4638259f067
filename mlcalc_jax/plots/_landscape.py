"""A slice of a cost through its parameters' space, a path on it, and the Hessian's spectrum."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from .._landscape import Landscape, Spectrum
from .._path import Path
from ._labels import told_apart
from ._style import BLACK, BLUE, VERMILION, axes


def landscape(
    of: Landscape,
    path: Path | None = None,
    *,
    labels: tuple[str, str] = ("across", "up"),
    ax: Axes | None = None,
) -> Axes:
    """The cost on a plane, as contours, with a path projected on it.

    Args:
        of: from :func:`mlcalc_jax.landscape`.
        path: of a descent; each row is drawn at the point of the plane nearest to it.
        labels: of the two directions.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax, 5.8, 4.6)
    height = np.where(np.isfinite(of.cost), of.cost, np.nan)
    low, high = float(np.nanmin(height)), float(np.nanmax(height))
    is_log = low > 0 and high > low
    levels = np.geomspace(low, high, 25) if is_log else np.linspace(low, max(high, low + 1e-12), 25)
    norm = LogNorm(low, high) if is_log else None
    filled = ax.contourf(of.a, of.b, height, levels, cmap="Greys_r", norm=norm, alpha=0.7)
    ax.contour(of.a, of.b, height, levels, colors="white", linewidths=0.5)
    ticks = levels[::6]
    bar = ax.figure.colorbar(filled, ax=ax, label="cost", ticks=ticks)
    bar.ax.minorticks_off()
    bar.ax.set_yticks(ticks, told_apart(ticks))
    if path is not None:
        at = of.project(path)
        ax.plot(*at.T, color=BLUE, linewidth=1.4, label="path, projected")
        ax.plot(*at[0], "o", color=VERMILION, markersize=6, label="start")
    ax.plot(0, 0, "*", color=BLACK, markersize=10, label="centre")
    ax.set(xlabel=labels[0], ylabel=labels[1], xlim=of.a[[0, -1]], ylim=of.b[[0, -1]])
    ax.locator_params(nbins=6)
    ax.legend(fontsize="small")
    return ax


def spectrum(of: Spectrum, *, ax: Axes | None = None) -> Axes:
    """The eigenvalues of a Hessian in falling order, those below zero by their size in red.

    Args:
        of: from :func:`mlcalc_jax.hessian_spectrum`.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax)
    falling = np.asarray(of.eigenvalues)[::-1]
    rank = np.arange(1, len(falling) + 1)
    up, down = falling > 0, falling < 0
    ax.semilogy(rank[up], falling[up], "o", color=BLUE, markersize=4, label="above zero")
    if down.any():
        ax.semilogy(
            rank[down], -falling[down], "x", color=VERMILION, markersize=5, label="below zero"
        )
    what = "all" if of.is_whole else "the lowest and the highest"
    ax.set(xlabel=f"rank ({what})", ylabel="|eigenvalue of the Hessian|")
    ax.legend(fontsize="small")
    return ax
