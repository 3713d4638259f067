"""Many small arrays in few: a result comes back from the device in three copies, not thirty."""

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Place(NamedTuple):
    """Where a leaf lies: in the vector of its dtype, from where to where, and its shape."""

    dtype: str
    first: int
    last: int
    shape: tuple[int, ...]


@partial(
    jax.tree_util.register_dataclass, data_fields=["vectors"], meta_fields=["treedef", "places"]
)
@dataclass(frozen=True)
class Packed:
    """A pytree of arrays, those of one dtype end to end in one vector."""

    vectors: dict[str, Any]
    treedef: Any
    places: tuple[Place, ...]

    def unpacked(self) -> Any:
        """The pytree; its leaves are views."""
        leaves = [
            self.vectors[dtype][first:last].reshape(shape)
            for dtype, first, last, shape in self.places
        ]
        return jax.tree.unflatten(self.treedef, leaves)


def packed(tree: Any) -> Packed:
    """A pytree of arrays, packed."""
    leaves, treedef = jax.tree.flatten(tree)
    parts: dict[str, list[Any]] = {}
    ends: dict[str, int] = {}
    places = []
    for leaf in map(jnp.asarray, leaves):
        dtype = str(leaf.dtype)
        first = ends.get(dtype, 0)
        ends[dtype] = first + prod(leaf.shape)
        places.append(Place(dtype, first, ends[dtype], leaf.shape))
        parts.setdefault(dtype, []).append(jnp.ravel(leaf))
    vectors = {dtype: jnp.concatenate(some) for dtype, some in parts.items()}
    return Packed(vectors, treedef, tuple(places))
