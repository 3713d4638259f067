"""Levenberg-Marquardt against NIST's certificates and SciPy."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize

import mlcalc_jax as mc

from ..cases import bowl


@pytest.mark.parametrize("name", ["Misra1a", "Gauss1", "Thurber", "MGH09", "Rat42"])
def test_nist_from_both_starts(name: str) -> None:
    """Outside fact: NIST's certified parameters and residual sum of squares, to 11 digits.

    A step is judged by the cost, whose last digit shows a change of the parameters of some 1e-7 of
    their standard errors.
    """
    data = mc.data.nist(name)
    problem = mc.LeastSquares(data.model, data.x, data.y)
    assert_allclose(problem(data.certified), data.residual_sum_of_squares, rtol=1e-9)
    for start in data.starts:
        path = mc.minimise(problem, start, mc.levenberg_marquardt(), 300)
        off = np.abs(path.final - data.certified) / data.certified_stderr
        assert np.max(off) < 1e-6
        assert_allclose(path.cost[-1], data.residual_sum_of_squares, rtol=1e-9)
        assert (np.diff(path.cost) <= 0).all()


def test_agrees_with_scipy_on_a_peak() -> None:
    """Outside fact: scipy.optimize.least_squares."""
    x = np.linspace(-4.0, 5.0, 40)
    truth = np.array([3.0, 0.7, 1.2, 0.5])

    def peak(p: Any) -> Any:
        return p[0] * np.exp(-(((x - p[1]) / p[2]) ** 2) / 2) + p[3]

    y = peak(truth) + 0.1 * np.random.default_rng(1).normal(size=40)
    start = np.array([1.0, 0.0, 2.0, 0.0])
    scipys = optimize.least_squares(
        lambda p: (peak(p) - y) / 0.1, start, xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    names = ("amplitude", "mu", "sigma", "offset")
    path = mc.minimise(
        mc.LeastSquares(mc.models.gaussian_peak, x, y, 0.1),
        dict(zip(names, start, strict=True)),
        mc.levenberg_marquardt(),
        40,
    )
    assert_allclose([path.final[name] for name in names], scipys.x, rtol=1e-7)
    assert_allclose(path.cost[-1], 2 * scipys.cost, rtol=1e-12)


def _decay(p: Any, x: Any) -> Any:
    """Amplitude, and rate in a unit that comes with the data."""
    return p["amplitude"] * jnp.exp(-p["rate"] * x["per_unit"] * x["t"])


@pytest.mark.parametrize("unit", [1e-10, 1e10])
def test_units_of_a_parameter_do_not_matter(unit: float) -> None:
    """Outside fact: the same quantity in another unit descends through the same costs."""
    t = np.linspace(0.0, 3.0, 12)
    y = 2.5 * np.exp(-1.3 * t) + 0.02 * np.cos(7 * t)
    paths = []
    for per_unit in (1.0, unit):
        problem = mc.LeastSquares(_decay, {"t": t, "per_unit": np.full(12, per_unit)}, y)
        start = {"amplitude": 1.0, "rate": 0.3 / per_unit}
        paths.append(mc.minimise(problem, start, mc.levenberg_marquardt(), 12))
    assert_allclose(paths[1].cost, paths[0].cost, rtol=1e-9)
    assert_allclose(paths[1].params["rate"] * unit, paths[0].params["rate"], rtol=1e-7)
    assert paths[0].cost[-1] < 0.01 * paths[0].cost[0]


def test_refuses_a_trial_that_is_nan() -> None:
    """Outside fact: a root of p beyond a wall; the undamped step lands where log is NaN.

    For r = log p the Gauss-Newton step from p = 8 is -8 log 8 = -16.6, far below zero.
    """
    problem = mc.LeastSquares(lambda p, x: jnp.log(p) * x, np.ones(3), np.zeros(3))
    undamped = mc.minimise(problem, np.float64(8), mc.gauss_newton(), 3)
    assert undamped.status == mc.Status.NON_FINITE
    path = mc.minimise(problem, np.float64(8), mc.levenberg_marquardt(1e-3), 60)
    assert path.params[1] == path.params[0] == 8
    assert path.cost[1] == path.cost[0]
    assert (np.diff(path.cost) <= 0).all()
    assert path.status == mc.Status.STEPS_USED
    assert_allclose(path.final, 1, rtol=1e-9)


def test_never_raises_the_cost_and_refusals_stand_still() -> None:
    """Outside fact: Rosenbrock's valley, minimum at (1, 1); the undamped step leaps there."""
    problem = mc.LeastSquares(
        lambda p, x: jnp.stack([10 * (p[1] - p[0] ** 2), 1 - p[0]]), np.zeros(2), np.zeros(2)
    )
    path = mc.minimise(problem, np.array([-1.2, 1.0]), mc.levenberg_marquardt(1e-3), 60)
    moves, rises = np.diff(path.params, axis=0), np.diff(path.cost)
    assert (rises <= 0).all()
    stood = rises == 0
    assert stood.any()
    assert_array_equal(moves[stood], 0)
    assert_allclose(path.final, [1, 1], rtol=1e-9)


def test_a_long_stay_at_the_optimum_is_harmless() -> None:
    """Outside fact: a line that fits exactly; steps long after that leave it where it is."""
    x = np.linspace(-1.0, 1.0, 8)
    problem = mc.LeastSquares(mc.models.line, x, 3 * x + 0.5)
    path = mc.minimise(problem, {"slope": 0.0, "intercept": 0.0}, mc.levenberg_marquardt(), 2000)
    assert path.status == mc.Status.STEPS_USED
    assert_allclose(path.final["slope"], 3, rtol=1e-12)


def test_a_parameter_without_effect_does_not_spoil_the_rest() -> None:
    """Outside fact: only the sum of the two is fixed by the data; damping picks one answer."""
    x = np.linspace(-1.0, 1.0, 8)
    problem = mc.LeastSquares(lambda p, x: (p[0] + p[1]) * x, x, 3 * x)
    path = mc.minimise(problem, np.array([5.0, 2.0]), mc.levenberg_marquardt(), 20)
    assert_allclose(path.final.sum(), 3, rtol=1e-9)


@pytest.mark.parametrize(
    ("damping", "error", "message"),
    [
        (0.0, ValueError, "damping must be finite and above zero, got 0.0"),
        (-1.0, ValueError, "damping must be finite and above zero"),
        (np.nan, ValueError, "damping must be finite and above zero"),
        ("strong", TypeError, "damping must be real numbers, got dtype <U6"),
        ([], ValueError, "damping is empty"),
        (np.ones(0), ValueError, "damping is empty"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_refuses(damping: Any, error: Any, message: str) -> None:
    """Outside fact: the documented errors."""
    with pytest.raises(error, match=message):
        mc.levenberg_marquardt(damping)


def test_needs_residuals() -> None:
    """Outside fact: the documented error names what it got."""
    with pytest.raises(TypeError, match=r"levenberg_marquardt needs the residuals .* got bowl"):
        mc.minimise(bowl, {"p": 1.0}, mc.levenberg_marquardt(), 1)
