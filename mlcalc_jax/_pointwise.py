"""Whether a model gives each point its value whatever the other points are, read off its jaxpr."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ._primitives import CALLS, ELEMENTWISE, OWN_DERIVATIVE, called, loop_of
from ._types import Model, Params

_ELEMENTWISE = ELEMENTWISE | {
    *("round", "xor", "nextafter", "copy_p", "real", "imag", "complex", "conj", "polynomial"),
    *("bessel_i0e", "bessel_i1e", "regularized_incomplete_beta", "igamma", "igammac"),
    *("optimization_barrier", "reduce_precision"),
}
_ALONG_AXES = {f"reduce_{name}" for name in ("sum", "prod", "max", "min", "and", "or")}
_CALLS = CALLS | OWN_DERIVATIVE


def is_pointwise(model: Model, params: Params, x: Any, piece: int) -> bool:
    """Whether ``model(params, x)`` can be computed piece by piece.

    True is certain, but for derivatives of the user's own (``custom_jvp``) that mix points; False
    may also mean that it could not be seen, inside a loop say.

    Args:
        model: a pure function.
        params: arrays, or shapes and dtypes.
        x: the same; points along the last axis of each leaf.
        piece: points of a piece. A model that asks how many points there are is not pointwise.
    """

    def traced(points: int | None) -> Any:
        def struct(leaf: Any) -> jax.ShapeDtypeStruct:
            shape, of = np.shape(leaf), jax.typeof(leaf)
            return jax.ShapeDtypeStruct(
                shape if points is None else (*shape[:-1], points), of.dtype, weak_type=of.weak_type
            )

        structs = jax.tree.map(jax.typeof, params), jax.tree.map(struct, x)
        return jax.make_jaxpr(model)(*structs), len(jax.tree.leaves(params))

    try:
        (whole, count), (part, _) = traced(None), traced(piece)
    except Exception:  # of the user's model; computed whole, it will say so itself
        return False
    given = [
        _Value() if k < count else _Value(of.aval.ndim - 1)
        for k, of in enumerate(whole.jaxpr.invars)
    ]
    try:
        _check_alike(whole, part)
        (result,) = _run(whole, given)
    except (_MixedError, ValueError):
        return False
    last = whole.jaxpr.outvars[0].aval.ndim - 1
    return result.axis == last or (result.axis is None and last in result.uniform)


class _MixedError(Exception):
    """A step of the model may mix points."""


class _Value(NamedTuple):
    """A value within the model."""

    axis: int | None = None  #: along which the points run; None if it does not depend on x
    uniform: frozenset[int] = frozenset()  #: of the latter, axes along which it is all the same


def _check_alike(whole: Any, part: Any) -> None:
    """That two programs differ in the length of arrays at most."""
    a, b = whole.jaxpr, part.jaxpr
    same = [np.shape(c) == np.shape(d) for c, d in zip(whole.consts, part.consts, strict=True)]
    if not all(same):
        raise _MixedError
    for one, other in zip(a.eqns, b.eqns, strict=True):
        if one.primitive is not other.primitive:
            raise _MixedError
        for p, q in zip(one.invars, other.invars, strict=True):
            if hasattr(p, "val") and not (hasattr(q, "val") and np.array_equal(p.val, q.val)):
                raise _MixedError
        for name, value in one.params.items():
            if isinstance(value, (bool, int, float, str)) and value != other.params[name]:
                raise _MixedError
        if one.primitive.name in _CALLS or one.primitive.name == "scan":
            _check_alike(called(one), called(other))


def _run(closed: Any, given: Sequence[_Value]) -> list[_Value]:
    known = dict(zip(closed.jaxpr.invars, given, strict=True))
    for constant in closed.jaxpr.constvars:
        shape = constant.aval.shape
        known[constant] = _Value(uniform=frozenset(k for k, size in enumerate(shape) if size == 1))

    def read(atom: Any) -> _Value:
        return _Value() if hasattr(atom, "val") else known[atom]

    for eqn in closed.jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        if eqn.primitive.name in _CALLS:
            results = _run(called(eqn), operands)
        elif eqn.primitive.name == "scan":
            results = _scan(eqn, operands)
        else:
            results = [_step(eqn, operands)] * len(eqn.outvars)
        known |= dict(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in closed.jaxpr.outvars]


def _scan(eqn: Any, operands: list[_Value]) -> list[_Value]:
    """A loop over numbers that are not x, such as the coefficients of a polynomial."""
    first, carried = loop_of(eqn)
    last = first + carried
    if any(value.axis is not None for value in operands[last:]):
        raise _MixedError
    now, turns = operands[first:last], [_Value()] * (len(operands) - last)
    for _ in range(carried + 1):  # more and more of what is carried depends on x
        results = _run(called(eqn), [*operands[:first], *now, *turns])
        then = [_either(a, b) for a, b in zip(now, results[:carried], strict=True)]
        if then == now:
            break
        now = then
    each = [v if v.axis is None else _Value(v.axis + 1) for v in results[carried:]]
    return [*now, *(v if v.axis is not None else _Value() for v in each)]


def _either(a: _Value, b: _Value) -> _Value:
    """What is known of a value that may be one or the other."""
    if a.axis is None and b.axis is None:
        return _Value(uniform=a.uniform & b.uniform)
    axis = _only({v.axis for v in (a, b) if v.axis is not None})
    if not all(v.axis is not None or axis in v.uniform for v in (a, b)):
        raise _MixedError
    return _Value(axis)


def _step(eqn: Any, operands: list[_Value]) -> _Value:
    name, params = eqn.primitive.name, eqn.params
    if not eqn.outvars:
        raise _MixedError  # it prints, say: once, not piece by piece
    shapes = [atom.aval.shape for atom in eqn.invars]
    out = eqn.outvars[0].aval.shape
    axes = {value.axis for value in operands if value.axis is not None}
    if name in _ELEMENTWISE:
        others = [v for v, s in zip(operands, shapes, strict=True) if v.axis is None and s]
        if not axes:
            either = [frozenset(range(len(out))), *(v.uniform for v in others)]
            return _Value(uniform=frozenset.intersection(*either))
        axis = _only(axes)
        if not all(axis in value.uniform for value in others):
            raise _MixedError
        return _Value(axis)
    if name == "broadcast_in_dim":
        to = params["broadcast_dimensions"]
        if axes:
            axis = _only(axes)
            if out[to[axis]] != shapes[0][axis]:
                raise _MixedError
            return _Value(int(to[axis]))
        stays = {d for k, d in enumerate(to) if shapes[0][k] == out[d]}
        kept = {to[k] for k in operands[0].uniform}
        return _Value(uniform=frozenset(set(range(len(out))) - stays | kept))
    if not axes:
        return _Value()
    axis = _only(axes)
    if name == "squeeze":
        return _Value(axis - sum(d < axis for d in params["dimensions"]))
    if name == "reshape":
        before = [k for k, size in enumerate(shapes[0]) if size != 1]
        after = [k for k, size in enumerate(out) if size != 1]
        if params["dimensions"] or [shapes[0][k] for k in before] != [out[k] for k in after]:
            raise _MixedError
        return _Value(after[before.index(axis)])
    if name == "transpose":
        return _Value(params["permutation"].index(axis))
    if name in _ALONG_AXES and axis not in params["axes"]:
        return _Value(axis - sum(d < axis for d in params["axes"]))
    are_along = all(v.axis is not None or axis in v.uniform for v in operands)
    if name == "stack" and are_along:
        return _Value(axis + (params["axis"] <= axis))
    if name == "concatenate" and are_along and params["dimension"] != axis:
        return _Value(axis)
    if name == "slice" and len(operands) == 1:
        begin, end, stride = (params[k] for k in ("start_indices", "limit_indices", "strides"))
        is_whole = begin[axis] == 0 and end[axis] == shapes[0][axis]
        if is_whole and (stride is None or stride[axis] == 1):
            return _Value(axis)
    if name == "dot_general" and sum(value.axis is not None for value in operands) == 1:
        side = 0 if operands[0].axis is not None else 1
        contracted, batch = params["dimension_numbers"]
        if axis not in (*contracted[side], *batch[side]):
            gone = {*contracted[side], *batch[side]}
            place = len(batch[0]) + sum(d not in gone for d in range(axis))
            if side == 1:
                left = len(shapes[0]) - len(contracted[0]) - len(batch[0])
                place += left
            return _Value(place)
    raise _MixedError


def _only(axes: set[int]) -> int:
    if len(axes) > 1:
        raise _MixedError
    return next(iter(axes))
