"""A model of one fit as a function of many at once, the fits in the last axis.

``vmap`` puts the fits first and the points last; a sum over points then runs along memory, and
nothing is computed side by side. A model that works number by number, as most do, is therefore run
step by step on arrays (points, fits); any other goes through ``vmap``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._pointwise import is_pointwise
from .._primitives import ELEMENTWISE

_ELEMENTWISE = ELEMENTWISE | {"real", "imag", "complex", "conj"}
_SHAPES = {"broadcast_in_dim", "reshape", "squeeze"}
_CALLS = {"jit", "pjit", "closed_call"}


class NotLanewiseError(Exception):
    """The model does not work number by number."""


#: Numbers (1, fits), x, and which of the numbers: the result and its derivatives by those.
Lanewise = Callable[[Sequence[Array], Any, Sequence[int]], tuple[Array, list[Array]]]


def lanewise(
    model: Callable[[Sequence[Any], Any], Any], count: int, x: Any, dtype: Any, is_shared: bool
) -> tuple[Lanewise, bool]:
    """The model and its derivatives as functions of arrays (1, fits): they are (points, fits).

    And whether every step of them is elementwise, or gives what is there another shape.

    A derivative that is the same at all points may be (1, fits), or (points, 1) in all fits, or
    (1, 1).

    Derivatives go forward, step by step beside the values. (A ``jax.jvp`` of the whole for each
    number would compute the values once more for each, and the compiler does not always see it.)

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

    def by_steps(numbers: Sequence[Array], x: Any, by: Sequence[int]) -> tuple[Array, list[Array]]:
        leaves = jax.tree.leaves(x)
        of_x: list[Any] = (
            [_Known(leaf) for leaf in leaves] if is_shared else list(map(_Dual, leaves))
        )
        duals = [
            _Dual(number, {k: jnp.ones((1, 1), number.dtype)} if k in by else {})
            for k, number in enumerate(numbers)
        ]
        (result,) = _run(closed.jaxpr, closed.consts, [*duals, *of_x], points)
        shape = points, numbers[0].shape[1]
        found = _lanes(result, points)
        columns = [found.slopes.get(k, jnp.zeros((1, 1), dtype)) for k in by]
        return jnp.broadcast_to(found.value, shape), columns

    def by_vmap(numbers: Sequence[Array], x: Any, by: Sequence[int]) -> tuple[Array, list[Array]]:
        each = jax.vmap(model, in_axes=(-1, None if is_shared else -1), out_axes=-1)
        result, columns = None, []
        for k in by:

            def along(value: Array, k: int = k) -> Array:
                return each(
                    [*[n[0] for n in numbers[:k]], value, *[n[0] for n in numbers[k + 1 :]]], x
                )

            result, column = jax.jvp(along, (numbers[k][0],), (jnp.ones_like(numbers[k][0]),))
            columns.append(column)
        assert result is not None
        return result, columns

    lanes = [jax.ShapeDtypeStruct((1, 2), dtype)] * count
    many = (
        x
        if is_shared
        else jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leaf.shape, 2), leaf.dtype), x)
    )
    try:
        jax.eval_shape(lambda numbers, x: by_steps(numbers, x, range(count)), lanes, many)
    except NotLanewiseError:
        return by_vmap, False
    return by_steps, _is_elementwise(closed.jaxpr)


def at_a_point(
    model: Callable[[Sequence[Any], Any], Any], count: int, x: Any, dtype: Any
) -> Lanewise:
    """A pointwise model and its derivatives at one point: of numbers (fits,), x (), to (fits,).

    A derivative that is the same in all fits may be ().

    Args:
        model: of ``count`` numbers and the x of one fit; returns (points,).
        count: how many numbers.
        x: of one fit, shapes and dtypes.
        dtype: of the numbers.

    Raises:
        NotLanewiseError: a model that is not known to be pointwise; when called, one that does not
            work number by number.
    """
    number = jax.ShapeDtypeStruct((), dtype)
    if any(leaf.ndim != 1 for leaf in jax.tree.leaves(x)):
        raise NotLanewiseError
    if not is_pointwise(model, [number] * count, x, 1):
        raise NotLanewiseError
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1,), leaf.dtype), x)
    closed = jax.make_jaxpr(model)([number] * count, one)

    def by_steps(numbers: Sequence[Array], x: Any, by: Sequence[int]) -> tuple[Array, list[Array]]:
        duals = [
            _Dual(number, {k: jnp.ones((), number.dtype)} if k in by else {})
            for k, number in enumerate(numbers)
        ]
        (result,) = _run(closed.jaxpr, closed.consts, [*duals, *map(_Dual, jax.tree.leaves(x))], 0)
        found = _lanes(result, 0)
        columns = [found.slopes.get(k, jnp.zeros((), dtype)) for k in by]
        return jnp.broadcast_to(found.value, numbers[0].shape), columns

    return by_steps


