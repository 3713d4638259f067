"""Steepest descent's theory beside its measurement: stable steps, rates, momentum's region."""

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say
from ._stability_figures import draw
from ._stability_theory import METHODS, Map, Row, factor, limit

LIMIT_TOLERANCE = 1e-7  # of the largest stable step, relative
FACTOR_TOLERANCE = 1e-9  # of steepest descent's factor, relative
RATE_TOLERANCE = 1e-5  # of 1 - factor at the best, relative
# Near critical damping two factors almost agree, and 1000 steps cannot tell them apart further.
MAP_TOLERANCE = 1e-2
_MAP_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """On quadratics and on the course's heights: what theory says of a step, and what it does."""

    condition: float = 10.0
    """Condition number of the quadratic whose steps and momenta are swept."""
    conditions: tuple[float, ...] = (2.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    """Condition numbers whose limits and best rates are measured (--quick: at most the first 3)."""
    momenta: tuple[float, ...] = (-0.8, -0.4, 0.4, 0.8)
    """Momenta whose largest stable step is measured, between -0.95 and 0.95."""
    resolution: int = 120
    """Steps and momenta along each side of the map (--quick: at most 40)."""


def experiment(config: Config, run: Run) -> str | None:
    """Measure, compare with the closed forms, draw."""
    if config.quick:
        config = replace(
            config, conditions=config.conditions[:3], resolution=min(config.resolution, 40)
        )
    with input_errors():
        _check(config)
    run.doing("searching for the largest stable steps")
    limits = _limits(config)
    run.doing("sweeping the step")
    factors = _factors(config)
    run.doing("descending at the best steps")
    rates = _rates(config)
    run.doing("mapping step and momentum")
    mapped = _map(config)
    for name, rows in (("limits", limits), ("factors", factors), ("rates", rates)):
        run.table(name, rows)
    run.numbers("map", **mapped._asdict())
    run.figure(draw(limits, factors, rates, mapped, config.condition), "stability")
    _tell(limits, factors, rates, mapped)
    return _failure(limits, factors, rates, mapped)


def _check(config: Config) -> None:
    """Raise what is wrong with the options."""
    if not config.conditions:
        raise ValueError("conditions is empty")
    kappas = (config.condition, *config.conditions)
    if not all(1.5 <= kappa <= 1000 for kappa in kappas):
        raise ValueError(f"condition numbers must lie between 1.5 and 1000, got {kappas}")
    if not all(abs(beta) <= 0.95 for beta in config.momenta):
        raise ValueError(f"momenta must lie between -0.95 and 0.95, got {config.momenta}")
    if not 2 <= config.resolution <= 1000:
        raise ValueError(f"resolution must lie between 2 and 1000, got {config.resolution}")


def _steps(config: Config) -> int:
    """As many as it takes for a slope over half of them to have the tolerances."""
    return max(1000, int(100 * max(config.condition, *config.conditions) ** 0.5))


def heavy_ball(step: Any, momentum: Any = 0.0) -> optax.GradientTransformation:
    """Optax sums gradients into a trace, which is the last move over -step; both are traced."""
    return mc.tunable(optax.sgd, learning_rate=step, momentum=momentum)


def measured_factor(path: mc.Path, power: int = 0) -> jax.Array:
    """The factor by which a step shrinks the gradient, over the second half of a path.

    Two gradients in a row are taken together, since one alone may pass through zero; the path
    counts as far as their squares neither underflow nor overflow.
    """
    pair = jnp.hypot(path.gradient_norm[1:], path.gradient_norm[:-1])
    last = jnp.minimum(jnp.sum((pair > 1e-140) & (pair < 1e140)), path.steps_taken) - 1
    first = last // 2
    growth = jnp.log(pair[last] / pair[first])
    growth -= power * jnp.log((last + 1) / (first + 1))
    return jnp.where(last > first, jnp.exp(growth / jnp.maximum(last - first, 1)), 0)


@partial(jax.jit, static_argnames="count")
def _measured_factors(cost: Any, start: Any, steps: Any, momenta: Any, count: int) -> jax.Array:
    """The factors of many steps and momenta, some at a time: so many whole paths are large."""

    def one(pair: tuple[Any, Any]) -> jax.Array:
        return measured_factor(mc.minimise(cost, start, heavy_ball(*pair), count))

    return jax.lax.map(one, (steps, momenta), batch_size=1000)


@partial(jax.jit, static_argnames="count")
def _are_stable(
    cost: Any, start: Any, minimiser: Any, steps: Any, momentum: Any, count: int
) -> jax.Array:
    """Which steps go on lowering the gradient, and stay about the minimum.

    A gradient that has all but vanished is rounding, and need not fall further. Far away it may
    be low too. Momentum may carry the error to (1 + beta) / (1 - beta) times its start before it
    falls.
    """
    half = count // 4 * 2  # even, since a step too large goes from side to side

    def error(params: Any) -> jax.Array:
        return jnp.linalg.norm(ravel_pytree(params)[0] - ravel_pytree(minimiser)[0])

    def is_stable(step: Any) -> jax.Array:
        path = mc.minimise(cost, start, heavy_ball(step, momentum), 2 * half, every=half)
        first, middle, last = path.gradient_norm
        falls = last <= jnp.maximum(middle, 1e-6 * first)
        return falls & (error(path.final) <= 100 * error(start))

    return jax.vmap(is_stable)(steps)


def largest_stable(
    problem: mc.problems.Problem, minimiser: Any, momentum: float, count: int
) -> float:
    """The largest stable step, by 64 sections at a time; NaN if it is not where it is sought."""
    near = jax.tree.map(lambda x: x + 1e-4, minimiser)  # where every cost is quadratic
    low, high = 1e-5, 1e7
    while high / low > 1 + 1e-8:
        some = np.geomspace(low, high, 65)
        stable = np.asarray(_are_stable(problem.cost, near, minimiser, some, momentum, count))
        if not stable[0] or stable[-1]:
            return np.nan
        first = int(np.argmin(stable))
        low, high = float(some[first - 1]), float(some[first])
    return (low * high) ** 0.5


def _limits(config: Config) -> list[Row]:
    """Largest stable steps: of quadratics, of the heights, and of one quadratic with momentum."""
    heights = mc.problems.heights()
    optimum = mc.minimise(heights.cost, heights.minimiser, mc.levenberg_marquardt(), 100).final
    flat, tree = ravel_pytree(optimum)
    hessian = jax.jit(jax.hessian(lambda x: heights.cost(tree(x))))(flat)
    swept = mc.problems.quadratic(config.condition)
    cases: list[tuple[mc.problems.Problem, Any, float, float]] = [
        *((p, p.minimiser, k, 0.0) for k in config.conditions for p in [mc.problems.quadratic(k)]),
        (heights, optimum, float(np.linalg.eigvalsh(hessian)[-1]), 0.0),
        *((swept, swept.minimiser, config.condition, beta) for beta in config.momenta),
    ]
    return [
        {
            "problem": problem.name,
            "largest": largest,
            "momentum": beta,
            **_beside(limit(largest, beta), largest_stable(problem, at, beta, _steps(config))),
        }
        for problem, at, largest, beta in cases
    ]


def _factors(config: Config) -> list[Row]:
    """Steepest descent's factor at every step, as far as a little beyond the largest stable one."""
    problem = mc.problems.quadratic(config.condition)
    best, most = 2 / (1 + config.condition), limit(config.condition)
    steps = np.sort([*np.linspace(0.05, 1.1, 22) * most, best])
    momenta = np.zeros_like(steps)
    measured = _measured_factors(problem.cost, problem.start, steps, momenta, _steps(config))
    theory = factor(steps, (1, config.condition))
    return [
        {"step": float(step), "over_limit": float(step / most), **_beside(a, b)}
        for step, a, b in zip(steps, theory, measured, strict=True)
    ]


def _rates(config: Config) -> list[Row]:
    """What each method takes off the error in a step, 1 - factor, at its best."""
    rows = []
    for name, method in METHODS.items():
        for kappa in config.conditions:
            problem, best = mc.problems.quadratic(kappa), method(kappa)
            optimiser = heavy_ball(best.step, best.momentum)
            path = mc.minimise(problem.cost, problem.start, optimiser, _steps(config))
            measured = float(measured_factor(path, best.power))
            beside = _beside(1 - best.factor, 1 - measured)
            rows.append({"method": name, "condition": kappa, **beside})
    return rows


def _map(config: Config) -> Map:
    step = np.linspace(0.02, 4.2, config.resolution)
    momentum = np.linspace(-1.05, 1.05, config.resolution)
    steps, momenta = np.meshgrid(step / config.condition, momentum)
    problem = mc.problems.quadratic(config.condition)
    measured = _measured_factors(
        problem.cost, problem.start, steps.ravel(), momenta.ravel(), _MAP_STEPS
    )
    theory = factor(steps, (1, config.condition), momenta)
    return Map(step, momentum, theory, np.reshape(measured, theory.shape))


def _beside(theory: Any, measured: Any) -> Row:
    theory, measured = float(theory), float(measured)
    return {"theory": theory, "measured": measured, "relative": abs(measured / theory - 1)}


def _tell(limits: list[Row], factors: list[Row], rates: list[Row], mapped: Map) -> None:
    def compare(title: str, rows: list[Row], name: str) -> None:
        say(f"{title:<34}{'theory':>16}{'measured':>16}{'relative':>11}")
        for row in rows:
            numbers = f"{row['theory']:>16.9g}{row['measured']:>16.9g}{row['relative']:>11.1e}"
            say(f"{name.format(**row):<34}{numbers}")
        say("")

    compare("largest stable step", limits, "{problem}, momentum {momentum:g}")
    best = min(factors, key=lambda row: float(row["theory"]))
    compare("factor at the best step", [best], "step {step:.6g}")
    compare("1 - factor at the best", rates, "{method}, condition {condition:g}")
    say(f"map of {mapped.theory.size} factors: they differ by at most {mapped.error:.1e}")


def _failure(limits: list[Row], factors: list[Row], rates: list[Row], mapped: Map) -> str | None:
    """Where theory and measurement part by more than the tolerance; NaN counts as that."""
    for name, differences, tolerance in (
        ("largest stable steps", [row["relative"] for row in limits], LIMIT_TOLERANCE),
        ("factors", [row["relative"] for row in factors], FACTOR_TOLERANCE),
        ("best rates", [row["relative"] for row in rates], RATE_TOLERANCE),
        ("factors of the map", [mapped.error], MAP_TOLERANCE),
    ):
        worst = np.max(differences)
        if not worst <= tolerance:
            return f"{name} differ from theory by {worst:.2g}, more than {tolerance:g}"
    return None


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
