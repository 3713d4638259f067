"""From the vector a fit moves to the parameters of a model: fixed, bounded, transformed, tied."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from . import _check
from ._types import Params
from .transforms import Transform


class Freedom(NamedTuple):
    """Which numbers of the start are free, on what scale, and what the model makes of them.

    Numbers are counted as ``ravel_pytree`` lays the parameters out.
    """

    free: tuple[int, ...]  #: places of the free ones
    transforms: tuple[tuple[Transform, tuple[int, ...]], ...]  #: each with the places it acts on
    tie: Callable[[Params], Params] | None

    def vector(self, start: Params, on_scale: bool = True) -> Float[Array, "free"]:
        """The free numbers of the start, on the scale of the fit or as they are."""
        flat, _ = ravel_pytree(start)
        return (self._on_scale(flat) if on_scale else flat)[np.array(self.free)]

    def placed(self, numbers: Float[Array, "free"], start: Params) -> Params:
        """The start with other free numbers, as they are."""
        flat, unravel = ravel_pytree(start)
        return unravel(flat.at[np.array(self.free)].set(numbers))

    def params(self, at: Float[Array, "free"], start: Params) -> Params:
        """The model's parameters where the free vector is ``at``."""
        params = self.untied(at, start)
        return params if self.tie is None else self.tie(params)

    def untied(self, at: Float[Array, "free"], start: Params) -> Params:
        """What the user would start from to be at ``at``."""
        flat, unravel = ravel_pytree(start)
        if self.is_plain(flat.size):
            flat = at
        else:
            flat = self._on_scale(flat).at[np.array(self.free)].set(at)
            for transform, places in self.transforms:
                here = np.array(places)
                flat = flat.at[here].set(transform.to_full(flat[here]))
        return unravel(flat)

    def is_plain(self, numbers: int) -> bool:
        """Whether the free vector is that many numbers of the start, as they are."""
        return len(self.free) == numbers and not self.transforms

    def limits(self, bounds: tuple[Any, Any], start: Params) -> tuple[Array, Array]:
        """Bounds of all numbers, as bounds of the free vector.

        An end that the transform cannot take, or takes to the other side of the start, lies beyond
        its range: what is between is bounded by nothing.
        """
        low, high = map(jnp.asarray, bounds)
        flat, _ = ravel_pytree(start)
        for transform, places in self.transforms:
            here = np.array(places)
            at, up = jax.jvp(transform.to_free, (flat[here],), (jnp.ones_like(flat[here]),))
            a, b = (
                jnp.where((end - at) * side * up >= 0, end, side * up * jnp.inf)
                for side, end in (
                    (-1, transform.to_free(low[here])),
                    (1, transform.to_free(high[here])),
                )
            )
            low, high = low.at[here].set(jnp.minimum(a, b)), high.at[here].set(jnp.maximum(a, b))
        free = np.array(self.free)
        return low[free], high[free]

    def _on_scale(self, flat: Array) -> Array:
        for transform, places in self.transforms:
            here = np.array(places)
            flat = flat.at[here].set(transform.to_free(flat[here]))
        return flat


