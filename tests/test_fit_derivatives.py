"""Derivatives of standard errors and covariances by the data."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc

X = np.linspace(-3.0, 3.0, 30)
NOISE = np.random.default_rng(7).normal(size=30)
SIGMA = 0.1 + 0.05 * np.cos(X) ** 2
LINE = {"slope": 1.0, "intercept": 0.0}
PEAK = {"amplitude": 1.5, "mu": 0.1, "sigma": 1.1, "offset": 0.7}
CORRELATED = 0.01 * np.exp(-np.abs(X[:, None] - X) / 0.4)

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.slow
def test_closed_forms_of_a_line() -> None:
    """Outside fact: of C = s^2 (A^T A)^-1 and C = (A^T W A)^-1, derived by hand."""
    y = 2 * X - 1 + NOISE
    A = np.stack([X - X.mean(), np.ones(30)])

    def stderr(y: Any) -> Any:
        return mc.fit(mc.models.line, LINE, X, y).stderr["slope"]

    r = y - A.T @ (A @ y / np.sum(A**2, axis=1))
    stderr_slope = np.sqrt(r @ r / 28 / (A[0] @ A[0]))
    expected = r / 28 / (A[0] @ A[0]) / stderr_slope
    assert_allclose(jax.grad(stderr)(y), expected, rtol=1e-9)
    assert_allclose(jax.jacfwd(stderr)(y), expected, rtol=1e-9)

    def covariance(sigma: Any) -> Any:
        return mc.fit(mc.models.line, LINE, X, y, sigma, absolute_sigma=True).covariance

    A = np.stack([np.ones(30), X])
    CA = np.linalg.inv(A / SIGMA**2 @ A.T) @ A
    expected = 2 * CA[:, None] * CA[None] / SIGMA**3
    assert_allclose(jax.jacrev(covariance)(SIGMA), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"y_covariance": CORRELATED, "absolute_sigma": True},
        {"sigma": SIGMA, "loss": "cauchy", "mask": np.arange(30) % 7 != 0},
        {"bounds": {"offset": (0.55, 2.0)}},
        {
            "fixed": "mu",
            "transforms": {"sigma": mc.transforms.log},
            "tie": lambda p: p | {"offset": p["offset"] * p["amplitude"] / 4},
        },
    ],
    ids=["correlated", "robust and masked", "at a bound", "fixed, transformed, tied"],
)
def test_central_differences(options: dict[str, Any]) -> None:
    """Outside fact: the fits of data moved a little either way, which trace nothing."""
    y = 2 * np.exp(-(((X - 0.3) / 0.8) ** 2) / 2) + 0.5 + SIGMA * NOISE
    direction = np.random.default_rng(8).normal(size=30)

    def errors(y: Any) -> Any:
        fit = mc.fit(mc.models.gaussian_peak, PEAK, X, y, **options)
        return fit.covariance, fit.stderr

    h = 1e-4
    after, before = errors(y + h * direction), errors(y - h * direction)
    _, slopes = jax.jvp(errors, (y,), (direction,))
    for slope, a, b in zip(*map(jax.tree.leaves, (slopes, after, before)), strict=True):
        size = np.max(np.abs(slope))
        assert_allclose(slope, (a - b) / (2 * h), rtol=1e-5, atol=1e-5 * size)


@pytest.mark.slow
def test_as_many_points_as_parameters() -> None:
    """Outside fact: of two points the slope has the variance (s1^2 + s2^2) / (x2 - x1)^2."""

    def variance(sigma: Any) -> Any:
        fit = mc.fit(mc.models.line, LINE, X[:2], X[:2], sigma, absolute_sigma=True)
        return fit.stderr["slope"] ** 2

    expected = 2 * SIGMA[:2] / (X[1] - X[0]) ** 2
    assert_allclose(jax.grad(variance)(SIGMA[:2]), expected, rtol=1e-9)


@pytest.mark.slow
def test_no_derivative_where_nothing_is_determined() -> None:
    """Outside fact: a / sigma^2 with x = 0 tells nothing of a; a neighbour in a batch is a line."""
    weights = np.stack([X, 0 * X])

    def stderr(y: Any, x: Any) -> Any:
        fit = mc.fit(lambda p, x: p["a"] * x + 0 * p["a"], {"a": 1.0}, x, y, absolute_sigma=True)
        return fit.stderr["a"] * jnp.sum(y)

    slopes = jax.vmap(jax.grad(stderr), in_axes=(None, 0))(NOISE, weights)
    assert_allclose(slopes[0], np.full(30, 1 / np.sqrt(np.sum(X**2))), rtol=1e-9)
    assert np.isnan(slopes[1]).all()

    def fitted(y: Any, x: Any) -> Any:
        return mc.fit(lambda p, x: p["a"] * x + 0 * p["a"], {"a": 1.0}, x, y).params["a"]

    values, slopes = jax.vmap(jax.value_and_grad(fitted), in_axes=(None, 0))(NOISE, weights)
    assert_allclose(values, np.array([NOISE @ X / (X @ X), 1.0]), rtol=1e-9)  # the start stays
    assert_allclose(slopes[0], X / (X @ X), rtol=1e-9)
    assert np.isnan(slopes[1]).all()


T = np.linspace(0.0, 2.0, 12)
DECAYED = 2 * np.exp(-1.3 * T) + 1 + 0.05 * NOISE[:12]
DECAY = {"a": 1.0, "k": 1.0}


def _lifted(lift: Any, params: Any, x: Any) -> Any:
    return params["a"] * jnp.exp(-params["k"] * x) + lift


def _lifted_too(params: Any, x: Any) -> Any:
    return _lifted(params["lift"], params, x)


@pytest.mark.slow
def test_by_what_a_model_or_a_tie_carries() -> None:
    """Outside fact: central differences by a fixed parameter, in fits that trace nothing."""

    def by_fixed(lift: Any) -> Any:
        fit = mc.fit(_lifted_too, DECAY | {"lift": lift}, T, DECAYED, fixed="lift")
        return fit.params["k"]

    def by_model(lift: Any) -> Any:
        return mc.fit(partial(_lifted, lift), DECAY, T, DECAYED).params["k"]

    def by_tie(lift: Any, tolerance: Any) -> Any:
        def tie(params: Any) -> Any:
            return params | {"lift": lift}

        fit = mc.fit(_lifted_too, DECAY, T, DECAYED, tie=tie, tolerance=tolerance)
        return fit.params["k"]

    expected = (by_fixed(1 + 1e-5) - by_fixed(1 - 1e-5)) / 2e-5
    assert_allclose(jax.grad(by_model)(1.0), expected, rtol=1e-6)
    assert_allclose(jax.jit(jax.grad(by_tie))(1.0, 1e-11), expected, rtol=1e-6)


@pytest.mark.slow
def test_by_the_data_of_one_set() -> None:
    """Outside fact: central differences of a global fit."""
    model, sigma = partial(_lifted, 1.0), [0.1, 0.1 + T[:9]]

    def rate(y: Any) -> Any:
        fit = mc.fit(model, DECAY, [T, T[:9]], [y, 2 * DECAYED[:9]], sigma, local="a")
        return fit.params["k"]

    h = 1e-5 * np.cos(3 * T)
    expected = rate(DECAYED + h) - rate(DECAYED - h)
    assert_allclose(2 * jax.grad(rate)(DECAYED) @ h, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("traced", "message"),
    [
        (lambda c: mc.fit(mc.models.line, LINE, X, NOISE, bounds={"slope": (0, c)}), "bounds must"),
        (lambda c: mc.fit(mc.models.line, LINE, X, c * X, nan_policy="omit"), "give a mask"),
        (lambda c: mc.fit(mc.models.line, LINE, X, c * X).band(), "a band cannot be traced"),
    ],
)
def test_what_cannot_be_traced_says_so(traced: Callable[[Any], Any], message: str) -> None:
    """Outside fact: the documented errors."""
    with pytest.raises(ValueError, match=message):
        jax.jit(traced)(2.0)


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [None, {"offset": (0.55, 0.6)}])
def test_second_derivatives(bounds: Any) -> None:
    """Outside fact: differences of first derivatives, forwards and backwards."""
    y = mc.models.gaussian_peak(PEAK, jnp.asarray(X)) + 0.1 * NOISE
    start = PEAK if bounds is None else PEAK | {"offset": 0.57}
    along = jnp.asarray(np.random.default_rng(3).normal(size=30))

    def found(y: Any) -> Any:
        fit = mc.fit(mc.models.gaussian_peak, start, X, y, bounds=bounds)
        return fit.params["sigma"] + fit.stderr["mu"]

    h = 1e-4
    slope = jax.grad(found)
    expected = (slope(y + h * along) - slope(y - h * along)) / (2 * h)
    assert jnp.max(jnp.abs(expected)) > 1e-3
    for of in (slope, jax.jacfwd(found)):
        second = jax.jvp(of, (y,), (along,))[1]
        assert_allclose(second, expected, rtol=1e-4, atol=1e-6)
