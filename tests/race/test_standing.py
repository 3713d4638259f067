"""The statistics of a race against tables and examples computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

import mlcalc_jax as mc
from mlcalc_jax._race import Comparison, Race, Standing
from mlcalc_jax._race._profiles import data_profiles, performance_profiles
from mlcalc_jax._race._standing import median_interval, outcomes, share_interval, taken
from mlcalc_jax._race._sweep import Swept


def runs(cost: list[list[float]], is_finite: list[bool] | None = None) -> Swept:
    array = np.array(cost)
    n, rows = array.shape
    return Swept(
        cost=array,
        lowest=np.minimum.accumulate(array, axis=1),
        oracle=np.tile(3 * np.arange(rows), (n, 1)),
        is_finite=np.ones(n, bool) if is_finite is None else np.array(is_finite),
        steps=np.full(n, rows - 1),
        passes=np.zeros((n, 3), int),
    )


@pytest.mark.parametrize(
    ("n", "low", "high"),
    # Ranks of the 95 % interval of a median: Conover, table of the binomial distribution, p = 1/2.
    [(6, 1, 6), (8, 1, 8), (10, 2, 9), (15, 4, 12), (16, 4, 13), (20, 6, 15)],
)
def test_interval_of_a_median(n: int, low: int, high: int) -> None:
    """The ranks of the published table; half of the values infinite, and it still stands."""
    interval = median_interval(np.arange(1, n + 1)[::-1])
    assert (interval.low, interval.high) == (low, high)
    missed = stats.binom.cdf(low - 1, n, 0.5)
    assert missed <= 0.025 < stats.binom.cdf(low, n, 0.5)
    half = median_interval([*range(1, n - n // 3 + 1), *[math.inf] * (n // 3)])
    assert half.high == math.inf
    assert math.isfinite(half.median)


def test_five_runs_are_too_few_for_an_end() -> None:
    """The probability that all five lie above the median is 1/32: more than 2.5 %."""
    assert median_interval(np.arange(5.0)) == (2.0, -math.inf, math.inf)


def test_share_is_wilson_s() -> None:
    """Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29."""
    for successes, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert share_interval(successes, of) == pytest.approx((low, high), abs=5e-5)


def test_what_runs_took_and_how_they_ended() -> None:
    """Reached in row 2; stuck above; still falling; above its start; not finite."""
    some = runs(
        [
            [9.0, 4.0, 1.0, 8.0, 8.0, 8.0],
            [9.0, 5.0, 5.0, 5.0, 5.0, 5.0],
            [9.0, 8.0, 7.0, 6.0, 5.0, 4.0],
            [9.0, 10.0, 11.0, 12.0, 13.0, 14.0],
            [9.0, 8.0, 8.0, 8.0, 8.0, 8.0],
        ],
        [True, True, True, True, False],
    )
    to_target = taken(some, 1.0, every=10)
    assert to_target.steps.tolist() == [5, math.inf, math.inf, math.inf, math.inf]
    assert to_target.oracle.tolist() == [6, math.inf, math.inf, math.inf, math.inf]
    names = [mc.Outcome(int(o)).name for o in outcomes(some, 1.0)]
    assert names == ["REACHED", "STALLED", "UNFINISHED", "DIVERGED", "DIVERGED"]


def three() -> Comparison:
    """Two problems with two seeds: A takes 2 4 8 and fails, B 4 4 2 6, C fails but once."""
    efforts = {
        "A": ([2.0, 4.0], [8.0, math.inf]),
        "B": ([4.0, 4.0], [2.0, 6.0]),
        "C": ([math.inf, 40.0], [math.inf, math.inf]),
    }
    problems = tuple(Standing(name, n, 1.0, 0.0, 0.0, 0.1) for name, n in (("p", 1), ("q", 3)))
    races = tuple(
        Race(p.name, name, oracle=np.array(effort[k]), steps=np.array(effort[k]) / 2)
        for name, effort in efforts.items()
        for k, p in enumerate(problems)
    )
    return Comparison(
        problems, (*races, Race("p", "D", "x"), Race("q", "D", "x")), {"seeds": [1, 2]}
    )


def test_performance_profile_of_an_example() -> None:
    """Ratios to the best: A 1, 1, 4; B 2, 1, 1, 1; C 10; of four instances."""
    profiles = performance_profiles(three())
    assert profiles["A"].effort.tolist() == [1, 1, 4]
    assert profiles["A"].share.tolist() == [0.25, 0.5, 0.75]
    assert profiles["B"].effort.tolist() == [1, 1, 1, 2]
    assert profiles["B"].share[-1] == 1
    assert profiles["C"].effort.tolist() == [10]
    assert profiles["D"].effort.size == 0
    with pytest.raises(ValueError, match="measure must be"):
        performance_profiles(three(), "hours")


def test_data_profile_of_an_example() -> None:
    """In units of n + 1 evaluations: 2 for problem p, 4 for q."""
    profiles = data_profiles(three())
    assert profiles["A"].effort.tolist() == [1, 2, 2]
    assert profiles["B"].effort.tolist() == [0.5, 1.5, 2, 2]
    assert profiles["C"].effort.tolist() == [20]
