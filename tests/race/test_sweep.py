"""The sweep against one descent at a time, and against closed forms."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mlcalc_jax as mc
from mlcalc_jax._minimise import split
from mlcalc_jax._race._contenders import as_contenders
from mlcalc_jax._race._sweep import Sweep, Swept, _layout, luck_of, precision
from mlcalc_jax.problems import Problem

HEIGHTS = mc.problems.heights()
STEPS = 40


def decaying(learning_rate: Any) -> optax.GradientTransformation:
    return optax.sgd(optax.exponential_decay(learning_rate, 10, 0.5))


FACTORIES: dict[str, tuple[Callable[..., Any], float, float]] = {
    "adam": (optax.adam, 0.05, 2.0),
    "momentum": (partial(optax.sgd, momentum=0.9), 1.0, 200.0),
    "schedule": (decaying, 100.0, 2000.0),
    "steepest descent": (mc.steepest_descent, 100.0, 2000.0),
}


def swept(problem: Problem, factory: Any, hyper: dict[str, Any], seeds: Any, **how: Any) -> Swept:
    (one,) = as_contenders({"it": factory}).values()
    steps, every = how.get("steps", STEPS), how.get("every", 1)
    sweep = Sweep(problem, one, tuple(hyper), len(seeds), steps, every)
    return sweep(hyper, luck_of(problem, 0, seeds))


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTORIES)
def test_sweep_is_the_loop_over_constants(name: str) -> None:
    """Each traced rate and seed gives the costs of ``minimise`` with the rate as a constant."""
    factory, low, high = FACTORIES[name]
    rates, seeds = np.geomspace(low, high, 3), np.arange(3)
    rate = "aggression" if name == "steepest descent" else "learning_rate"
    found = swept(HEIGHTS, factory, {rate: rates}, seeds)
    starts = luck_of(HEIGHTS, 0, seeds).starts
    for k, value in enumerate(rates):
        start = jax.tree.map(lambda leaf, k=k: leaf[k], starts)
        # A float64 number: beside a bare one, optax computes a schedule in float32.
        path = mc.minimise(HEIGHTS.cost, start, factory(value), STEPS)
        np.testing.assert_allclose(found.cost[k], path.cost, rtol=1e-9)
        np.testing.assert_array_equal(found.lowest[k], np.minimum.accumulate(found.cost[k]))
        assert found.oracle[k].tolist() == [3 * step for step in range(STEPS + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("factory", [optax.lbfgs, mc.levenberg_marquardt, mc.gauss_newton])
def test_sweep_is_the_loop_for_methods_without_a_rate(factory: Any) -> None:
    """The same, to the digits that these methods keep: they magnify rounding on their way."""
    seeds = np.arange(3)
    found = swept(HEIGHTS, factory, {}, seeds, steps=25)
    starts, optimiser = luck_of(HEIGHTS, 0, seeds).starts, factory()
    for k in range(3):
        start = jax.tree.map(lambda leaf, k=k: leaf[k], starts)
        path = mc.minimise(HEIGHTS.cost, start, optimiser, 25)
        np.testing.assert_allclose(found.cost[k][:6], path.cost[:6], rtol=1e-8)
        np.testing.assert_allclose(found.lowest[k][-1], np.min(path.cost), rtol=1e-8)


def test_steepest_descent_on_a_quadratic_by_its_closed_form() -> None:
    """After k steps of size a, ``C = sum(lambda x0^2 (1 - a lambda)^(2k)) / 2``."""
    problem = mc.problems.quadratic(50.0, 4)
    rates = np.array([0.001, 0.01, 2 / 51, 0.0399])
    seeds = np.zeros(4, int)
    found = swept(problem, mc.steepest_descent, {"aggression": rates}, seeds)
    x0 = luck_of(problem, 0, seeds).starts["x"][0]
    curvature = np.geomspace(1, 50, 4)
    k = np.arange(STEPS + 1)[:, None]
    for rate, cost in zip(rates, found.cost, strict=True):
        exact = (curvature * x0**2 * (1 - rate * curvature) ** (2 * k)).sum(1) / 2
        np.testing.assert_allclose(cost, exact, rtol=1e-11)


def test_momentum_on_a_quadratic_by_its_recurrence() -> None:
    """``x_{k+1} = x_k - a g_k + beta (x_k - x_{k-1})``, by powers of its matrix."""
    problem, a, beta = mc.problems.quadratic(50.0, 4), 0.03, 0.8
    found = swept(problem, partial(optax.sgd, momentum=beta), {"learning_rate": [a]}, [3])
    x0 = luck_of(problem, 0, [3]).starts["x"][0]
    curvature = np.geomspace(1, 50, 4)
    exact = np.zeros(STEPS + 1)
    for c, x in zip(curvature, x0, strict=True):
        matrix = np.array([[1 + beta - a * c, -beta], [1.0, 0.0]])
        for k in range(STEPS + 1):
            exact[k] += c * (np.linalg.matrix_power(matrix, k) @ [x, x])[0] ** 2 / 2
    np.testing.assert_allclose(found.cost[0], exact, rtol=1e-9)


@pytest.mark.slow
def test_newton_is_there_in_one_step() -> None:
    """On a quadratic, from any start."""
    found = swept(mc.problems.quadratic(1e4, 6), mc.newton, {}, np.arange(4), steps=3)
    assert np.all(found.cost[:, 1] < 1e-20 * found.cost[:, 0])


@pytest.mark.slow
def test_thinned_history_loses_no_low_point() -> None:
    """Every seventh row of the same runs; the lowest cost between rows is in the next one."""
    hyper, seeds = {"learning_rate": np.geomspace(0.1, 20, 6)}, np.arange(6)
    whole = swept(HEIGHTS, optax.adam, hyper, seeds)
    some = swept(HEIGHTS, optax.adam, hyper, seeds, every=7)
    rows = [0, 7, 14, 21, 28, 35, 40]
    np.testing.assert_allclose(some.cost, whole.cost[:, rows], rtol=1e-9)
    np.testing.assert_allclose(some.lowest, whole.lowest[:, rows], rtol=1e-9)
    np.testing.assert_array_equal(some.oracle, whole.oracle[:, rows])


def test_a_lane_does_not_know_its_neighbours() -> None:
    """One that turns NaN ends by itself; the others are the same bit for bit."""
    hyper, seeds = np.array([0.02, 0.03, 0.01]), np.arange(3)
    problem = mc.problems.quadratic(100.0, 3)
    calm = swept(problem, mc.steepest_descent, {"aggression": hyper}, seeds, steps=400)
    wild = hyper.copy()
    wild[1] = 1e8
    with_wild = swept(problem, mc.steepest_descent, {"aggression": wild}, seeds, steps=400)
    assert calm.is_finite.all()
    assert with_wild.is_finite.tolist() == [True, False, True]
    assert with_wild.steps[1] < 400
    assert np.isfinite(with_wild.cost).all()
    np.testing.assert_array_equal(calm.cost[[0, 2]], with_wild.cost[[0, 2]])


@pytest.mark.slow
def test_seeds_bring_the_same_luck_to_everyone() -> None:
    """Starts, minibatches and noise come from the seed alone: frozen descents show the same."""
    heights = HEIGHTS.cost
    assert isinstance(heights, mc.LeastSquares)
    batches = Problem("batches", mc.Minibatches(heights, 20), HEIGHTS.start)
    noisy = mc.problems.noisy(HEIGHTS, 1e-3)
    for problem in (batches, noisy):
        one = swept(problem, mc.steepest_descent, {"aggression": [500.0] * 4}, [0, 1, 2, 0])
        other = swept(problem, optax.sgd, {"learning_rate": [500.0] * 4}, [0, 1, 2, 0])
        np.testing.assert_allclose(one.cost, other.cost, rtol=1e-9)
        np.testing.assert_array_equal(one.cost[0], one.cost[3])
        assert len(np.unique(one.cost[:3, 0])) == 3
    assert one.oracle[0, -1] == 3 * STEPS
    share = swept(batches, optax.sgd, {"learning_rate": [1.0]}, [0]).oracle[0, -1]
    assert share == pytest.approx(3 * STEPS * 20 / heights.y.size)


@pytest.mark.slow
def test_noisy_factories_draw_from_the_seed() -> None:
    """A factory that takes a key gets one from the seed: other noise for other seeds."""
    factory = partial(mc.steepest_descent, noise=0.5)
    found = swept(HEIGHTS, factory, {"aggression": [500.0] * 3}, [5, 5, 6], steps=3)
    np.testing.assert_array_equal(found.cost[0], found.cost[1])
    start = jax.tree.map(lambda leaf: leaf[0], luck_of(HEIGHTS, 0, [5]).starts)
    still = mc.minimise(HEIGHTS.cost, start, mc.steepest_descent(500.0), 3).cost
    assert found.cost[0, 1] != still[1]


def test_one_compilation_for_all_rates_seeds_and_calls() -> None:
    """The cost is traced while the program is made, and never again."""
    traces: list[int] = []

    def bowl(params: Any) -> jax.Array:
        traces.append(1)
        return jnp.sum(params["x"] ** 2)

    problem = mc.problems.from_cost(bowl, {"x": np.ones(3)})
    compare = partial(mc.compare, problem, {"adam": optax.adam}, steps=7, repeats=0)
    compare(learning_rates=[0.1, 0.2], tuning_seeds=2, seeds=2)
    before = len(traces)
    (one,) = as_contenders({"adam": optax.adam}).values()
    sweep = Sweep(problem, one, ("learning_rate",), 4, 7, 1)
    for rate in (0.3, 0.5, 0.7):
        sweep({"learning_rate": np.full(4, rate)}, luck_of(problem, 1, np.arange(4)))
    assert len(traces) == before  # not even for a sweep made anew


@pytest.mark.parametrize(
    ("factory", "problem", "lanes"),
    [
        (optax.adam, "curve", 64),
        (mc.newton, "curve", 1),  # 112 parameters: a Hessian is 100 KB
        (mc.gauss_newton, "heights", 16),
    ],
)
def test_runs_side_by_side(factory: Any, problem: str, lanes: int) -> None:
    """As many as fit near the core with the matrices that each of them factorises."""
    (one,) = as_contenders({"it": factory}).values()
    raced = mc.problems.named(problem)
    numbers, fixed = split(raced.cost)
    names = () if one.rate is None else (one.rate,)
    with precision(raced)():
        _, most = _layout(one, fixed, names, numbers, raced.start)
    assert most == lanes


@pytest.mark.slow
def test_runs_with_large_matrices_are_the_loop() -> None:
    """One at a time. (Newton's first step here is rounding: the Hessian's condition is 1e19.)"""
    curve, seeds = mc.problems.curve(), np.arange(2)
    found = swept(curve, mc.levenberg_marquardt, {}, seeds, steps=4)
    starts = luck_of(curve, 0, seeds).starts
    for k in range(2):
        start = jax.tree.map(lambda leaf, k=k: leaf[k], starts)
        path = mc.minimise(curve.cost, start, mc.levenberg_marquardt(), 4)
        np.testing.assert_allclose(found.cost[k], path.cost, rtol=1e-9)
