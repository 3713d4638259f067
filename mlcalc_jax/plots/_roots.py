"""Newton-Raphson: its tangents, its cobweb, and where each start ends up."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from .. import _check
from ..calculus import RootSearch, newton_raphson
from ..calculus import RootStatus as Status
from ._slopes import values
from ._style import BLACK, BLUE, GREEN, GREY, PURPLE, SKY, VERMILION, WINE, axes

#: The first three are Tol's high-contrast blue, yellow and red: apart in grey too.
_COLOURS = ("#004488", "#DDAA33", "#BB5566", SKY, GREEN, PURPLE, WINE, "#F0E442")


def tangents(
    f: Callable[[Any], Any],
    search: RootSearch,
    *,
    x: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A function and the tangents that Newton-Raphson follows to the axis.

    Args:
        f: the function that was searched.
        search: from :func:`mlcalc_jax.newton_raphson`, of real numbers.
        x: lowest and highest value to draw; what holds the iterates (but the farthest of
            many) unless given.
        ax: where to draw; a new figure unless given.

    Raises:
        TypeError: a search among complex numbers, or of several numbers.
    """
    if np.iscomplexobj(search.x) or np.ndim(search.x) != 1:
        raise TypeError("only a search of one real number has tangents to draw")
    ax = axes(ax)
    count = int(search.steps_taken)
    iterates = np.asarray(search.x)[: count + 1]
    heights = np.asarray(search.value)[: count + 1]
    if x is None:
        shown = iterates
        # Of an iteration that leaps about, the farthest leaps leave nothing else to be seen.
        most = np.append(np.quantile(iterates, (0.1, 0.9)), iterates[0])
        if np.ptp(iterates) > 3 * np.ptp(most):
            shown = most
        spread = max(float(np.ptp(shown)), 1e-3 * (1 + abs(float(iterates[0]))))
        x = float(shown.min()) - 0.3 * spread, float(shown.max()) + 0.3 * spread
    across = np.linspace(*x, 500)
    ax.axhline(0, color=GREY, linewidth=0.8)
    up = values(f, across)
    ax.plot(across, up, color=BLACK, label="f")
    ends = zip(iterates[:-1], heights[:-1], iterates[1:], strict=True)
    named: list[float] = []
    for k, (here, height, there) in enumerate(ends):
        ax.plot([here, there], [height, 0], color=BLUE, linewidth=1.2)
        ax.plot([here, here], [0, height], color=BLUE, linestyle=":", linewidth=1)
        is_free = all(abs(here - other) > 0.06 * (x[1] - x[0]) for other in named)
        if x[0] <= here <= x[1] and is_free:
            named.append(here)
            ax.annotate(
                f"$x_{{{k}}}$", (here, 0), (0, -12 if height > 0 else 5), textcoords="offset points"
            )
    ax.plot([], [], color=BLUE, linewidth=1.2, label="tangents")
    status = Status(int(search.status))
    ax.plot(
        iterates[-1:],
        [0],
        "o" if status is Status.CONVERGED else "X",
        color=VERMILION,
        label=f"after {count} steps: {float(iterates[-1]):.6g}",
        zorder=4,
    )
    seen = np.append(up[np.isfinite(up)], 0.0)
    room = 0.1 * float(np.ptp(seen)) or 1.0
    ylim = float(seen.min()) - room, float(seen.max()) + room
    ax.set(xlabel="x", ylabel="f(x)", xlim=x, ylim=ylim)
    ax.legend(fontsize="small")
    return ax


