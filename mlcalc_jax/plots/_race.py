"""A race of optimisers: cost against what it took, sensitivity to the learning rate, profiles."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._race import Comparison, Outcome, Race
from .._race._profiles import Profile, data_profiles, performance_profiles
from ._labels import label_ends
from ._style import Line, axes, figure, lines

_AXES = {
    "steps": "step",
    "oracle": "model evaluations",
    "seconds": "seconds (compilation apart)",
}
_PLACES = 200  # along an axis at which runs are compared
_TARGET: Any = {"color": "0.4", "linewidth": 0.8, "linestyle": (0, (4, 3))}
_STAR: Any = {"color": "0.4", "linestyle": "", "marker": "*", "markersize": 10}


def race(
    comparison: Comparison,
    problem: str | None = None,
    *,
    against: str = "oracle",
    styles: Mapping[str, Line] | None = None,
    labels: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """The lowest cost so far of every optimiser, median and 20-80 % band over the fresh seeds.

    Drawn above the known minimum, if the problem has one, and as far as one of the medians is in
    sight. A run that has diverged keeps the lowest cost it had.

    Args:
        comparison: from :func:`mlcalc_jax.compare`.
        problem: which, by name; need not be given if there is just one.
        against: "steps", "oracle" (model evaluations) or "seconds".
        styles: of the optimisers, by name, as from :func:`lines`; the same in all these figures.
        labels: whether to name the lines.
        ax: where to draw; a new figure unless given.

    Raises:
        ValueError: an unknown axis or problem; seconds of a race that was not timed.
    """
    if against not in _AXES:
        raise ValueError(f"against must be one of {', '.join(_AXES)}, got {against!r}")
    standing = comparison.standing(problem)
    ax = axes(ax, 7.0, 4.4)
    styles = lines(comparison.optimisers) if styles is None else styles
    floor = 0.0 if standing.minimum is None else standing.minimum
    runs = {one.optimiser: one for one in comparison.races if one.problem == standing.name}
    if against == "seconds":
        _timed([*runs.values()])
    shown = {n: one for n, one in runs.items() if not one.error and _is_drawn(one, against)}
    medians: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, one in shown.items():
        across, costs = _curves(one, against)
        low, middle, high = np.quantile(costs - floor, (0.2, 0.5, 0.8), axis=0, method="nearest")
        if not np.isfinite(middle).any():
            continue
        tiny = np.finfo(float).tiny
        ax.plot(across, np.maximum(middle, tiny), label=name, **_line(styles[name]))
        ax.fill_between(
            across, np.maximum(low, tiny), high, color=styles[name].color, alpha=0.1, linewidth=0
        )
        medians[name] = across, middle
    target, bottom = standing.target - floor, -np.inf
    if 0 < target < np.inf:
        ax.set_yscale("log")
        lowest = min((float(middle[-1]) for _, middle in medians.values()), default=target)
        bottom = 0.3 * min(max(lowest, 1e-6 * target), target)
        ax.set_ylim(bottom=bottom)
        ax.axhline(target, **_TARGET)
        ax.annotate(
            "target",
            (0.99, target),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize="x-small",
            color="0.3",
        )
    reach = _reach(medians, bottom)
    if against == "steps":
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(0, 1.25 * max(1.0, reach))
    elif medians:
        first = min(float(across[0]) for across, _ in medians.values())
        ax.set(xscale="log", xlim=(0.8 * first, 1.25 * max(first, reach)))
    ax.set_xlabel(_AXES[against])
    ax.set_ylabel("lowest cost so far" + (" above the minimum" if floor else ""))
    if labels:
        label_ends(ax, {name: _at(reach, *median) for name, median in medians.items()}, styles)
    return ax


def sensitivity(
    comparison: Comparison,
    problem: str | None = None,
    *,
    what: str = "cost",
    styles: Mapping[str, Line] | None = None,
    labels: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """How optimisers take to their learning rate, over the tuning seeds.

    Those whose learning rate was all that was tuned: one of which more was (a
    :func:`mlcalc_jax.contender`) has no line. The lowest cost that a run came to, median over seeds
    and a diverged run's being that of its start or worse; a star is the rate that was chosen. With
    ``what="diverged"``, the share of runs that diverged.

    Args:
        comparison: from :func:`mlcalc_jax.compare`.
        problem: which, by name; need not be given if there is just one.
        what: "cost" or "diverged".
        styles: of the optimisers, by name.
        labels: whether to name the lines.
        ax: where to draw; a new figure unless given.

    Raises:
        ValueError: an unknown problem; there is no such optimiser.
    """
    if what not in ("cost", "diverged"):
        raise ValueError(f"what must be cost or diverged, got {what!r}")
    standing = comparison.standing(problem)
    styles = lines(comparison.optimisers) if styles is None else styles
    ax = axes(ax, 7.0, 4.4)
    ends: dict[str, float] = {}
    reach: list[float] = []
    floor = standing.minimum or 0.0
    for one in comparison.races:
        rates = _rates(one)
        if one.problem != standing.name or rates is None:
            continue
        order = np.argsort(rates)
        diverged = one.tuning_outcome == Outcome.DIVERGED
        if what == "cost":
            lowest = np.where(diverged, np.maximum(standing.start_cost, floor), one.tuning_lowest)
            up = np.quantile(lowest - floor, 0.5, axis=1, method="nearest")
        else:
            up = diverged.mean(axis=1)
        reach += [float(rates.min()), float(rates.max())]
        if not np.isfinite(up).any():
            continue
        style = styles[one.optimiser]
        ax.plot(rates[order], up[order], label=one.optimiser, **_line(style))
        if what == "cost":
            ax.plot(rates[one.winner], up[one.winner], "*", color=style.color, markersize=10)
        ends[one.optimiser] = float(up[order][-1])
    if not reach:
        raise ValueError("no optimiser of this comparison has a learning rate to tune, and no more")
    ax.set(xscale="log", xlim=(0.7 * min(reach), 1.4 * max(reach)), xlabel="learning rate")
    if what == "cost":
        explained = [Line2D([], [], label="rate that was chosen", **_STAR)]
        if 0 < standing.target - floor < np.inf:
            ax.set_yscale("log")
            ax.axhline(standing.target - floor, **_TARGET)
            explained.append(Line2D([], [], label="target", **_TARGET))
        ax.legend(handles=explained, fontsize="small")
        ax.set_ylabel("median lowest cost" + (" above the minimum" if floor else ""))
    else:
        ax.set(ylim=(-0.04, 1.04), ylabel="share of runs that diverged")
    if labels:
        label_ends(ax, ends, styles)
    return ax


def performance_profile(
    comparison: Comparison,
    *,
    measure: str = "oracle",
    styles: Mapping[str, Line] | None = None,
    labels: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Dolan and More's profile: the share of problems solved within a multiple of the best effort.

    Args:
        comparison: a race over several problems; each fresh seed of each is an instance.
        measure: "oracle", "steps" or "seconds".
        styles: of the optimisers, by name.
        labels: whether to name the lines.
        ax: where to draw; a new figure unless given.

    Raises:
        ValueError: an unknown measure; seconds of a race that was not timed.
    """
    what = {"oracle": "model evaluations", "steps": "steps", "seconds": "seconds"}
    if measure == "seconds":
        _timed(comparison.races)
    profiles = performance_profiles(comparison, measure)
    return _draw_profiles(
        profiles, f"{what[measure]}, as a multiple of the best optimiser's", 1.0, styles, labels, ax
    )


