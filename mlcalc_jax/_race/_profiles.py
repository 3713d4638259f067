"""Profiles over a set of problems: which share each optimiser solves, within what effort.

An instance is a problem with one fresh seed. One that nobody solves counts against everybody.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ._comparison import Comparison


class Profile(NamedTuple):
    """A share of instances that rises with effort: at ``effort[k]`` it becomes ``share[k]``."""

    effort: Float[np.ndarray, "steps"]
    share: Float[np.ndarray, "steps"]


def performance_profiles(comparison: Comparison, measure: str = "oracle") -> dict[str, Profile]:
    """For each optimiser, the share of instances it solves within a multiple of the least effort.

    ``rho(a)`` is the share of instances on which an optimiser took at most ``a`` times what the
    best of all took there; ``rho(1)`` is how often it was the best.

    Args:
        comparison: a race, best over several problems.
        measure: "oracle", "steps" or "seconds".

    Source: Dolan and More, Benchmarking optimization software with performance profiles (2002).
    """
    effort = efforts(comparison, measure)
    best = np.min(list(effort.values()), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: _profile(np.where(e == best, np.where(np.isfinite(e), 1, e), e / best))
                for name, e in effort.items()}  # fmt: skip


def data_profiles(comparison: Comparison) -> dict[str, Profile]:
    """For each optimiser, the share of instances it solves within so many simplex gradients.

    ``d(k)`` is the share on which an optimiser took at most ``k (n + 1)`` evaluations, n being the
    number of parameters: what it costs to estimate k gradients by differences.

    Source: More and Wild, Benchmarking derivative-free optimization algorithms (2009).
    """
    effort = efforts(comparison, "oracle")
    sizes = np.concatenate(
        [np.full(len(_seeds(comparison)), of.dimension + 1) for of in comparison.problems]
    )
    return {name: _profile(e / sizes) for name, e in effort.items()}


def efforts(comparison: Comparison, measure: str) -> dict[str, np.ndarray]:
    """What every instance took, optimiser by optimiser; infinite where it was not solved.

    Raises:
        ValueError: an unknown measure.
    """
    if measure not in ("oracle", "steps", "seconds"):
        raise ValueError(f"measure must be oracle, steps or seconds, got {measure!r}")
    failed = np.full(len(_seeds(comparison)), np.inf)
    return {
        name: np.concatenate(
            [
                failed if race.error else np.asarray(getattr(race, measure), float)
                for race in (comparison.race(name, of.name) for of in comparison.problems)
            ]
        )
        for name in comparison.optimisers
    }


def _seeds(comparison: Comparison) -> list[int]:
    return list(comparison.protocol["seeds"])


def _profile(effort: np.ndarray) -> Profile:
    solved = np.sort(effort[np.isfinite(effort)])
    return Profile(solved, np.arange(1, len(solved) + 1) / len(effort))
