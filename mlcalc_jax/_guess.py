"""Starts for least-squares fits, guessed from the data on the host.

Most models are linear in some of their parameters. For given values of the others the best linear
ones have a closed form, so that a grid over the few nonlinear parameters finds the basin of the
best fit, however noisy, unsorted or uneven the data are.

Source: Golub and Pereyra, The Differentiation of Pseudo-Inverses and Nonlinear Least Squares
Problems Whose Variables Separate (1973).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]
Start: TypeAlias = dict[str, float]
#: The height of a peak by the squared distance from its centre, in widths; 1 at the centre.
Shape: TypeAlias = Callable[[Values], Values]

_LARGEST_EXPONENT = 300.0  # so that the square of the exponential is a float too
CELLS = 256  # as many points as a grid is tried on


def guess_line(x: Any, y: Any) -> Start:
    """The median slope between pairs of points, and the median intercept; level if all x are equal.

    Unlike the least-squares line, which a fit finds from anywhere, it does not follow an outlier.
    Source: Theil (1950), Sen (1968); of many points, a few hundred evenly taken in the order of x.
    """
    x, y = _flat(x), _flat(y)
    some = np.argsort(x, kind="stable")[:: max(1, x.size // 300)]
    across, up = x[some, None] - x[some], y[some, None] - y[some]
    slopes = up[across > 0] / across[across > 0]
    slope = float(np.median(slopes)) if slopes.size else 0.0
    return {"slope": slope, "intercept": float(np.median(y - slope * x))}


def guess_gaussian(x: Any, y: Any) -> Start:
    """The best of a grid of Gaussians of any height, so that an area other than 1 does no harm."""
    peak = _peak([_flat(x)], _flat(y), bell, has_offset=False)
    return {"mu": peak.centre[0], "sigma": peak.width}


def guess_gaussian_peak(x: Any, y: Any) -> Start:
    """The best of a grid of Gaussian peaks, up or down."""
    peak = _peak([_flat(x)], _flat(y), bell)
    return {
        "amplitude": peak.height,
        "mu": peak.centre[0],
        "sigma": peak.width,
        "offset": peak.offset,
    }


def guess_gaussian_2d(x: Any, y: Any) -> Start:
    """The best of a grid of round Gaussian spots, bright or dark."""
    peak = _peak([_flat(axis) for axis in x], _flat(y), bell)
    return {
        "amplitude": peak.height,
        "x0": peak.centre[0],
        "y0": peak.centre[1],
        "sigma": peak.width,
        "offset": peak.offset,
    }


def guess_lorentzian(x: Any, y: Any) -> Start:
    """The best of a grid of Lorentzian peaks, up or down."""
    peak = _peak([_flat(x)], _flat(y), lorentz)
    return {
        "amplitude": peak.height,
        "x0": peak.centre[0],
        "gamma": peak.width,
        "offset": peak.offset,
    }


def guess_exponential_decay(x: Any, y: Any) -> Start:
    """The best of a geometric grid of rates, of decay and of growth.

    The rates go from a hundredth over the whole range of x to five over the gap of two points.
    """
    x, y = _flat(x), _flat(y)
    (at,), mean, count = _thinned([x], y)
    return _start(rates(at), mean, count)


def rates(x: Values) -> "Grid":
    """Exponentials, of decay and of growth."""
    first, span = extent(x)
    at = (x - first) / span
    gap = _gap(np.diff(np.sort(at)))

    def geometric(largest_at: float) -> Values:
        steepest = _LARGEST_EXPONENT / max(abs(largest_at) / span, _LARGEST_EXPONENT * gap / 5)
        return np.geomspace(min(0.01, steepest / 2), steepest, 80)

    decay, growth = geometric(first), geometric(first + span)
    # Each basis function is 1 at the end where it is largest, so that none overflows.
    shapes = np.exp(np.concatenate([-np.outer(decay, at), np.outer(growth, at - 1)]))
    rate = np.concatenate([decay, -growth]) / span
    largest_at = np.where(rate > 0, first, first + span)
    return Grid(shapes, {"rate": rate}, "amplitude", np.exp(rate * largest_at))


def guess_power_law(x: Any, y: Any) -> Start:
    """The best of a grid of exponents, on the points with x > 0.

    A line through log y against log x would be wrong where noise hides y, or turns its sign.
    """
    x, y = _flat(x), _flat(y)
    if not (x > 0).any():
        return {"amplitude": float(y.mean()), "exponent": 0.0}
    (at,), mean, count = _thinned([np.log(x[x > 0])], y[x > 0])
    return _start(exponents(at), mean, count)


def exponents(log_x: Values) -> "Grid":
    """Powers."""
    first, span = extent(log_x)
    steepest = min(40 / span, _LARGEST_EXPONENT / max(np.abs(log_x).max(), 1.0))
    tried = np.linspace(-steepest, steepest, 321)
    largest_at = np.where(tried > 0, log_x.max(), first)
    shapes = np.exp(tried[:, None] * (log_x[None] - largest_at[:, None]))
    factor = np.exp(-tried * largest_at)
    return Grid(shapes, {"exponent": tried}, "amplitude", factor, offset=None)


def guess_logistic(x: Any, y: Any) -> Start:
    """The best of a grid of midpoints and rates, rising and falling.

    The midpoint may lie outside the data by half their range.
    """
    x, y = _flat(x), _flat(y)
    (at,), mean, count = _thinned([x], y, cells=128)
    return _start(rises(at), mean, count)


def rises(x: Values) -> "Grid":
    """Logistic curves, rising and falling."""
    first, span = extent(x)
    at = np.sort((x - first) / span)
    middles = np.concatenate([at, np.linspace(-0.5, 1.5, 121)])
    steep = np.geomspace(1, 5 / _gap(np.diff(at)), 16)
    pairs = np.meshgrid(np.concatenate([steep, -steep]), middles, indexing="ij")
    rate, middle = (axis.ravel() for axis in pairs)
    shapes = (1 + np.tanh(rate[:, None] * ((x - first) / span - middle[:, None]) / 2)) / 2
    numbers = {"rate": rate / span, "midpoint": first + span * middle}
    return Grid(shapes, numbers, "capacity", offset=None)


def guess_sine(x: Any, y: Any) -> Start:
    """The strongest frequency below the average Nyquist frequency, and the best sine of it.

    Of more than 2^15 points, frequencies up to 2^14 over the range of x are looked at.
    """
    x, y = _flat(x), _flat(y)
    first, span = extent(x)
    at, scale = (x - first) / span, _scale(y)
    waves = [
        _wave(at, y / scale, frequency)
        for peak in _strongest_frequencies(at, y / scale)
        for frequency in np.linspace(max(peak - 0.2, 0.04), peak + 0.2, 11)
    ]
    best = min(waves, key=lambda wave: wave.misfit)
    frequency = best.frequency / span
    turns = np.arctan2(best.cosine, best.sine) / (2 * np.pi) - frequency * first
    return {
        "amplitude": scale * float(np.hypot(best.sine, best.cosine)),
        "frequency": frequency,
        "phase": 2 * np.pi * float(turns - np.rint(turns)),
        "offset": scale * best.offset,
    }


class _Wave(NamedTuple):
    frequency: float
    sine: float
    cosine: float
    offset: float
    misfit: float


def _wave(x: Values, y: Values, frequency: float) -> _Wave:
    """The least-squares sine and cosine of one frequency, and offset."""
    angle = 2 * np.pi * frequency * x
    columns = np.stack([np.sin(angle), np.cos(angle), np.ones_like(x)], axis=1)
    linear, *_ = np.linalg.lstsq(columns, y, rcond=None)
    sine, cosine, offset = linear.tolist()
    misfit = float(np.sum((columns @ linear - y) ** 2))
    return _Wave(float(frequency), sine, cosine, offset, misfit)


def _strongest_frequencies(x: Values, y: Values, count: int = 3) -> Values:
    """The highest peaks of the periodogram over x in [0, 1], and its lowest frequency.

    It is the one of sines with a floating offset, five times oversampled, with the sums over the
    points taken by fast Fourier transforms on a fine grid to which every point is moved.

    Source: Zechmeister and Kuerster, The generalised Lomb-Scargle periodogram (2009), equations 5
    to 15; Press and Rybicki, Fast algorithm for spectral analysis of unevenly sampled data (1989).
    """
    intervals = min(max(np.unique(x).size - 1, 2), 2**15)
    cells = 8 * intervals
    k = np.arange(1, -(-5 * intervals // 2))  # frequencies k / 5, below the Nyquist frequency
    cell = np.rint(x * cells).astype(int)

    def transform(values: Values | None) -> NDArray[np.complex128]:
        binned = np.fft.rfft(np.bincount(cell, values, cells + 1), 5 * cells)
        return np.asarray(binned.conj() / x.size, np.complex128)

    weights, data = transform(None), transform(y - y.mean())[k]
    C, S, C2, S2 = weights[k].real, weights[k].imag, weights[2 * k].real, weights[2 * k].imag
    CC, SS, CS = (1 + C2) / 2 - C**2, (1 - C2) / 2 - S**2, S2 / 2 - C * S
    determinant = CC * SS - CS**2
    explained = data.real**2 * SS + data.imag**2 * CC - 2 * data.real * data.imag * CS
    is_sound = determinant > 1e-6
    power = np.where(is_sound, explained / np.where(is_sound, determinant, 1), 0)
    walled = np.concatenate([[-1], power, [-1]])
    tops = np.flatnonzero((power >= walled[:-2]) & (power >= walled[2:]))
    highest = tops[np.argsort(-power[tops], kind="stable")[:count]]
    return k[np.union1d(highest, [0])] / 5


class _Peak(NamedTuple):
    centre: list[float]
    width: float
    height: float
    offset: float


def _peak(axes: list[Values], y: Values, shape: Shape, has_offset: bool = True) -> _Peak:
    """The best of a grid of peaks, and if the points were thinned for it, of closer ones.

    The centres are on the points and, where these are few, on a lattice between them; the widths go
    from half the gap of neighbours to the range of the points.
    """
    origin, span = zip(*map(extent, axes), strict=True)
    scale = max(span)
    points = np.stack([(axis - low) / scale for axis, low in zip(axes, origin, strict=True)])
    near = np.ones(y.size, bool)
    for _ in range(3):
        at, mean, count = _thinned(list(points[:, near]), y[near])
        centres = np.concatenate([at, lattice(at)], axis=1)
        squared = np.sum((centres[:, :, None] - at[:, None, :]) ** 2, axis=0)
        tried = widths(squared[: mean.size])
        shapes = shape(squared[None] / tried[:, None, None] ** 2)
        best = _best(shapes.reshape(-1, mean.size), mean, count, has_offset)
        i, j = np.unravel_index(best.row, shapes.shape[:2])
        centre, width = centres[:, j], float(tried[i])
        was_thinned = near.sum() > CELLS
        near = np.sum((points - centre[:, None]) ** 2, axis=0) <= (8 * width) ** 2
        if not was_thinned or near.sum() < 8:
            break
    place = [low + scale * float(c) for low, c in zip(origin, centre, strict=True)]
    return _Peak(place, scale * width, best.height, best.offset)


def lattice(points: Values, most: int = CELLS) -> Values:
    """A lattice over the range of so few points that at most ``most`` of both come together."""
    side = int(max(most - points.shape[1], 0) ** (1 / len(points)))
    low, high = points.min(axis=1), points.max(axis=1)
    axes = np.meshgrid(*np.linspace(low, high, side).T)
    return np.stack([axis.ravel() for axis in axes])


def widths(squared: Values, count: int = 24) -> Values:
    """The widths to try, widest first: constant data take the first."""
    reach = float(np.sqrt(squared.max())) or 1.0
    apart = np.where(squared > 0, squared, np.inf).min(axis=1)
    gap = _gap(np.sqrt(apart[np.isfinite(apart)]))
    return np.geomspace(reach, max(gap / 2, reach / 1000), count)


def bell(squared: Values) -> Values:
    """A Gaussian."""
    return np.exp(-squared / 2)


def lorentz(squared: Values) -> Values:
    """A Lorentzian."""
    return 1 / (1 + squared)


class Grid(NamedTuple):
    """Shapes to try, each with the values of the nonlinear parameters that make it."""

    shapes: Values  # (rows, points)
    numbers: dict[str, Values]  # of each row, by the name of the parameter
    height: str | None  # name of the linear parameter that multiplies the shape
    factor: Any = 1.0  # of the height, for each row
    offset: str | None = "offset"  # name of the linear parameter that is added


def _start(grid: Grid, y: Values, count: Values) -> Start:
    """The best of a grid, with its linear parameters."""
    best = _best(grid.shapes, y, count, grid.offset is not None)
    start = {name: float(values[best.row]) for name, values in grid.numbers.items()}
    if grid.height:
        factor = np.broadcast_to(grid.factor, len(grid.shapes))
        start[grid.height] = best.height * float(factor[best.row])
    if grid.offset:
        start[grid.offset] = best.offset
    return start


class _Best(NamedTuple):
    row: int
    height: float
    offset: float


def _best(shapes: Values, y: Values, count: Values, has_offset: bool = True) -> _Best:
    """Which row of ``shapes``, times a height and plus an offset, comes closest to y.

    Points weigh by their ``count``. A row that is level to six digits cannot be told from the
    offset and is passed over.
    """
    weights, scale = count / count.sum(), _scale(y)
    y = y / scale
    mean = float(weights @ y) if has_offset else 0.0
    means = shapes @ weights if has_offset else np.zeros(len(shapes))
    centred = shapes - means[:, None]
    variance = centred**2 @ weights
    covariance = centred @ (weights * (y - mean))
    is_seen = variance > 1e-12
    heights = np.where(is_seen, covariance, 0) / np.where(is_seen, variance, 1)
    row = int(np.argmax(heights * covariance))
    height = float(heights[row])
    return _Best(row, scale * height, scale * (mean - height * float(means[row])))


def _thinned(axes: list[Values], y: Values, cells: int = CELLS) -> tuple[Values, Values, Values]:
    """Means of the axes and of y over at most so many cells of neighbours, and their counts.

    In one dimension they come in order.
    """
    cell = cells_of(axes, cells)
    count = np.bincount(cell)
    at, mean = (np.stack([np.bincount(cell, v) / count for v in values]) for values in (axes, [y]))
    return at, mean[0], count.astype(float)


def cells_of(axes: list[Values], cells: int = CELLS) -> NDArray[np.intp]:
    """Which of at most so many cells of neighbours each point lies in; none is empty.

    The cells cut every axis into groups of as many distinct values, so that dense regions keep
    their detail.
    """
    points = axes[0].size
    a_side = round(cells ** (1 / len(axes))) if points > cells else points
    cell = np.zeros(points, int)
    for axis in axes:
        distinct, rank = np.unique(axis, return_inverse=True)
        cell = cell * a_side + rank * a_side // max(a_side, distinct.size)
    return np.unique(cell, return_inverse=True)[1]


def _line(x: Values, y: Values, weights: Values) -> tuple[float, float]:
    """Slope and intercept of the weighted least-squares line."""
    weights = weights / weights.sum()
    x_mean, y_mean, scale = float(weights @ x), float(weights @ y), extent(x)[1]
    z = (x - x_mean) / scale
    variance = float(weights @ z**2)
    slope = float(weights @ (z * (y - y_mean))) / variance / scale if variance > 0 else 0.0
    return slope, y_mean - slope * x_mean


def _gap(gaps: Values) -> float:
    """A gap of neighbours that most do not fall below, 1 if there is none."""
    return max(float(np.quantile(gaps, 0.1)), 1e-4) if gaps.size else 1.0


def extent(x: Values) -> tuple[float, float]:
    """The lowest value, and the range or 1 if that is zero."""
    return float(x.min()), float(np.ptp(x)) or 1.0


def _scale(y: Values) -> float:
    return float(np.abs(y).max()) or 1.0


def _flat(values: Any) -> Values:
    return np.ravel(np.asarray(values, np.float64))
