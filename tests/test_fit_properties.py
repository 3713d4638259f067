"""What must hold of every fit: scaling, order, weights, masks, and coverage of its intervals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import mlcalc_jax as mc
from experiments.coverage import CASES, LEVELS, delta_holds

NAMES = ("amplitude", "mu", "offset", "sigma")
X = np.linspace(-3.0, 3.0, 40)
START = {"amplitude": 1.5, "mu": 0.1, "sigma": 1.1, "offset": 0.3}
SIGMA = 0.1 + 0.05 * np.cos(X) ** 2

seeds = st.integers(0, 10_000)
factors = st.floats(1e-6, 1e6)
few = settings(max_examples=15, deadline=None, derandomize=True)


def observed(seed: int) -> np.ndarray:
    """Noisy points of a peak."""
    noise = np.random.default_rng(seed).normal(size=X.size)
    return 2 * np.exp(-(((X - 0.3) / 0.8) ** 2) / 2) + 0.5 + SIGMA * noise


def fitted(y: Any, sigma: Any = SIGMA, x: Any = X, start: Any = START, **options: Any) -> mc.Fit:
    fit = mc.fit(mc.models.gaussian_peak, start, x, y, sigma, absolute_sigma=True, **options)
    assert fit.success, fit.message
    return fit


def both(fit: mc.Fit) -> np.ndarray:
    """Parameters and standard errors."""
    return np.array([[tree[name] for name in NAMES] for tree in (fit.params, fit.stderr)])


@pytest.mark.slow
@few
@given(seeds, factors)
def test_scaling_y_scales_amplitude_and_offset(seed: int, factor: float) -> None:
    """Outside fact: least squares is homogeneous in y."""
    y = observed(seed)
    start = START | {"amplitude": 1.5 * factor, "offset": 0.3 * factor}
    unit = np.array([factor, 1, factor, 1])
    scaled = fitted(factor * y, factor * SIGMA, start=start)
    assert_allclose(both(scaled), unit * both(fitted(y)), rtol=1e-7)


@few
@given(seeds, factors, st.floats(-5, 5))
def test_another_origin_and_unit_of_x(seed: int, factor: float, shift: float) -> None:
    """Outside fact: mu moves along, and mu and sigma change their unit."""
    y, plain = observed(seed), both(fitted(observed(seed)))
    start = START | {"mu": (0.1 + shift) * factor, "sigma": 1.1 * factor}
    moved = both(fitted(y, x=(X + shift) * factor, start=start))
    unit = np.array([1, factor, 1, factor])
    expected = unit * (plain + np.array([[0, shift, 0, 0], [0, 0, 0, 0]]))
    assert_allclose(moved, expected, rtol=1e-6, atol=1e-8 * factor)


@few
@given(seeds)
def test_the_order_of_points_does_not_matter(seed: int) -> None:
    """Outside fact: chi-squared is a sum."""
    y, order = observed(seed), np.random.default_rng(seed + 1).permutation(X.size)
    shuffled = fitted(y[order], SIGMA[order], x=X[order])
    assert_allclose(both(shuffled), both(fitted(y)), rtol=1e-8)


@few
@given(seeds)
def test_a_weight_of_two_is_a_point_twice(seed: int) -> None:
    """Outside fact: a point with sigma / sqrt(2) adds to chi-squared what two points do."""
    y, twice = observed(seed), np.arange(X.size) % 2 == 0
    heavy = fitted(y, SIGMA / np.where(twice, np.sqrt(2), 1))
    again = [np.concatenate([values, values[twice]]) for values in (y, SIGMA, X)]
    assert_allclose(both(fitted(*again)), both(heavy), rtol=1e-7)


@pytest.mark.slow
@few
@given(seeds)
def test_masked_is_removed(seed: int) -> None:
    """Outside fact: the fit without these points, in every number it reports."""
    y, keep = observed(seed), np.arange(X.size) % 5 != 3
    masked = fitted(np.where(keep, y, np.nan), mask=keep)
    removed = fitted(y[keep], SIGMA[keep], x=X[keep])
    assert_allclose(both(masked), both(removed), rtol=1e-8)
    assert masked.degrees_of_freedom == removed.degrees_of_freedom
    for name in ("chi_squared", "aic", "bic", "r_squared"):
        assert_allclose(getattr(masked, name), getattr(removed, name), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("double")
def test_intervals_cover(name: str) -> None:
    """Outside fact: of 1,000 intervals of level p a share p holds the truth, +- 3.5 errors."""
    case = CASES[name]
    noise = np.random.default_rng(11).normal(size=(1000, case.x.size))
    y = np.asarray(case.model(case.truth, case.x)) + case.sigma * noise
    for held in delta_holds(case, y).values():
        for level, flags in zip(LEVELS, held, strict=True):
            error = np.sqrt(level * (1 - level) / flags.size)
            assert abs(flags.mean() - level) < 3.5 * error
