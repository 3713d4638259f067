"""Many small arrays in one: fewer copies between devices, and between the steps of a loop."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

T = TypeVar("T")

#: From this size on, copying an array costs more than handling it by itself.
_LARGE = 256


class Place(NamedTuple):
    """Where a leaf lies: in which of the arrays, from where to where, and its shape."""

    array: int
    first: int
    last: int
    shape: tuple[int, ...] | None  #: None where the leaf is that array itself
    dtype: np.dtype | None  #: its own, if it is another than the array's


@partial(
    jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["treedef", "places"]
)
@dataclass(frozen=True)
class Packed:
    """A pytree of arrays: small ones end to end in a vector for each dtype, large ones themselves.

    Integers of 32 bits and booleans go with the float64, which holds them exactly.
    """

    arrays: tuple[Any, ...]
    treedef: Any
    places: tuple[Place, ...]

    def on_host(self) -> "Packed":
        """The same, in NumPy arrays."""
        return Packed(tuple(map(np.asarray, self.arrays)), self.treedef, self.places)

    def unpacked(self) -> Any:
        """The pytree; its leaves are views where their dtype is that of the array."""
        leaves = []
        for k, first, last, shape, dtype in self.places:
            leaf = self.arrays[k]
            if shape is not None:
                leaf = leaf[first, ...] if not shape else leaf[first:last]
                if len(shape) > 1:
                    leaf = leaf.reshape(shape)
            leaves.append(leaf if dtype is None else leaf.astype(dtype))
        return jax.tree.unflatten(self.treedef, leaves)


def packed(tree: Any) -> Packed:
    """A pytree of arrays, packed."""
    leaves, treedef = jax.tree.flatten(tree)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    has_double = any(leaf.dtype == np.float64 for leaf in leaves)
    small = [leaf for leaf in leaves if leaf.size < _LARGE]

    def kept_as(leaf: Any) -> np.dtype:
        is_exact = has_double and leaf.dtype in (np.int32, np.bool_)
        return np.dtype(np.float64) if is_exact else leaf.dtype

    order = list(dict.fromkeys(map(kept_as, small)))
    parts: list[list[Any]] = [[] for _ in order]
    whole: list[Any] = []
    places: dict[int, Place] = {}
    for i in sorted(range(len(leaves)), key=lambda i: leaves[i].ndim > 0):  # scalars first
        leaf = leaves[i]
        if leaf.size >= _LARGE:
            places[i] = Place(len(order) + len(whole), 0, 0, None, None)
            whole.append(leaf)
            continue
        dtype = kept_as(leaf)
        k = order.index(dtype)
        first = sum(part.size for part in parts[k])
        own = None if dtype == leaf.dtype else leaf.dtype
        places[i] = Place(k, first, first + leaf.size, leaf.shape, own)
        parts[k].append(leaf.astype(dtype))
    in_order = tuple(places[i] for i in range(len(leaves)))
    return Packed((*map(_vector, parts), *whole), treedef, in_order)


def _vector(parts: list[Any]) -> Any:
    """Scalars, then arrays, as one vector.

    The scalars are selected into their places, not put together: of many pieces that are put
    together XLA computes each by itself.
    """
    scalars = [part for part in parts if not part.ndim]
    row = jnp.zeros(len(scalars), parts[0].dtype)
    for k, scalar in enumerate(scalars):
        row = jnp.where(np.arange(len(scalars)) == k, scalar, row)
    return jnp.concatenate([row, *(jnp.ravel(part) for part in parts[len(scalars) :])])


def while_loop(condition: Callable[[T], Any], body: Callable[[T], T], carried: T) -> T:
    """``lax.while_loop``, carrying the small arrays as one.

    On a CPU every carried array that begins as a constant is a step of its own. Of many such steps
    XLA hands some to another thread, and waits for that longer than a small loop takes.
    """
    found = lax.while_loop(
        lambda now: condition(now.unpacked()),
        lambda now: packed(body(now.unpacked())),
        packed(carried),
    )
    return cast(T, found.unpacked())
