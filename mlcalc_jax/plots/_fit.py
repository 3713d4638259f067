"""A fit beside its data: curve, band and residuals."""

from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from .._global import Together
from .._precision import in_precision_of
from .._result import Fit
from ._style import BLUE, GREY, axes, figure, lines, style


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

    Error bars are sigma as given. Masked points are hollow. A global fit is drawn a colour for each
    data set, without bands.

    Args:
        fit: a fit of one predictor, 1-D.
        x_label, y_label: of the axes; add the units.
        level: of the band.
        prediction: whether to draw the band of new observations too; needs one sigma for all.
        residuals: whether to add a panel of weighted residuals below, on a new figure.
        ax: where to draw, without the panel; a new figure unless given.

    Returns:
        the axes of data and curve.

    Raises:
        ValueError: several predictors, or data that are not 1-D.
    """
    sets = _sets(fit)
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
        grid = np.linspace(one.x.min(), one.x.max(), 400)
        ax.plot(grid, one.model(grid), color=look.color, label=f"fit{name}", zorder=3)
        if len(sets) == 1:
            _bands(ax, fit, grid, level, prediction)
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


class _Set:
    """One data set of a fit, as NumPy arrays."""

    def __init__(self, fit: Fit, x: Any, y: Any, sigma: Any, counts: Any, r: Any, k: Any) -> None:
        self.x, self.y, self.sigma, self.counts, self.residuals = x, y, sigma, counts, r
        self._fit, self._k = fit, k

    def model(self, grid: np.ndarray) -> np.ndarray:
        whole = self._fit.model
        if self._k is None:
            return np.asarray(self._fit.predict(grid))
        params = whole.of_set(self._fit.params, self._k)
        return np.asarray(
            in_precision_of((params, grid), lambda: jax.numpy.asarray(whole.model(params, grid)))
        )


def _sets(fit: Fit) -> list[_Set]:
    problem = fit.problem
    y, r = np.asarray(problem.y), np.asarray(problem.residuals(fit.params))
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
        _Set(
            fit,
            np.asarray(x),
            y[a:b],
            None if sigma is None else sigma[a:b],
            counts[a:b],
            r[a:b],
            k if is_global else None,
        )
        for k, (x, a, b) in enumerate(zip(xs, ends[:-1], ends[1:], strict=True))
    ]


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


def _bands(ax: Axes, fit: Fit, grid: np.ndarray, level: float, prediction: bool) -> None:
    if not np.isfinite(fit.covariance).all():
        return
    ax.fill_between(
        grid,
        *fit.band(grid, level=level),
        color=BLUE,
        alpha=0.25,
        linewidth=0,
        label=f"{level:.0%} confidence",
    )
    if prediction:
        low, high = fit.band(grid, level=level, kind="prediction")
        for edge, name in ((low, f"{level:.0%} prediction"), (high, None)):
            ax.plot(grid, edge, color=GREY, linestyle="--", linewidth=0.9, label=name)
