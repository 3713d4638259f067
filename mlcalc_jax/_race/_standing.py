"""How runs ended and what they took: the arithmetic of a race, in NumPy."""

import enum
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ._sweep import Swept


class Outcome(enum.IntEnum):
    """How a run ended, as the target sees it."""

    REACHED = 0  #: the target, in whatever step
    STALLED = 1  #: short of it, without getting nearer
    UNFINISHED = 2  #: short of it, but getting nearer
    DIVERGED = 3  #: the cost rose above where it began, or was not finite


class Taken(NamedTuple):
    """What runs took to the target; infinite where they did not get there."""

    steps: Float[np.ndarray, "*runs"]
    oracle: Float[np.ndarray, "*runs"]


class Interval(NamedTuple):
    """A median over runs, and an interval that holds the true one with the stated confidence."""

    median: float
    low: float
    high: float


def taken(runs: Swept, target: float, every: int) -> Taken:
    """Steps and oracle cost at the first kept row whose lowest cost is at the target or below."""
    is_there = np.asarray(runs.lowest) <= target
    first = np.argmax(is_there, axis=-1)
    reached = is_there.any(axis=-1)
    oracle = np.take_along_axis(np.asarray(runs.oracle), first[..., None], axis=-1)[..., 0]
    return Taken(
        np.where(reached, np.minimum(first * every, runs.steps), np.inf),
        np.where(reached, oracle, np.inf),
    )


def outcomes(runs: Swept, target: float) -> Int[np.ndarray, "*runs"]:
    """How each run ended, as :class:`Outcome`.

    One that is short of the target has stalled if, over the second half of its rows, it made up
    less than a hundredth of what it then had to go. (A run that has diverged has a last tenth of
    rows in which the cost was never as low as at its start.)
    """
    eps = float(jnp.finfo(runs.cost.dtype).eps)
    cost, lowest = np.asarray(runs.cost, float), np.asarray(runs.lowest, float)
    rows = cost.shape[-1]
    start = cost[..., 0]
    with np.errstate(invalid="ignore"):
        slack = math.sqrt(eps) * np.abs(start)
        has_risen = cost[..., -max(1, rows // 10) :].min(axis=-1) > start + slack
        to_go = lowest[..., rows // 2] - target
        gained = lowest[..., rows // 2] - lowest[..., -1]
        is_stuck = gained < 0.01 * to_go
    found = np.where(is_stuck, Outcome.STALLED, Outcome.UNFINISHED)
    found = np.where(has_risen | ~np.asarray(runs.is_finite), Outcome.DIVERGED, found)
    return np.where(lowest[..., -1] <= target, Outcome.REACHED, found)


def chosen(oracle: Float[np.ndarray, "settings seeds"], lowest: Any, diverged: Any) -> int:
    """The best setting: the lowest median oracle cost to the target, failures infinite.

    Where no setting gets there with most seeds, the one that gets there with more of them; then the
    lowest median of the lowest cost, that of a diverged run being infinite.
    """
    ends = np.where(diverged, np.inf, lowest)
    return min(
        range(len(oracle)),
        key=lambda k: (median(oracle[k]), -np.isfinite(oracle[k]).sum(), median(ends[k])),
    )


def median(values: Any) -> float:
    """The upper median, which is a number even if half of the values are infinite."""
    ordered = np.sort(np.asarray(values, float).ravel())
    return float(ordered[len(ordered) // 2])


def median_interval(values: Any, level: float = 0.95) -> Interval:
    """The median with an interval between two of the sorted values, free of any distribution.

    The number of values below the true median is binomial; the interval leaves at most
    ``(1 - level) / 2`` on each side. Too few values give an interval without an end.

    Source: Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2.
    """
    from scipy import stats  # here: it takes as long to import as JAX

    ordered = np.sort(np.asarray(values, float).ravel())
    n = len(ordered)
    below = int(stats.binom.ppf((1 - level) / 2, n, 0.5))
    low = ordered[below - 1] if below > 0 else -math.inf
    high = ordered[n - below] if below > 0 else math.inf
    return Interval(median(ordered), float(low), float(high))


def share_interval(successes: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for the probability of a success."""
    from scipy import stats

    interval = stats.binomtest(successes, of).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)
