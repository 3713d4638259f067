"""Starts of many fits at once: as good as those of one, whatever is masked."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlcalc_jax as mc

from .test_guess import CASES, Case

FITS = 100
at_once = [case for case in CASES if case.model.guess_many]  # the others guess fit by fit
every_model = pytest.mark.parametrize("case", at_once, ids=lambda case: case.model.__name__)


def simulated(case: Case, points: int, noise: float = 0.05) -> tuple[Any, np.ndarray, Any]:
    """x, noisy rows and their truths; an image is square."""
    rng = np.random.default_rng(points)
    x: Any = np.linspace(case.low, 10, points)
    if case.model.__name__ == "gaussian_2d":
        side = np.linspace(0, 10, int(points**0.5))
        x = tuple(axis.ravel() for axis in np.meshgrid(side, side))
    truths = [case.draw(rng) for _ in range(FITS)]
    y = np.stack([np.asarray(case.model(truth, x)) for truth in truths])
    y = y + noise * y.std(axis=1, keepdims=True) * rng.normal(size=y.shape)
    return x, y, {name: np.array([truth[name] for truth in truths]) for name in truths[0]}


@pytest.mark.slow
@pytest.mark.parametrize("points", [25, 400])  # 400 are gathered in cells
@every_model
def test_fits_from_the_guess_arrive(case: Case, points: int) -> None:
    """Outside fact: the truth that simulated the data, whose basin has the least cost."""
    x, y, truth = simulated(case, points)
    mask = np.random.default_rng(1).random(y.shape) < 0.9
    y[:, 3] = np.nan  # found by the guess itself
    mask[:, 3] = False
    for dtype in (np.float64, np.float32):
        begin = {name: values.astype(dtype) for name, values in truth.items()}
        data = y.astype(dtype)
        best = mc.fit_many(case.model, begin, x, data, mask=mask)
        mine = mc.fit_many(case.model, None, x, data, mask=mask)
        assert np.mean(mine.cost <= 1.02 * best.cost + 1e-12) >= 0.98
        of_ours = {name: mine.params[name].dtype for name in mine.params}
        assert set(of_ours.values()) == {np.dtype(dtype)}


@every_model
def test_a_full_mask_is_no_mask(case: Case) -> None:
    """Two ways to compute the sums."""
    x, y, _ = simulated(case, 64)
    guess = case.model.guess_many
    one, other = guess(x, y, None), guess(x, y, np.ones(y.shape, bool))
    for name in one:
        assert_allclose(one[name], other[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("points", [64, 400])
@every_model
def test_masked_points_are_as_cut(case: Case, points: int) -> None:
    """Outside fact: the data without them, be they masked for all or a window of each row's own."""
    x, y, _ = simulated(case, points)
    guess = case.model.guess_many
    is_image = isinstance(x, tuple)
    first = x[0] if is_image else x
    across = (first > 2) & (first < 6)
    for hidden in (None, np.nan, np.inf, -999.0, 1e6):
        shown = [np.where(across, axis, axis if hidden is None else hidden)
                 for axis in (x if is_image else [x])]  # fmt: skip
        cut = [axis[across] for axis in shown]
        given, known = (tuple(shown), tuple(cut)) if is_image else (shown[0], cut[0])
        expected = guess(known, y[:, across], None)
        for name, values in guess(given, y, across).items():
            assert_array_equal(values, expected[name])
    narrow = (first[None] > 1 + np.linspace(0, 5, 20)[:, None]) & (
        first[None] < 4 + np.linspace(0, 5, 20)[:, None]
    )
    found = guess(x, y[:20], narrow)
    for row, here in enumerate(narrow):
        known = tuple(axis[here] for axis in x) if is_image else x[here]
        alone = guess(known, y[row : row + 1, here], None)
        for name, values in found.items():
            assert_allclose(values[row], alone[name][0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf, 1e6])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model.__name__)
def test_fits_beside_masked_places(case: Case, hidden: float) -> None:
    """Outside fact: the fits of the data without what is masked."""
    x, y, _ = simulated(case, 64)
    axes = x if isinstance(x, tuple) else (x,)
    wide = tuple(np.append(axis, np.full(9, hidden)) for axis in axes)
    given = wide if isinstance(x, tuple) else wide[0]
    padded = np.append(y, np.zeros((FITS, 9)), axis=1)
    mask = np.arange(73) < 64
    known = mc.fit_many(case.model, None, x, y)
    for masks in (mask, np.tile(mask, (FITS, 1))):
        found = mc.fit_many(case.model, None, given, padded, mask=masks)
        assert np.mean(found.cost <= known.cost * (1 + 1e-6) + 1e-12) >= 0.99


@every_model
def test_rows_do_not_know_of_each_other(case: Case) -> None:
    """Also beside rows that are masked, constant, zero or huge."""
    x, y, _ = simulated(case, 36)
    strange = np.stack([np.zeros(36), np.full(36, 7.0), 1e30 * y[0], np.full(36, np.nan)])
    mask = np.ones((4 + len(y), 36), bool)
    mask[1] = False
    guess = case.model.guess_many
    alone = guess(x, y, mask[4:])
    among = guess(x, np.concatenate([strange, y]), mask)
    for name, values in among.items():
        assert np.isfinite(values).all(), name
        assert_allclose(values[4:], alone[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("points", [25, 400])
@every_model
def test_a_bad_row_changes_no_bit(case: Case, points: int) -> None:
    """A NaN in a row, or a mask of its own, and the others' starts are the same bit for bit."""
    x, y, _ = simulated(case, points)
    y, mask = y.astype(np.float32), np.ones((FITS, y.shape[1]), bool)
    bad, masked = y.copy(), mask.copy()
    bad[7, 3], masked[40, 3], rest = np.nan, False, np.setdiff1d(np.arange(FITS), [7, 40])
    guess = case.model.guess_many
    for given, spoilt in (
        ((y, None), (bad, None)),
        ((y, mask[0]), (bad, mask[0])),
        ((y, mask), (bad, masked)),
    ):
        alone, among = guess(x, *given), guess(x, *spoilt)
        for name in alone:
            assert_array_equal(among[name][rest], alone[name][rest])
