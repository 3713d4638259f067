"""The tools that make calculus fast: gradients, Jacobians, Hessians, and the chain rule drawn."""

import sys
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Differentiate any formula, draw its computational graph, and show the course's examples."""

    function: str = "sin(x) * exp(y * z**2)"
    """A formula in the variables below."""
    variables: tuple[str, ...] = ("x", "y", "z")
    """Their names."""
    at: tuple[float, ...] = (0.7, 1.5, 0.6)
    """Their values, in the same order."""


def experiment(config: Config, run: Run) -> str | None:
    """The user's function first, then what the course computes by hand."""
    with input_errors():
        if len(config.variables) != len(config.at):
            raise ValueError(
                f"{len(config.variables)} variables need as many values, got {len(config.at)}"
            )
        f = mc.expression(config.function, config.variables)
        at = dict(zip(config.variables, config.at, strict=True))
        graph = mc.computational_graph(f, at)
        jacobian, hessian = mc.jacobian(f, at), mc.hessian(f, at)
        check = mc.check_gradient(f, at)
    say(f"f = {config.function}\n\n{graph}\n\nJacobian\n{jacobian}\n\nHessian\n{hessian}")
    say(f"\ngradient against finite differences: {check}")
    run.figure(mc.plots.graph(graph).figure, "graph")
    run.table(
        "gradient",
        [
            {"variable": name, "value": value, "derivative": float(derivative)}
            for (name, value), derivative in zip(at.items(), np.asarray(jacobian)[0], strict=True)
        ],
    )
    _rules(run)
    _by_hand()
    return None


def _rules(run: Run) -> None:
    """Sum, product, chain and power rule, each the graph of one small expression."""
    figure = mc.plots.figure(14, 6.5)
    rules = {
        "sum rule: d(u + v) = du + dv": "sin(x) + exp(x)",
        "product rule: d(u v) = v du + u dv": "sin(x) * exp(x)",
        "chain rule: d f(u) = f'(u) du": "exp(sin(x))",
        "power rule: d u^n = n u^(n-1) du": "(2*x)**3",
    }
    for ax, (rule, text) in zip(
        figure.subplots(2, 2, height_ratios=(2, 1.2)).ravel(), rules.items(), strict=True
    ):
        mc.plots.graph(mc.computational_graph(mc.expression(text), 0.8), ax=ax)
        ax.set_title(f"{rule}\n{text} at x = 0.8")
    run.figure(figure, "rules")


def _by_hand() -> None:
    """The course's examples, beside what it gets by hand."""
    t = 1.7
    total = mc.total_derivative(
        mc.expression("sin(x) * exp(y * z**2)", ("x", "y", "z")),
        lambda t: {"x": t - 1, "y": t**2, "z": 1 / t},
        t,
    )
    say("\nthe course's examples, and the same by hand:")
    say(
        f"  df/dt of sin(x) e^(y z^2), x = t-1, y = t^2, z = 1/t, at {t}: "
        f"{float(total.value):.12g}; e cos(t-1) = {np.e * np.cos(t - 1):.12g}"
    )
    steep = mc.derivative(mc.expression("sin(2*x**5 + 3*x) / exp(7*x)"), 0.3)
    u = 2 * 0.3**5 + 0.9
    by_hand = np.exp(-2.1) * ((10 * 0.3**4 + 3) * np.cos(u) - 7 * np.sin(u))
    say(f"  d/dx sin(2x^5 + 3x) / e^(7x) at 0.3: {float(steep):.12g}; {by_hand:.12g}")
    polar = mc.jacobian(
        lambda p: {"x": p["r"] * jnp.cos(p["phi"]), "y": p["r"] * jnp.sin(p["phi"])},
        {"r": 2.0, "phi": 0.4},
    )
    say(f"  area of polar coordinates, |det J| at r = 2: {abs(np.linalg.det(polar.matrix)):.12g}")
    say("  u = x - 2y, v = 3y - 2x:")
    linear = mc.jacobian(
        lambda p: {"u": p["x"] - 2 * p["y"], "v": 3 * p["y"] - 2 * p["x"]}, {"x": 0.0, "y": 0.0}
    )
    say("    " + str(linear).replace("\n", "\n    "))


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
