"""When a fit says that it has converged it has, and its standard errors are exact."""

from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlcalc_jax as mc


def line_fits(y: np.ndarray, x: np.ndarray, at: float, **options: Any) -> mc.ManyFits:
    start = {"slope": 0.0, "intercept": at}
    return mc.fit_many(mc.models.line, start, x, y, **options)


def test_small_changes_of_a_large_number() -> None:
    """A residual of y's own rounding, and the way there is not ended by it (polyfit, float64)."""
    x = np.linspace(0, 4, 30)
    noise = np.random.default_rng(0).normal(0, 1e-6, (50, 30))
    y = 1.7e9 + 1e-5 * x + noise
    found = line_fits(y, x, 1.7e9)
    expected = np.polyfit(x, (y - 1.7e9).T, 1)[0]
    assert found.success.all()
    # Rounding of the predicted values alone is a tenth of the noise.
    assert np.all(np.abs(found.params["slope"] - expected) < 0.3 * found.stderr["slope"])
    assert np.median(np.abs(found.params["slope"] - expected) / found.stderr["slope"]) < 0.1


def test_a_narrow_valley_is_followed_to_its_end() -> None:
    """What a damped step promises there is a small part of what is left (``fit``, by QR)."""
    x = np.linspace(0, 4, 30)
    y = 2 * np.exp(-1e-3 * x) + 1e-6 * np.random.default_rng(3).normal(size=(20, 30))
    start = {"amplitude": 2.0, "rate": 3e-3, "offset": 0.0}
    found = mc.fit_many(mc.models.exponential_decay, start, x, y, steps=1000)
    assert found.success.all()
    for k in range(3):
        with jax.enable_x64(True):
            one = mc.fit(mc.models.exponential_decay, start, x, y[k])
        off = abs(found.params["rate"][k] - one.params["rate"]) / one.stderr["rate"]
        assert off < 1e-3
        assert_allclose(found.stderr["rate"][k], one.stderr["rate"], rtol=0.02)


@pytest.mark.parametrize(("dtype", "rates"), [(np.float32, (0.014, 0.05, 0.3)),
                                              (np.float64, (1e-5, 3e-4, 1e-2))])  # fmt: skip
def test_no_standard_error_that_rounding_spoils(dtype: Any, rates: tuple[float, ...]) -> None:
    """SINGULAR, or exact: by QR in float64 at the same place."""
    x = np.linspace(0, 4, 30)
    for rate in rates:
        noise = np.random.default_rng(1).normal(size=(40, 30))
        y = 2 * np.exp(-rate * x) + rate**2 * noise
        start = {"amplitude": 2.0, "rate": rate, "offset": 0.0}
        with np.errstate(invalid="ignore"):
            found = mc.fit_many(
                mc.models.exponential_decay, start, x.astype(dtype), y.astype(dtype), steps=1000
            )
        assert np.all(found.success | np.isnan(found.stderr["rate"]))
        for k in np.flatnonzero(found.success):
            a, r = (float(found.params[name][k]) for name in ("amplitude", "rate"))
            J = np.stack([np.exp(-r * x), -a * x * np.exp(-r * x), np.ones(30)], axis=1)
            inverse = np.linalg.inv(np.linalg.qr(J)[1])
            exact = np.sqrt((inverse @ inverse.T)[1, 1] * found.cost[k] / 27)
            assert_allclose(found.stderr["rate"][k], exact, rtol=0.03)
    assert found.success.all()  # the last rate is a plain problem


@pytest.mark.parametrize("unit", [1e-30, 1e-19, 1e19])
def test_squares_beyond_the_range_of_float32(unit: float) -> None:
    """They do not look like an exact fit; in float64 they are within it."""
    x = np.linspace(0, 1, 30, dtype=np.float32)
    plain = 2 + 3 * x + np.random.default_rng(0).normal(0, 0.1, (4, 30))
    y = (unit * plain).astype(np.float32)
    found = line_fits(y, x, 0.0)
    assert_array_equal(found.status, mc.Status.NON_FINITE)
    assert np.isnan(found.stderr["slope"]).all()
    one = mc.fit(mc.models.line, {"slope": 0.0, "intercept": 0.0}, x, y[0])
    assert one.status == mc.Status.NON_FINITE
    polished = line_fits(y, x, 0.0, polish=True)
    expected = line_fits(plain, x.astype(float), 0.0)
    assert polished.success.all()
    assert_allclose(polished.params["slope"] / unit, expected.params["slope"], rtol=1e-5)
    assert_allclose(polished.stderr["slope"] / unit, expected.stderr["slope"], rtol=1e-4)


def test_nothing_to_see() -> None:
    """y of nothing but 0 is an exact fit."""
    found = line_fits(np.zeros((2, 5), np.float32), np.arange(5, dtype=np.float32), 0.0)
    assert found.success.all()
