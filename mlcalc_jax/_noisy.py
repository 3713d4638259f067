"""A cost that a descent sees through noise, other at every step."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float

from . import _check
from ._problem import LeastSquares
from ._random import as_key, as_leaf
from ._types import AnyArray, ArrayLike, Cost, Params


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, eq=False)
class Noisy:
    """A cost of which every step of a descent sees another, noisy version: right in the mean.

    Of a :class:`mlcalc_jax.LeastSquares` problem, step k sees the data ``y + noise * N(0, 1)``; the
    residuals stay residuals, so that Gauss-Newton and Levenberg-Marquardt can take part. Of any
    other cost C it sees ``C(params) + noise * g_k . params``, with g_k standard normal: a gradient
    with noise of that standard deviation in every number. Calling it gives the cost without noise,
    and that is the cost a path records.

    Args:
        cost: a pure function ``params -> scalar``, or a least-squares problem.
        noise: standard deviation, in the unit of y, or of the gradient.
        key: seed, or a key of ``jax.random``, of the noise.

    Raises:
        TypeError: a cost that cannot be called, a key that is neither seed nor key.
        ValueError: ``noise`` is negative or not finite.
    """

    cost: Cost
    noise: ArrayLike
    key: Any = 0

    def __post_init__(self) -> None:
        if not callable(self.cost):
            raise TypeError(f"cost must be a function params -> scalar, got {self.cost!r}")
        _check.not_negative("noise", self.noise)
        object.__setattr__(self, "key", as_leaf(self.key))

    def __call__(self, params: Params) -> Float[AnyArray, ""]:
        """The cost without noise."""
        return self.cost(params)

    @property
    def whole(self) -> Cost:
        """The cost without noise."""
        return self.cost

    @property
    def share(self) -> float:
        """What part of the cost a step sees: all of it."""
        return 1.0

    def seeded(self, key: Any) -> "Noisy":
        """The same with another key."""
        return Noisy.tree_unflatten(None, (self.cost, self.noise, as_leaf(key)))

    def first_order(self) -> None:
        """Nothing is carried from step to step."""

    def order_at(self, step: Array, order: None) -> None:
        """Nothing is carried from step to step."""

    def batch(self, step: Array, order: None) -> Cost:
        """The cost that is seen at ``step``."""
        key = jax.random.fold_in(as_key(self.key), step)
        if isinstance(self.cost, LeastSquares):
            y = jnp.asarray(self.cost.y)
            return self.cost.replace(y=y + self.noise * jax.random.normal(key, y.shape, y.dtype))
        return Partial(_tilted, self.cost, self.noise, key)

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], None]:
        names = ("cost", "noise", "key")
        return tuple((jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in names), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> "Noisy":
        self = object.__new__(cls)
        for name, value in zip(("cost", "noise", "key"), children, strict=True):
            object.__setattr__(self, name, value)
        return self


def _tilted(cost: Any, noise: Any, key: Any, params: Params) -> Array:
    flat, _ = ravel_pytree(params)
    return cost(params) + noise * jnp.vdot(jax.random.normal(key, flat.shape, flat.dtype), flat)
