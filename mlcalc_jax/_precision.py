"""The data decide the precision: float64 data are computed in float64.

JAX rounds float64 to float32 unless its global x64 flag is set. A front door of this package
computes float64 data in float64 whatever the flag says, inside a local context, and then returns
NumPy arrays, because any further ``jax.numpy`` operation outside that context would round them.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


def floating(dtype: Any) -> bool:
    """Whether ``dtype`` is a real floating type (bfloat16 and its kin included)."""
    return bool(jnp.issubdtype(dtype, jnp.floating))


def in_precision_of(data: Any, function: Callable[..., T], *args: Any) -> T:
    """Call ``function(*args)`` in float64 if a leaf of ``data`` is concrete float64.

    Inside a user's own ``jit``, ``vmap`` or ``grad`` the leaves are traced, and JAX's flag decides.
    """
    leaves = jax.tree.leaves(data)
    is_double = any(getattr(leaf, "dtype", None) == np.float64 for leaf in leaves)
    is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    return in_double(function, *args) if is_double and not is_traced else function(*args)


def in_double(function: Callable[..., T], *args: Any) -> T:
    """Call ``function(*args)`` in float64, whatever JAX's flag says."""
    if jnp.result_type(float) == np.float64:
        return function(*args)
    with jax.enable_x64(True):
        return jax.device_get(function(*args))
