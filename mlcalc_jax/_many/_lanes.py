"""A model of one fit as a function of many at once, the fits in the last axis.

``vmap`` puts the fits first and the points last; a sum over points then runs along memory, and
nothing is computed side by side. A model that can be run number by number, as most can, is
therefore run step by step on arrays (points, fits); any other goes through ``vmap``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._pointwise import is_pointwise
from ._dual import Dual
from ._unrolled import Known, NotLanewiseError, Numbers, Unrolled, Value

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

    def by_steps(
        keeps_x: bool,
        numbers: Sequence[Array],
        x: Any,
        by: Sequence[int],
        program: Unrolled | None = None,
    ) -> tuple[Array, list[Array]]:
        """``keeps_x`` as the array that it is in the model; if not, it is numbers as well."""
        program = program or Unrolled(points)
        axis = 0 if points > 1 else None
        of_x: list[Value] = [
            Known(leaf) if keeps_x else Numbers.of(Dual(leaf.reshape(points, -1)), (points,), axis)
            for leaf in jax.tree.leaves(x)
        ]
        given = [*_moving(numbers, by, jnp.ones((1, 1), dtype)), *of_x]
        found = program.run(closed, given)
        columns = [found.slopes.get(k, jnp.zeros((1, 1), dtype)) for k in by]
        return jnp.broadcast_to(found.value, (points, numbers[0].shape[1])), columns

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
    has_rows = all(leaf.shape == (points,) for leaf in jax.tree.leaves(x))
    way: Lanewise = by_vmap
    for keeps_x in [True] * is_shared + [False] * has_rows:
        program, this = Unrolled(points), partial(by_steps, keeps_x)
        try:
            jax.eval_shape(partial(this, by=range(count), program=program), lanes, many)
        except Exception:  # NotLanewiseError, or of a step that vmap may know how to do
            continue
        if program.is_elementwise:
            return this, True
        way = this if way is by_vmap else way
    return way, False


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
    lengths = {leaf.shape for leaf in jax.tree.leaves(x)}
    if len(lengths) != 1 or len(length := lengths.pop()) != 1:
        raise NotLanewiseError
    if not is_pointwise(model, [number] * count, x, length[0] + 1):
        raise NotLanewiseError
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1,), leaf.dtype), x)
    closed = jax.make_jaxpr(model)([number] * count, one)

    def by_steps(numbers: Sequence[Array], x: Any, by: Sequence[int]) -> tuple[Array, list[Array]]:
        of_x = [Numbers.of(Dual(leaf), (1,)) for leaf in jax.tree.leaves(x)]
        program = Unrolled(0)
        given = [*_moving(numbers, by, jnp.ones((), dtype)), *of_x]
        found = program.run(closed, given)
        columns = [found.slopes.get(k, jnp.zeros((), dtype)) for k in by]
        return jnp.broadcast_to(found.value, numbers[0].shape), columns

    return by_steps


def _moving(numbers: Sequence[Array], by: Sequence[int], one: Array) -> list[Numbers]:
    """The parameters, each with its slope by itself if that is wanted."""
    slopes = [{k: one} if k in by else {} for k in range(len(numbers))]
    return [Numbers.of(Dual(n, slope)) for n, slope in zip(numbers, slopes, strict=True)]
