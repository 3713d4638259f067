"""The chain rule inside a network: every factor of the gradient, before and after training."""

import sys
from dataclasses import dataclass

import jax
import numpy as np
from jax.tree_util import Partial

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Explain every factor of dC/dW and dC/db, with shape, heat map and size."""

    curve: str = "heart"
    """The curve the network is to draw: one of those of draw_curve."""
    points: int = 100
    """Points on the curve."""
    sizes: tuple[int, ...] = (1, 6, 7, 2)
    """Widths of the layers, from 1 to 2."""
    scale: float = 1.0
    """The start's weights are multiplied by it: 30 saturates the sigmoids."""
    steps: int = 2000
    """Steps of training before the explanation; 0 explains the start (--quick: at most 200)."""
    aggression: float = 7.0
    """Step size of the training."""


def experiment(config: Config, run: Run) -> str | None:
    """Train, explain, draw."""
    steps = min(config.steps, 200) if config.quick else config.steps
    with input_errors():
        if (config.sizes[:1], config.sizes[-1:]) != ((1,), (2,)):
            raise ValueError(f"sizes must begin with 1 and end with 2, got {config.sizes}")
        target = mc.data.curve(config.curve, config.points)
        params = mc.network.init_params(config.seed, config.sizes)
        params = jax.tree.map(lambda leaf: config.scale * leaf, params)
        failure = None
        if steps:
            run.doing("training")
            cost = Partial(mc.network.cost_by_backprop, x=target.x, y=target.y)
            path = mc.minimise(cost, params, mc.steepest_descent(config.aggression), steps)
            params, failure = path.final, _failure(path, config.aggression)
        found = mc.explain_backprop(params, target.x, target.y)
    say(str(found))
    run.table(
        "factors",
        [
            {
                "layer": f.layer,
                "factor": f.name,
                "is": f.formula,
                "shape": "x".join(map(str, f.value.shape)),
                "rms": f.norm,
            }
            for f in found.factors
        ],
    )
    _draw_factors(found, run)
    figure = mc.plots.figure(12.5, 4.6)
    forward, backward = figure.subplots(1, 2)
    mc.plots.network(found, "forward", ax=forward)
    mc.plots.network(found, "backward", ax=backward)
    run.figure(figure, "network")
    _draw_product(found, run)
    if found.disagreement > 1e-9:
        return f"the chain rule by hand disagrees with jax.grad by {found.disagreement:.1g}"
    return failure


def _failure(path: mc.Path, aggression: float) -> str | None:
    """What went wrong with the training, whose end is explained nevertheless."""
    first, last = float(path.cost[0]), float(path.cost[-1])
    if mc.Status(int(path.status)).is_failure:
        return f"the training diverged at aggression {aggression:.4g}: {path.message}"
    if not last < first:
        return (
            f"training at aggression {aggression:.4g} took the cost from {first:.4g} to {last:.4g}"
        )
    return None


def _draw_factors(found: mc.Explanation, run: Run) -> None:
    """A row for each layer, the output first, as the chain rule goes."""
    layers = len(found.params)
    figure = mc.plots.figure(17, 2.1 * layers)
    grid = figure.subplots(layers, 7, squeeze=False)
    for ax, factor in zip(grid.ravel(), found.factors, strict=True):
        mc.plots.factor(factor, ax=ax)
    run.figure(figure, "factors")


def _draw_product(found: mc.Explanation, run: Run) -> None:
    """How the running product grows or fades on its way down."""
    figure = mc.plots.figure(7.5, 4)
    ax = figure.add_subplot()
    chain = [f for f in found.factors if f.name.startswith(("dC/da", "dC/dz"))]
    others = [f for f in found.factors if f.name.startswith("sigma'")]
    at = np.arange(len(chain))
    running, slopes = mc.plots.lines(["running product", "sigma'(z)"]).values()
    ax.semilogy(
        at, [f.norm for f in chain], color=running.color, marker=running.marker,
        label="running product, rms",
    )  # fmt: skip
    ax.semilogy(
        at[1::2], [f.norm for f in others], color=slopes.color, marker=slopes.marker,
        linestyle=slopes.linestyle, label="sigma'(z) that was multiplied in, rms",
    )  # fmt: skip
    ax.axhline(0.25, color="#999999", linestyle=":", label="the most sigma' can be: 1/4")
    ax.set_xticks(at, [f.name for f in chain])
    ax.set(ylabel="root mean square", xlabel="from the cost back to the first layer")
    ax.legend(fontsize="small")
    run.figure(figure, "product")


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
