"""The loss landscape of the curve network: a slice, the path of training on it, its curvature."""

import sys
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Slices through the trained network's cost, its training path, and the Hessian's spectrum."""

    curve: str = "heart"
    """The curve the network is to draw: one of those of draw_curve."""
    sizes: tuple[int, ...] = (1, 6, 7, 2)
    """Widths of the layers, from 1 to 2."""
    aggression: float = 7.0
    """Step size of the training."""
    steps: int = 10_000
    """Steps of the training (--quick: at most 500)."""
    resolution: int = 81
    """Points along each axis of a slice (--quick: at most 21)."""


def experiment(config: Config, run: Run) -> str | None:
    """Train; slice; diagonalise; draw."""
    steps = min(config.steps, 500) if config.quick else config.steps
    resolution = min(config.resolution, 21) if config.quick else config.resolution
    with input_errors():
        if (config.sizes[:1], config.sizes[-1:]) != ((1,), (2,)):
            raise ValueError(f"sizes must begin with 1 and end with 2, got {config.sizes}")
        target = mc.data.curve(config.curve)
        start = mc.network.init_params(config.seed, config.sizes)
        cost = Partial(mc.network.cost, x=target.x, y=target.y)
        run.doing("training")
        every = -(-steps // 1000)
        path = mc.minimise(cost, start, mc.steepest_descent(config.aggression), steps, every=every)
        if mc.Status(int(path.status)).is_failure:
            return f"the descent failed after {path.steps_taken} steps: {path.message}"
        run.doing("slicing")
        random = mc.landscape(cost, path.final, resolution=resolution, key=config.seed)
        along = mc.path_directions(path)
        a, b = _around(path, along)
        on_path = mc.landscape(
            cost, path.final, along.across, along.up, extent=(*a, *b), resolution=resolution
        )
        run.doing("diagonalising the Hessian")
        spectra = {name: mc.hessian_spectrum(cost, p) for name, p in _ends(start, path).items()}
    say(f"cost {path.cost[0]:.4g} -> {path.cost[-1]:.4g} in {path.steps_taken} steps")
    first, second = along.explained
    say(f"the path's own plane holds {first + second:.1%} of its spread")
    for name, spectrum in spectra.items():
        low, high = spectrum.eigenvalues[[0, -1]]
        negative = int(np.sum(spectrum.eigenvalues < 0))
        say(
            f"Hessian at the {name}: eigenvalues {low:.3g} to {high:.3g}, "
            f"{negative} of {len(spectrum.eigenvalues)} below zero"
        )
    run.path("path", path)
    run.numbers("slices", random=random.cost, on_path=on_path.cost, a=on_path.a, b=on_path.b)
    run.numbers("spectra", **{name: s.eigenvalues for name, s in spectra.items()})
    figure = mc.plots.figure(15, 4.6)
    left, middle, right = figure.subplots(1, 3)
    mc.plots.landscape(on_path, path, labels=("along the path", "across it"), ax=left)
    left.set_title(f"plane of the path: {first + second:.0%} of its spread")
    mc.plots.landscape(random, labels=("random direction", "another"), ax=middle)
    middle.set_title("filter-normalised slice around the end")
    mc.plots.spectrum(spectra["end"], ax=right)
    right.set_title("Hessian's spectrum at the end")
    run.figure(figure, "landscape")
    return None


def _ends(start: Any, path: mc.Path) -> dict[str, Any]:
    return {"start": jax.tree.map(np.asarray, start), "end": path.final}


def _around(path: mc.Path, along: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of the plane that hold the path, with room around it."""
    plane = mc.Landscape(
        np.zeros(1), np.zeros(1), np.zeros((1, 1)), path.final, along.across, along.up
    )
    ends = []
    for places in plane.project(path).T:
        low, high = min(0.0, float(places.min())), max(0.0, float(places.max()))
        room = 0.25 * max(high - low, 1e-6)
        ends.append((low - room, high + room))
    return ends[0], ends[1]


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