def _is_elementwise(jaxpr: Any) -> bool:
    """Whether every step is elementwise, or gives what is there another shape; of x alone too."""
    return all(
        _is_elementwise(eqn.params["jaxpr"].jaxpr)
        if eqn.primitive.name in _CALLS
        else eqn.primitive.name in _ELEMENTWISE | _SHAPES
        for eqn in jaxpr.eqns
    )


class _Known:
    """A value that all fits share, in its own shape."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Dual:
    """A value (1 or points, 1 or fits), and its derivatives, alike, by the numbers in it.

    At a point, where ``points`` is 0 in what follows, both are (fits,) or ().
    """

    def __init__(self, value: Any, slopes: dict[int, Any] | None = None) -> None:
        self.value, self.slopes = value, slopes or {}


def _lanes(value: Any, points: int) -> _Dual:
    """A value in lanes."""
    if isinstance(value, _Dual):
        return value
    array = jnp.asarray(value.value)
    if not points and array.size == 1:
        return _Dual(array.reshape(()))
    if array.shape not in ((), (1,), (points,)):
        raise NotLanewiseError
    return _Dual(array.reshape(-1, 1))


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
        params = eqn.primitive.get_bind_params(eqn.params)
        results = eqn.primitive.bind(*(operand.value for operand in operands), **params)
        return [_Known(r) for r in (results if eqn.primitive.multiple_results else [results])]
    if name in _CALLS:
        inner = eqn.params["jaxpr"]
        return _run(inner.jaxpr, inner.consts, operands, points)
    if name in _SHAPES:
        shapes = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
        if all(shape in ((), (1,), (points,)) for shape in shapes) and len(operands) == 1:
            return operands
        raise NotLanewiseError
    if name not in _ELEMENTWISE:
        raise NotLanewiseError
    duals = [_lanes(operand, points) for operand in operands]
    shape = jnp.broadcast_shapes(*(dual.value.shape for dual in duals))
    values = [jnp.broadcast_to(dual.value, shape) for dual in duals]
    result = eqn.primitive.bind(*values, **eqn.params)
    if not jnp.issubdtype(result.dtype, jnp.inexact):
        return [_Dual(result)]
    if name == "exp" and result.dtype == jnp.float64 and points:
        # In a loop of its own it is faster than among the sums over points; not so in float32.
        result = lax.optimization_barrier(result)
    factors = _factors(name, duals, result)
    slopes: dict[int, Any] = {}
    for k in dict.fromkeys(k for dual in duals for k in dual.slopes):
        moving = [i for i, dual in enumerate(duals) if k in dual.slopes]
        if factors is not None:
            slopes[k] = sum(factors[i] * duals[i].slopes[k] for i in moving)
            continue

        def of_moving(*some: Any, moving: list[int] = moving) -> Any:
            given = list(values)
            for i, value in zip(moving, some, strict=True):
                given[i] = value
            return eqn.primitive.bind(*given, **eqn.params)

        tangents = [jnp.broadcast_to(duals[i].slopes[k], shape) for i in moving]
        slopes[k] = jax.jvp(of_moving, [values[i] for i in moving], tangents)[1]
    return [_Dual(result, slopes)]


def _factors(name: str, duals: list[_Dual], result: Any) -> tuple[Any, ...] | None:
    """What the slopes of the operands are multiplied with, in shapes as small as theirs."""
    if name in ("add", "add_any"):
        return 1, 1
    if name == "sub":
        return 1, -1
    if name == "mul":
        a, b = duals
        return b.value, a.value
    if name == "exp":
        return (result,)
    return None
