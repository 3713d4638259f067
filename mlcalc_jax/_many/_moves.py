"""JAX's operations that put numbers in other places, for NumPy's arrays of anything."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

#: What some arrays become.
Move: TypeAlias = Callable[[list[np.ndarray]], list[np.ndarray]]


def picking(eqn: Any, places: Sequence[Any]) -> Move:
    """What takes some numbers of an array, by JAX itself; from outside it, the least of all."""
    params = dict(eqn.params)
    if "fill_value" in params:
        params["fill_value"] = np.iinfo(np.int32).min

    def move(arrays: list[np.ndarray]) -> list[np.ndarray]:
        (array,) = arrays
        with jax.ensure_compile_time_eval():
            picked = eqn.primitive.bind(jnp.asarray(array, jnp.int32), *places, **params)
            return [np.asarray(picked)]

    return move


def _broadcast(params: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    (a,) = arrays
    shape = [1] * len(params["shape"])
    for k, size in zip(params["broadcast_dimensions"], a.shape, strict=True):
        shape[k] = size
    return [np.broadcast_to(a.reshape(shape), params["shape"])]


def _reshape(params: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    (a,), order = arrays, params["dimensions"]  # in which its axes are read
    return [(a if order is None else a.transpose(order)).reshape(params["new_sizes"])]


def _slice(params: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    (a,) = arrays
    strides = params["strides"] or (1,) * a.ndim
    return [a[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]]


def _unstack(params: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    (a,) = (np.moveaxis(some, params["axis"], 0) for some in arrays)
    return [a[k, ...] for k in range(len(a))]


#: By the name of the operation; of its parameters and its arrays.
MOVES: dict[str, Callable[[Any, list[np.ndarray]], list[np.ndarray]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda params, some: [np.concatenate(some, params["dimension"])],
    "reshape": _reshape,
    "rev": lambda params, some: [np.flip(some[0], params["dimensions"])],
    "slice": _slice,
    "split": lambda params, some: np.split(
        some[0], np.cumsum(params["sizes"])[:-1], params["axis"]
    ),
    "squeeze": lambda params, some: [np.squeeze(some[0], params["dimensions"])],
    "stack": lambda params, some: [np.stack(some, params["axis"])],
    "transpose": lambda params, some: [some[0].transpose(params["permutation"])],
    "unstack": _unstack,
}

#: Those that take numbers from places that are operands too.
PICKS = {"dynamic_slice", "gather"}
