"""The sandpit's arena: which strategy finds the phone, how often, how soon, and from where."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say

_SWEPT = {
    "fixed step (length)": mc.sandpit.fixed_step,
    "steepest descent (aggression)": mc.sandpit.steepest,
    "hybrid (aggression)": mc.sandpit.hybrid,
}


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Every built-in strategy in pits of every level; a sweep of step sizes; a map of starts."""

    levels: tuple[str, ...] = ("bowl", "dunes", "holes", "rocks", "well")
    """Kinds of pits."""
    pits: int = 1000
    """Of each level (--quick: at most 60)."""
    sweep: str = "dunes"
    """Level of the sweep of step sizes, and of the map."""
    resolution: int = 81
    """Starts along each side of the map (--quick: at most 15)."""


def experiment(config: Config, run: Run) -> str | None:
    """Play, count, draw."""
    count = min(config.pits, 60) if config.quick else config.pits
    resolution = min(config.resolution, 15) if config.quick else config.resolution
    strategies = mc.sandpit.strategies()
    rows: list[dict[str, Any]] = []
    with input_errors():
        if not config.levels or resolution < 2:
            raise ValueError("there must be a level, and a resolution of at least 2")
        if len({*config.levels}) < len(config.levels):
            raise ValueError(f"levels must differ, got {', '.join(config.levels)}")
        seeds = 10_000 * config.seed + np.arange(count)
        pits = {}
        # Unknown ones first, so that they are said before anything is dug.
        for level in sorted({*config.levels, config.sweep}, key=mc.sandpit.LEVELS.__contains__):
            run.doing(f"digging {count} pits of the level {level}")
            pits[level] = mc.sandpit.pits(level, seeds)
        for level in config.levels:
            for name, strategy in strategies.items():
                run.doing(f"{name} in the {level}")
                games = mc.sandpit.play(strategy, pits[level], seed=config.seed)
                rows.append({"level": level, "strategy": name, **_counted(games)})
        sweep = _swept(pits[config.sweep], config.seed, run)
        run.doing("playing from every start")
        ticks = np.linspace(0, mc.sandpit.SIDE, resolution)
        starts = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        pit = mc.sandpit.pit(config.sweep, int(seeds[0]))
        maps = {
            name: mc.sandpit.play(strategies[name], pit, starts, seed=config.seed)
            for name in ("steepest descent", "hybrid", "restarts")
        }
    say(f"{count} pits of each level; share won (95 %), mean dips of the games won")
    for row in rows:
        say(
            f"{row['level']:<7}{row['strategy']:<18}{row['win_rate']:>6.1%} "
            f"({row['low']:.1%} to {row['high']:.1%}){row['mean_dips']:>7.1f}"
        )
    run.table("strategies", rows)
    run.table("sweep", sweep)
    run.numbers("map", starts=starts, **{f"dips {n}": g.dips for n, g in maps.items()})
    _draw_strategies(rows, config, run)
    _draw_sweep(sweep, config.sweep, run)
    _draw_map(pit, ticks, maps, f"{config.sweep} {int(seeds[0])}", run)
    return None


def _counted(games: Any) -> dict[str, float]:
    (low, high), (few, many) = games.win_rate_interval(), games.mean_dips_interval()
    return {
        "win_rate": games.win_rate,
        "low": low,
        "high": high,
        "mean_dips": games.mean_dips,
        "dips_low": few,
        "dips_high": many,
    }


def _swept(pits: Any, seed: int, run: Run) -> list[dict[str, Any]]:
    rows = []
    for name, make in _SWEPT.items():
        run.doing(f"sweeping the {name}")
        for size in np.geomspace(0.02, 2, 21):
            games = mc.sandpit.play(make(float(size)), pits, seed=seed)
            rows.append({"strategy": name, "size": float(size), **_counted(games)})
    return rows


def _draw_strategies(rows: list[dict[str, Any]], config: Config, run: Run) -> None:
    figure = mc.plots.figure(11, 4.6)
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(mc.sandpit.strategies())
    looks = mc.plots.lines(config.levels)
    for k, level in enumerate(config.levels):
        mine = [row for row in rows if row["level"] == level]
        at = np.arange(len(names)) + 0.13 * (k - (len(config.levels) - 1) / 2)
        look = {"color": looks[level].color, "marker": looks[level].marker, "linestyle": "none"}
        for ax, middle, ends in (
            (left, "win_rate", ("low", "high")),
            (right, "mean_dips", ("dips_low", "dips_high")),
        ):
            value, low, high = (np.array([row[key] for row in mine]) for key in (middle, *ends))
            bars = np.stack([value - low, high - value])
            ax.errorbar(value, at, xerr=np.nan_to_num(bars), label=level, markersize=5, **look)
    left.set(yticks=range(len(names)), yticklabels=names, xlim=(0, 1))
    left.set(xlabel="share of games won", title="how often")
    left.invert_yaxis()
    right.set(xlabel="mean dips of the games won", title="how soon (bars: 95 %)")
    right.set_xlim(left=0)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", title="level")
    run.figure(figure, "strategies")


def _draw_sweep(rows: list[dict[str, Any]], level: str, run: Run) -> None:
    ax = mc.plots.figure(6.5, 4.4).add_subplot()
    for name, look in mc.plots.lines(_SWEPT).items():
        mine = [row for row in rows if row["strategy"] == name]
        size = [row["size"] for row in mine]
        ax.plot(size, [row["win_rate"] for row in mine], **look._asdict(), markersize=4, label=name)
        low, high = ([row[key] for row in mine] for key in ("low", "high"))
        ax.fill_between(size, low, high, color=look.color, alpha=0.15)
    ax.set(xscale="log", ylim=(0, 1), xlabel="step size (m)", ylabel="share of games won")
    ax.set_title(f"level {level}: win rate against step size (bands: 95 %)")
    ax.legend(fontsize="small")
    run.figure(ax.figure, "step_size")


def _draw_map(pit: Any, ticks: np.ndarray, maps: Mapping[str, Any], name: str, run: Run) -> None:
    figure = mc.plots.figure(13, 4.8)
    figure.set_layout_engine("compressed")
    drawn: Any = None
    panels: list[Axes] = list(figure.subplots(1, len(maps), sharey=True))
    for ax, (strategy, games) in zip(panels, maps.items(), strict=True):
        dips = np.where(games.won, games.dips, np.nan).reshape(len(ticks), -1)
        ax.set_facecolor("0.8")
        drawn = ax.pcolormesh(
            ticks, ticks, dips, cmap="viridis_r", vmin=1, vmax=mc.sandpit.LAST, shading="nearest"
        )
        ax.plot(*pit.phone, "*", color="white", markeredgecolor="black", markersize=14)
        ax.set(aspect="equal", xlabel="x of the first dip (m)", title=strategy)
        ax.set_title(f"{games.win_rate:.0%} of the starts win", loc="right", fontsize="small")
    panels[0].set_ylabel("y of the first dip (m)")
    figure.suptitle(f"Pit {name}: dips to the phone (star); grey starts never find it", size=11)
    figure.colorbar(drawn, ax=panels, label="dips")
    run.figure(figure, "starts")


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
