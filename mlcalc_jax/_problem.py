"""Least squares as a cost: a model, data and weights in one frozen pytree."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import _check
from ._precision import in_precision_of
from ._random import as_key
from ._types import AnyArray, ArrayLike, Model, Params


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, eq=False)
class LeastSquares:
    """Chi-squared of a model against data: ``sum(((model(params, x) - y) / sigma)^2)``.

    Calling it gives chi-squared (no factor 1/2); ``.residuals(params)`` gives the terms before
    they are squared. A pytree: the model is static, the data are traced, so that another data set
    of the same shape compiles nothing, and ``vmap`` runs over a batch of data sets.

    Args:
        model: a pure function ``f(params, x) -> y``.
        x: an array, or a pytree of arrays for several predictors. Points run along the last axis.
        y: the response, in the shape the model returns; points along the last axis.
        sigma: standard deviation of ``y``, broadcast against it; 1 unless given.
        mask: which points count, broadcast against ``y``; all unless given. A masked ``y`` or
            ``sigma`` may be anything, NaN included; ``x`` must be finite everywhere.

    Raises:
        TypeError: a model that cannot be called, data that are not real numbers.
        ValueError: no data, NaN or infinity in them, ``sigma <= 0``, shapes that do not broadcast,
            a mask that leaves nothing.
    """

    model: Model
    x: Any
    y: Any
    sigma: Any = None
    mask: Any = None

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise TypeError(f"model must be a function f(params, x), got {self.model!r}")
        y, sigma, mask = _check.real_array("y", self.y), self.sigma, self.mask
        x = jax.tree_util.tree_map_with_path(
            lambda path, leaf: _check.real_array("x" + jax.tree_util.keystr(path), leaf, y.dtype),
            self.x,
        )
        if not y.size:
            raise ValueError("y is empty: there are no points to fit")
        if mask is not None:
            mask = mask if isinstance(mask, jax.Array) else np.asarray(mask)
            if mask.dtype != bool:
                raise TypeError(f"mask must be boolean, got dtype {mask.dtype}")
            _broadcasts("mask", mask, y)
            if _check.is_concrete(mask) and not np.asarray(mask).any():
                raise ValueError("mask leaves no point to fit")
        counts = True if mask is None else mask
        for path, leaf in jax.tree_util.tree_leaves_with_path(x):
            _check.finite("x" + jax.tree_util.keystr(path), leaf)
        _check.finite("y", y, counts)
        if sigma is not None:
            sigma = _check.real_array("sigma", sigma, y.dtype)
            _broadcasts("sigma", sigma, y)
            if _check.is_concrete(sigma) and _check.is_concrete(counts):
                _check.positive("sigma", np.where(counts, sigma, 1))
        for name, value in (("x", x), ("y", y), ("sigma", sigma), ("mask", mask)):
            object.__setattr__(self, name, value)

    def __call__(self, params: Params) -> Float[AnyArray, ""]:
        """Chi-squared, the sum of the squared weighted residuals."""
        return self._in_precision(lambda: jnp.sum(self._residuals(params) ** 2), params)

    def residuals(self, params: Params) -> Float[AnyArray, "..."]:
        """Weighted residuals ``(model(params, x) - y) / sigma`` shaped as ``y``, 0 where masked.

        Raises:
            ValueError: a parameter the model asks for is missing, or the model's result has
                another shape than ``y``.
        """
        return self._in_precision(lambda: self._residuals(params), params)

    def _in_precision(self, function: Callable[[], AnyArray], params: Params) -> AnyArray:
        return in_precision_of((params, self, self.model), function)

    def _residuals(self, params: Params) -> Array:
        x = jax.tree.map(jnp.asarray, self.x)
        name = model_name(self.model)
        try:
            predicted = self.model(params, x)
        except KeyError as missing:
            given = f"; params has {sorted(params)}" if isinstance(params, dict) else ""
            raise ValueError(f"{name} asks for a parameter {missing}{given}") from missing
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} fails at params of shape {_shapes(params)} and x of shape {_shapes(x)}: "
                f"{error}"
            ) from error
        if jnp.shape(predicted) != jnp.shape(self.y):
            raise ValueError(
                f"{name} returned shape {jnp.shape(predicted)}, "
                f"expected that of y, {jnp.shape(self.y)}"
            )
        y = jnp.asarray(self.y)
        difference = predicted - y
        sigma = None if self.sigma is None else jnp.broadcast_to(jnp.asarray(self.sigma), y.shape)
        if self.mask is not None:
            counts = jnp.broadcast_to(jnp.asarray(self.mask), y.shape)
            difference = jnp.where(counts, predicted - jnp.where(counts, y, 0), 0)
            sigma = None if sigma is None else jnp.where(counts, sigma, 1)
        return difference if sigma is None else difference / sigma

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], Model]:
        names = [field.name for field in fields(self) if field.name != "model"]
        return tuple(
            (jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in names
        ), self.model

    @classmethod
    def tree_unflatten(cls, model: Model, children: Any) -> "LeastSquares":
        self = object.__new__(cls)  # no checks: the children may be tracers, or no arrays at all
        for name, value in zip(
            ("model", "x", "y", "sigma", "mask"), (model, *children), strict=True
        ):
            object.__setattr__(self, name, value)
        return self


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, eq=False)
class Minibatches:
    """A least-squares problem seen a random batch of points at a time, for any optimiser.

    In every epoch the points are shuffled and dealt into ``points // size`` batches without
    replacement; a remainder too small for a batch waits for the next shuffle. ``minimise`` gives
    the optimiser the chi-squared of one batch a step, times ``points / size``, which is an unbiased
    estimate of the whole. Calling it gives the chi-squared of all points, and that is the cost a
    path records.

    Args:
        problem: the least-squares problem; ``x``, ``sigma`` and ``mask`` must have its points along
            their last axis, or broadcast along it.
        size: points in a batch.
        key: seed, or a key of ``jax.random``, of the shuffles.

    Raises:
        TypeError: a problem that is not a LeastSquares, a key that is neither seed nor key.
        ValueError: a size below 1 or above the number of points; an ``x`` without the points along
            its last axis.
    """

    problem: LeastSquares
    size: int
    key: Any = 0

    def __post_init__(self) -> None:
        if not isinstance(self.problem, LeastSquares):
            raise TypeError(f"problem must be a LeastSquares, got {type(self.problem).__name__}")
        object.__setattr__(self, "size", _check.count("size", self.size))
        as_key(self.key)
        points = self.problem.y.shape[-1] if jnp.ndim(self.problem.y) else 1
        if self.size > points:
            raise ValueError(f"size must be at most the {points} points, got {self.size}")
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.problem.x):
            if jnp.shape(leaf)[-1:] != (points,):
                raise ValueError(
                    f"x{jax.tree_util.keystr(path)} has shape {jnp.shape(leaf)}: expected the "
                    f"{points} points of y along its last axis"
                )

    def __call__(self, params: Params) -> Float[AnyArray, ""]:
        """Chi-squared of all points."""
        return self.problem(params)

    def first_order(self) -> Array:
        """The order of the points in the first epoch."""
        return self._shuffled(0)

    def order_at(self, step: Array, order: Array) -> Array:
        """The order of the points at ``step``: ``order``, or a new shuffle as an epoch begins."""
        per_epoch = order.size // self.size
        return jax.lax.cond(
            step % per_epoch == 0, lambda: self._shuffled(step // per_epoch), lambda: order
        )

    def batch(self, step: Array, order: Array) -> LeastSquares:
        """The problem on the batch of points that is dealt at ``step``."""
        dealt = step % (order.size // self.size)
        points = jax.lax.dynamic_slice_in_dim(order, dealt * self.size, self.size)

        def pick(values: Any) -> Any:
            along = jnp.ndim(values) > 0 and jnp.shape(values)[-1] == order.size
            return jnp.take(jnp.asarray(values), points, axis=-1) if along else values

        whole = self.problem
        sigma = jnp.asarray(1.0 if whole.sigma is None else whole.sigma, jnp.result_type(whole.y))
        share = self.size / order.size
        leaves = (jax.tree.map(pick, whole.x), pick(whole.y), pick(sigma) * share**0.5)
        mask = None if whole.mask is None else pick(whole.mask)
        return LeastSquares.tree_unflatten(whole.model, (*leaves, mask))

    def _shuffled(self, epoch: ArrayLike) -> Array:
        key = as_key(self.key)
        return jax.random.permutation(jax.random.fold_in(key, epoch), self.problem.y.shape[-1])

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], int]:
        keyed = ("problem", self.problem), ("key", self.key)
        return tuple((jax.tree_util.GetAttrKey(name), child) for name, child in keyed), self.size

    @classmethod
    def tree_unflatten(cls, size: int, children: Any) -> "Minibatches":
        self = object.__new__(cls)
        for name, value in zip(("problem", "key", "size"), (*children, size), strict=True):
            object.__setattr__(self, name, value)
        return self


def model_name(model: Model) -> str:
    """What to call a model in a message."""
    return getattr(model, "__name__", type(model).__name__)


def _broadcasts(name: str, array: Any, y: Any) -> None:
    try:
        fits = np.broadcast_shapes(jnp.shape(array), jnp.shape(y)) == jnp.shape(y)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} must broadcast to the shape of y, {jnp.shape(y)}, got {jnp.shape(array)}"
        )


def _shapes(tree: Any) -> Any:
    return jax.tree.map(jnp.shape, tree)
