"""A fit beside its data: curve, band and residuals."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from .._global import Together
from .._result import Fit
from ._style import GREY, Line, axes, figure, lines, style

#: Points of a curve.
_GRID = 400


def fit(
    fit: Fit,
    *,
    x_label: str = "x",
    y_label: str = "y",
    level: float = 0.95,
    prediction: bool = False,
    residuals: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Data with error bars, the fitted curve with its confidence band, and weighted residuals.

    Error bars are sigma as given. A weighted residual is ``(data - fit) / sigma``: that of a point
    above the curve is above zero. Masked points are hollow. A global fit is drawn a colour for each
    data set.

    Args:
        fit: a fit of one predictor, 1-D.
        x_label, y_label: of the axes; add the units.
        level: of the band.
        prediction: whether to draw the band of new observations too; needs one sigma for all of a
            data set.
        residuals: whether to add a panel of weighted residuals below, on a new figure.
        ax: where to draw, without the panel; a new figure unless given.

    Returns:
        the axes of data and curve.

    Raises:
        ValueError: several predictors, or data that are not 1-D; a sigma that differs from point
            to point, for a prediction; a batch of fits, a fit that is traced.
    """
    fit._check_alone("a picture", "predict")
    sets = _sets(fit)
    grids = [np.linspace(one.x.min(), one.x.max(), _GRID) for one in sets]
    curves = np.split(np.asarray(fit.predict(_at(fit, grids))), len(sets))
    bands = _bands(fit, sets, grids, level, prediction)
    below = None
    if ax is None and residuals:
        with style():
            panels = figure(6.4, 5.2).subplots(2, 1, sharex=True, height_ratios=(3, 1))
        ax, below = panels
    ax = axes(ax)
    styles = lines(map(str, range(len(sets))))
    for k, one in enumerate(sets):
        look = styles[str(k)]
        name = f" {k + 1}" if len(sets) > 1 else ""
        _points(ax, one.x, one.y, one.sigma, one.counts, look, f"data{name}")
        ax.plot(grids[k], curves[k], color=look.color, label=f"fit{name}", zorder=3)
        for kind, (low, high) in bands.items():
            label = f"{level:.0%} {kind}{name}"
            _band(ax, grids[k], low[k], high[k], look, label, is_filled=kind == "confidence")
        if below is not None:
            shown = one.counts
            everything = np.ones(shown.sum(), bool)
            _points(below, one.x[shown], one.residuals[shown], None, everything, look, None)
    ax.set_ylabel(y_label)
    (ax if below is None else below).set_xlabel(x_label)
    if below is not None:
        below.axhline(0, color=GREY, linewidth=0.8)
        below.set_ylabel("residual" if fit.problem.sigma is None else "residual / sigma")
    ax.legend(fontsize="small")
    return ax


class _Set(NamedTuple):
    """One data set of a fit."""

    x: np.ndarray
    y: np.ndarray
    sigma: np.ndarray | None
    counts: np.ndarray
    residuals: np.ndarray  #: above zero where y is above the fit


def _sets(fit: Fit) -> list[_Set]:
    problem = fit.problem
    y, r = np.asarray(problem.y), -np.asarray(problem.residuals(fit.params))
    counts = np.ones(y.shape, bool)
    if problem.mask is not None:
        counts = np.broadcast_to(np.asarray(problem.mask), y.shape)
    sigma = None if problem.sigma is None else np.broadcast_to(np.asarray(problem.sigma), y.shape)
    is_global = isinstance(fit.model, Together)
    xs = [np.asarray(x) for x in problem.x] if is_global else [problem.x]
    if any(np.ndim(x) != 1 for x in xs if hasattr(x, "ndim")) or y.ndim != 1:
        raise ValueError("a fit is drawn for one predictor and data that are 1-D")
    if not all(hasattr(x, "shape") for x in xs) or sum(len(x) for x in xs) != y.size:
        raise ValueError("a fit is drawn for one predictor and data that are 1-D")
    ends = np.cumsum([0, *map(len, xs)])
    return [
        _Set(np.asarray(x), y[a:b], None if sigma is None else sigma[a:b], counts[a:b], r[a:b])
        for x, a, b in zip(xs, ends[:-1], ends[1:], strict=True)
    ]


def _at(fit: Fit, grids: list[np.ndarray]) -> Any:
    """The points of all sets, as the model of the fit takes them."""
    return tuple(grids) if isinstance(fit.model, Together) else grids[0]


def _points(
    ax: Axes, x: Any, y: Any, sigma: Any, counts: Any, look: Any, label: str | None
) -> None:
    common = {"linestyle": "", "color": look.color, "markersize": 3.5, "marker": look.marker}
    bars = None if sigma is None else sigma[counts]
    ax.errorbar(x[counts], y[counts], bars, alpha=0.75, elinewidth=0.8, label=label, **common)
    if not counts.all():
        ax.plot(
            x[~counts],
            y[~counts],
            fillstyle="none",
            alpha=0.6,
            label=label and f"{label}, masked",
            **common,
        )


def _bands(
    fit: Fit, sets: list[_Set], grids: list[np.ndarray], level: float, prediction: bool
) -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """The edges of each kind of band, set by set; none where a parameter is undetermined."""
    if not np.isfinite(fit.covariance).all():
        return {}
    at = _at(fit, grids)
    edges = {"confidence": fit.band(at, level=level)}
    if prediction:
        sigmas = [np.full(_GRID, _one_sigma(one)) for one in sets if one.sigma is not None]
        sigma = np.concatenate(sigmas) if sigmas else None
        edges["prediction"] = fit.band(at, level=level, kind="prediction", sigma=sigma)
    return {
        kind: (np.split(np.asarray(low), len(sets)), np.split(np.asarray(high), len(sets)))
        for kind, (low, high) in edges.items()
    }


def _one_sigma(one: _Set) -> float:
    """The standard deviation of every point of a set."""
    assert one.sigma is not None
    known = one.sigma[one.counts]
    if np.ptp(known) > 0:
        raise ValueError("sigma differs from point to point: draw no band of new observations")
    return float(known[0])


def _band(
    ax: Axes,
    grid: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    look: Line,
    label: str,
    is_filled: bool,
) -> None:
    if is_filled:
        ax.fill_between(grid, low, high, color=look.color, alpha=0.25, linewidth=0, label=label)
        return
    for edge, name in ((low, label), (high, None)):
        ax.plot(grid, edge, color=look.color, linestyle="--", linewidth=0.9, alpha=0.7, label=name)
