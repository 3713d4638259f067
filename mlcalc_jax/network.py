"""A sigmoid network as pure functions, and its Jacobians by the chain rule, every factor named.

With ``a_0 = x``, layer k computes ``z_k = W_k a_{k-1} + b_k`` and ``a_k = sigma(z_k)``, where
``sigma(z) = 1 / (1 + exp(-z))``. Features run down and points across: ``x`` is (inputs, points) and
``a_k`` is (width_k, points), the layout in which a small network is fastest on a CPU.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import _check
from ._precision import floating, in_double
from ._random import as_key
from ._types import ArrayLike


class Layer(NamedTuple):
    """One layer: ``W`` is (width, width of the layer before), ``b`` is (width,)."""

    W: Any
    b: Any


NetworkParams: TypeAlias = tuple[Layer, ...]


class Forward(NamedTuple):
    """All that a forward pass computes: ``a[k]`` is ``a_k``, and ``z[k - 1]`` is ``z_k``."""

    z: tuple[Array, ...]
    a: tuple[Array, ...]


class Backprop(NamedTuple):
    """Every factor of the chain rule; index k - 1 of a tuple belongs to layer k of L.

    ``delta_L = dC_da * da_dz_L`` and ``delta_k = (dz_da_{k+1}^T delta_{k+1}) * da_dz_k``; then
    ``J_Wk = delta_k dz_dW_k^T / N`` and ``J_bk = delta_k summed over points / N``.
    """

    dC_da: Array  #: 2 (a_L - y), (outputs, points): N times dC/da_L
    da_dz: tuple[Array, ...]  #: sigma'(z_k) = a_k (1 - a_k), (width_k, points)
    dz_da: tuple[Array, ...]  #: dz_k/da_{k-1} = W_k, (width_k, width_{k-1})
    dz_dW: tuple[Array, ...]  #: a_{k-1}, (width_{k-1}, points)
    delta: tuple[Array, ...]  #: N dC/dz_k, (width_k, points)
    jacobian: NetworkParams  #: dC/dW_k and dC/db_k, shaped as the parameters


def init_params(key: Any, sizes: Sequence[int] = (1, 6, 7, 2), dtype: Any = None) -> NetworkParams:
    """Weights and biases drawn from N(0, 1) / 2, independently.

    Args:
        key: seed, or a key of ``jax.random``.
        sizes: widths from the input to the output, at least two.
        dtype: of the parameters; JAX's default float unless given.

    Raises:
        ValueError: fewer than two sizes, or one below 1.
        TypeError: a size that is not a whole number, a key that is neither seed nor key, a dtype
            that is not floating.
    """
    widths = tuple(_check.count(f"sizes[{i}]", size) for i, size in enumerate(sizes))
    if len(widths) < 2:
        raise ValueError(f"sizes must name an input and an output at least, got {widths}")
    kind = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    if not floating(kind):
        raise TypeError(f"dtype must be floating, got {kind}")

    def draw() -> NetworkParams:
        return _drawn(as_key(key), widths, kind)

    return in_double(draw) if kind == np.float64 else draw()


@partial(jax.jit, static_argnums=(1, 2))
def _drawn(key: Array, widths: tuple[int, ...], dtype: Any) -> NetworkParams:
    layer_keys = jax.random.split(key, len(widths) - 1)
    return tuple(
        _draw_layer(k, width_in, width_out, dtype)
        for k, width_in, width_out in zip(layer_keys, widths[:-1], widths[1:], strict=True)
    )


def _draw_layer(key: Array, width_in: int, width_out: int, dtype: Any) -> Layer:
    key_W, key_b = jax.random.split(key)
    return Layer(
        W=jax.random.normal(key_W, (width_out, width_in), dtype) / 2,
        b=jax.random.normal(key_b, (width_out,), dtype) / 2,
    )


def forward(params: NetworkParams, x: ArrayLike) -> Forward:
    """The forward pass, with every weighted sum ``z_k`` and activation ``a_k`` kept.

    Args:
        params: the layers, as from :func:`init_params`.
        x: (inputs, points), or (points,) for a network of one input.

    Raises:
        TypeError: ``params`` that are no layers.
        ValueError: layers that do not chain, or an ``x`` that the first layer does not take.
    """
    a = [_as_features(params, x)]
    z = []
    for W, b in params:
        z.append(W @ a[-1] + b[:, None])
        a.append(jax.nn.sigmoid(z[-1]))
    return Forward(tuple(z), tuple(a))


def cost(params: NetworkParams, x: ArrayLike, y: ArrayLike) -> Float[Array, ""]:
    """Mean over the N points of the squared error, summed over outputs: ``sum (a_L - y)^2 / N``.

    Args:
        params: the layers.
        x: (inputs, points), or (points,).
        y: (outputs, points).

    Raises:
        TypeError: ``params`` that are no layers.
        ValueError: shapes that do not fit.
    """
    error = _output_error(forward(params, x), y)
    return jnp.sum(error**2) / error.shape[1]


def backprop(params: NetworkParams, x: ArrayLike, y: ArrayLike) -> Backprop:
    """The Jacobian of :func:`cost` by the chain rule, written out, with every factor by name.

    Arguments and errors are those of :func:`cost`.
    """
    z, a = forward(params, x)
    points = a[0].shape[1]
    dC_da = 2 * _output_error(Forward(z, a), y)
    da_dz = tuple(activation * (1 - activation) for activation in a[1:])
    dz_da = tuple(layer.W for layer in params)
    dz_dW = a[:-1]

    delta = dC_da * da_dz[-1]
    deltas = [delta]
    for W_above, slope in zip(dz_da[:0:-1], da_dz[-2::-1], strict=True):
        delta = (W_above.T @ delta) * slope
        deltas.insert(0, delta)

    jacobian = tuple(
        Layer(W=delta @ below.T / points, b=delta.sum(axis=1) / points)
        for delta, below in zip(deltas, dz_dW, strict=True)
    )
    return Backprop(dC_da, da_dz, dz_da, dz_dW, tuple(deltas), jacobian)


@jax.custom_vjp
def cost_by_backprop(params: NetworkParams, x: ArrayLike, y: ArrayLike) -> Float[Array, ""]:
    """:func:`cost`, differentiated by ``jax.grad`` through :func:`backprop`, not by JAX itself."""
    return cost(params, x, y)


def _cost_and_factors(params: NetworkParams, x: ArrayLike, y: ArrayLike) -> tuple[Array, Any]:
    factors = backprop(params, x, y)
    points = factors.dC_da.shape[1]
    return jnp.sum((factors.dC_da / 2) ** 2) / points, (factors, jnp.shape(x))


def _pull_back(saved: Any, cotangent: Array) -> tuple[NetworkParams, Array, Array]:
    factors, x_shape = saved
    points = factors.dC_da.shape[1]
    dC_dx = factors.dz_da[0].T @ factors.delta[0] / points
    gradients = (factors.jacobian, dC_dx.reshape(x_shape), -factors.dC_da / points)
    return jax.tree.map(lambda gradient: cotangent * gradient, gradients)


cost_by_backprop.defvjp(_cost_and_factors, _pull_back)


def _as_features(params: NetworkParams, x: ArrayLike) -> Array:
    """``x`` as (inputs, points), once it and the layers are known to fit together."""
    features = jnp.asarray(x)
    features = features[None, :] if features.ndim == 1 else features
    if features.ndim != 2:
        raise ValueError(f"x must be (inputs, points) or (points,), got shape {features.shape}")
    if not isinstance(params, (tuple, list)) or not all(map(_is_layer, params)):
        raise TypeError(f"params must be layers (W, b), as from init_params, got {params!r}")
    width = features.shape[0]
    for k, layer in enumerate(params, start=1):
        W_shape, b_shape = jnp.shape(layer[0]), jnp.shape(layer[1])
        if len(W_shape) != 2 or W_shape[1] != width or b_shape != W_shape[:1]:
            came_from = f"layer {k - 1} gives" if k > 1 else "x has"
            raise ValueError(
                f"layer {k} does not fit: {came_from} {width} feature(s), "
                f"W{k} has shape {W_shape} and b{k} has shape {b_shape}; "
                f"expected W{k} (n, {width}) and b{k} (n,)"
            )
        width = W_shape[0]
    return features


def _is_layer(layer: Any) -> bool:
    return isinstance(layer, (tuple, list)) and len(layer) == 2


def _output_error(passed: Forward, y: ArrayLike) -> Array:
    output = passed.a[-1]
    if jnp.shape(y) != output.shape:
        raise ValueError(f"y must be (outputs, points) = {output.shape}, got shape {jnp.shape(y)}")
    return output - jnp.asarray(y)
