"""Models against SciPy and NumPy, and under JAX's transformations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats

import mlcalc_jax as mc

from .cases import HEIGHTS_START, heights

X = np.linspace(0.5, 3.0, 7)
PLANE = (np.linspace(-1.0, 2.0, 7), np.linspace(1.0, -3.0, 7))


class Case(NamedTuple):
    model: Callable[..., Any]
    params: dict[str, Any]
    outside: Callable[..., Any]
    x: Any = X


def _spot(x: Any, amplitude: Any, x0: Any, y0: Any, sigma: Any, offset: Any) -> Any:
    density = stats.multivariate_normal([x0, y0], sigma**2 * np.eye(2)).pdf(np.stack(x, axis=1))
    return amplitude * 2 * np.pi * sigma**2 * density + offset


CASES = [
    Case(
        mc.models.line,
        {"slope": 1.7, "intercept": -0.4},
        lambda x, slope, intercept: np.polyval([slope, intercept], x),
    ),
    Case(
        mc.models.polynomial,
        {"coefficients": np.array([0.3, -1.2, 0.7, 2.0])},
        lambda x, coefficients: np.polynomial.Polynomial(coefficients)(x),
    ),
    Case(
        mc.models.gaussian,
        {"mu": 1.3, "sigma": 0.8},
        lambda x, mu, sigma: stats.norm.pdf(x, mu, sigma),
    ),
    Case(
        mc.models.gaussian_peak,
        {"amplitude": 2.5, "mu": 1.3, "sigma": 0.8, "offset": -0.2},
        lambda x, amplitude, mu, sigma, offset: (
            amplitude * stats.norm.pdf(x, mu, sigma) / stats.norm.pdf(mu, mu, sigma) + offset
        ),
    ),
    Case(
        mc.models.gaussian_2d,
        {"amplitude": 2.5, "x0": 0.3, "y0": -0.5, "sigma": 1.1, "offset": 0.2},
        _spot,
        PLANE,
    ),
    Case(
        mc.models.lorentzian,
        {"amplitude": 2.5, "x0": 1.3, "gamma": 0.8, "offset": 0.2},
        lambda x, amplitude, x0, gamma, offset: (
            amplitude * np.pi * gamma * stats.cauchy.pdf(x, x0, gamma) + offset
        ),
    ),
    Case(
        mc.models.exponential_decay,
        {"amplitude": 2.5, "rate": 0.7, "offset": 0.2},
        lambda x, amplitude, rate, offset: amplitude * stats.expon.sf(x, scale=1 / rate) + offset,
    ),
    Case(
        mc.models.power_law,
        {"amplitude": 2.5, "exponent": -1.4},
        lambda x, amplitude, exponent: amplitude * np.power(x, exponent),
    ),
    Case(
        mc.models.logistic,
        {"capacity": 2.5, "rate": 0.7, "midpoint": 1.1},
        lambda x, capacity, rate, midpoint: capacity * stats.logistic.cdf(x, midpoint, 1 / rate),
    ),
    Case(
        mc.models.sine,
        {"amplitude": 2.5, "frequency": 0.7, "phase": 0.3, "offset": 0.2},
        lambda x, amplitude, frequency, phase, offset: (
            amplitude * np.imag(np.exp(1j * (2 * np.pi * frequency * x + phase))) + offset
        ),
    ),
]
every_model = pytest.mark.parametrize("case", CASES, ids=lambda case: case.model.__name__)
pytestmark = pytest.mark.usefixtures("double")


@every_model
def test_equals_scipy_or_numpy(case: Case) -> None:
    """Outside fact: the distribution or function of that name in SciPy or NumPy."""
    result = case.model(case.params, case.x)
    assert result.dtype == np.float64
    assert_allclose(result, case.outside(case.x, **case.params), rtol=1e-13)


@every_model
def test_under_jit_and_vmap(case: Case) -> None:
    """Outside fact: the same SciPy values, point by point and compiled."""
    expected = case.outside(case.x, **case.params)
    by_point = jax.jit(jax.vmap(case.model, in_axes=(None, 0)))
    assert_allclose(by_point(case.params, case.x), expected, rtol=1e-13)


@every_model
def test_derivatives_in_both_modes(case: Case) -> None:
    """Outside fact: central differences of the SciPy function, parameter by parameter."""
    forward = jax.jacfwd(case.model)(case.params, case.x)
    reverse = jax.jacrev(case.model)(case.params, case.x)
    for name, value in case.params.items():
        flat = np.atleast_1d(value)
        columns = []
        for unit in np.eye(flat.size):
            step = (1e-5 * unit).reshape(np.shape(value))
            high, low = (
                case.outside(case.x, **{**case.params, name: value + s}) for s in (step, -step)
            )
            columns.append((high - low) / 2e-5)
        expected = np.stack(columns, axis=-1).reshape(len(columns[0]), *np.shape(value))
        assert_allclose(forward[name], expected, rtol=1e-8, atol=1e-9)
        assert_allclose(reverse[name], expected, rtol=1e-8, atol=1e-9)


def test_logistic_does_not_overflow() -> None:
    """Outside fact: scipy.special.expit far out on both sides."""
    x = np.array([-1e4, 1e4])
    params = {"capacity": 1.0, "rate": 1.0, "midpoint": 0.0}
    assert_array_equal(mc.models.logistic(params, x), special.expit(x))


def test_network_model_is_the_last_activation() -> None:
    """Outside fact: two matrix products and two logistic functions in NumPy."""
    params = mc.network.init_params(jax.random.key(1), (1, 3, 2), np.float64)
    (W1, b1), (W2, b2) = params
    hidden = special.expit(W1 @ X[None] + b1[:, None])
    expected = special.expit(W2 @ hidden + b2[:, None])
    assert_allclose(mc.models.network(params, X), expected, rtol=1e-13)


def test_own_function_is_as_good_as_a_built_in_one() -> None:
    """Outside fact: the built-in model; a copy of its formula here gives the very same bits."""

    def mine(params: Any, x: Any) -> Any:
        z = (x - params["mu"]) / params["sigma"]
        return jnp.exp(-(z**2) / 2) / (params["sigma"] * jnp.sqrt(2 * jnp.pi))

    built_in = heights()
    own = mc.LeastSquares(mine, built_in.x, built_in.y)
    paths = [
        mc.minimise(problem, HEIGHTS_START, mc.steepest_descent(2000.0), 5)
        for problem in (built_in, own)
    ]
    jax.tree.map(assert_array_equal, *paths)
