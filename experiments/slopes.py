"""Rise over run: secants close on the tangent, and how wrong each scheme is for every h."""

import sys
from dataclasses import dataclass

import numpy as np

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Slopes by finite differences, the complex step and automatic differentiation."""

    function: str = "exp(x) * sin(3*x) / (1 + x**2)"
    """A formula in x."""
    at: float = 0.7
    """Where."""
    runs: tuple[float, ...] = (1.0, 0.5, 0.25, 0.05)
    """Runs of the secants that are drawn."""


def experiment(config: Config, run: Run) -> str | None:
    """Draw the secants; measure the errors."""
    with input_errors():
        f = mc.expression(config.function)
        if not config.runs:
            raise ValueError("runs is empty")
        run.doing("measuring slopes")
        errors = mc.slope_errors(f, config.at)
        figure = mc.plots.figure(11.5, 5.4)
        left, right = figure.subplots(1, 2)
        mc.plots.secants(f, config.at, config.runs, ax=left)
        mc.plots.slope_errors(errors, ax=right)
        left.set_title(f"f(x) = {config.function}")
    is_proved = np.isfinite(errors.exact_error)
    proof = f"+- {errors.exact_error:.1g}, proved" if is_proved else "(automatic; not proved)"
    say(f"f'({config.at:g}) = {errors.exact!r} {proof}")
    say(f"{'scheme':<10}{'order':>8}{'best h':>10}{'error there':>13}{'predicted':>11}")
    for scheme, error in errors.error.items():
        best = errors.best_h.get(scheme, float(errors.h[-1]))
        k = int(np.argmin(np.abs(errors.h - best)))
        say(
            f"{scheme:<10}{errors.order[scheme]:>8.3f}{best:>10.1g}"
            f"{error[k]:>13.2g}{errors.predicted[scheme][k]:>11.2g}"
        )
    automatic = f"{errors.automatic:.2g}" if is_proved else "unknown"
    say(f"{'automatic':<10}{'':>18}{automatic:>13}")
    run.table(
        "errors",
        [
            {"h": float(h), **{scheme: float(e[k]) for scheme, e in errors.error.items()}}
            for k, h in enumerate(errors.h)
        ],
    )
    run.figure(figure, "slopes")
    return None


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
