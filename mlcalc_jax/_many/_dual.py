"""Numbers with their derivatives: forward mode, an elementwise step at a time."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

#: Level wherever they have a slope: it is none, and not 0, of which infinity times would be NaN.
_LEVEL = {"floor", "ceil", "round", "sign", "stop_gradient"}


class Dual:
    """A value (1 or points, 1 or fits), and its derivatives, alike, by the numbers in it.

    At a single point, where ``points`` is 0 in what follows, both are (fits,) or ().
    """

    def __init__(self, value: Any, slopes: dict[int, Any] | None = None) -> None:
        self.value, self.slopes = value, slopes or {}


def stepped(primitive: Any, params: dict[str, Any], duals: Sequence[Dual], points: int) -> Dual:
    """A step of one number, and its derivatives; ``points`` is how many it has within itself."""
    shape = jnp.broadcast_shapes(*(jnp.shape(dual.value) for dual in duals))
    values = [jnp.broadcast_to(dual.value, shape) for dual in duals]
    result = primitive.bind(*values, **params)
    if primitive.name in _LEVEL or not jnp.issubdtype(result.dtype, jnp.inexact):
        return Dual(result)
    if primitive is lax.exp_p and result.dtype == jnp.float64 and points:
        # In a loop of its own it is faster than among the sums over points; not so in float32.
        result = lax.optimization_barrier(result)
    factors = _factors(primitive.name, duals, result)
    slopes: dict[int, Any] = {}
    for k in dict.fromkeys(k for dual in duals for k in dual.slopes):
        moving = {i: dual.slopes[k] for i, dual in enumerate(duals) if k in dual.slopes}
        if factors is not None:
            slopes[k] = sum(factors[i] * slope for i, slope in moving.items())
        else:
            tangents = {i: jnp.broadcast_to(slope, shape) for i, slope in moving.items()}
            slopes[k] = along(partial(primitive.bind, **params), values, tangents)
    return Dual(result, slopes)


def extreme(primitive: Any, duals: Sequence[Dual]) -> Dual:
    """The greatest or the least of some numbers; those that are it share its derivative."""
    found = reduce(primitive.bind, jnp.broadcast_arrays(*(dual.value for dual in duals)))
    are_it = [dual.value == found for dual in duals]
    share = 1 / sum(one.astype(found.dtype) for one in are_it)
    slopes = {
        k: share
        * sum(jnp.where(one, d.slopes.get(k, 0), 0) for one, d in zip(are_it, duals, strict=True))
        for k in dict.fromkeys(k for dual in duals for k in dual.slopes)
    }
    return Dual(found, slopes)


def along(function: Any, values: list[Any], tangents: dict[int, Any]) -> Any:
    """The derivative of a function of several values, along those that move."""

    def of_moving(*some: Any) -> Any:
        given = list(values)
        for i, value in zip(tangents, some, strict=True):
            given[i] = value
        return function(*given)

    return jax.jvp(of_moving, [values[i] for i in tangents], list(tangents.values()))[1]


def _factors(name: str, duals: Sequence[Dual], result: Any) -> tuple[Any, ...] | None:
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
