"""Strategies: pure functions that say from a dip where to dip next.

A strategy is ``next_step(depth, jacobian, hessian, memory) -> step``, the step in m along x and y.
Numbers it hangs on are leaves of a ``jax.tree_util.Partial``: another value compiles nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from .. import _check
from .._types import AnyArray, ArrayLike
from ._pit import SIDE, distance

#: (depth, jacobian, hessian, memory) -> step
Strategy: TypeAlias = Callable[[Any, Any, Any, "Memory"], Any]

_LOWEST_STEP = 0.05  # m: a shorter one says that the hole is reached
_CANDIDATES = 64


class Memory(NamedTuple):
    """What a strategy may remember: its dips so far, this one the last, and a key for its luck."""

    places: Float[AnyArray, "rows 2"]  #: m; rows from ``dips`` on are zero
    depths: Float[AnyArray, "rows"]
    jacobians: Float[AnyArray, "rows 2"]
    dips: Int[AnyArray, ""]
    key: Array

    @property
    def here(self) -> Any:
        """Where the last dip was."""
        return self.places[self.dips - 1]

    @property
    def last_step(self) -> Any:
        """From the dip before the last to the last; zero after the first."""
        before = self.places[jnp.maximum(self.dips - 2, 0)]
        return self.here - before


def inside(step: Any, memory: Memory) -> Any:
    """The step, cut short along each axis where it would leave the pit."""
    return jnp.clip(memory.here + step, 0, SIDE) - memory.here


def _above_zero(name: str, value: Any) -> None:
    if np.ndim(value):
        raise TypeError(f"{name} must be a number, got shape {np.shape(value)}")
    _check.positive(name, value)


def fixed_step(length: ArrayLike = 0.3) -> Strategy:
    """Always the same length, in m, straight down the slope: ``-length J / |J|``."""
    _above_zero("length", length)
    return Partial(_fixed_step, length)


def _fixed_step(length: Any, depth: Any, jacobian: Any, hessian: Any, memory: Memory) -> Any:
    size = jnp.linalg.norm(jacobian)
    return inside(-length * jacobian / jnp.where(size > 0, size, 1), memory)


def steepest(aggression: ArrayLike = 0.2) -> Strategy:
    """Steepest descent, ``-aggression J``; aggression in m."""
    _above_zero("aggression", aggression)
    return Partial(_steepest, aggression)


def _steepest(aggression: Any, depth: Any, jacobian: Any, hessian: Any, memory: Memory) -> Any:
    return inside(-aggression * jacobian, memory)


def newton() -> Strategy:
    """Newton's step ``-H^-1 J``, wherever it leads: to a maximum or a saddle too."""
    return Partial(_newton)


def _newton(depth: Any, jacobian: Any, hessian: Any, memory: Memory) -> Any:
    return inside(_pure_newton(jacobian, hessian), memory)


def _pure_newton(J: Any, H: Any) -> Any:
    det = H[0, 0] * H[1, 1] - H[0, 1] * H[1, 0]
    step = jnp.stack([H[1, 1] * J[0] - H[0, 1] * J[1], H[0, 0] * J[1] - H[1, 0] * J[0]])
    return -step / jnp.where(det == 0, 1e-12, det)


def hybrid(aggression: ArrayLike = 0.15, longest: ArrayLike = 1.0) -> Strategy:
    """Newton's step, unless it points uphill or leaps farther than ``longest`` m.

    Then ``-aggression J``, cut to ``longest``.
    """
    _above_zero("aggression", aggression)
    _above_zero("longest", longest)
    return Partial(_hybrid, aggression, longest)


def _hybrid(
    aggression: Any, longest: Any, depth: Any, jacobian: Any, hessian: Any, memory: Memory
) -> Any:
    step = _pure_newton(jacobian, hessian)
    is_good = (step @ jacobian < 0) & (jnp.linalg.norm(step) <= longest)
    down = -aggression * jacobian
    down *= jnp.minimum(1, longest / jnp.maximum(jnp.linalg.norm(down), 1e-12))
    return inside(jnp.where(is_good, step, down), memory)


def momentum(aggression: ArrayLike = 0.1, beta: ArrayLike = 0.5) -> Strategy:
    """Heavy ball: ``beta (last step) - aggression J``."""
    _above_zero("aggression", aggression)
    _check.not_negative("beta", beta)
    return Partial(_momentum, aggression, beta)


def _momentum(
    aggression: Any, beta: Any, depth: Any, jacobian: Any, hessian: Any, memory: Memory
) -> Any:
    return inside(beta * memory.last_step - aggression * jacobian, memory)


def restarts(inner: Strategy | None = None) -> Strategy:
    """Another strategy (the hybrid unless given) until its hole is reached, then somewhere new.

    A step of less than 0.05 m says that it is reached. The new place is the one of 64 drawn ones
    that is farthest from all dips so far.

    Raises:
        TypeError: what is no function.
    """
    if inner is not None and not callable(inner):
        raise TypeError(f"inner must be a strategy, got {inner!r}")
    return Partial(_restarts, hybrid() if inner is None else inner)


def _restarts(inner: Any, depth: Any, jacobian: Any, hessian: Any, memory: Memory) -> Any:
    step = inner(depth, jacobian, hessian, memory)
    drawn = jax.random.uniform(memory.key, (_CANDIDATES, 2), memory.places.dtype, 0.3, SIDE - 0.3)
    apart = jax.vmap(distance, (None, 0))(drawn, memory.places)  # dips, candidates
    is_dip = jnp.arange(len(memory.places), dtype=jnp.int32) < memory.dips
    nearest = jnp.min(jnp.where(is_dip[:, None], apart, jnp.inf), axis=0)
    away = drawn[jnp.argmax(nearest)] - memory.here
    return jnp.where(jnp.linalg.norm(step) < _LOWEST_STEP, away, step)


def strategies() -> dict[str, Strategy]:
    """The built-in strategies by name, each as it plays for par."""
    return {
        "fixed step": fixed_step(),
        "steepest descent": steepest(),
        "momentum": momentum(),
        "Newton": newton(),
        "hybrid": hybrid(),
        "restarts": restarts(),
    }