def data_profile(
    comparison: Comparison,
    *,
    styles: Mapping[str, Line] | None = None,
    labels: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """More and Wild's profile: the share of problems solved within so many simplex gradients.

    Args:
        comparison: a race over several problems; each fresh seed of each is an instance.
        styles: of the optimisers, by name.
        labels: whether to name the lines.
        ax: where to draw; a new figure unless given.
    """
    return _draw_profiles(
        data_profiles(comparison),
        "model evaluations, in units of parameters + 1",
        None,
        styles,
        labels,
        ax,
    )


def animate_race(
    comparison: Comparison,
    problem: str | None = None,
    *,
    against: str = "oracle",
    frames: int = 80,
    styles: Mapping[str, Line] | None = None,
) -> FuncAnimation:
    """The race as it happens: every optimiser's median cost, growing with what it spends.

    Args:
        comparison: from :func:`mlcalc_jax.compare`.
        problem: which, by name; need not be given if there is just one.
        against: "steps", "oracle" or "seconds".
        frames: of the animation.
        styles: of the optimisers, by name.

    Returns:
        an animation to be saved, or to be shown in a notebook.

    Raises:
        ValueError: an unknown axis or problem; seconds of a race that was not timed.
    """
    ax = race(
        comparison,
        problem,
        against=against,
        styles=styles,
        labels=False,
        ax=figure(8.0, 4.4).add_subplot(),
    )
    drawn = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    data = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in drawn]
    for band in list(ax.collections):
        band.remove()
    heads = [
        ax.plot([], [], marker=line.get_marker() or "o", color=line.get_color(), markersize=6)[0]
        for line in drawn
    ]
    ax.figure.get_axes()[0].legend(
        handles=drawn, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small"
    )
    low, high = ax.get_xlim()
    first = min((x[x > 0].min() for x, _ in data if (x > 0).any()), default=1.0)
    moments = np.geomspace(max(low, 0.5 * first), high, frames)

    def draw(frame: int) -> list[Any]:
        for line, head, (x, y) in zip(drawn, heads, data, strict=True):
            seen = x <= moments[frame]
            line.set_data(x[seen], y[seen])
            head.set_data(x[seen][-1:], y[seen][-1:])
        return [*drawn, *heads]

    return FuncAnimation(ax.figure, draw, frames=frames, interval=60, blit=False)  # type: ignore[arg-type]


