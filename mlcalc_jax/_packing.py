"""Many small arrays in few: a result comes back from the device in one copy, not thirty."""

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Place(NamedTuple):
    """Where a leaf lies: in the vector of which dtype, from where to where, and its shape."""

    vector: str
    first: int
    last: int
    shape: tuple[int, ...]
    dtype: np.dtype | None  #: its own, if it is another than the vector's


@partial(
    jax.tree_util.register_dataclass, data_fields=["vectors"], meta_fields=["treedef", "places"]
)
@dataclass(frozen=True)
class Packed:
    """A pytree of arrays, end to end in one vector for each of the dtypes that need one.

    Integers of 32 bits and booleans go with the float64, which holds them exactly.
    """

    vectors: dict[str, Any]
    treedef: Any
    places: tuple[Place, ...]

    def on_host(self) -> "Packed":
        """The same, its vectors as NumPy arrays."""
        vectors = {name: np.asarray(vector) for name, vector in self.vectors.items()}
        return Packed(vectors, self.treedef, self.places)

    def unpacked(self) -> Any:
        """The pytree; its leaves are views where their dtype is that of the vector."""
        leaves = []
        for name, first, last, shape, dtype in self.places:
            leaf = self.vectors[name][first:last].reshape(shape)
            leaves.append(leaf if dtype is None else leaf.astype(dtype))
        return jax.tree.unflatten(self.treedef, leaves)


def packed(tree: Any) -> Packed:
    """A pytree of arrays, packed."""
    leaves, treedef = jax.tree.flatten(tree)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    has_double = any(leaf.dtype == np.float64 for leaf in leaves)
    parts: dict[str, list[Any]] = {}
    ends: dict[str, int] = {}
    places = []
    for leaf in leaves:
        is_exact = has_double and leaf.dtype in (np.int32, np.bool_)
        vector = "float64" if is_exact else str(leaf.dtype)
        first = ends.get(vector, 0)
        ends[vector] = first + prod(leaf.shape)
        own = None if vector == str(leaf.dtype) else leaf.dtype
        places.append(Place(vector, first, ends[vector], leaf.shape, own))
        parts.setdefault(vector, []).append(jnp.ravel(leaf).astype(vector))
    vectors = {name: jnp.concatenate(some) for name, some in parts.items()}
    return Packed(vectors, treedef, tuple(places))
