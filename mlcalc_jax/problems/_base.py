"""A problem to descend: a pure cost with its start, and what is known of its minimum."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from .. import _check
from .._noisy import Noisy
from .._precision import in_precision_of
from .._problem import LeastSquares
from .._random import as_key
from .._types import Cost, Model, Params

#: Makes a start from a key of ``jax.random``.
Draw = Callable[[Any], Params]


class View(NamedTuple):
    """The part of a plane that shows a problem of two named parameters."""

    x: tuple[str, float, float]  #: name, lowest and highest value
    y: tuple[str, float, float]


@dataclass(frozen=True, eq=False)
class Problem:
    """A pure cost, where a descent of it starts, and what is known of its minimum.

    ``name``, and ``source``, where it was published, are for people. ``minimum`` is the lowest
    value that the cost has (chi-squared without a factor 1/2, if it is least squares) and
    ``minimiser`` a place where it has it; None where they are not known. ``draw(key)`` makes
    another start from each key of ``jax.random``, so that a race does not hang on one place.
    """

    name: str
    cost: Cost
    start: Params
    minimum: float | None = None
    minimiser: Params = None
    draw: Draw | None = None
    view: View | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not callable(self.cost):
            raise TypeError(f"cost must be a function params -> scalar, got {self.cost!r}")
        if self.minimum is not None and not math.isfinite(self.minimum):
            raise ValueError(f"minimum must be finite or None, got {self.minimum}")
        object.__setattr__(self, "start", _check.float_params(self.start, self.cost))
        if self.minimiser is not None:
            minimiser = _check.float_params(self.minimiser, self.cost)
            if jax.tree.map(jnp.shape, minimiser) != jax.tree.map(jnp.shape, self.start):
                raise ValueError("minimiser must have the names and shapes of the start")
            object.__setattr__(self, "minimiser", minimiser)
        names = [name for name, *_ in self.view or ()]
        if names and not (isinstance(self.start, dict) and set(names) <= set(self.start)):
            raise ValueError(f"view shows {' and '.join(names)}: expected two names of the start")
        _rising(self.view or ())

    def draw_start(self, key: Any) -> Params:
        """A start from a seed or key: ``draw``'s, or the start :func:`scattered` by a tenth."""
        draw = scattered(self.start) if self.draw is None else self.draw
        return in_precision_of(self.start, draw, as_key(key))

    @property
    def dimension(self) -> int:
        """How many parameters there are."""
        return sum(jnp.size(leaf) for leaf in jax.tree.leaves(self.start))


def from_cost(
    cost: Cost,
    start: Params,
    *,
    name: str | None = None,
    minimum: float | None = None,
    minimiser: Params = None,
    draw: Draw | None = None,
    spread: float = 0.1,
    view: View | None = None,
) -> Problem:
    """A problem of one's own.

    Args:
        cost: a pure function ``params -> scalar``, or a :class:`mlcalc_jax.LeastSquares` problem.
        start: any pytree of real numbers.
        name: what to call it; the cost's own name unless given.
        minimum: the lowest value of the cost, if it is known.
        minimiser: where it has it.
        draw: makes a start from a key of ``jax.random``; :func:`scattered` about ``start`` unless
            given.
        spread: of the starts that are scattered, relative; 0 for always the same.
        view: the part of the plane to draw, for a cost of two named parameters.

    Raises:
        TypeError: a cost that cannot be called, a start that is not real numbers.
        ValueError: a start that is empty or not finite, a minimum that is not finite, a minimiser
            that is not shaped as the start, a view of names that the start has not or of a range
            that does not rise, a negative spread.
    """
    called = getattr(cost, "__name__", type(cost).__name__) if name is None else name
    start = _check.float_params(start, cost)
    draw = scattered(start, spread) if draw is None else draw
    return Problem(called, cost, start, minimum, minimiser, draw, view)


def noisy(problem: Problem, noise: float) -> Problem:
    """The problem seen through noise, other at every step: see :class:`mlcalc_jax.Noisy`.

    Raises:
        ValueError: ``noise`` is negative or not finite.
    """
    cost = Noisy(problem.cost, noise)
    return replace(problem, name=f"noisy({problem.name}, {noise:g})", cost=cost)


def scattered(start: Params, spread: float = 0.1) -> Draw:
    """Starts about ``start``: each number x becomes ``x + spread * scale * N(0, 1)``.

    The scale is ``|x|``, or where x is 0 the mean of the other numbers' ``|x|``, or 1 if all are 0.

    Raises:
        ValueError: ``spread`` is negative or not finite.
    """
    _check.not_negative("spread", spread)
    return Partial(_scatter, _check.float_params(start, name="start"), spread)


def anywhere(view: View) -> Draw:
    """Starts drawn uniformly from the part of the plane that ``view`` shows.

    Raises:
        ValueError: a range that does not rise.
    """
    _rising(view)
    return Partial(_drop, {name: (float(low), float(high)) for name, low, high in view})


def sum_of_squares(residuals: Model, number: int) -> LeastSquares:
    """The sum of squares of ``residuals(params, x)``, a vector of this length that ignores x.

    It is a least-squares problem without data: y is 0, and x a single number, so that nothing
    takes the residuals for points that can be dealt into batches.
    """
    return LeastSquares(residuals, np.zeros(()), np.zeros(number))


def _rising(view: Any) -> None:
    """Raise unless the view has two names, and every range goes from lower to higher."""
    for name, *ends in view:
        low, high = map(float, ends)
        if not (low < high and np.isfinite(high - low)):
            raise ValueError(f"the range of {name} must go from lower to higher, got {low, high}")
    names = [name for name, *_ in view]
    if len({*names}) < len(names):
        raise ValueError(f"view must name two parameters, got {names[0]!r} twice")


def _drop(edges: Any, key: Any) -> Params:
    keys = jax.random.split(as_key(key), len(edges))
    return {
        name: jax.random.uniform(key, minval=low, maxval=high)
        for key, (name, (low, high)) in zip(keys, edges.items(), strict=True)
    }


def _scatter(start: Params, spread: Any, key: Any) -> Params:
    leaves, treedef = jax.tree.flatten(jax.tree.map(jnp.asarray, start))
    sizes = jnp.abs(jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]))
    typical = jnp.sum(sizes) / jnp.maximum(jnp.sum(sizes > 0, dtype=sizes.dtype), 1)
    typical = jnp.where(typical > 0, typical, 1)

    def scattered(leaf: Any, key: Any) -> Any:
        scale = spread * jnp.where(leaf == 0, typical, jnp.abs(leaf)).astype(leaf.dtype)
        return leaf + scale * jax.random.normal(key, jnp.shape(leaf), leaf.dtype)

    keys = jax.random.split(as_key(key), len(leaves))
    return jax.tree.unflatten(treedef, list(map(scattered, leaves, keys)))
