"""A network learning to draw a curve."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from .. import models
from .._path import Path
from .._precision import in_double
from .._types import Model
from ._style import GREY, VERMILION, axes, figure

_TARGET: dict[str, Any] = {"color": GREY, "linewidth": 5, "alpha": 0.6, "label": "target"}


def learning(
    path: Path,
    x: np.ndarray,
    y: np.ndarray,
    *,
    model: Model = models.network,
    count: int = 12,
    ax: Axes | None = None,
) -> Axes:
    """The target, a series of the curves drawn on the way, coloured by step, and the last of them.

    Args:
        path: of the network's parameters.
        x: how far along the curve, (points,).
        y: the target, (2, points).
        model: what draws, ``f(params, x) -> (2, points)``.
        count: curves in the series, evenly spread over the logarithm of the step.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax, 5.4, 4.6)
    path = path.trimmed()
    steps = np.asarray(path.step)
    rows = _spread_rows(steps, count)
    drawn = _curves(path, x, model, rows)
    norm = SymLogNorm(linthresh=1, vmin=0, vmax=max(1, int(steps[-1])))
    colours = ScalarMappable(norm, "viridis_r")
    ax.plot(y[0], y[1], **_TARGET)
    for row, curve in zip(rows[:-1], drawn[:-1], strict=True):
        ax.plot(*curve, color=colours.to_rgba(steps[row]), linewidth=1)
    ax.plot(*drawn[-1], color=VERMILION, linewidth=1.8, label=f"after {steps[-1]:,} steps")
    ax.figure.colorbar(colours, ax=ax, label="step", ticks=_decades(int(steps[-1])))
    ax.set(xlabel="$y_1$", ylabel="$y_2$", aspect="equal")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize="small")
    return ax


def animate_learning(
    path: Path,
    x: np.ndarray,
    y: np.ndarray,
    *,
    model: Model = models.network,
    frames: int = 60,
) -> FuncAnimation:
    """The drawing as an animation, with up to ``frames`` rows spread as in :func:`learning`.

    Save it with ``animation.save("curve.gif", writer="pillow")``, or show it in a notebook with
    ``animation.to_jshtml()``. The other arguments are those of :func:`learning`.
    """
    path = path.trimmed()
    steps, costs = np.asarray(path.step), np.asarray(path.cost)
    rows = _spread_rows(steps, frames)
    drawn = _curves(path, x, model, rows)
    canvas: Figure = figure(4.2, 4.4)
    ax = canvas.add_subplot()
    ax.plot(y[0], y[1], **_TARGET)
    (line,) = ax.plot([], [], color=VERMILION, linewidth=1.8)
    title = ax.set_title(" ")
    ax.set(xlabel="$y_1$", ylabel="$y_2$", aspect="equal", xlim=(0, 1), ylim=(0, 1))

    def draw(frame: int) -> Sequence[Any]:
        line.set_data(*drawn[frame])
        title.set_text(f"step {steps[rows[frame]]:,}, cost {costs[rows[frame]]:.2g}")
        return line, title

    return FuncAnimation(canvas, draw, frames=len(rows), interval=100)


def _curves(path: Path, x: np.ndarray, model: Model, rows: np.ndarray) -> np.ndarray:
    params = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], path.params)
    draw: Callable[..., Any] = jax.vmap(lambda one: model(one, jnp.asarray(x)))
    return np.asarray(in_double(lambda: jax.jit(draw)(params)))


def _spread_rows(steps: np.ndarray, count: int) -> np.ndarray:
    """Rows from the first to the last, spread over the logarithm of the step."""
    wanted = np.geomspace(1, steps[-1] + 1, count) - 1
    return np.unique(np.searchsorted(steps, wanted.round()).clip(max=len(steps) - 1))


def _decades(last: int) -> list[int]:
    return [0, *(10**k for k in range(len(str(last))) if 10**k <= last)]
