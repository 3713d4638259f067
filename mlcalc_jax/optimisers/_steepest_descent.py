"""Steepest descent, with the course's noise."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Int

from .. import _check
from .._random import as_key
from .._types import ArrayLike, Params


class SteepestDescentState(NamedTuple):
    """Steps taken so far, and the key from which each step's noise is folded, if there is any."""

    step: Int[Array, ""]
    key: Array | None


def steepest_descent(
    aggression: ArrayLike | optax.Schedule, noise: ArrayLike = 0.0, key: Any = 0
) -> optax.GradientTransformationExtraArgs:
    """Steepest descent: ``params - aggression * J``, J the Jacobian (gradient) of the cost.

    With noise, every parameter array's Jacobian is multiplied, every step, by its own scalar
    ``1 + noise * N(0, 1)``: the "stochastic" descent of the course, on the full batch. (For the
    stochastic gradient of the textbooks see :class:`mlcalc_jax.Minibatches`.)

    Args:
        aggression: the step size (learning rate), in [params]^2 / [cost], or an optax schedule.
        noise: standard deviation of the factor, a pure number; 0 draws nothing.
        key: seed, or a key of ``jax.random``, of the noise.

    Raises:
        TypeError: ``aggression`` or ``noise`` is not a number, ``key`` neither seed nor key.
        ValueError: ``aggression`` is not finite and above zero, ``noise`` negative or not finite.
    """
    if not callable(aggression):
        _check.positive("aggression", aggression)
    _check.not_negative("noise", noise)
    is_still = isinstance(noise, (int, float)) and noise == 0
    return optax.GradientTransformationExtraArgs(
        Partial(_init, None if is_still else as_key(key)),
        Partial(_update, aggression, None if is_still else noise),
    )


def _init(key: Array | None, params: Params) -> SteepestDescentState:
    return SteepestDescentState(jnp.zeros((), jnp.int32), key)


def _update(
    aggression: Any,
    noise: ArrayLike | None,
    updates: Params,
    state: SteepestDescentState,
    params: Params = None,
    **extra_args: Any,
) -> tuple[Params, SteepestDescentState]:
    rate = aggression(state.step) if callable(aggression) else aggression
    if noise is None or state.key is None:
        steps = jax.tree.map(lambda J: -rate * J, updates)
    else:
        leaves, treedef = jax.tree.flatten(updates)
        draws = jax.random.normal(jax.random.fold_in(state.key, state.step), (len(leaves),))
        factors = jax.tree.unflatten(treedef, list(1 + noise * draws))
        steps = jax.tree.map(lambda J, factor: -rate * factor.astype(J.dtype) * J, updates, factors)
    return steps, SteepestDescentState(state.step + 1, state.key)
