"""What many fits found, where they lie: maps of a parameter and of how each ended."""

from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap

from .._many import ManyFits
from .._many._descent import RUNNING
from .._path import Status
from ._style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, axes

#: (height, width) of an image whose pixels are the fits, row by row; or their positions (x, y).
Where = tuple[Any, Any]

_MARKERS = "os^Dv<>P*X"
_ENDS = {
    Status.GRADIENT_BELOW_TOLERANCE: BLUE,
    Status.COST_CONVERGED: SKY,
    Status.STEP_CONVERGED: GREEN,
    Status.STALLED: ORANGE,
    Status.STEPS_USED: PURPLE,
    Status.SINGULAR: VERMILION,
    Status.NON_FINITE: BLACK,
}


def parameter_map(
    found: ManyFits,
    name: str,
    where: Where,
    *,
    unit: str = "",
    length_unit: str = "",
    label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """A parameter of every fit that converged, as an image or as points.

    The colours span the middle 98 % of the values, and arrows of the bar say that there are others;
    fits without an answer are left blank.

    Args:
        found: as from ``fit_many``.
        name: of the parameter.
        where: (height, width), two ints, of an image whose pixels are the fits, row by row; or a
            pair of arrays, the x and y of each fit.
        unit: of the parameter.
        length_unit: of the positions.
        label: of the parameter; its name unless given.
        ax: where to draw; a new figure unless given.

    Raises:
        ValueError: an unknown name; an image or positions that do not go with the fits.
    """
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree_util.tree_leaves_with_path(found.params)
    ]
    if name not in names:
        raise ValueError(f"there is no parameter {name!r}; there are {', '.join(names)}")
    good = found.success
    leaf = jax.tree.leaves(found.params)[names.index(name)]
    values = np.where(good, np.asarray(leaf[:]), np.nan)
    low, high = np.nanquantile(values, [0.01, 0.99]) if good.any() else (0.0, 1.0)
    ends = ("neither", "min", "max", "both")
    extend = ends[int((values < low).any()) + 2 * int((values > high).any())]
    colours = {"cmap": "viridis", "vmin": low, "vmax": high}
    ax = axes(ax)
    drawn = _drawn(ax, values, where, length_unit, colours)
    text = label or name
    bar = ax.figure.colorbar(
        drawn,
        cax=ax.inset_axes((1.03, 0, 0.05, 1)),
        label=f"{text} / {unit}" if unit else text,
        extend=extend,
    )
    if bar.solids is not None:
        bar.solids.set_edgecolor("face")
    return ax


def status_map(
    found: ManyFits, where: Where, *, length_unit: str = "", ax: Axes | None = None
) -> Axes:
    """How every fit ended, as an image or as points; the legend counts them.

    Args:
        found: as from ``fit_many``.
        where: as for :func:`parameter_map`.
        length_unit: of the positions.
        ax: where to draw; a new figure unless given.

    Raises:
        ValueError: an image or positions that do not go with the fits.
    """
    status = np.asarray(found.status[:])
    ends: list[tuple[int, str, str]] = [
        (int(end), _spoken(end), colour) for end, colour in _ENDS.items()
    ]
    ends = [end for end in [*ends, (RUNNING, "still to come", GREY)] if (status == end[0]).any()]
    ax = axes(ax)
    place = np.full(status.shape, np.nan)
    for k, (code, _, _) in enumerate(ends):
        place[status == code] = k
    cmap = ListedColormap([colour for *_, colour in ends])
    colours = {"cmap": cmap, "norm": BoundaryNorm(np.arange(len(ends) + 1) - 0.5, len(ends))}
    _drawn(ax, place, where, length_unit, colours, markers=True)
    markers = _MARKERS if np.ndim(where[0]) else "s" * len(ends)
    handles = [
        ax.plot(
            [],
            [],
            marker,
            linestyle="none",
            color=colour,
            label=f"{np.sum(status == code):,} {text}",
        )[0]
        for (code, text, colour), marker in zip(ends, markers, strict=False)
    ]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize="small")
    return ax


def _spoken(end: Status) -> str:
    return "not finite" if end == Status.NON_FINITE else end.name.replace("_", " ").lower()


def _drawn(
    ax: Axes, values: np.ndarray, where: Where, unit: str, colours: Any, markers: bool = False
) -> Any:
    across, down = where
    if np.ndim(across) == 0:
        if values.size != across * down:
            raise ValueError(f"an image of {across} x {down} pixels has not {values.size} fits")
        ax.set(xlabel="column", ylabel="row")
        return ax.imshow(values.reshape(across, down), interpolation="nearest", **colours)
    across, down = np.asarray(across), np.asarray(down)
    if across.shape != values.shape or down.shape != values.shape:
        raise ValueError(
            f"positions of {values.size} fits must have that shape, got {across.shape} and "
            f"{down.shape}"
        )
    of = f" / {unit}" if unit else ""
    ax.set(xlabel=f"x{of}", ylabel=f"y{of}", aspect="equal")
    size = float(np.clip(3e4 / max(values.size, 1), 1, 20))
    kinds = _by_count(values[np.isfinite(values)]) if markers else [None]
    drawn = None
    for kind in kinds:
        some = np.isfinite(values) if kind is None else values == kind
        marker = "o" if kind is None else _MARKERS[int(kind)]
        # What is rare is drawn large, or it would not be seen.
        rare = size if kind is None or some.mean() > 0.05 else max(size, 16)
        drawn = ax.scatter(
            across[some], down[some], rare, values[some], marker=marker, linewidths=0,
            rasterized=True, **colours,
        )  # fmt: skip
    return drawn if drawn is not None else ax.scatter([], [], 1, [], **colours)


def _by_count(values: np.ndarray) -> list[Any]:
    """What there is, the most frequent first: what is rare comes to lie on top."""
    kinds, counts = np.unique(values, return_counts=True)
    return list(kinds[np.argsort(-counts, kind="stable")])