def _draw_profiles(
    profiles: Mapping[str, Profile],
    x_label: str,
    start: float | None,
    styles: Mapping[str, Line] | None,
    labels: bool,
    ax: Axes | None,
) -> Axes:
    ax = axes(ax, 7.0, 4.4)
    styles = lines(profiles) if styles is None else styles
    efforts = np.concatenate([of.effort for of in profiles.values()])
    low = (efforts.min() if efforts.size else 1.0) if start is None else start
    high = max(2 * low, 1.3 * efforts.max() if efforts.size else 0.0)
    ends = {}
    for name, of in profiles.items():
        ax.step(
            [low, *of.effort, high],
            [0.0, *of.share, of.share[-1] if of.share.size else 0.0],
            where="post",
            label=name,
            **_line(styles[name]),
        )
        ends[name] = float(of.share[-1]) if of.share.size else 0.0
    ax.set(xscale="log", xlim=(low, high), ylim=(-0.02, 1.02), xlabel=x_label)
    ax.set_ylabel("share of problems and seeds solved")
    if labels:
        label_ends(ax, ends, styles)
    return ax


def _line(style: Line) -> dict[str, Any]:
    return {
        "color": style.color,
        "linestyle": style.linestyle,
        "linewidth": 1.3,
        "marker": style.marker,
        "markersize": 4,
        "markevery": 0.11,  # of the length of the axes
    }


def _reach(medians: Mapping[str, tuple[np.ndarray, np.ndarray]], bottom: float) -> float:
    """The last place at which one of the medians lies above the bottom of the axes."""
    places = [across[middle > bottom] for across, middle in medians.values()]
    return max((float(some[-1]) for some in places if some.size), default=0.0)


def _at(place: float, across: np.ndarray, middle: np.ndarray) -> float:
    """A median at a place, or where it begins or ends if that is nearer."""
    return float(middle[max(0, int(np.searchsorted(across, place, "right")) - 1)])


def _timed(races: Sequence[Race]) -> None:
    """Raise if nothing is known of the seconds of any race."""
    ran = [one for one in races if not one.error]
    if ran and not any(_is_drawn(one, "seconds") for one in ran):
        raise ValueError("the race was not timed (repeats=0): there are no seconds to draw")


def _is_drawn(one: Race, against: str) -> bool:
    return against != "seconds" or math.isfinite(one.second_per_step)


def _curves(one: Race, against: str) -> tuple[np.ndarray, np.ndarray]:
    """Places along an axis, and the lowest cost of each seed there, as it last was."""
    if against == "oracle":
        most = int(np.median(one.oracle_at[:, -1]))
        least = max(1, int(one.oracle_at[:, 1:].min(initial=most)))
        places = np.unique(np.geomspace(least, max(least + 1, most), _PLACES).round())
        rows = np.stack([np.searchsorted(at, places, "right") - 1 for at in one.oracle_at])
        return places, np.take_along_axis(np.asarray(one.lowest, float), rows, axis=1)
    scale = one.second_per_step if against == "seconds" else 1.0
    rows = np.unique(np.geomspace(1, len(one.step), _PLACES).round().astype(int)) - 1
    if against == "seconds":
        rows = rows[1:]  # a logarithmic axis has no place for the start
    return one.step[rows] * scale, np.asarray(one.lowest, float)[:, rows]


def _rates(one: Race) -> np.ndarray | None:
    """The learning rates of the trials, if that is all that was tuned."""
    from .._race._contenders import RATES

    if one.error or len(one.settings) != 1:
        return None
    return next((np.asarray(one.settings[name]) for name in RATES if name in one.settings), None)
