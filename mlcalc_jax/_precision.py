"""The data decide the precision: float64 data are computed in float64.

JAX rounds float64 to float32 unless its global x64 flag is set. A front door of this package
computes float64 data in float64 whatever the flag says, inside a local context, and then returns
NumPy arrays, because any further ``jax.numpy`` operation outside that context would round them.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import FunctionType, MethodType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import get_opaque_trace_state

T = TypeVar("T")


def floating(dtype: Any) -> bool:
    """Whether ``dtype`` is a real floating type (bfloat16 and its kin included)."""
    kind = getattr(dtype, "kind", "V")  # V for those that are JAX's own; to ask JAX takes longer
    return bool(jnp.issubdtype(dtype, jnp.floating)) if kind == "V" else kind == "f"


def in_precision_of(data: Any, function: Callable[..., T], *args: Any) -> T:
    """Call ``function(*args)`` in float64 if a leaf of ``data`` is concrete float64.

    Inside a user's own ``jit``, ``vmap`` or ``grad`` something of ``data`` or ``args`` is traced,
    and JAX's flag decides.
    """
    if not holds_double(jax.tree.leaves(data)) or holds_tracer((data, args)):
        return function(*args)
    return in_double(function, *args)


def holds_double(leaves: Iterable[Any]) -> bool:
    """Whether one of the leaves is an array of float64."""
    return any(getattr(leaf, "dtype", None) == np.float64 for leaf in leaves)


def holds_tracer(tree: Any) -> bool:
    """Whether a leaf is traced, or is a function that carries something that is."""
    return is_any_traced(jax.tree.leaves(tree))


def is_any_traced(leaves: Iterable[Any]) -> bool:
    """The same of leaves."""
    waiting, seen = list(leaves), {}
    while waiting:
        leaf = waiting.pop()
        if type(leaf) is np.ndarray:
            continue
        if isinstance(leaf, jax.core.Tracer):
            return True
        if callable(leaf) and id(leaf) not in seen:
            seen[id(leaf)] = leaf  # kept, so that no other gets its id
            carried = _carried(leaf)
            waiting += jax.tree.leaves(carried) if carried else []
    return False


def _carried(function: Any) -> list[Any]:
    """What a function brings with it: closed over, by default, bound, or as an attribute."""
    if isinstance(function, FunctionType):
        cells, defaults = function.__closure__, function.__defaults__
        if cells is None and defaults is None and function.__kwdefaults__ is None:
            return []
        return [*map(_contents, cells or ()), defaults, function.__kwdefaults__]
    if isinstance(function, MethodType):
        return [function.__func__, getattr(function.__self__, "__dict__", None)]
    if isinstance(function, partial):
        return [function.func, function.args, function.keywords]
    return [] if isinstance(function, type) else [getattr(function, "__dict__", None)]


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is empty: the name is not bound yet
        return None


#: Where nothing is traced. (Imported within a trace it is another: then it takes longer to tell.)
_AT_REST = get_opaque_trace_state()


def is_tracing() -> bool:
    """Whether this is called while a user's function is traced, be it with constants alone."""
    if get_opaque_trace_state() == _AT_REST:
        return False
    return isinstance(_nothing(), jax.core.Tracer)  # under vmap and grad it is none


@jax.jit
def _nothing() -> int:
    return 0


def _is_x64_on() -> bool:
    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]  # added at run time


def double() -> AbstractContextManager[Any]:
    """Inside it, float64 is float64; no array of JAX may leave it."""
    return nullcontext() if _is_x64_on() else jax.enable_x64(True)


def in_double(function: Callable[..., T], *args: Any) -> T:
    """Call ``function(*args)`` in float64, whatever JAX's flag says."""
    if _is_x64_on():
        return function(*args)
    with double():
        result = function(*args)
        if not all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(result)):
            result = jax.device_get(result)
        return result
