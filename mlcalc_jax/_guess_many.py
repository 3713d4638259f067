"""Starts for many fits at once: the grids of ``_guess``, tried on all data by one matrix product.

All fits share x, so that the shapes of a grid are made once; which of them is the best for each fit
is then a product of two matrices. The grids are coarser than those for a single fit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._guess import (
    CELLS,
    Grid,
    Shape,
    Values,
    bell,
    cells_of,
    exponents,
    extent,
    lattice,
    lorentz,
    rates,
    rises,
    widths,
)

Starts = dict[str, np.ndarray]
Axes = list[Values]

_PRODUCTS = 1 << 22  # entries of a product of matrices that are held at once
_ROWS = 256  # with points of their own to count, taken together
_CENTRES, _WIDTHS = 96, 8


def gaussians(x: Any, y: Any, mask: Any) -> Starts:
    """The best of a grid of Gaussians of any height for each row of y."""
    return _best_of_each(lambda axes: _peaks(axes, ["mu"], "sigma", bell, None), [x], y, mask)


def gaussian_peaks(x: Any, y: Any, mask: Any) -> Starts:
    """The best of a grid of Gaussian peaks for each row of y."""
    return _best_of_each(lambda axes: _peaks(axes, ["mu"], "sigma", bell), [x], y, mask)


def gaussian_spots(x: Any, y: Any, mask: Any) -> Starts:
    """The best of a grid of round Gaussian spots for each row of y."""
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ValueError("the model takes two predictors, (x, y)")
    return _best_of_each(lambda axes: _peaks(axes, ["x0", "y0"], "sigma", bell), x, y, mask)


def lorentzians(x: Any, y: Any, mask: Any) -> Starts:
    """The best of a grid of Lorentzian peaks for each row of y."""
    return _best_of_each(lambda axes: _peaks(axes, ["x0"], "gamma", lorentz), [x], y, mask)


def decays(x: Any, y: Any, mask: Any) -> Starts:
    """The best of a grid of exponential decays for each row of y."""
    return _best_of_each(lambda axes: rates(axes[0]), [x], y, mask)


def growths(x: Any, y: Any, mask: Any) -> Starts:
    """The best of a grid of logistic curves for each row of y."""
    return _best_of_each(lambda axes: rises(axes[0]), [x], y, mask)


def power_laws(x: Any, y: Any, mask: Any) -> Starts:
    """The best of a grid of powers for each row of y, on the points with x > 0."""
    x = _axis(x, y)
    has_log = np.isfinite(x) & (x > 0)
    if mask is not None and mask.ndim == 1:
        has_log &= mask
    if not has_log.any():
        return {"amplitude": np.nanmean(y, axis=1), "exponent": np.zeros(len(y))}
    mask = None if mask is None else mask[..., has_log]
    return _best_of_each(lambda axes: exponents(axes[0]), [np.log(x[has_log])], y[:, has_log], mask)


def lines(x: Any, y: Any, mask: Any) -> Starts:
    """The least-squares line of each row of y, from which a fit with any loss sets out."""
    (x,), y, counts = _counting([_axis(x, y)], y, mask)
    first, span = extent(x)
    z = (x - first) / span
    weights = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    y = np.where(counts, y, 0).astype(float)
    z_mean, y_mean = weights @ z, (weights * y).sum(axis=1)
    from_mean = z - z_mean[:, None]
    variance = (weights * from_mean**2).sum(axis=1)
    covariance = (weights * from_mean * (y - y_mean[:, None])).sum(axis=1)
    slope = np.where(variance > 0, covariance, 0) / np.where(variance > 0, variance, 1) / span
    return {"slope": slope, "intercept": y_mean - slope * (first + span * z_mean)}


def _peaks(
    axes: Axes, centre: list[str], width: str, shape: Shape, height: str | None = "amplitude"
) -> Grid:
    """Peaks on the points, or on a lattice if they are many, of a few widths."""
    origin, span = zip(*map(extent, axes), strict=True)
    scale = max(span)
    points = np.stack([(axis - low) / scale for axis, low in zip(axes, origin, strict=True)])
    is_few = points.shape[1] <= _CENTRES
    centres = points if is_few else lattice(points, points.shape[1] + _CENTRES)
    squared = np.sum((centres[:, :, None] - points[:, None, :]) ** 2, axis=0)
    own = np.sum((points[:, :, None] - points[:, None, :]) ** 2, axis=0)
    tried = widths(own, _WIDTHS)
    shapes = shape(squared[None] / tried[:, None, None] ** 2).reshape(-1, points.shape[1])
    numbers = {
        name: np.tile(low + scale * at, _WIDTHS)
        for name, low, at in zip(centre, origin, centres, strict=True)
    }
    numbers[width] = np.repeat(scale * tried, centres.shape[1])
    return Grid(shapes, numbers, height, offset="offset" if height else None)


def _axis(x: Any, y: Any) -> Values:
    """A predictor, a number for each point."""
    if isinstance(x, (tuple, list)) or np.size(x) != y.shape[1]:
        raise ValueError(
            f"the model takes one predictor of {y.shape[1]} points, got {len(x)} of them"
            if isinstance(x, (tuple, list))
            else f"the model takes predictors of {y.shape[1]} points, got shape {np.shape(x)}"
        )
    return np.ravel(np.asarray(x, float))


def _best_of_each(make: Callable[[Axes], Grid], x: Any, y: Any, mask: Any) -> Starts:
    """The best row of a grid for each row of y, with its linear parameters.

    Last bits depend on how a row's sums are computed, and so does its choice between like shapes.
    Rows that count all points, or those of one mask for all, are therefore computed in one way,
    those with points of their own to count in another, and those that count so little of x that
    the grid is too coarse for them by a grid of their own, whatever the other rows are.
    """
    axes, y, counts = _counting([_axis(axis, y) for axis in x], y, mask)
    own = np.flatnonzero(~counts.all(axis=1))
    y, counts = np.where(counts, y, 0), counts[own]
    tried = _Tried(make, axes, y.dtype)
    best = np.zeros((3, len(y)))
    if len(own) < len(y):
        step = max(1, _PRODUCTS // len(tried.grid.shapes))
        for k in range(0, len(y), step):
            best[:, k : k + step] = tried.bests(y[k : k + step])
    for k in range(0, len(own), _ROWS):
        some = np.resize(np.arange(k, min(k + _ROWS, len(own))), _ROWS)  # so all sums are of a size
        best[:, own[some]] = tried.bests(y[own[some]], counts[some])
    starts = tried.starts(best)
    alike: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(_is_part(axes, counts)).tolist():
        alike.setdefault(counts[row].tobytes(), []).append(row)
    for rows in alike.values():
        here = counts[rows[0]]
        part = _Tried(make, [axis[here] for axis in axes], y.dtype)
        for k in own[rows]:
            for name, value in part.starts(part.bests(y[k, here][None])).items():
                starts[name][k] = value[0]
    return starts


def _counting(axes: Axes, y: Any, mask: Any) -> tuple[Axes, Any, Any]:
    """The points that may count, of one mask for all and finite x, and which of them do for each.

    Where there is none they are of no consequence, and any will do.
    """
    may = np.logical_and.reduce([np.isfinite(axis) for axis in axes])
    if mask is not None and mask.ndim == 1:
        may, mask = may & mask, None
    if not may.any():
        return [np.arange(float(y.shape[1])) for _ in axes], y, np.zeros(y.shape, bool)
    if not may.all():
        axes, y = [axis[may] for axis in axes], y[:, may]
        mask = None if mask is None else mask[:, may]
    return axes, y, np.isfinite(y) if mask is None else np.isfinite(y) & mask


def _is_part(axes: Axes, counts: Any) -> Any:
    """Which rows count some points, and these along less than half of an axis."""
    is_part = np.zeros(len(counts), bool)
    for axis in axes:
        at = np.broadcast_to(axis, counts.shape)
        low = np.min(at, axis=1, where=counts, initial=np.inf)
        high = np.max(at, axis=1, where=counts, initial=-np.inf)
        is_part |= high - low < np.ptp(axis) / 2
    return is_part & counts.any(axis=1)


class _Tried:
    """A grid on some points, or on cells of neighbours where they are many."""

    def __init__(self, make: Callable[[Axes], Grid], axes: Axes, dtype: Any) -> None:
        from scipy import sparse  # here: SciPy takes its time to import

        self.into, self.count = None, np.ones(axes[0].size)
        if axes[0].size > CELLS:
            # Sums over cells of neighbours, and how many there are in each.
            cell = cells_of(axes)
            self.count = np.bincount(cell).astype(float)
            ones = np.ones(cell.size, dtype), (np.arange(cell.size), cell)
            self.into = sparse.csr_array(ones, (cell.size, self.count.size))
            axes = [np.bincount(cell, axis) / self.count for axis in axes]
        self.grid = make(axes)

    def bests(self, y: Any, counts: Any = None) -> np.ndarray:
        """Row, height and offset of the best shape for each row of y, 0 where it does not count."""
        if self.into is not None:
            y = y @ self.into
            counts = None if counts is None else counts.astype(y.dtype) @ self.into
        return np.stack(_bests(self.grid, y, self.count if counts is None else counts))

    def starts(self, best: np.ndarray) -> Starts:
        """The parameters of the best shapes."""
        grid, (row, height, offset) = self.grid, best
        row = row.astype(int)
        starts = {name: values[row] for name, values in grid.numbers.items()}
        if grid.height:
            starts[grid.height] = height * np.broadcast_to(grid.factor, len(grid.shapes))[row]
        if grid.offset:
            starts[grid.offset] = offset
        return starts


def _bests(grid: Grid, y: Any, count: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, height and offset of the best shape; y are sums over ``count`` points."""
    scale = np.max(np.abs(y), axis=1, keepdims=True)
    scale = np.where(scale > 0, scale, 1)
    y = y / scale
    total = np.maximum(count.sum(axis=-1, keepdims=True), 1)
    weights, y = count / total, y / total.astype(y.dtype)
    has_offset = grid.offset is not None
    mean = y.sum(axis=1, keepdims=True) if has_offset else np.zeros((len(y), 1), y.dtype)
    if count.ndim == 1:
        means = grid.shapes @ weights if has_offset else np.zeros(len(grid.shapes))
        centred = grid.shapes - means[:, None]
        spread = np.sqrt(centred**2 @ weights)
        spread = np.where(spread > 1e-6, spread, np.inf)
        unit = (centred / spread[:, None]).astype(y.dtype)
        seen = (y - mean * weights.astype(y.dtype)) @ unit.T
        row = np.argmax(np.abs(seen), axis=1)
        height = seen[np.arange(len(y)), row] / spread[row]
        middle = means[row]
    else:
        all_means = weights @ grid.shapes.T if has_offset else np.zeros((len(y), 1))
        variance = weights @ (grid.shapes**2).T - all_means**2
        covariance = y @ grid.shapes.T - all_means * mean
        is_seen = variance > 1e-8
        heights = np.where(is_seen, covariance, 0) / np.where(is_seen, variance, 1)
        row = np.argmax(heights * covariance, axis=1)
        height = heights[np.arange(len(y)), row]
        middle = np.broadcast_to(all_means, heights.shape)[np.arange(len(y)), row]
    return row, height * scale[:, 0], (mean[:, 0] - height * middle) * scale[:, 0]
