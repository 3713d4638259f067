"""Least squares as a cost: a model, data and weights in one frozen pytree."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from . import _check
from ._pointwise import is_pointwise
from ._precision import holds_tracer, in_precision_of
from ._random import as_key, as_leaf
from ._types import AnyArray, ArrayLike, Model, Params
from .losses import NAMED, Poisson


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, eq=False, init=False)
class LeastSquares:
    """Chi-squared of a model against data: ``sum(((model(params, x) - y) / sigma)^2)``.

    Calling it gives chi-squared (no factor 1/2), or the sum of what the residuals cost under
    another ``loss``; ``.residuals(params)`` gives the residuals. A pytree: the model is static, the
    data are traced, so that another data set of the same shape compiles nothing, and ``vmap`` runs
    over a batch of data sets.

    Args:
        model: a pure function ``f(params, x) -> y``.
        x: an array, or a pytree of arrays for several predictors. Points run along the last axis.
        y: the response, in the shape the model returns; points along the last axis.
        sigma: standard deviation of ``y``, broadcast against it; 1 unless given.
        mask: which points count, broadcast against ``y``; all unless given. A masked ``y`` or
            ``sigma`` may be anything, NaN included; ``x`` must be finite everywhere. What a model
            that goes point by point makes of a masked x does not matter.
        loss: what a residual costs, one of :mod:`mlcalc_jax.losses`, or the name of one; its square
            unless given.
        y_covariance: covariance matrix (points, points) of ``y`` in place of ``sigma``: then the
            residuals are ``L^-1 (model - y)`` with the Cholesky factor L of this matrix. The
            problem keeps L, as ``cholesky``.

    Raises:
        TypeError: a model that cannot be called, data that are not real numbers.
        ValueError: no data, NaN or infinity in them, ``sigma <= 0``, shapes that do not broadcast,
            a mask that leaves nothing, a covariance that is not symmetric and positive definite or
            comes with ``sigma``, a loss of an unknown name or one that cannot be of these ``y``.
    """

    model: Model
    x: Any
    y: Any
    sigma: Any
    mask: Any
    loss: Any
    cholesky: Any

    def __init__(
        self,
        model: Model,
        x: Any,
        y: Any,
        sigma: Any = None,
        mask: Any = None,
        loss: Any = None,
        y_covariance: Any = None,
    ) -> None:
        if not callable(model):
            raise TypeError(f"model must be a function f(params, x), got {model!r}")
        y = _check.real_array("y", y)
        leaves, treedef = jax.tree_util.tree_flatten_with_path(x)
        names = ["x" + jax.tree_util.keystr(path) if path else "x" for path, _ in leaves]
        predictors = [
            (at, _check.real_array(at, leaf, y.dtype))
            for at, (_, leaf) in zip(names, leaves, strict=True)
        ]
        if not y.size:
            raise ValueError("y is empty: there are no points to fit")
        if mask is not None:
            _check.nothing_masked("mask", mask)
            mask = mask if isinstance(mask, jax.Array) else np.asarray(mask)
            if mask.dtype != bool:
                raise TypeError(f"mask must be boolean, got dtype {mask.dtype}")
            _broadcasts("mask", mask, y)
            if _check.is_concrete(mask) and not np.asarray(mask).any():
                raise ValueError("mask leaves no point to fit")
        counts = True if mask is None else mask
        for at, leaf in predictors:
            _check.finite(at, leaf)
        _check.finite("y", y, counts)
        if sigma is not None:
            sigma = _check.real_array("sigma", sigma, y.dtype)
            _broadcasts("sigma", sigma, y)
            if _check.is_concrete(sigma) and _check.is_concrete(counts):
                _check.positive("sigma", np.where(counts, sigma, 1))
        cholesky = None
        if y_covariance is not None:
            if sigma is not None:
                raise ValueError("give sigma or y_covariance, not both")
            cholesky = _cholesky(_check.real_array("y_covariance", y_covariance, y.dtype), y, mask)
        loss = loss_of(loss)
        if loss is not None:
            loss.check(y if mask is None or not _check.is_concrete(mask) else y[_on(mask, y)])
            if isinstance(loss, Poisson) and (sigma is not None or cholesky is not None):
                raise ValueError("counts have their own variance: a Poisson loss takes no sigma")
        x = jax.tree.unflatten(treedef, [leaf for _, leaf in predictors])
        parts = {"x": x, "y": y, "sigma": sigma, "mask": mask, "loss": loss, "cholesky": cholesky}
        vars(self).update(model=model, **parts)  # the class is frozen to others

    def __call__(self, params: Params) -> Float[AnyArray, ""]:
        """Chi-squared, or the sum of what the residuals cost under another loss."""
        return self._in_precision(lambda: jnp.sum(self._terms(self._residuals(params))), params)

    def residuals(self, params: Params) -> Float[AnyArray, "..."]:
        """Weighted residuals ``(model(params, x) - y) / sigma`` shaped as ``y``, 0 where masked.

        Under a Poisson loss, Pearson's: ``(f - y) / sqrt(f)`` for the model's f.

        Raises:
            ValueError: a parameter the model asks for is missing, or the model's result has
                another shape than ``y``.
        """

        def residuals() -> Array:
            r = self._residuals(params)
            if isinstance(self.loss, Poisson):
                r = r * self.loss.weights(r, self._counted(self.y))[0]
            return r

        return self._in_precision(residuals, params)

    def local(
        self,
        params_of: Callable[[Array], Params],
        at: Float[Array, "parameters"],
        for_covariance: bool = False,
    ) -> tuple[Float[Array, ""], Float[Array, "points"], Float[Array, "parameters points"]]:
        """Cost at ``params_of(at)``, and residuals r and Jacobian J of its least-squares model.

        ``2 J r`` is the gradient of the cost and ``2 J J^T`` the curvature descents go by: the
        Gauss-Newton approximation, with the weights of the loss; or, ``for_covariance``, J with the
        curvature of the loss as it is.
        """
        r, push = jax.linearize(lambda at: self._residuals(params_of(at)), at)
        J = jax.vmap(push)(np.eye(at.size, dtype=at.dtype))
        cost = jnp.sum(self._terms(r))
        if self.loss is not None:
            y = self._counted(self.y)
            a, b = self.loss.weights(r, y)
            r, J = a * r, (self.loss.information(r, y) if for_covariance else b)[None] * J
        return cost, jnp.ravel(r), jnp.reshape(J, (at.size, -1))

    def bend(
        self,
        params_of: Callable[[Array], Params],
        at: Float[Array, "parameters"],
        along: Float[Array, "parameters"],
    ) -> Float[Array, "parameters"]:
        """``J^T r''``, with r'' the second derivative of the residuals in one direction."""

        def residuals(at: Array) -> Array:
            return self._residuals(params_of(at))

        def slope(at: Array) -> Array:
            return jax.jvp(residuals, (at,), (along,))[1]

        curvature = jax.jvp(slope, (at,), (along,))[1]
        r, pull = jax.vjp(residuals, at)
        if self.loss is not None:
            curvature = self.loss.weights(r, self._counted(self.y))[1] ** 2 * curvature
        return pull(curvature)[0]

    def magnitude(self, params: Params) -> Float[Array, ""]:
        """The length of y in the unit of the residuals, which carry errors of eps times it.

        Under a robust loss, as much of it as counts at these parameters: outliers do not.
        """
        y = self._counted(self.y)
        if isinstance(self.loss, Poisson):
            return jnp.sqrt(jnp.sum(y))
        if self.cholesky is not None:
            y = jax.scipy.linalg.solve_triangular(self.cholesky, y, lower=True)
        if self.sigma is not None:
            y = y / self._counted(jnp.broadcast_to(jnp.asarray(self.sigma), y.shape), 1)
        if self.loss is not None:
            y = y * self.loss.weights(self._residuals(params), y)[1]
        return jnp.linalg.norm(jnp.ravel(y))

    def has_data(self) -> Bool[Array, ""]:
        """Whether any y that counts is not 0."""
        return jnp.any(self._counted(self.y) != 0)

    def points_that_count(self) -> Any:
        """How many residuals there are, the masked ones left out."""
        if self.mask is None:
            return self.y.size
        counts = _on(self.mask, self.y)
        return int(counts.sum()) if _check.is_concrete(counts) else jnp.sum(counts)

    def pieces(
        self, size: int, params: Params
    ) -> tuple[int, Callable[[ArrayLike], "LeastSquares"], "LeastSquares | None"] | None:
        """How to go through the points piece by piece: how many, the n-th, and what remains.

        None if there are too few to be worth it, if ``x`` does not run along with ``y``, or if the
        model needs all points at once, as one with a sum over them does. Of ``params`` shapes and
        dtypes are enough.
        """
        points = jnp.shape(self.y)[-1] if jnp.ndim(self.y) else 1
        if points < 2 * size or not self._is_lined_up(points) or self.cholesky is not None:
            return None
        if not is_pointwise(self.model, params, self.x, size):
            return None

        def piece(start: ArrayLike, length: int) -> LeastSquares:
            def cut(values: Any) -> Any:
                if jnp.ndim(values) == 0 or jnp.shape(values)[-1] == 1:
                    return values
                return lax.dynamic_slice_in_dim(jnp.asarray(values), start, length, axis=-1)

            names = ("x", "y", "sigma", "mask", "loss")
            return self.replace(**{k: jax.tree.map(cut, getattr(self, k)) for k in names})

        number, remain = divmod(points, size)
        rest = piece(number * size, remain) if remain else None
        return number, lambda n: piece(n * size, size), rest

    def _in_precision(self, function: Callable[[], AnyArray], params: Params) -> AnyArray:
        return in_precision_of((params, self, self.model), function)

    def _terms(self, r: Array) -> Array:
        if self.loss is None:
            return r**2
        terms = self.loss.terms(r, self._counted(self.y))
        return terms if self.mask is None else jnp.where(_on(self.mask, r), terms, 0)

    def _residuals(self, params: Params) -> Array:
        y, x = self._counted(self.y), jax.tree.map(jnp.asarray, self._x_that_counts(params))
        difference = self._counted(self._predicted(params, x)) - y
        if self.cholesky is not None:
            return jax.scipy.linalg.solve_triangular(self.cholesky, difference, lower=True)
        if self.sigma is None:
            return difference
        return difference / self._counted(jnp.broadcast_to(jnp.asarray(self.sigma), y.shape), 1)

    def _counted(self, values: Any, otherwise: float = 0) -> Array:
        """``values``, but ``otherwise`` where they are masked."""
        values = jnp.asarray(values)
        return values if self.mask is None else jnp.where(_on(self.mask, values), values, otherwise)

    def _x_that_counts(self, params: Params) -> Any:
        """x, with that of a point that counts in place of each that does not.

        Where the model is NaN at a masked point so is its derivative there, and a gradient, which
        goes backwards, takes no times NaN. A model that mixes points needs all of x as it is.
        """
        points = jnp.shape(self.y)[-1] if jnp.ndim(self.y) else 1
        may_be_derived = self.mask is not None and holds_tracer((params, self.x))
        if not may_be_derived or points < 2 or not self._is_lined_up(points):
            return self.x
        if not is_pointwise(self.model, params, self.x, points // 2):
            return self.x
        counts = jnp.reshape(_on(self.mask, self.y), (-1, points)).any(axis=0)
        one = jnp.argmax(counts)
        return jax.tree.map(
            lambda leaf: jnp.where(counts, leaf, jnp.asarray(leaf)[..., one, None]), self.x
        )

    def _is_lined_up(self, points: int) -> bool:
        """Whether x runs along with y."""
        return all(jnp.shape(leaf)[-1:] == (points,) for leaf in jax.tree.leaves(self.x))

    def _predicted(self, params: Params, x: Any) -> Array:
        """The model's result, or an error that says what is wrong with it."""
        name = model_name(self.model)
        try:
            predicted = self.model(params, x)
        except KeyError as missing:
            given = f"; params has {sorted(params)}" if isinstance(params, dict) else ""
            raise ValueError(f"{name} asks for a parameter {missing}{given}") from missing
        except jax.errors.TracerArrayConversionError as error:
            raise ValueError(f"{name} calls NumPy: write it with jax.numpy instead") from error
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(
                f"{name} fails at params of shape {_shapes(params)} and x of shape {_shapes(x)}: "
                f"{error}"
            ) from error
        if jnp.shape(predicted) != jnp.shape(self.y):
            raise ValueError(
                f"{name} returned shape {jnp.shape(predicted)}, "
                f"expected that of y, {jnp.shape(self.y)}"
            )
        predicted = jnp.asarray(predicted)
        if jnp.issubdtype(predicted.dtype, jnp.complexfloating):
            raise ValueError(f"{name} returned complex numbers: fit their real and imaginary parts")
        return predicted

    def tree_flatten(self) -> tuple[tuple[Any, ...], Model]:
        return (self.x, self.y, self.sigma, self.mask, self.loss, self.cholesky), self.model

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], Model]:
        children, model = self.tree_flatten()
        keys = map(jax.tree_util.GetAttrKey, _LEAVES)
        return tuple(zip(keys, children, strict=True)), model

    @classmethod
    def tree_unflatten(cls, model: Model, children: Any) -> "LeastSquares":
        self = object.__new__(cls)  # no checks: the children may be tracers, or no arrays at all
        vars(self).update(zip(_LEAVES, children, strict=True), model=model)
        return self

    def replace(self, **parts: Any) -> "LeastSquares":
        """The same problem with other parts, unchecked."""
        values = {name: getattr(self, name) for name in ("model", *_LEAVES)} | parts
        return LeastSquares.tree_unflatten(values.pop("model"), values.values())