def freedom(
    start: Params,
    fixed: Any,
    transforms: Mapping[str, Transform] | None,
    tie: Callable[[Params], Params] | None,
) -> Freedom:
    """What of the start is free, from what the user said.

    Raises:
        TypeError: a transform or tie that is none.
        ValueError: an unknown name, nothing left free, a start its transform cannot take.
    """
    is_none_fixed = isinstance(fixed, (str, tuple, list, set, frozenset)) and not fixed
    if is_none_fixed and not transforms and tie is None:
        return _all_free(sum([leaf.size for leaf in jax.tree.leaves(start)]))
    leaves = jax.tree_util.tree_leaves_with_path(start)
    sizes = [jnp.size(leaf) for _, leaf in leaves]
    ends = np.cumsum([0, *sizes])
    places = {  # of each top-level name
        name: tuple(
            int(i)
            for (path, _), a, b in zip(leaves, ends[:-1], ends[1:], strict=True)
            if path and _key(path[0]) == name
            for i in range(a, b)
        )
        for name in dict.fromkeys(_key(path[0]) for path, _ in leaves if path)
    }
    is_fixed = np.zeros(ends[-1], bool)
    if isinstance(fixed, str):
        fixed = (fixed,)
    if _is_names(fixed):
        for name in fixed:
            is_fixed[list(_places(places, name, "fixed"))] = True
    else:
        is_fixed = _flags(fixed, start)
    if is_fixed.all():
        raise ValueError("every parameter is fixed: there is nothing to fit")
    grouped: dict[Transform, tuple[int, ...]] = {}
    for name, transform in (transforms or {}).items():
        if not (isinstance(transform, Transform) and all(map(callable, transform))):
            raise TypeError(f"transforms[{name!r}] must be a Transform, got {transform!r}")
        here = _places(places, name, "transforms")
        values = [leaf for path, leaf in leaves if path and _key(path[0]) == name]
        if all(map(_check.is_concrete, values)):
            flat = np.concatenate([np.ravel(leaf) for leaf in values])
            # Inside a user's jit it would be traced.
            with np.errstate(all="ignore"), jax.ensure_compile_time_eval():
                if not np.isfinite(np.asarray(transform.to_free(flat))).all():
                    raise ValueError(f"params[{name!r}] is outside the range of its transform")
        grouped[transform] = grouped.get(transform, ()) + here
    if tie is not None and not callable(tie):
        raise TypeError(f"tie must be a function of the parameters, got {tie!r}")
    free = tuple(int(i) for i in np.flatnonzero(~is_fixed))
    return Freedom(free, tuple(grouped.items()), tie)


@cache
def _all_free(numbers: int) -> Freedom:
    return Freedom(tuple(range(numbers)), (), None)


