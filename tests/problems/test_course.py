"""The course's two problems, and the regressions on fixed data."""

from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

import mlcalc_jax as mc

from ..cases import HEIGHTS_START


def test_heights_lowest_value_is_that_of_scipy() -> None:
    """Outside fact: SciPy's curve_fit of SciPy's normal density."""
    problem: Any = mc.problems.heights()
    bars = mc.data.heights_histogram()
    best, _ = optimize.curve_fit(
        stats.norm.pdf, bars.centre, bars.density, (178, 7.5), ftol=1e-15, xtol=1e-15
    )
    value = np.sum((stats.norm.pdf(bars.centre, *best) - bars.density) ** 2)
    assert_allclose(problem.minimum, value, rtol=1e-11)
    assert problem.minimum <= value
    assert_allclose(list(problem.minimiser.values()), best, rtol=1e-8)  # mu, sigma
    assert problem.start == HEIGHTS_START
    many = jax.vmap(problem.draw)(jax.random.split(jax.random.key(1), 3000))
    for name, (axis, low, high) in zip(problem.start, problem.view, strict=True):
        assert axis == name
        assert low < problem.start[name] < high
        assert low < problem.minimiser[name] < high
        assert_allclose(np.std(many[name]) / problem.start[name], 0.1, rtol=0.06)


def test_curve_cost_is_the_course_mean() -> None:
    """Outside fact: the mean over the points of the squared distance, in NumPy."""
    problem = mc.problems.curve("spiral")
    target = mc.data.curve("spiral")
    with jax.enable_x64(True):
        drawn = np.asarray(mc.models.network(problem.start, target.x))
    mean = np.mean(np.sum((drawn - target.y) ** 2, axis=0))
    assert_allclose(float(problem.cost(problem.start)), mean, rtol=1e-12)
    assert problem.dimension == 6 + 6 + 42 + 7 + 14 + 2
    assert problem.minimum is None
    jax.tree.map(assert_array_equal, problem.start, problem.draw_start(0))


def test_line_is_the_closed_form() -> None:
    """Outside fact: SciPy's linregress."""
    problem: Any = mc.problems.line()
    cost = problem.cost
    known = stats.linregress(cost.x, cost.y)
    assert_allclose(problem.minimiser["slope"], known.slope, rtol=1e-12)
    assert_allclose(problem.minimiser["intercept"], known.intercept, rtol=1e-12)
    assert abs(known.slope - 2) < 0.05  # of y = 2 x - 1, and what is put upon it
    assert abs(known.intercept + 1) < 0.2
    for name, low, high in problem.view:
        assert low < problem.start[name] < high
        assert low < problem.minimiser[name] < high
    residuals = known.slope * cost.x + known.intercept - cost.y
    assert_allclose(problem.minimum, residuals @ residuals, rtol=1e-12)


@pytest.mark.usefixtures("double")
def test_logistic_lowest_value_is_that_of_scipy() -> None:
    """Outside fact: SciPy's Newton-CG on the cost written out in NumPy, labels of -1 and 1."""
    problem: Any = mc.problems.logistic_regression()
    points, labels = (np.asarray(part) for part in problem.cost.args)
    sign = 2 * labels - 1

    def cost(p: np.ndarray) -> float:
        margin = sign * (p[:2] @ points + p[2])
        return float(np.mean(np.logaddexp(0, -margin)) + 0.005 * (p[:2] @ p[:2]))

    def slope(p: np.ndarray) -> np.ndarray:
        pull = -sign / (1 + np.exp(sign * (p[:2] @ points + p[2]))) / labels.size
        return np.array([*(points @ pull + 0.01 * p[:2]), pull.sum()])

    found = optimize.minimize(cost, np.zeros(3), jac=slope, method="BFGS", options={"gtol": 1e-10})
    assert_allclose(problem.minimum, found.fun, rtol=1e-11)
    assert problem.minimum <= found.fun
    assert_allclose([*problem.minimiser["weights"], problem.minimiser["bias"]], found.x, rtol=1e-6)
    value = float(problem.cost({"weights": found.x[:2] + 0.1, "bias": found.x[2] - 0.2}))
    assert_allclose(value, cost(found.x + np.array([0.1, 0.1, -0.2])), rtol=1e-12)
    assert 20 < labels.sum() < 80
    far = {"weights": np.array([1e4, 1e4]), "bias": np.float64(0)}
    assert np.isfinite(float(problem.cost(far)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(problem.cost)(far)))
