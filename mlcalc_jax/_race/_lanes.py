"""A function of one run as a function of many at once, the runs in the last axis.

``vmap`` puts the runs first, and small matrices, one pair a run, are then multiplied one by one.
With the runs last every operation is computed side by side: a product of small matrices is a sum of
products of vectors.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal

from .._primitives import CALLS, ELEMENTWISE, OWN_DERIVATIVE, called

#: Work number by number.
_ELEMENTWISE = ELEMENTWISE | {
    *("round", "xor", "nextafter", "copy_p"),
    *("shift_left", "shift_right_logical", "shift_right_arithmetic"),
}
#: Name axes by numbers from the left, which the runs, in the last axis, do not move.
_ALONG_AXES = {
    *("reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or"),
    *("cumsum", "cumprod", "cummax", "cummin", "rev", "split", "squeeze", "expand_dims"),
}
_UNROLLED = 16  # terms of a sum that are written out
_SMALL_PRODUCT = 64  # entries that are summed in one loop


class _Value(NamedTuple):
    """An array: of each run, which are its last axis, or one that all runs share."""

    array: Any
    is_each: bool


def lanewise(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """The function of many runs at once: of the leaves of arguments and result, runs are last.

    It may be called for any number of runs. What it closes over, all runs share. A step of it that
    is not known to keep the last axis apart goes through ``vmap``.

    Args:
        function: of one run.
        arguments: of one run, their shapes and dtypes.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)

    def many(*arguments: Any) -> Any:
        leaves = jax.tree.leaves(arguments)
        lanes = leaves[0].shape[-1]
        results = _run(closed, [_Value(leaf, True) for leaf in leaves], lanes)
        each = [_spread(result, lanes) for result in results]
        return jax.tree.unflatten(jax.tree.structure(shape), each)

    return many


def _spread(value: _Value, lanes: int, shape: tuple[int, ...] | None = None) -> Any:
    """The array of each run, broadcast to a shape."""
    array, is_each = value
    if shape is None:
        shape = jnp.shape(array)[: -1 if is_each else None]
    return jnp.broadcast_to(array if is_each else jnp.expand_dims(array, -1), (*shape, lanes))


def _run(closed: ClosedJaxpr, given: Sequence[_Value], lanes: int) -> list[_Value]:
    jaxpr = closed.jaxpr
    known: dict[Any, _Value] = {
        variable: _Value(const, False)
        for variable, const in zip(jaxpr.constvars, closed.consts, strict=True)
    }
    known |= dict(zip(jaxpr.invars, given, strict=True))

    def value_of(atom: Any) -> _Value:
        return _Value(atom.val, False) if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        results = _step(eqn, [value_of(atom) for atom in eqn.invars], lanes)
        known |= dict(zip(eqn.outvars, results, strict=True))
    return [value_of(atom) for atom in jaxpr.outvars]


def _step(eqn: Any, given: list[_Value], lanes: int) -> list[_Value]:
    name, is_each = eqn.primitive.name, [value.is_each for value in given]
    if name in CALLS | OWN_DERIVATIVE:
        return _run(called(eqn), given, lanes)
    params = eqn.primitive.get_bind_params(eqn.params)

    def bind(*arrays: Any) -> list[Any]:
        results = eqn.primitive.bind(*arrays, **params)
        return list(results) if eqn.primitive.multiple_results else [results]

    arrays = [value.array for value in given]
    if not any(is_each):
        return [_Value(result, False) for result in bind(*arrays)]
    shape = eqn.outvars[0].aval.shape if eqn.outvars else ()
    results: list[Any] | None = None
    if name in _ELEMENTWISE:
        results = bind(*(_spread(value, lanes, shape) for value in given))
    elif name == "reduce_sum":
        results = [
            lax.reshape(_sum(arrays[0], tuple(map(int, eqn.params["axes"]))), (*shape, lanes))
        ]
    elif name in _ALONG_AXES:
        results = bind(*arrays)
    elif name in _MOVES and is_each[0] and not any(is_each[1:]):
        results = [_MOVES[name](arrays[0], eqn.params, shape, lanes)]
    elif name == "concatenate":
        results = bind(*(_spread(value, lanes) for value in given))
    elif name == "dot_general":
        product = _product(eqn, given, lanes)
        results = None if product is None else [product]
    if results is None:
        in_axes = [-1 if each else None for each in is_each]
        results = jax.vmap(bind, in_axes=in_axes, out_axes=-1)(*arrays)
    return [_Value(result, True) for result in results]


