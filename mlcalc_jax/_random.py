"""Seeds and keys: where a seed is welcome, so is a key of ``jax.random``."""

from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def as_key(seed_or_key: Any) -> Array:
    """A key of ``jax.random`` from a seed, or the key itself (old-style arrays of two included).

    Raises:
        TypeError: it is neither.
        ValueError: a seed beyond a signed integer of 64 bits.
    """
    if isinstance(seed_or_key, int) and not isinstance(seed_or_key, bool):
        try:
            # Of more than 32 bits all count, whatever JAX's flag says.
            is_long = not -(2**31) <= seed_or_key < 2**32
            with jax.enable_x64(True) if is_long else nullcontext():
                return jax.random.key(seed_or_key)
        except OverflowError:
            raise ValueError(f"a seed must lie from -2^63 to 2^63 - 1, got {seed_or_key}") from None
    try:
        value = jnp.asarray(seed_or_key)
    except (TypeError, ValueError):
        raise _neither(seed_or_key) from None
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value
    if jnp.issubdtype(value.dtype, jnp.integer):
        return jax.random.key(value) if value.ndim == 0 else jax.random.wrap_key_data(value)
    raise _neither(seed_or_key)


def as_leaf(seed_or_key: Any) -> Any:
    """The same as it can be an argument of compiled code, where bare integers have 32 bits.

    Raises:
        TypeError, ValueError: those of :func:`as_key`.
    """
    key = as_key(seed_or_key)
    is_long = isinstance(seed_or_key, int) and not -(2**31) <= seed_or_key < 2**31
    return key if is_long else seed_or_key


def _neither(value: Any) -> TypeError:
    return TypeError(f"key must be a whole-number seed or a key of jax.random, got {value!r}")
