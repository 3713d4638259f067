"""The words the whole package shares for its arguments."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np

#: Any pytree of arrays: a dict of named scalars, a tuple of layers, one array.
Params: TypeAlias = Any
#: What a user may hand over where numbers are expected.
ArrayLike: TypeAlias = jax.Array | np.ndarray | np.number[Any] | float | int
#: What comes back: NumPy arrays where JAX itself would have rounded float64.
AnyArray: TypeAlias = jax.Array | np.ndarray
#: A pure function ``f(params, x) -> y``.
Model: TypeAlias = Callable[[Params, Any], Any]
#: A pure function ``C(params) -> scalar``.
Cost: TypeAlias = Callable[[Params], Any]
