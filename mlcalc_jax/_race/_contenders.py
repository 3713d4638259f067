"""Who takes part in a race: an optimiser, or a family of them with numbers to be tuned."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import optax

from .. import _check
from .._types import ArrayLike

#: What the first argument of an optimiser factory may be called, if it is a learning rate.
RATES = ("learning_rate", "aggression")
_LUCK = "key"  # the argument that takes the key of a seed

Factory: TypeAlias = Callable[..., Any]


class Range(NamedTuple):
    """Where the values of a hyper-parameter are drawn from."""

    low: float
    high: float
    is_log: bool

    def at(self, share: Any) -> Any:
        """The value at a share, between 0 and 1, of the way from low to high."""
        share = np.asarray(share, float)
        if self.is_log:
            return np.exp(np.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)


def uniform(low: float, high: float) -> Range:
    """Values spaced evenly between two numbers.

    Raises:
        ValueError: they are not finite, or do not rise.
    """
    return _range(low, high, is_log=False)


def log_uniform(low: float, high: float) -> Range:
    """Values spaced evenly in logarithm between two numbers above zero.

    Raises:
        ValueError: they are not finite and above zero, or do not rise.
    """
    _check.positive("low", low)
    return _range(low, high, is_log=True)


def _range(low: float, high: float, is_log: bool) -> Range:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"a range must go from lower to higher, got {low} to {high}")
    return Range(float(low), float(high), is_log)


@dataclass(frozen=True)
class Contender:
    """A factory of optimisers, its fixed arguments, and the ranges of those to be tuned.

    Equal by value, so that the same contender compiles once.
    """

    factory: Factory
    fixed: tuple[tuple[str, Any], ...] = ()
    space: tuple[tuple[str, Range | tuple[float, ...]], ...] = ()
    rate: str | None = None  #: the argument that is the learning rate, if it is tuned
    has_luck: bool = False  #: whether it takes the key of a seed

    def optimiser(self, hyperparameters: Mapping[str, Any], key: Any) -> Any:
        """The optimiser with these hyper-parameters, and the luck of this key."""
        luck = {_LUCK: key} if self.has_luck else {}
        made = self.factory(**dict(self.fixed), **hyperparameters, **luck)
        return made.gradient_transformation() if isinstance(made, optax.MultiSteps) else made


def contender(factory: Factory, **hyperparameters: Any) -> Contender:
    """An optimiser family with more to tune than its learning rate, or with a range of its own.

    ``contender(optax.sgd, momentum=uniform(0, 0.99))`` tunes the momentum beside the learning rate,
    in as many trials as the others have; a number, as in ``momentum=0.9``, is fixed.

    Args:
        factory: returns an optimiser, as ``optax.adam`` does.
        hyperparameters: its arguments by name: a range (:func:`uniform`, :func:`log_uniform`) or a
            list of values to be tuned, or a fixed value.

    Raises:
        TypeError: the factory is no function, or takes no argument of such a name.
    """
    if not callable(factory):
        raise TypeError(f"a contender is made of a function that returns an optimiser, "
                        f"got {factory!r}")  # fmt: skip
    factory, preset = _unwrapped(factory)
    parameters = _parameters(factory)
    for name in hyperparameters:
        if parameters is not None and name not in parameters and not _takes_any(factory):
            what = "no learning rate" if name in RATES else f"no argument {name!r}"
            raise TypeError(f"{_name(factory)} takes {what}")
    given = preset | hyperparameters
    space = {name: _values(name, v) for name, v in given.items() if _is_tuned(v)}
    fixed = {name: v for name, v in given.items() if not _is_tuned(v)}
    names = parameters or {}
    rate = next((name for name in RATES if name in space), None)
    if rate is None:  # tuned if it must be given and was not
        rate = next(
            (n for n in RATES if n in names and n not in fixed and names[n].default is _EMPTY), None
        )
    has_luck = _LUCK in names and _LUCK not in given
    made = Contender(factory, tuple(fixed.items()), tuple(space.items()), rate, has_luck)
    try:
        hash(made)
    except TypeError:
        raise TypeError(
            f"the fixed arguments of a contender must be hashable, got {fixed}: close over arrays "
            "in a function that takes the learning rate"
        ) from None
    return made


_EMPTY = inspect.Parameter.empty


def as_contenders(optimisers: Any) -> dict[str, Contender]:
    """The contenders by name, checked.

    Raises:
        TypeError: one that is no optimiser, nor makes one.
        ValueError: none, or a name twice.
    """
    if not isinstance(optimisers, Iterable):
        raise TypeError(f"optimisers must be a mapping of names to optimisers, got {optimisers!r}")
    pairs = list(optimisers.items() if isinstance(optimisers, Mapping) else optimisers)
    if not pairs:
        raise ValueError("there are no optimisers to compare")
    named: dict[str, Contender] = {}
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError(
                f"optimisers must be a mapping of names to optimisers, or (name, optimiser) pairs, "
                f"got {pair!r}"
            )
        name, entry = pair
        if name in named:
            raise ValueError(f"the name {name!r} is given twice")
        named[name] = _as_contender(name, entry)
    return named


def _as_contender(name: str, entry: Any) -> Contender:
    if isinstance(entry, Contender):
        made = entry
    elif isinstance(entry, optax.GradientTransformation | optax.MultiSteps):
        return Contender(_Ready(entry))
    elif callable(entry):
        made = contender(entry)
    else:
        raise TypeError(f"{name!r} is no optimiser, nor a function that returns one: {entry!r}")
    trial = {n: float(_first(v)) for n, v in made.space}
    if made.rate is not None:
        trial.setdefault(made.rate, 1e-3)
    try:
        optimiser = made.optimiser(trial, jax.random.key(0))
    except Exception as error:
        raise TypeError(f"{name!r} cannot be made with {trial}: {error}") from error
    if not isinstance(optimiser, optax.GradientTransformation):
        raise TypeError(f"{name!r} does not return an optax.GradientTransformation: {optimiser!r}")
    return made


@dataclass(frozen=True)
class _Ready:
    """A factory that returns what is ready."""

    optimiser: Any

    def __call__(self) -> Any:
        return self.optimiser


def settings(
    contender: Contender, rates: Range | np.ndarray, trials: int, quasi_random: bool
) -> dict[str, np.ndarray]:
    """The hyper-parameters of each trial; one trial if there is nothing to tune.

    A learning rate alone runs over a grid; several numbers, or any if so wished, over the points of
    a Halton sequence, the same for all contenders.
    """
    space: dict[str, Any] = dict(contender.space)
    if contender.rate is not None:
        space = {contender.rate: space.pop(contender.rate, rates), **space}
    if not space:
        return {}
    if len(space) == 1 and not quasi_random:
        ((name, values),) = space.items()
        return {name: _spread(values, np.linspace(0, 1, trials) if trials > 1 else [0.5])}
    from scipy.stats import qmc  # here: it takes as long to import as JAX

    shares = qmc.Halton(len(space), scramble=False).random(trials + 1)[1:].T
    return {
        name: _spread(values, share)
        for (name, values), share in zip(space.items(), shares, strict=True)
    }


def _spread(values: Any, shares: Any) -> np.ndarray:
    if isinstance(values, Range):
        return values.at(shares)
    places = np.minimum((np.asarray(shares) * len(values)).astype(int), len(values) - 1)
    return np.asarray(values, float)[places]


def learning_rates(given: Any, trials: int | None) -> tuple[Range | np.ndarray, int]:
    """The space of learning rates that all share, and the number of trials.

    Raises:
        ValueError: rates that are not above zero, or none; other than ``trials`` of them.
    """
    if isinstance(given, Range):
        _check.positive("learning_rates", given.low)
        return given, 24 if trials is None else _check.count("trials", trials)
    rates = np.sort(np.atleast_1d(np.asarray(given, float)))
    if rates.ndim != 1 or not rates.size:
        raise ValueError("learning_rates must be a range or a list of numbers, got none")
    _check.positive("learning_rates", rates)
    if trials is not None and _check.count("trials", trials) != rates.size:
        raise ValueError(f"{rates.size} learning_rates are {rates.size} trials, not {trials}")
    return rates, rates.size


def _is_tuned(value: Any) -> bool:
    return isinstance(value, Range | list)


def _values(name: str, value: Any) -> Range | tuple[float, ...]:
    if isinstance(value, Range):
        return value
    if not value:
        raise ValueError(f"{name} has no values to choose from")
    return tuple(float(v) for v in value)


def _first(values: Range | tuple[float, ...]) -> ArrayLike:
    return values.low if isinstance(values, Range) else values[0]


def _unwrapped(factory: Factory) -> tuple[Factory, dict[str, Any]]:
    """A ``functools.partial`` as its function and its keywords, which can be compared by value."""
    if isinstance(factory, partial) and not factory.args:
        return factory.func, dict(factory.keywords)
    return factory, {}


def _parameters(factory: Factory) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return None


def _takes_any(factory: Factory) -> bool:
    parameters: Iterable[inspect.Parameter] = (_parameters(factory) or {}).values()
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _name(factory: Factory) -> str:
    return getattr(factory, "__name__", type(factory).__name__)