_LEAVES = ("x", "y", "sigma", "mask", "loss", "cholesky")


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
            its last axis; a problem with a loss or with a covariance of ``y``.
    """

    problem: LeastSquares
    size: int
    key: Any = 0

    def __post_init__(self) -> None:
        if not isinstance(self.problem, LeastSquares):
            raise TypeError(f"problem must be a LeastSquares, got {type(self.problem).__name__}")
        if self.problem.loss is not None or self.problem.cholesky is not None:
            raise ValueError("minibatches are for independent residuals that cost their square")
        object.__setattr__(self, "size", _check.count("size", self.size))
        object.__setattr__(self, "key", as_leaf(self.key))
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

    @property
    def whole(self) -> LeastSquares:
        """The problem of all points."""
        return self.problem

    @property
    def share(self) -> float:
        """What part of all points a batch has."""
        return self.size / (self.problem.y.shape[-1] if jnp.ndim(self.problem.y) else 1)

    def seeded(self, key: Any) -> "Minibatches":
        """The same with another key."""
        return Minibatches.tree_unflatten(self.size, (self.problem, as_leaf(key)))

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
        return whole.replace(
            x=jax.tree.map(pick, whole.x),
            y=pick(whole.y),
            sigma=pick(sigma) * share**0.5,
            mask=None if whole.mask is None else pick(whole.mask),
        )

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


def hashed(model: Any) -> Any:
    """The model; one without a hash as another each time, since it may have changed meanwhile."""
    try:
        hash(model)
    except TypeError:  # a dataclass that is not frozen, or holds an array
        if callable(model):
            anew = partial(model)
            anew.__name__ = model_name(model)  # type: ignore[attr-defined]
            return anew
    return model


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


def _on(mask: Any, values: Any) -> Any:
    """The mask in the shape of ``values``."""
    numpy = np if _check.is_concrete(mask) and _check.is_concrete(values) else jnp
    return numpy.broadcast_to(mask, jnp.shape(values))


def loss_of(loss: Any) -> Any:
    """A loss, by its name or as it is."""
    if isinstance(loss, str):
        if loss not in NAMED:
            raise ValueError(f"loss must be one of {', '.join(NAMED)}, got {loss!r}")
        return NAMED[loss]()
    if loss is not None and not (hasattr(loss, "terms") and hasattr(loss, "weights")):
        raise TypeError(f"loss must be one of mlcalc_jax.losses, got {loss!r}")
    return loss


def _cholesky(covariance: Any, y: Any, mask: Any) -> Any:
    """The lower Cholesky factor; masked points are taken out and get the unit variance."""
    if jnp.ndim(y) != 1 or jnp.shape(covariance) != 2 * jnp.shape(y):
        raise ValueError(
            f"y_covariance must be a square matrix over the points of a 1-D y of shape "
            f"{jnp.shape(y)}, got shape {jnp.shape(covariance)}"
        )
    if not all(map(_check.is_concrete, (covariance, mask))):
        counts = jnp.ones(y.size, bool) if mask is None else _on(mask, y)
        both = counts[:, None] & counts[None]
        return jnp.linalg.cholesky(jnp.where(both, covariance, jnp.eye(y.size)))
    counts = np.ones(y.size, bool) if mask is None else np.asarray(_on(mask, y))
    matrix = np.where(counts[:, None] & counts, np.asarray(covariance), np.eye(y.size))
    _check.finite("y_covariance", matrix)
    if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=0):
        raise ValueError("y_covariance must be symmetric")
    try:
        return np.linalg.cholesky(matrix).astype(np.asarray(covariance).dtype)
    except np.linalg.LinAlgError:
        raise ValueError("y_covariance must be positive definite") from None


def _shapes(tree: Any) -> Any:
    return jax.tree.map(jnp.shape, tree)
