"""A model of one fit as a function of many at once, the fits in the last axis.

``vmap`` puts the fits first and the points last; a sum over points then runs along memory, and
nothing is computed side by side. A model that works number by number, as most do, is therefore run
step by step on arrays (points, fits); any other goes through ``vmap``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

_ELEMENTWISE = {
    *("add", "sub", "mul", "div", "neg", "sign", "abs", "max", "min", "rem", "floor", "ceil"),
    *("exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "pow", "integer_pow"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh"),
    *("acosh", "atanh", "logistic", "erf", "erfc", "erf_inv", "lgamma", "digamma", "square"),
    *("gt", "lt", "ge", "le", "eq", "ne", "and", "or", "not", "is_finite", "select_n", "clamp"),
    *("convert_element_type", "copy", "stop_gradient", "add_any"),
}
_CALLS = {"jit", "pjit", "closed_call"}


class _NotLanewiseError(Exception):
    """A step of the model does not work number by number."""


def lanewise(
    model: Callable[[Sequence[Any], Any], Any], count: int, x: Any, dtype: Any, is_shared: bool
) -> Callable[[Sequence[Array], Any], Array]:
    """The model as a function of ``count`` arrays (1, fits) and x, which returns (points, fits).

    Args:
        model: of ``count`` numbers and the x of one fit; returns (points,).
        count: how many numbers.
        x: of one fit, shapes and dtypes.
        dtype: of the numbers.
        is_shared: whether all fits have one x; if not, the leaves of x are (points, fits).
    """
    number = jax.ShapeDtypeStruct((), dtype)
    closed, out = jax.make_jaxpr(model, return_shape=True)([number] * count, x)
    points = out.shape[-1]

    def by_steps(numbers: Sequence[Array], x: Any) -> Array:
        leaves = jax.tree.leaves(x)
        of_x: list[Any] = [_Known(leaf) for leaf in leaves] if is_shared else leaves
        (result,) = _run(closed.jaxpr, closed.consts, [*numbers, *of_x], points)
        return jnp.broadcast_to(_lanes(result, points), (points, numbers[0].shape[1]))

    def by_vmap(numbers: Sequence[Array], x: Any) -> Array:
        each = jax.vmap(model, in_axes=(-1, None if is_shared else -1), out_axes=-1)
        return each([number[0] for number in numbers], x)

    lanes = [jax.ShapeDtypeStruct((1, 2), dtype)] * count
    many = (
        x
        if is_shared
        else jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leaf.shape, 2), leaf.dtype), x)
    )
    try:
        jax.eval_shape(by_steps, lanes, many)
    except _NotLanewiseError:
        return by_vmap
    return by_steps


class _Known:
    """A value that all fits share, in its own shape."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _lanes(value: Any, points: int) -> Any:
    """A value as (1 or points, 1 or fits)."""
    if not isinstance(value, _Known):
        return value
    array = jnp.asarray(value.value)
    if array.shape not in ((), (1,), (points,)):
        raise _NotLanewiseError
    return array.reshape(-1, 1)


def _run(jaxpr: Any, consts: Sequence[Any], given: Sequence[Any], points: int) -> list[Any]:
    known: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return _Known(atom.val) if hasattr(atom, "val") else known[atom]

    known |= dict(zip(jaxpr.constvars, map(_Known, consts), strict=True))
    known |= dict(zip(jaxpr.invars, given, strict=True))
    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        known |= dict(zip(eqn.outvars, _step(eqn, operands, points), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _step(eqn: Any, operands: list[Any], points: int) -> list[Any]:
    name = eqn.primitive.name
    if all(isinstance(operand, _Known) for operand in operands):
        results = eqn.primitive.bind(*(operand.value for operand in operands), **eqn.params)
        return [_Known(r) for r in (results if eqn.primitive.multiple_results else [results])]
    if name in _CALLS:
        inner = eqn.params["jaxpr"]
        return _run(inner.jaxpr, inner.consts, operands, points)
    if name in ("broadcast_in_dim", "reshape", "squeeze"):
        shapes = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
        if all(shape in ((), (1,), (points,)) for shape in shapes) and len(operands) == 1:
            return operands
        raise _NotLanewiseError
    if name not in _ELEMENTWISE:
        raise _NotLanewiseError
    arrays = [_lanes(operand, points) for operand in operands]
    shape = jnp.broadcast_shapes(*(a.shape for a in arrays))
    return [eqn.primitive.bind(*(jnp.broadcast_to(a, shape) for a in arrays), **eqn.params)]
