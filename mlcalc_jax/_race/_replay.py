"""The paths of a race, descended again one by one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import _check
from .._minimise import SAMPLED, minimise
from .._path import Path
from .._types import Cost, Params
from ..problems import Problem
from ._comparison import Comparison
from ._contenders import Contender, as_contenders
from ._sweep import Luck, luck_of, precision


class Descent(NamedTuple):
    """All that a run of a race hangs on."""

    cost: Cost
    start: Params
    optimiser: Any

    @classmethod
    def of(
        cls, problem: Problem, contender: Contender, setting: Mapping[str, float], luck: Luck
    ) -> "Descent":
        """The run of a contender with one setting and the luck of one seed."""
        cost = problem.cost
        if isinstance(cost, SAMPLED):
            cost = cost.seeded(jax.random.wrap_key_data(luck.samples))
        key = jax.random.wrap_key_data(luck.optimiser)
        # Numbers with a precision: beside bare ones, optax computes schedules in float32.
        exact = {name: np.asarray(v, jnp.result_type(float)) for name, v in setting.items()}
        return cls(cost, luck.starts, contender.optimiser(exact, key))

    def path(self, steps: int, every: int = 1) -> Path:
        """Descend."""
        return minimise(self.cost, self.start, self.optimiser, steps, every=every)


def replay(
    comparison: Comparison, problem: Problem, optimisers: Any, *, seed: int | None = None
) -> dict[str, Path]:
    """Descend again with the settings that were chosen, and keep the paths, to draw them.

    Args:
        comparison: from :func:`mlcalc_jax.compare`.
        problem: one that was raced on.
        optimisers: who raced, as they were given to ``compare``, or some of them.
        seed: which of ``comparison.protocol["seeds"]``; the first unless given.

    Returns:
        a path for each optimiser that could run, by name.

    Raises:
        ValueError: a problem, an optimiser or a seed that took no part.
    """
    protocol = comparison.protocol
    seeds = protocol["seeds"]
    seed = seeds[0] if seed is None else _check.count("seed", seed, least=0)
    if seed not in seeds:
        raise ValueError(f"seed must be one that was raced with, {seeds[0]} to {seeds[-1]}: {seed}")
    luck = luck_of(problem, protocol["key"], [seed])
    one = jax.tree.map(lambda leaf: leaf[0], luck)
    paths = {}
    for name, contender in as_contenders(optimisers).items():
        race = comparison.race(name, problem.name)
        if not race.error:
            with precision(problem)():
                descent = Descent.of(problem, contender, race.setting, one)
                paths[name] = descent.path(protocol["steps"])
    return paths
