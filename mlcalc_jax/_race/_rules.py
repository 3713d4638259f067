"""The rules of a race: what holds for every contender, and what is refused before it begins."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import _check
from .._minimise import SAMPLED, checked_cost, split
from .._types import Params
from ..problems import Problem, from_cost
from ._contenders import Contender, Range
from ._oracle import WEIGHTS
from ._sweep import precision

Target = float | Mapping[str, float] | None

_BYTES_A_ROW = 24  # cost, lowest cost and oracle cost


class Rules(NamedTuple):
    """What holds for every contender."""

    steps: int
    rates: Range | np.ndarray
    trials: int
    quasi_random: bool
    tuning: np.ndarray
    fresh: np.ndarray
    target: dict[str, float]
    multiple: float | None
    tolerance: float
    root: int
    repeats: int
    memory: int

    def every(self, contenders: int) -> int:
        """Every how many steps are kept, so that the histories of a problem fit the memory."""
        runs = contenders * max(self.trials * len(self.tuning), len(self.fresh))
        return max(1, -(-runs * (self.steps + 1) * _BYTES_A_ROW // self.memory))

    def stated(self) -> dict[str, Any]:
        """The rules for people, and for a file."""
        if self.multiple is not None:
            shown = f"{self.multiple:g} times the lowest cost found in tuning"
        else:
            shown = (
                f"the known minimum, or the lowest cost found, plus {self.tolerance:g} of the way"
            )
        if self.target:
            stated = " and ".join(f"{value:.6g} ({name})" for name, value in self.target.items())
            shown = f"{stated}; for any other problem, {shown}"
        rates = self.rates
        return {
            "steps": self.steps,
            "trials": self.trials,
            "learning_rates": (
                f"{rates.low:g} to {rates.high:g}{', a Halton sequence' * self.quasi_random}"
                if isinstance(rates, Range)
                else ", ".join(f"{rate:g}" for rate in rates)
            ),
            "tuning_seeds": self.tuning.tolist(),
            "seeds": self.fresh.tolist(),
            "target": shown,
            "key": self.root,
            "weights": list(WEIGHTS),
            "repeats": self.repeats,
            "device": jax.devices()[0].device_kind,
            "jax": jax.__version__,
        }


def checked_problems(problem: Any, params: Params | None) -> tuple[Problem, ...]:
    """The problems, each with a cost that was tried."""
    if isinstance(problem, Problem) or (callable(problem) and not isinstance(problem, Sequence)):
        given = [problem]
    elif isinstance(problem, Iterable) and not isinstance(problem, str):
        given = list(problem)
    else:
        raise TypeError(f"problem must be a Problem, several, or a cost, got {problem!r}")
    if bad := [one for one in given if not isinstance(one, Problem) and not callable(one)]:
        raise TypeError(f"problem must be a Problem, several, or a cost, got {bad[0]!r}")
    if not given:
        raise ValueError("there are no problems to race on")
    if params is not None:
        if len(given) > 1 or isinstance(given[0], Problem):
            raise ValueError("params is the start of a bare cost: a Problem has its own")
        given = [from_cost(given[0], params)]
    for one in given:
        if not isinstance(one, Problem):
            raise TypeError(f"a bare cost needs params, the start: got {one!r}")
        with precision(one)():
            checked_cost(one.cost, one.draw_start(0))
    names = [one.name for one in given]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"problems must have different names, got {', '.join(twice)} twice")
    return tuple(given)


def checked_targets(target: Target, problems: Sequence[Problem]) -> dict[str, float]:
    """The stated targets by the names of their problems."""
    if target is None:
        return {}
    names = [problem.name for problem in problems]
    named = dict(target) if isinstance(target, Mapping) else dict.fromkeys(names, target)
    if unknown := named.keys() - set(names):
        raise ValueError(f"target names no problem: {', '.join(map(str, unknown))}")
    for problem in problems:
        value = named.get(problem.name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise TypeError(f"target must be a number, got {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"target must be finite, got {value}")
        if problem.minimum is not None and value < problem.minimum:
            raise ValueError(
                f"target {value:g} is below the known minimum of {problem.name}, "
                f"{problem.minimum:g}"
            )
    return {name: float(value) for name, value in named.items() if value is not None}


def checked_root(key: Any) -> int:
    """The seed of all seeds."""
    root = _check.count("key", key, least=0)
    if root >= 1 << 32:
        raise ValueError(f"key must have at most 32 bits, got {key}")
    return root


def fingerprint(
    problems: Sequence[Problem],
    contenders: Mapping[str, Contender],
    settings: Mapping[str, Mapping[str, np.ndarray]],
    rules: Rules,
) -> dict[str, Any]:
    """What a folder must have been made with to be carried on with."""
    about = rules.stated()
    for name in ("seeds", "target", "repeats"):  # which tuning does not hang on
        del about[name]
    about["every"] = rules.every(len(contenders))
    for problem in problems:
        with precision(problem)():
            start = problem.draw_start(0)
            share = problem.cost.share if isinstance(problem.cost, SAMPLED) else 1.0
            numbers = (split(problem.cost)[0], start, problem.cost(start), share)
        about[f"problem {problem.name}"] = _digest(numbers)
    for name, one in contenders.items():
        about[f"optimiser {name}"] = _program(problems[0], one, settings[name])
        about[f"settings of {name}"] = _digest(list(settings[name].items()))
    return about


def _program(problem: Problem, one: Contender, settings: Mapping[str, np.ndarray]) -> str:
    """A digest of what an optimiser computes in its first step."""

    def step(params: Params) -> Any:
        hyper = {name: values[0] for name, values in settings.items()}
        optimiser = optax.with_extra_args_support(one.optimiser(hyper, jax.random.key(0)))
        cost = problem.cost.whole if isinstance(problem.cost, SAMPLED) else problem.cost
        value, gradient = jax.value_and_grad(cost)(params)
        state = optimiser.init(params)
        return optimiser.update(gradient, state, params, value=value, grad=gradient, value_fn=cost)

    try:
        with precision(problem)():
            closed = jax.make_jaxpr(step)(problem.start)
    except Exception as error:  # of somebody's optimiser, which will lose its rows
        return type(error).__name__
    text = re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr))  # no addresses
    return _digest([text, closed.consts])


def _digest(tree: Any) -> str:
    of = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        of.update(leaf.encode() if isinstance(leaf, str) else np.asarray(leaf).tobytes())
    return of.hexdigest()[:16]
