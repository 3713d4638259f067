"""A function of two variables: which way is uphill, where it is level, and where a constraint runs.

Each draws onto what :func:`contour` drew, or onto axes of its own.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from .. import _check
from .._types import Cost
from ..calculus import ConstrainedPoint, CriticalPoint
from ._contour import heights
from ._style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILION, axes, figure

Range = tuple[str, float, float]

_KINDS = {
    "minimum": ("v", BLUE),
    "maximum": ("^", VERMILION),
    "saddle": ("X", GREEN),
    "degenerate": ("D", PURPLE),
}


def gradient_field(
    f: Cost, *, x: Range, y: Range, resolution: int = 17, ax: Axes | None = None
) -> Axes:
    """Arrows along the gradient, uphill; their length is its size to the power 1/2.

    Args:
        f: a pure function of ``{name of x: ..., name of y: ...}``.
        x, y: name, lowest and highest value along each axis.
        resolution: arrows along each axis.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax)
    inset = np.linspace(0, 1, resolution + 2)[1:-1]
    across, up = (low + inset * (high - low) for _, low, high in (x, y))

    def slope(a: Any, b: Any) -> Any:
        value, by = jax.value_and_grad(lambda p: f({x[0]: p[0], y[0]: p[1]}))((a, b))
        return jnp.where(jnp.isfinite(value), jnp.stack([*by]), jnp.nan)

    with _check.traceable("f", has_keys=True), jax.enable_x64(True):
        each = jax.jit(jax.vmap(jax.vmap(slope, (0, None)), (None, 0)))
        field = np.asarray(each(across, up))
    # In the picture's own directions: x and y may have different scales.
    shown = field * np.array([x[2] - x[1], y[2] - y[1]])
    size = np.linalg.norm(shown, axis=-1, keepdims=True)
    is_arrow = (size > 0) & np.isfinite(size)
    shown = np.where(is_arrow, field, 0) / np.sqrt(np.where(is_arrow, size, 1))
    if shown.any():  # a level function has no arrows, and quiver no scale for them
        u, v = shown[..., 0], shown[..., 1]
        ax.quiver(across, up, u, v, color=BLACK, width=0.0035, angles="xy", zorder=2)
    ax.set(xlim=x[1:], ylim=y[1:], xlabel=x[0], ylabel=y[0])
    return ax


def critical_points(
    points: Sequence[CriticalPoint | ConstrainedPoint],
    *,
    x: str,
    y: str,
    ax: Axes | None = None,
) -> Axes:
    """Points marked by their kind: minimum, maximum, saddle, degenerate.

    Args:
        points: from :func:`mlcalc_jax.critical_points` or :func:`mlcalc_jax.constrained`.
        x, y: names of the coordinates along each axis.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax)
    for kind, (marker, colour) in _KINDS.items():
        of_kind = [point.at for point in points if point.kind == kind]
        if of_kind:
            ax.plot(
                [at[x] for at in of_kind],
                [at[y] for at in of_kind],
                marker,
                color=colour,
                markeredgecolor="white",
                markersize=9,
                label=kind,
                zorder=5,
            )
    ax.set(xlabel=x, ylabel=y)
    if points:
        ax.legend(fontsize="small")
    return ax


def constraint(
    g: Cost,
    *,
    x: Range,
    y: Range,
    label: str = "g = 0",
    resolution: int = 300,
    ax: Axes | None = None,
) -> Axes:
    """The line ``g = 0``.

    Args:
        g: a pure function of ``{name of x: ..., name of y: ...}``.
        x, y: name, lowest and highest value along each axis.
        label: in the legend.
        resolution: points along each axis at which g is computed.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax)
    across, up = np.linspace(*x[1:], resolution), np.linspace(*y[1:], resolution)
    ax.contour(
        across,
        up,
        heights(g, x[0], y[0], across, up),
        [0.0],
        colors=[ORANGE],
        linewidths=2.4,
    )
    ax.plot([], [], color=ORANGE, linewidth=2.4, label=label)
    ax.set(xlim=x[1:], ylim=y[1:], xlabel=x[0], ylabel=y[0])
    return ax


def surface(
    f: Cost,
    *,
    x: Range,
    y: Range,
    points: Sequence[CriticalPoint] = (),
    label: str = "f",
    resolution: int = 61,
    ax: Axes | None = None,
) -> Axes:
    """A function of two variables as a surface in three dimensions.

    Args:
        f: a pure function of ``{name of x: ..., name of y: ...}``.
        x, y: name, lowest and highest value along each axis.
        points: to mark, from :func:`mlcalc_jax.critical_points`.
        label: of the height.
        resolution: points along each axis.
        ax: three-dimensional axes to draw on; a new figure unless given.

    Raises:
        ValueError: axes that are not three-dimensional.
    """
    if ax is None:
        ax = figure(6, 5).add_subplot(projection="3d")
    space: Any = ax
    if not hasattr(space, "plot_surface"):
        raise ValueError("a surface needs axes with projection='3d'")
    across, up = np.linspace(*x[1:], resolution), np.linspace(*y[1:], resolution)
    height = heights(f, x[0], y[0], across, up)
    space.plot_surface(*np.meshgrid(across, up), height, cmap="cividis", alpha=0.85, linewidth=0)
    for kind, (marker, colour) in _KINDS.items():
        of_kind = [point for point in points if point.kind == kind]
        if of_kind:
            space.plot(
                [p.at[x[0]] for p in of_kind],
                [p.at[y[0]] for p in of_kind],
                [p.value for p in of_kind],
                marker,
                color=colour,
                markeredgecolor="black",
                markersize=8,
                label=kind,
                zorder=10,
            )
    space.set(xlabel=x[0], ylabel=y[0], zlabel=label)
    space.locator_params(nbins=5)
    space.set_box_aspect(None, zoom=0.85)  # room for the labels, which the layout does not know
    return ax