def cobweb(
    f: Callable[[Any], Any],
    search: RootSearch,
    *,
    x: tuple[float, float],
    ax: Axes | None = None,
) -> Axes:
    """The iteration as a staircase between the map ``x - f(x) / f'(x)`` and the diagonal.

    Args:
        f: the function that was searched.
        search: from :func:`mlcalc_jax.newton_raphson`, of real numbers.
        x: lowest and highest value to draw.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax, 4.8, 4.6)
    across = np.linspace(*x, 1000)
    following = values(lambda s: s - f(s) / jax.grad(f)(s), across)
    following = np.where(np.abs(following) <= 20 * max(map(abs, x)), following, np.nan)
    iterates = np.asarray(search.x)[: int(search.steps_taken) + 1]
    ax.plot(across, following, color=BLACK, label="next x")
    ax.plot(x, x, color=GREY, linestyle="--", label="the same x")
    corners_x = np.repeat(iterates, 2)
    corners_y = np.concatenate([[0.0], np.repeat(iterates[1:], 2), iterates[-1:]])
    ax.plot(corners_x, corners_y, color=BLUE, linewidth=1.2, label="iterates")
    ax.plot(iterates[0], 0, "o", color=VERMILION, markersize=5, label="start")
    ax.set(xlabel="$x_k$", ylabel="$x_{k+1}$", xlim=x, ylim=x)
    ax.legend(fontsize="small")
    return ax


def basins(
    f: Callable[[Any], Any],
    *,
    x: tuple[float, float],
    y: tuple[float, float] | None = None,
    steps: int = 40,
    resolution: int = 400,
    ax: Axes | None = None,
) -> Axes:
    """Which root Newton-Raphson finds from each start, and how fast: darker took longer.

    Args:
        f: a pure function of one number, analytic if ``y`` is given.
        x: lowest and highest start, or real part of the start.
        y: lowest and highest imaginary part; without it starts are real, and the picture shows the
            steps taken from each.
        steps: at most so many.
        resolution: starts along each axis.
        ax: where to draw; a new figure unless given.

    Raises:
        ValueError: a range that does not rise.
    """
    for name, pair in (("x", x), ("y", (0, 1) if y is None else y)):
        if not pair[0] < pair[1]:
            raise ValueError(f"the range of {name} must go from lower to higher, got {pair}")
    ax = axes(ax)
    count = _check.count("resolution", resolution, 2)
    across = np.linspace(*x, count if y is not None else 4 * count)
    starts = across if y is None else across + 1j * np.linspace(*y, count)[:, None]
    ends, taken, converged = _ends(f, starts, steps)
    roots = _roots(ends[converged])
    nearest = np.full(ends.shape, -1)
    if len(roots):
        apart = np.abs(ends[..., None] - roots)
        nearest = np.where(converged, np.argmin(apart, axis=-1), -1)
    names = [_written(root) for root in roots]
    colours = [_COLOURS[k % len(_COLOURS)] for k in range(len(roots))]
    if y is None:
        for k, (name, colour) in enumerate(zip(names, colours, strict=True)):
            at = nearest == k
            marker = "o^sDv<>P"[k % 8]
            ax.plot(across[at], taken[at], marker, color=colour, markersize=2.5, label=name)
        if (nearest < 0).any():
            missed = nearest < 0
            ax.plot(across[missed], taken[missed], "x", color=BLACK, markersize=3, label="no root")
        ax.set(xlabel="start", ylabel="steps to the root", xlim=x, ylim=(0, steps + 1))
    else:
        palette = ListedColormap(["#000000", *colours])
        image = palette(nearest + 1)
        fewest, most = np.percentile(taken, (1, 99))
        light = 1 - 0.7 * np.clip((taken - fewest) / max(1, most - fewest), 0, 1)
        image[..., :3] *= light[..., None]
        ax.imshow(image, extent=(*x, *y), origin="lower", interpolation="nearest", aspect="auto")
        for name, colour in zip(names, colours, strict=True):
            ax.plot([], [], "s", color=colour, label=name)
        if (nearest < 0).any():
            ax.plot([], [], "s", color=BLACK, label="no root")
        ax.set(xlabel="real part of the start", ylabel="imaginary part")
    ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), title="ends at")
    return ax


def _ends(
    f: Callable[[Any], Any], starts: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    def end(start: Any) -> tuple[Any, Any, Any]:
        search = newton_raphson(f, start, steps)
        return search.root, search.steps_taken, search.status == Status.CONVERGED

    with jax.enable_x64(True):
        found = jax.jit(jax.vmap(end))(jnp.asarray(starts.ravel()))
    last, taken, converged = (np.asarray(array).reshape(starts.shape) for array in found)
    return last, taken, converged


def _roots(ends: np.ndarray) -> np.ndarray:
    """The different ones, at most eight, those with most starts first, in the order of the axis."""
    if ends.size == 0:
        return ends
    rounded = np.round(ends, 6) + 0.0
    different, counts = np.unique(rounded, return_counts=True)
    kept = different[np.argsort(-counts)[: len(_COLOURS)]]
    return np.sort(kept)


def _written(root: Any) -> str:
    if np.iscomplexobj(root) and abs(root.imag) > 1e-9:
        return f"{root.real:.4g} {'+' if root.imag > 0 else '-'} {abs(root.imag):.4g}i"
    return f"{root.real:.5g}"