def _broadcast(array: Any, params: Any, shape: tuple[int, ...], lanes: int) -> Any:
    dimensions = (*params["broadcast_dimensions"], len(shape))
    return lax.broadcast_in_dim(array, (*shape, lanes), dimensions)


def _reshape(array: Any, params: Any, shape: tuple[int, ...], lanes: int) -> Any:
    order = params["dimensions"]  # in which the axes are read
    return lax.reshape(array, (*shape, lanes), None if order is None else (*order, len(order)))


def _transpose(array: Any, params: Any, shape: tuple[int, ...], lanes: int) -> Any:
    return lax.transpose(array, (*params["permutation"], len(shape)))


def _slice(array: Any, params: Any, shape: tuple[int, ...], lanes: int) -> Any:
    strides = params["strides"]
    return lax.slice(
        array,
        (*params["start_indices"], 0),
        (*params["limit_indices"], lanes),
        None if strides is None else (*strides, 1),
    )


#: Move numbers about; of several operands the first alone is one of each run.
_MOVES: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
}


def _sum(array: Any, axes: Sequence[int]) -> Any:
    """The sum over axes, (free, runs)."""
    terms = _matrices(array, (), axes)[0]
    if terms.shape[1] <= _UNROLLED:
        return terms.sum(1, dtype=terms.dtype)
    # The compiler sums over an axis that is not the last number by number; a loop goes by vectors.
    return lax.fori_loop(
        0,
        terms.shape[1],
        lambda k, total: total + lax.dynamic_index_in_dim(terms, k, 1, keepdims=False),
        jnp.zeros((terms.shape[0], terms.shape[2]), terms.dtype),
    )


def _product(eqn: Any, given: list[_Value], lanes: int) -> Any:
    """A product of small matrices, one of them at least one of each run; None if large or empty."""
    contracted, batch = eqn.params["dimension_numbers"]
    if any(value.array.dtype != eqn.params["preferred_element_type"] for value in given):
        return None
    a, b = (
        _matrices(value.array if value.is_each else value.array[..., None], *axes)
        for value, *axes in zip(given, batch, contracted, strict=True)
    )
    terms = a.shape[2]
    if not terms:
        return None
    a, b = a[:, :, None], b[:, None, :]  # (batch, rows, columns, terms, runs), broadcast
    if terms <= _UNROLLED:
        total = sum(a[:, :, :, k] * b[:, :, :, k] for k in range(terms))
    elif a.shape[0] * a.shape[1] * b.shape[2] <= _SMALL_PRODUCT:

        def add(k: Any, total: Any) -> Any:
            one, other = (lax.dynamic_index_in_dim(m, k, 3, keepdims=False) for m in (a, b))
            return total + one * other

        empty = jnp.zeros((a.shape[0], a.shape[1], b.shape[2], lanes), a.dtype)
        total = lax.fori_loop(0, terms, add, empty)
    else:
        return None
    return lax.reshape(total, (*eqn.outvars[0].aval.shape, lanes))


def _matrices(array: Any, batch: Sequence[int], contracted: Sequence[int]) -> Any:
    """(batch, free, contracted, runs)."""
    runs = array.ndim - 1
    free = [i for i in range(runs) if i not in (*batch, *contracted)]
    moved = lax.transpose(array, (*batch, *free, *contracted, runs))
    sizes = (prod(array.shape[i] for i in axes) for axes in (batch, free, contracted))
    return lax.reshape(moved, (*sizes, array.shape[runs]))