def bounds_of(start: Params, bounds: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Lowest and highest value of every number, in the order of ``ravel_pytree``; None for none.

    ``bounds`` is a (low, high) pair for each leaf, in a tree like the parameters; of a mapping,
    what is not bounded may be left out. None and infinity stand for no bound.

    Raises:
        ValueError: an unknown name, something that is no pair, a low above or at its high, a start
            outside.
    """
    if bounds is None:
        return None
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    _collect(start, bounds, "params", pairs)
    low, high = (np.concatenate([np.ravel(pair[k]) for pair in pairs]) for k in (0, 1))
    if not (np.isfinite(low) | np.isfinite(high)).any():
        return None
    names = names_of(start)
    leaves = jax.tree.leaves(start)
    for k, name in enumerate(names):
        if not low[k] < high[k]:
            raise ValueError(
                f"the bounds of {name} must go from lower to higher, got {_show(low, high, k)}"
            )
    if all(map(_check.is_concrete, leaves)):
        flat = np.concatenate([np.ravel(leaf) for leaf in leaves])
        outside = np.flatnonzero((flat < low) | (flat > high))
        if outside.size:
            k = int(outside[0])
            raise ValueError(
                f"{names[k]} starts at {flat[k]}, outside its bounds {_show(low, high, k)}"
            )
    return low, high


def into_bounds(start: Params, bounds: Any) -> Params:
    """A start that nobody gave, moved to the nearest bound where it lies outside."""
    if bounds is None:
        return start
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    _collect(start, bounds, "params", pairs)
    leaves, treedef = jax.tree.flatten(start)
    moved = [_between(leaf, *pair) for leaf, pair in zip(leaves, pairs, strict=True)]
    return jax.tree.unflatten(treedef, moved)


def _between(leaf: Any, low: np.ndarray, high: np.ndarray) -> Any:
    """Within the bounds also once it is rounded."""
    value = np.clip(leaf, low, high).astype(leaf.dtype)
    value = np.where(value < low, np.nextafter(value, np.inf, dtype=value.dtype), value)
    return np.where(value > high, np.nextafter(value, -np.inf, dtype=value.dtype), value)


def names_of(params: Params) -> list[str]:
    """What to call each number: ``mu``, ``coefficients[2]``, ``[0]`` in a bare array."""
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        stem = "".join([_key(path[0]), *(f"[{_key(key)}]" for key in path[1:])]) if path else ""
        shape = jnp.shape(leaf)
        names += [
            stem + (f"[{', '.join(map(str, index))}]" if shape else "")
            for index in np.ndindex(*shape)
        ]
    return [name or "params" for name in names]


def _key(entry: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _is_names(fixed: Any) -> bool:
    return (
        isinstance(fixed, Iterable)
        and not isinstance(fixed, Mapping)
        and all(isinstance(name, str) for name in fixed)
    )


def _places(places: Mapping[str, tuple[int, ...]], name: str, of: str) -> tuple[int, ...]:
    if name not in places:
        known = ", ".join(places) or "none with a name"
        raise ValueError(f"{of} names {name!r}, but the parameters are {known}")
    return places[name]


def _flags(fixed: Any, start: Params) -> np.ndarray:
    """A tree of booleans like the parameters, or of a part of a mapping, as one array."""
    if isinstance(fixed, Mapping) and isinstance(start, Mapping):
        unknown = [name for name in fixed if name not in start]
        if unknown:
            raise ValueError(
                f"fixed names {unknown[0]!r}, but the parameters are {', '.join(start)}"
            )
        parts, treedef = _parts(start)
        fixed = treedef.unflatten([fixed.get(name, False) for name, _ in parts])
    elif jax.tree_util.all_leaves([start]):
        fixed = np.asarray(fixed)
    try:
        full = jax.tree.map(
            lambda flag, part: jax.tree.map(
                lambda leaf: np.broadcast_to(np.asarray(flag), jnp.shape(leaf)), part
            ),
            fixed,
            start,
        )
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"fixed must be names, or a tree of booleans like the parameters: {error}"
        ) from None
    flags = [np.ravel(flag) for flag in jax.tree.leaves(full)]
    if any(flag.dtype != bool for flag in flags):
        raise ValueError(f"fixed must be names, or a tree of booleans, got {fixed!r}")
    return np.concatenate(flags)


def _collect(params: Params, bounds: Any, name: str, pairs: list[Any]) -> None:
    """Add the bounds of every leaf of ``params`` to ``pairs``, in order."""
    if bounds is None:
        for leaf in jax.tree.leaves(params):
            shape = jnp.shape(leaf)
            pairs.append((np.full(shape, -np.inf), np.full(shape, np.inf)))
    elif isinstance(params, Mapping):
        if not isinstance(bounds, Mapping):
            raise ValueError(f"the bounds of {name} must be a mapping of names, got {bounds!r}")
        unknown = [key for key in bounds if key not in params]
        if unknown:
            raise ValueError(
                f"bounds names {unknown[0]!r}, but the parameters are {', '.join(map(str, params))}"
            )
        for key, part in _parts(params)[0]:
            _collect(part, bounds.get(key), str(key), pairs)
    elif jax.tree_util.all_leaves([params]):
        pairs.append(_pair(params, bounds, name))
    elif isinstance(params, (tuple, list)) and isinstance(bounds, (tuple, list)):
        if len(params) != len(bounds):
            raise ValueError(f"{name} has {len(params)} parts, its bounds {len(bounds)}")
        for k, (part, pair) in enumerate(zip(params, bounds, strict=True)):
            _collect(part, pair, f"{name}[{k}]", pairs)
    elif type(bounds) is type(params):
        for (key, part), (_, pair) in zip(_parts(params)[0], _parts(bounds)[0], strict=True):
            _collect(part, pair, f"{name}[{key}]", pairs)
    else:
        raise ValueError(f"the bounds of {name} must be a tree like the parameters, got {bounds!r}")


def _parts(tree: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """What a node of a pytree holds, by key, in the order in which JAX lays it out."""
    below, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda at: at is not tree)
    return [(getattr(path[0], "key", _key(path[0])), part) for path, part in below], treedef


def _pair(leaf: Any, bounds: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        low, high = bounds
        ends = tuple(
            np.broadcast_to(np.asarray(other if end is None else end, float), jnp.shape(leaf))
            for end, other in ((low, -np.inf), (high, np.inf))
        )
    except (ValueError, TypeError):
        raise ValueError(
            f"the bounds of {name} must be a pair (low, high), got {bounds!r}"
        ) from None
    return ends[0], ends[1]


def _show(low: np.ndarray, high: np.ndarray, k: Any) -> str:
    return f"({low[k]}, {high[k]})"
