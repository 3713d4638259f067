"""The surfaces against their formulas and the places where they are known to be lowest."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize

import mlcalc_jax as mc

FORMULAS: dict[str, Callable[..., Any]] = {
    "rosenbrock": lambda x, y: 100 * (y - x**2) ** 2 + (1 - x) ** 2,
    "beale": lambda x, y: (
        (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
    ),
    "himmelblau": lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
    "saddle": lambda x, y: x**4 / 4 - x**2 / 2 + y**2 / 2 + 0.25,
    "ravine": lambda x, y: x**2 / 100 + 25 * (y - np.sin(x)) ** 2,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.usefixtures("double")
def test_value_is_the_formula_and_the_lowest_is_known(name: str) -> None:
    """Outside facts: the formulas expanded in NumPy; SciPy's Nelder-Mead finds nothing lower."""
    formula = FORMULAS[name]
    problem: Any = mc.problems.named(name)
    for seed in range(3):
        at = problem.draw_start(seed)
        assert_allclose(float(problem.cost(at)), formula(at["x"], at["y"]), rtol=1e-12, atol=1e-12)
    assert problem.minimum == 0
    assert formula(**problem.minimiser) == 0
    assert float(problem.cost(problem.minimiser)) == 0
    assert max(map(abs, jax.tree.leaves(jax.grad(problem.cost)(problem.minimiser)))) < 1e-14
    for (axis, low, high), start in zip(problem.view, problem.start.values(), strict=True):
        assert low <= start <= high, axis
    start = list(problem.start.values())
    found = optimize.minimize(lambda p: formula(*p), start, method="Nelder-Mead", tol=1e-12)
    assert abs(found.fun) < 1e-12


def test_himmelblau_has_its_four_published_minima() -> None:
    """Outside fact: the four places in the literature, in six digits."""
    cost = mc.problems.himmelblau().cost
    for x, y in ((3, 2), (-2.805118, 3.131313), (-3.779310, -3.283186), (3.584428, -1.848127)):
        assert float(cost({"x": np.float64(x), "y": np.float64(y)})) < 1e-9


def test_beale_tends_to_a_value_above_zero_far_away() -> None:
    """Closed form: for y -> 1, 1 - y^k is k (1 - y): a parabola in a = x (1 - y) is left."""
    cost = mc.problems.beale().cost
    a = (1.5 + 2 * 2.25 + 3 * 2.625) / 14
    limit = (1.5 - a) ** 2 + (2.25 - 2 * a) ** 2 + (2.625 - 3 * a) ** 2
    far = {"x": np.float64(-1e8), "y": np.float64(1 + a / 1e8)}
    assert_allclose(float(cost(far)), limit, rtol=1e-6)
    assert f"{limit:.2f}" == "0.45"


@pytest.mark.slow
@pytest.mark.usefixtures("double")
def test_curvatures_are_those_of_the_docstrings() -> None:
    """Closed forms: the Hessians at the saddle and at the bottom of the ravine."""
    nowhere = {"x": np.float64(0), "y": np.float64(0)}
    hessian = jax.hessian(mc.problems.saddle().cost)(nowhere)
    rows = np.array([[float(hessian[a][b]) for b in "xy"] for a in "xy"])
    assert_allclose(rows, np.diag([-1, 1]), atol=1e-12)
    hessian = jax.hessian(mc.problems.ravine().cost)(nowhere)
    rows = np.array([[float(hessian[a][b]) for b in "xy"] for a in "xy"])
    assert_allclose(np.linalg.cond(rows), 10002, rtol=1e-7)


def test_saddle_draws_newton_in_but_not_levenberg_marquardt() -> None:
    """Closed form: Newton's steps solve for a slope of zero, and the nearest is the saddle."""
    problem = mc.problems.saddle()
    stuck = mc.minimise(problem.cost, problem.start, mc.newton(), 20)
    free = mc.minimise(problem.cost, problem.start, mc.levenberg_marquardt(), 60)
    assert_allclose(stuck.cost[-1], 0.25, rtol=1e-9)
    assert free.cost[-1] < 1e-12


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("rosenbrock", (-1.2, 1)), ("beale", (1, 1)), ("himmelblau", (0, 0)),
        ("saddle", (0.001, 1)), ("ravine", (8, 2)),
    ],
)  # fmt: skip
def test_starts_and_views_are_those_of_the_docstrings(name: str, start: Any) -> None:
    """The published start; start and minimum are seen; starts are anywhere where that is said."""
    problem: Any = mc.problems.named(name)
    assert tuple(map(float, problem.start.values())) == start
    for at in (problem.start, problem.minimiser):
        for (axis, low, high), value in zip(problem.view, at.values(), strict=True):
            assert low < value < high, axis
    drawn = [problem.draw_start(seed) for seed in range(500)]
    places = np.array([[float(at[axis]) for at in drawn] for axis in ("x", "y")])
    if name in ("rosenbrock", "himmelblau", "ravine"):
        low, high = np.array([side[1:] for side in problem.view]).T
        z = ((places.T - low) / (high - low)).T  # uniform: mean 1/2, deviation 1/sqrt(12)
        assert_allclose(z.mean(axis=1), 0.5, atol=4 / np.sqrt(12 * 500))
        assert_allclose(z.std(axis=1), 1 / np.sqrt(12), rtol=0.12)
    else:
        middle = np.abs(np.array(start))
        assert_allclose(places.std(axis=1) / middle, 0.1, rtol=0.13)  # the default spread
    assert abs(np.corrcoef(places)[0, 1]) < 4 / np.sqrt(500)


@pytest.mark.parametrize(("condition", "dimension"), [(1, 1), (1000, 2), (50.0, 7)])
@pytest.mark.usefixtures("double")
def test_quadratic_has_the_condition_that_was_asked_for(condition: float, dimension: int) -> None:
    """Outside fact: NumPy's condition number of the Hessian."""
    problem = mc.problems.quadratic(condition, dimension)
    flat, unravel = jax.flatten_util.ravel_pytree(problem.start)
    hessian = jax.hessian(lambda p: problem.cost(unravel(p)))(flat)
    assert_allclose(np.linalg.cond(hessian), condition, rtol=1e-12)
    steps = np.diff(np.log(np.linalg.eigvalsh(hessian)))
    assert_allclose(steps, np.log(condition) / max(dimension - 1, 1), rtol=1e-9)
    assert problem.dimension == dimension
    assert float(problem.cost(problem.minimiser)) == problem.minimum == 0


@pytest.mark.parametrize(
    ("condition", "dimension", "error", "message"),
    [
        (0.5, 2, ValueError, "condition must be at least 1"),
        (2, 1, ValueError, "and 1 in one dimension"),
        (np.inf, 2, ValueError, "condition must be finite"),
        (10, 0, ValueError, "dimension must be at least 1"),
        (10, 2.5, TypeError, "dimension must be a whole number"),
        ("steep", 2, TypeError, "condition must be real numbers"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_quadratic_says_what_is_wrong(
    condition: Any, dimension: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mc.problems.quadratic(condition, dimension)
