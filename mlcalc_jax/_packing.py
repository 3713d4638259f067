"""Many small arrays in one: fewer copies between devices, and between the steps of a loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

T = TypeVar("T")

#: From this size on, copying an array costs more than handling it by itself.
_LARGE = 256


class Stretch(NamedTuple):
    """Leaves of one dtype that lie side by side in one of the vectors."""

    vector: int
    first: int
    last: int
    dtype: np.dtype | None  #: of the leaves, if it is another than the vector's
    #: of each leaf: which it is, from where to where in the stretch, and its shape
    places: tuple[tuple[int, int, int, tuple[int, ...]], ...]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["vectors", "large"],
    meta_fields=["treedef", "stretches"],
)
@dataclass(frozen=True)
class Packed:
    """A pytree of arrays: small ones end to end in a vector for each dtype, large ones themselves.

    Integers of 32 bits and booleans go with the float64, which holds them exactly.
    """

    vectors: tuple[Any, ...]
    large: dict[int, Any]  #: by which leaf it is
    treedef: Any
    stretches: tuple[Stretch, ...]

    def unpacked(self, on_host: bool = False) -> Any:
        """The pytree, in NumPy arrays if wanted.

        Its leaves are views where their dtype is that of the vector.
        """
        vectors: Sequence[Any] = self.vectors
        leaves: list[Any] = [None] * self.treedef.num_leaves
        for i, leaf in self.large.items():
            leaves[i] = np.asarray(leaf) if on_host else leaf
        if on_host:
            vectors = [np.asarray(vector) for vector in vectors]
        for k, first, last, dtype, places in self.stretches:
            stretch = vectors[k][first:last]
            if dtype is not None:
                stretch = stretch.astype(dtype)
            for i, a, b, shape in places:
                leaves[i] = stretch[a:b].reshape(shape) if shape else stretch[a, ...]
        return jax.tree.unflatten(self.treedef, leaves)


def packed(tree: Any, in_loop: bool = False) -> Packed:
    """A pytree of arrays, packed; what is :func:`known` stays so."""
    leaves, treedef = jax.tree.flatten(tree)
    leaves = [leaf if isinstance(leaf, np.ndarray) else jnp.asarray(leaf) for leaf in leaves]
    has_double = any(leaf.dtype == np.float64 for leaf in leaves)

    def kept_as(leaf: Any) -> np.dtype:
        is_exact = has_double and leaf.dtype in (np.int32, np.bool_)
        return np.dtype(np.float64) if is_exact else leaf.dtype

    small = [i for i, leaf in enumerate(leaves) if leaf.size < _LARGE]
    order = list(dict.fromkeys(kept_as(leaves[i]) for i in small))
    vectors: list[Any] = []
    stretches: list[Stretch] = []
    for k, dtype in enumerate(order):
        here = [i for i in small if kept_as(leaves[i]) == dtype]
        here.sort(key=lambda i: (leaves[i].ndim > 0, leaves[i].dtype.char))  # scalars first
        vectors.append(_vector([leaves[i].astype(dtype) for i in here], in_loop))
        last = 0
        for (_, own), group in groupby(here, lambda i: (leaves[i].ndim > 0, leaves[i].dtype)):
            first, places = last, []
            for i in group:
                end = last + leaves[i].size
                places.append((i, last - first, end - first, leaves[i].shape))
                last = end
            stretches.append(Stretch(k, first, last, None if own == dtype else own, tuple(places)))
    large = {i: leaf for i, leaf in enumerate(leaves) if leaf.size >= _LARGE}
    return Packed(tuple(vectors), large, treedef, tuple(stretches))


def known(value: Any, dtype: Any) -> Any:
    """A number that XLA knows: a NumPy array, and no step of the program."""
    return np.asarray(value, dtype)


def _vector(parts: list[Any], in_loop: bool) -> Any:
    """Scalars, then arrays, as one vector.

    The scalars are selected into their places, not put together: of many pieces that are put
    together XLA computes each by itself. Every constant array costs 0.2 us a call, so that the
    places are computed where they are compared; but in a loop XLA would compare them before it
    begins, one step for each.
    """
    scalars = [part for part in parts if not part.ndim]
    is_known = [isinstance(scalar, np.ndarray) for scalar in scalars]
    numbers = [scalar if k else 0 for scalar, k in zip(scalars, is_known, strict=True)]
    row: Any = jnp.asarray(np.array(numbers, parts[0].dtype))
    places = (np if in_loop else jnp).arange(len(scalars))
    for k, scalar in enumerate(scalars):
        if not is_known[k]:
            row = jnp.where(places == k, scalar, row)
    return jnp.concatenate([row, *(jnp.ravel(part) for part in parts[len(scalars) :])])


@partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["treedef"])
@dataclass(frozen=True)
class Scalars:
    """A pytree of scalars in one array: what a program is given costs 2 us for every array."""

    values: Any
    treedef: Any

    def unpacked(self) -> Any:
        """The pytree."""
        return jax.tree.unflatten(self.treedef, [self.values[k] for k in range(len(self.values))])


def scalars(tree: Any) -> Any:
    """A pytree as :class:`Scalars`, or as it is: if a leaf is neither number nor NumPy's scalar.

    The last leaf has the dtype of all but bare numbers.
    """
    leaves, treedef = jax.tree.flatten(tree)
    dtype = leaves[-1].dtype
    for leaf in leaves:
        if type(leaf) is np.ndarray:
            if leaf.ndim or leaf.dtype != dtype:
                return tree
        elif not isinstance(leaf, (int, float)):
            return tree
    return Scalars(np.array(leaves, dtype), treedef)


def while_loop(condition: Callable[[T], Any], body: Callable[[T], T], carried: T) -> T:
    """``lax.while_loop``, carrying the small arrays as one.

    On a CPU every carried array that begins as a constant is a step of its own. Of many such steps
    XLA hands some to another thread, and waits for that longer than a small loop takes.
    """
    found = lax.while_loop(
        lambda now: condition(now.unpacked()),
        lambda now: packed(body(now.unpacked()), in_loop=True),
        packed(carried, in_loop=True),
    )
    return cast(T, found.unpacked())
