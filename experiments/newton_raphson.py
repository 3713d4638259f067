"""Newton-Raphson: roots by tangents, and how it leaps, runs off and goes round in circles."""

import sys
from dataclasses import dataclass

import mlcalc_jax as mc
from mlcalc_jax.calculus import RootSearch, RootStatus

from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Search for roots by tangents, and map where each start ends up."""

    function: str = "x**6/6 - 3*x**4 - 2*x**3/3 + 27*x**2/2 + 18*x - 30"
    """A formula in x."""
    starts: tuple[float, ...] = (-4.0, 1.0, 1.99, 3.1)
    """Starts of the searches."""
    x: tuple[float, float] = (-5.0, 5.0)
    """Lowest and highest start of the map."""
    cycle: str = "x**3 - 2*x + 2"
    """A formula whose search from 0 goes round in a cycle."""
    fractal: str = "x**3 - 1"
    """A formula, analytic in x, whose basins are mapped over the complex plane."""
    steps: int = 60
    """At most so many."""
    resolution: int = 500
    """Starts along each axis of the complex map (--quick: at most 120)."""


def experiment(config: Config, run: Run) -> str | None:
    """Search; map; draw."""
    resolution = min(config.resolution, 120) if config.quick else config.resolution
    with input_errors():
        f, cycle, fractal = map(mc.expression, (config.function, config.cycle, config.fractal))
        if not config.starts:
            raise ValueError("starts is empty")
        searches = {x0: mc.newton_raphson(f, x0, config.steps) for x0 in config.starts}
        round_trip = mc.newton_raphson(cycle, 0.0, config.steps)
    say(f"f = {config.function}")
    say(f"{'start':>8}{'first':>14}{'second':>14}{'last':>22}{'steps':>7}  how it ended")
    for x0, search in searches.items():
        say(
            f"{x0:>8g}{_iterate(search, 1):>14}{_iterate(search, 2):>14}"
            f"{float(search.root):>22.16g}{int(search.steps_taken):>7}  {search.message}"
        )
    say(f"{config.cycle} from 0: {round_trip.message}")
    run.table(
        "iterates",
        [
            {"start": x0, "step": k, "x": float(x), "f": float(value)}
            for x0, search in searches.items()
            for k, (x, value) in enumerate(zip(search.x, search.value, strict=True))
            if k <= search.steps_taken
        ],
    )
    with input_errors():
        run.doing("mapping the starts")
        figure = mc.plots.figure(11.5, 8.6)
        tangents, leap, cobweb, basins = figure.subplots(2, 2).ravel()
        first = config.starts[0]
        mc.plots.tangents(f, searches[first], ax=tangents)
        tangents.set_title(f"from {first:g}")
        mc.plots.basins(f, x=config.x, steps=config.steps, ax=leap)
        leap.set_title("steps from every start, coloured by root")
        mc.plots.cobweb(cycle, round_trip, x=(-2.0, 2.0), ax=cobweb)
        ends = {RootStatus.CYCLE: "a cycle", RootStatus.CONVERGED: "a root"}
        end = ends.get(RootStatus(int(round_trip.status)), "no root")
        cobweb.set_title(f"{config.cycle} from 0: {end}")
        mc.plots.basins(fractal, x=(-2.0, 2.0), y=(-2.0, 2.0), resolution=resolution, ax=basins)
        basins.set_title(f"{config.fractal} over the complex plane")
        run.figure(figure, "newton_raphson")
    return None


def _iterate(search: RootSearch, k: int) -> str:
    return f"{float(search.x[k]):.8g}" if k <= search.steps_taken else "-"


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
