"""Rise over run: secants that close on the tangent, and how wrong each scheme is."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from .. import _check
from ..calculus import SlopeErrors, derivative, slope
from ._style import BLACK, WINE, axes, lines


def secants(
    f: Callable[[Any], Any],
    x: float,
    runs: Sequence[float] = (2.0, 1.0, 0.5, 0.1),
    *,
    radius: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A function, its secants from x over ever shorter runs, and the tangent they close on.

    Args:
        f: a pure function of a real number.
        x: where the secants start.
        runs: their lengths along x, not zero.
        radius: how far from x to draw; 1.3 times the longest run unless given.
        ax: where to draw; a new figure unless given.

    Raises:
        ValueError: a run of 0, an x that is not finite.
    """
    ax = axes(ax)
    runs = [float(h) for h in runs]
    rises = [float(s) for s in np.atleast_1d(slope(f, x, np.asarray(runs)))]
    radius = 1.3 * max(map(abs, runs)) if radius is None else radius
    _check.positive("radius", radius)
    across = np.linspace(x - radius, x + radius, 400)
    height = values(f, across)
    at = float(values(f, np.array([x]))[0])
    ax.plot(across, height, color=BLACK, linewidth=2, label="f")
    for (name, line), h, s in zip(
        lines([f"h = {h:g}: slope {s:.4g}" for h, s in zip(runs, rises, strict=True)]).items(),
        runs,
        rises,
        strict=True,
    ):
        ax.plot(across, at + s * (across - x), color=line.color, linestyle=":", linewidth=1)
        ax.plot(
            [x, x + h],
            [at, at + s * h],
            color=line.color,
            marker=line.marker,
            markersize=4,
            linestyle="--",
            label=name,
        )
    tangent = float(derivative(f, x))
    ax.plot(across, at + tangent * (across - x), color=WINE, label=f"tangent: slope {tangent:.4g}")
    finite = height[np.isfinite(height)]
    if finite.size:
        room = 0.15 * max(float(np.ptp(finite)), 1e-12)
        ax.set_ylim(finite.min() - room, finite.max() + room)
    ax.set(xlabel="x", ylabel="f(x)", xlim=(across[0], across[-1]))
    ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return ax


def slope_errors(errors: SlopeErrors, *, ax: Axes | None = None) -> Axes:
    """The error of every scheme against h, its predicted size, and the h that serves best.

    Args:
        errors: from :func:`mlcalc_jax.slope_errors`.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax, 6.6, 4.6)
    smallest = 1e-18
    for (scheme, error), line in zip(
        errors.error.items(), lines(errors.error).values(), strict=True
    ):
        if scheme == "backward":
            continue  # it lies on the forward one
        order = errors.order[scheme]
        name = f"{scheme}: order {order:.2f}" if np.isfinite(order) else scheme
        shown = np.where(error > 0, error, np.nan)
        ax.loglog(
            errors.h,
            shown,
            line.marker,
            color=line.color,
            markersize=3.5,
            markerfacecolor="none",
            label=name,
        )
        predicted = np.maximum(errors.predicted[scheme], smallest)
        ax.loglog(errors.h, predicted, color=line.color, linestyle=line.linestyle, linewidth=1.2)
        if scheme in errors.best_h and np.any(errors.predicted[scheme] > smallest):
            best = errors.best_h[scheme]
            ax.axvline(best, color=line.color, linestyle=":", linewidth=1)
            ax.annotate(
                f"best h\n{best:.1g}",
                (best, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -2),
                textcoords="offset points",
                va="top",
                fontsize="x-small",
                color=line.color,
            )
    if np.isfinite(errors.automatic):
        automatic = f"automatic: error {errors.automatic:.1g}"
        ax.axhline(max(errors.automatic, 1e-17), color=BLACK, linestyle="--", label=automatic)
    ax.set(xlabel="run h", ylabel="|slope - f'(x)|")
    ax.set_ylim(bottom=1e-17)
    ax.legend(
        fontsize="small",
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=2,
        title="points: measured; lines: predicted",
        title_fontsize="small",
    )
    return ax


def values(f: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """f of every number of an array, in float64."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(f))(np.asarray(x, float)))
