"""Curves in the plane for a network to draw: points in the unit square for x in [0, 1)."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .. import _check
from ._table import numbers, parse_number, read_rows


class Curve(NamedTuple):
    """N points of a curve, in float64."""

    x: Float[np.ndarray, "points"]  #: 0, 1/N, ..., 1 - 1/N: how far along the curve
    y: Float[np.ndarray, "2 points"]  #: the two coordinates, within [0, 1], where a sigmoid can go


def curve(name: str = "heart", points: int = 100) -> Curve:
    """A curve by its name, one of ``CURVES``.

    ``heart`` is the course's, with ``t = 2 pi x``:
    ``y = ([16 sin^3 t, 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t] / 20 + 1) / 2``.

    Raises:
        ValueError: an unknown name, fewer than two points.
        TypeError: ``points`` that is not a whole number.
    """
    if name not in CURVES:
        raise ValueError(f"there is no curve {name!r}; the curves are {', '.join(CURVES)}")
    x = np.arange(_check.count("points", points, least=2)) / points
    return Curve(x, (np.stack(CURVES[name](x)) + 1) / 2)


def read_curve(path: str | Path) -> Curve:
    """The points of a CSV file of two columns, in order, scaled into the unit square.

    The first row may be a header. One scale for both coordinates keeps the curve's shape; a margin
    of a tenth on every side keeps it where a sigmoid does not saturate.

    Raises:
        OSError: the file cannot be read.
        ValueError: other than two columns, fewer than two points, a cell that is not a finite
            number, points that are all the same or too far apart.
    """
    rows = read_rows(path)
    if len(rows[0].cells) != 2:
        raise ValueError(f"{path} has {len(rows[0].cells)} column(s), expected the two coordinates")
    if all(parse_number(cell) is None for cell in rows[0].cells):
        rows = rows[1:]
    if len(rows) < 2:
        raise ValueError(f"{path} has {len(rows)} point(s), a curve needs at least two")
    points = np.stack([numbers(path, rows, column) for column in range(2)])
    low, high = points.min(axis=1), points.max(axis=1)
    with np.errstate(over="ignore"):
        extent = high - low
    size = float(extent.max())
    if size == 0:
        raise ValueError(f"{path}: all points are the same")
    if not np.isfinite(size):
        raise ValueError(f"{path}: the points are farther apart than a float64 can hold")
    from_middle = (points - low[:, None]) / size - extent[:, None] / size / 2
    return Curve(np.arange(len(rows)) / len(rows), 0.5 + 0.8 * from_middle)


Coordinates = tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]


def _heart(x: Float[np.ndarray, "points"]) -> Coordinates:
    t = 2 * np.pi * x
    across = 16 * np.sin(t) ** 3
    up = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return across / 20, up / 20


def _circle(x: Float[np.ndarray, "points"]) -> Coordinates:
    return 0.8 * np.cos(2 * np.pi * x), 0.8 * np.sin(2 * np.pi * x)


def _figure_eight(x: Float[np.ndarray, "points"]) -> Coordinates:
    return 0.8 * np.sin(2 * np.pi * x), 0.8 * np.sin(4 * np.pi * x)


def _lissajous(x: Float[np.ndarray, "points"]) -> Coordinates:
    return 0.8 * np.sin(6 * np.pi * x + np.pi / 2), 0.8 * np.sin(4 * np.pi * x)


def _spiral(x: Float[np.ndarray, "points"]) -> Coordinates:
    radius = 0.1 + 0.7 * x
    return radius * np.cos(4 * np.pi * x), radius * np.sin(4 * np.pi * x)


def _letter_m(x: Float[np.ndarray, "points"]) -> Coordinates:
    corners = np.array([[-0.8, -0.8], [-0.8, 0.8], [0.0, -0.2], [0.8, 0.8], [0.8, -0.8]])
    lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    reached = np.concatenate([[0], np.cumsum(lengths)]) / lengths.sum()
    return np.interp(x, reached, corners[:, 0]), np.interp(x, reached, corners[:, 1])


#: Functions from x to two coordinates within [-1, 1], by name.
CURVES: dict[str, Callable[[Float[np.ndarray, "points"]], Coordinates]] = {
    "heart": _heart,
    "circle": _circle,
    "figure_eight": _figure_eight,
    "lissajous": _lissajous,
    "spiral": _spiral,
    "letter_m": _letter_m,
}
