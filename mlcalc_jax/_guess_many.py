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
    has_log = x > 0
    if not has_log.any():
        return {"amplitude": np.nanmean(y, axis=1), "exponent": np.zeros(len(y))}
    mask = None if mask is None else mask[..., has_log]
    return _best_of_each(lambda axes: exponents(axes[0]), [np.log(x[has_log])], y[:, has_log], mask)


def lines(x: Any, y: Any, mask: Any) -> Starts:
    """The least-squares line of each row of y, from which a fit with any loss sets out."""
    x = _axis(x, y)
    first, span = extent(x)
    z = (x - first) / span
    counts = np.isfinite(y) if mask is None else np.isfinite(y) & mask
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
    Rows that count all points, or those of one mask for all, are therefore computed in one way, and
    those with points of their own to count in another, whatever the other rows are.
    """
    from scipy import sparse  # here: SciPy takes its time to import

    axes = [_axis(axis, y) for axis in x]
    shared = np.ones(y.shape[1], bool) if mask is None or mask.ndim == 2 else mask
    counts = np.isfinite(y) if mask is None else np.isfinite(y) & mask
    own = np.flatnonzero((counts != shared).any(axis=1))
    y, counts = np.where(counts, y, 0), counts[own]
    if y.shape[1] > CELLS:
        # Sums over cells of neighbours, and how many there are in each.
        cell = cells_of(axes)
        into = sparse.csr_array(
            (np.ones(cell.size, y.dtype), (np.arange(cell.size), cell)), (cell.size, max(cell) + 1)
        )
        axes = [np.bincount(cell, axis) / np.bincount(cell) for axis in axes]
        y, counts, shared = y @ into, counts.astype(y.dtype) @ into, np.bincount(cell, shared)
    grid = make(axes)
    best = np.zeros((3, len(y)))
    step = max(1, _PRODUCTS // len(grid.shapes))
    if len(own) < len(y):
        for k in range(0, len(y), step):
            best[:, k : k + step] = _bests(grid, y[k : k + step], shared.astype(float))
    for k in range(0, len(own), _ROWS):
        some = np.resize(np.arange(k, min(k + _ROWS, len(own))), _ROWS)  # so all sums are of a size
        best[:, own[some]] = _bests(grid, y[own[some]], counts[some])
    row, height, offset = best
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
