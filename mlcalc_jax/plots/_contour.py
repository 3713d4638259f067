"""A cost of two parameters as a map, with the paths of descents on it."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from .._check import float_params, traceable
from .._path import Path
from .._precision import in_precision_of
from .._types import Cost
from ._labels import told_apart
from ._style import BLACK, Line, axes, lines

#: A path of more rows has a dozen markers, to tell it from others.
_MOST_MARKERS = 100


def contour(
    cost: Cost,
    paths: Path | Mapping[str, Path] | None = None,
    *,
    x: tuple[str, float, float],
    y: tuple[str, float, float],
    resolution: int = 120,
    label: str = "cost",
    styles: Mapping[str, Line] | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Contour map of a cost of two named parameters, with paths on it.

    Levels are spaced logarithmically where the cost is above zero all over the map.

    Args:
        cost: a pure function of ``{name of x: ..., name of y: ...}``.
        paths: one path, or several by name; what lies outside the map is cut off.
        x, y: name, lowest and highest value of the parameter along each axis.
        resolution: points along each axis at which the cost is computed.
        label: of the colour bar.
        styles: of the paths, by the same names, as from :func:`lines`.
        legend: whether to name the paths, where there are several.
        ax: where to draw; a new figure unless given.

    Raises:
        ValueError: a range that does not rise; a cost that is nowhere finite.
    """
    for name, low, high in (x, y):
        if not low < high:
            raise ValueError(
                f"the range of {name} must go from lower to higher, got {low} to {high}"
            )
    ax = axes(ax)
    across, up = np.linspace(*x[1:], resolution), np.linspace(*y[1:], resolution)
    height = heights(cost, x[0], y[0], across, up)
    height = np.where(np.isfinite(height), height, np.nan)
    if np.isnan(height).all():
        raise ValueError(f"{label} is not finite anywhere on the map")
    low, high = np.nanmin(height), np.nanmax(height)
    if low == high:  # level: the map is one shade
        low, high = low - max(1e-6, 1e-6 * abs(low)), high + max(1e-6, 1e-6 * abs(high))
    is_log = low > 0
    levels = np.geomspace(low, high, 16) if is_log else np.linspace(low, high, 16)
    filled = ax.contourf(
        across,
        up,
        height,
        levels,
        cmap="Greys_r",
        norm=LogNorm(low, high) if is_log else None,
        alpha=0.6,
    )
    ax.contour(across, up, height, levels, colors="white", linewidths=0.5)
    ticks = levels[::3]
    bar = ax.figure.colorbar(filled, ax=ax, label=label, ticks=ticks)
    bar.ax.minorticks_off()
    bar.ax.set_yticks(ticks, told_apart(ticks))

    named = {} if paths is None else {"": paths} if isinstance(paths, Path) else paths
    styles = lines(named) if styles is None else styles
    for name, path in named.items():
        line = styles[name]
        params = path.trimmed().params
        rows = len(jax.tree.leaves(params)[0])
        ax.plot(
            np.asarray(params[x[0]]),
            np.asarray(params[y[0]]),
            color=line.color,
            linestyle=line.linestyle,
            marker=line.marker,
            markevery=1 if rows <= _MOST_MARKERS else rows // 12,
            markersize=3,
            linewidth=1.2,
            label=name,
        )
        ax.plot(
            *(np.asarray(params[name][-1]) for name in (x[0], y[0])), "*", color=BLACK, markersize=9
        )
    ax.set(xlim=x[1:], ylim=y[1:], xlabel=x[0], ylabel=y[0])
    if len(named) > 1 and legend:
        ax.legend(fontsize="small")
    return ax


def heights(cost: Cost, name_x: str, name_y: str, across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The cost on a grid of two named parameters, ``up`` first."""
    grid = float_params({name_x: across, name_y: up}, cost)

    def over_the_map() -> jax.Array:
        def row(b: jax.Array) -> jax.Array:
            return jax.vmap(lambda a: cost({name_x: a, name_y: b}))(jnp.asarray(grid[name_x]))

        return jax.jit(lambda: jax.lax.map(row, jnp.asarray(grid[name_y])))()

    with traceable("the function", has_keys=True):
        return np.asarray(in_precision_of((grid, cost), over_the_map))
