"""What the front doors ask of their input, and the errors that name what is wrong.

Values are checked only where they are concrete: inside a user's transformation an array has a
shape and a dtype but no values.
"""

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._precision import floating
from ._types import Params


@contextmanager
def traceable(name: str, has_keys: bool = False) -> Iterator[None]:
    """Inside it, JAX's errors about a function it cannot trace say what to write instead.

    With ``has_keys``, where nothing but the function runs, a key that is missing is named.

    Raises:
        TypeError: the function computes with NumPy or ``math``, or branches on its argument.
        ValueError: it asks for a key that its argument does not have.
    """
    try:
        yield
    except KeyError as missing:
        if not has_keys:
            raise
        raise ValueError(f"{name} asks for {missing}, which is not given") from missing
    except jax.errors.TracerBoolConversionError as error:
        raise TypeError(
            f"{name} must not branch on its argument (if, and, while): write jnp.where"
        ) from error
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise TypeError(
            f"{name} must be written with jax.numpy: NumPy, math and float() cannot be traced"
        ) from error


def is_concrete(value: Any) -> bool:
    """Whether the values can be looked at."""
    return not isinstance(value, jax.core.Tracer)


def is_numeric(value: Any) -> bool:
    """Whether ``value`` is a number or an array of numbers (a traced one included)."""
    if isinstance(value, (bool, int, float, complex)):
        return True
    return hasattr(value, "dtype") and hasattr(value, "shape")


def real_array(name: str, value: Any, dtype: Any = float) -> Any:
    """``value`` as an array of real numbers; integers and bare Python numbers become ``dtype``.

    A float array keeps its own dtype, in this machine's byte order.

    Raises:
        TypeError: something else than real numbers of at most double precision.
        ValueError: a masked array with values that are masked.
    """
    if (type(value) is np.ndarray and value.dtype in _PLAIN) or not is_concrete(value):
        return value
    nothing_masked(name, value)
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if array.dtype == bool or not (floating(array.dtype) or np.issubdtype(array.dtype, np.integer)):
        raise TypeError(f"{name} must be real numbers, got {_kind(array)}")
    if floating(array.dtype) and array.dtype.itemsize > 8:
        raise TypeError(f"{name} must be of double precision at most, got {_kind(array)}")
    if not array.dtype.isnative:  # as FITS files have it
        array = array.astype(array.dtype.newbyteorder("="))
    is_bare = isinstance(value, (int, float)) and not hasattr(value, "dtype")
    return array if floating(array.dtype) and not is_bare else array.astype(dtype)


_PLAIN = np.dtype(np.float64), np.dtype(np.float32)  # most data are of these


def nothing_masked(name: str, value: Any) -> None:
    """Raise if ``value`` is NumPy's masked array, with masked values that would count as others."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(
            f"{name} is a masked array, and what it masks would count: leave it out, or give the "
            "data and, where one is taken, mask=~np.ma.getmaskarray(...)"
        )


def arrays_of_lists(x: Any, y: Any) -> Any:
    """``x`` with each list (or tuple) of plain numbers as an array, bare ones as precise as y."""
    of_y = getattr(y, "dtype", None)
    of_bare = of_y if of_y is not None and floating(of_y) else float

    def is_numbers(part: Any) -> bool:
        return type(part) in (list, tuple) and {int, float, *_NUMPYS} >= {*map(type, part)} != set()

    def array(part: Any) -> Any:
        if not is_numbers(part):
            return part
        return np.asarray(part, of_bare if {int, float} >= {*map(type, part)} else None)

    return x if hasattr(x, "dtype") else jax.tree.map(array, x, is_leaf=is_numbers)


_NUMPYS = (np.float32, np.float64)  # of which list(array) is made


def finite(name: str, array: Any, where: Any = True) -> None:
    """Raise if a concrete ``array`` has a NaN or an infinity where ``where`` holds."""
    if is_concrete(array) and is_concrete(where):
        is_fine = np.isfinite(array)
        if np.count_nonzero(is_fine) == is_fine.size:  # faster than all()
            return
        bad = ~is_fine & np.asarray(where)
        if bad.any():
            raise ValueError(f"{name} must be finite, got {bad.sum()} NaN or infinite")


def one_number(name: str, value: Any) -> float:
    """``value`` as a finite float.

    Raises:
        TypeError, ValueError: it is no real number, more than one, or not finite.
    """
    array = np.asarray(real_array(name, value), float)
    if array.shape != ():
        raise ValueError(f"{name} must be one number, got shape {array.shape}")
    finite(name, array)
    return float(array)


def positive(name: str, value: Any) -> None:
    """Raise unless there is a value, and every concrete one is finite and above zero."""
    if not real_array(name, value).size:
        raise ValueError(f"{name} is empty")
    if is_concrete(value):
        array = np.asarray(value)
        if not (np.isfinite(array) & (array > 0)).all():
            raise ValueError(f"{name} must be finite and above zero, got {_show(array)}")


def not_negative(name: str, value: Any) -> None:
    """Raise unless there is a value, and every concrete one is finite and at least zero."""
    if not real_array(name, value).size:
        raise ValueError(f"{name} is empty")
    if is_concrete(value):
        array = np.asarray(value)
        if not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(f"{name} must be finite and not negative, got {_show(array)}")


def count(name: str, value: Any, least: int = 1) -> int:
    """``value`` as a whole number of at least ``least``."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


_MOST_STEPS = 10**9  # what is counted in 32 bits, with room


def steps(value: Any, least: int = 1, most: int = _MOST_STEPS) -> int:
    """``value`` as how many steps to take at the most."""
    number = count("steps", value, least)
    if number > most:
        raise ValueError(f"steps must be at most {most:,}, got {number:,}")
    return number


def float_params(params: Params, data: Any = None, name: str = "params") -> Params:
    """The parameters as floating arrays, no less precise than the floating leaves of ``data``.

    ``name`` is what errors call them; nothing where the keys of the pytree say it all.

    Raises:
        TypeError: a leaf is not a real number or an array of them.
        ValueError: there is no leaf, or one is empty or not finite.
    """
    leaves, treedef = jax.tree.flatten(params)
    if not leaves:
        raise ValueError(f"{name} holds no parameter: expected a pytree of numbers")
    of_data = _float_dtypes(jax.tree.leaves(data))
    # A bare number has no precision of its own: it takes that of the others.
    of_bare = _wider(of_data + _float_dtypes(leaves))
    floats: list[Any] = []
    names: list[str] = []
    for k, leaf in enumerate(leaves):
        if type(leaf) is float and isfinite(leaf):
            floats.append(np.asarray(leaf, of_bare))
            continue
        names = names or _names(params, name)
        own = _float_dtypes([leaf])
        floats.append(_float_leaf(names[k], leaf, _wider(of_data + own) if own else of_bare))
    return jax.tree.unflatten(treedef, floats)


def _float_dtypes(leaves: list[Any]) -> list[Any]:
    return [leaf.dtype for leaf in leaves if hasattr(leaf, "dtype") and floating(leaf.dtype)]


def _wider(known: list[Any]) -> Any:
    if np.float64 in known:  # result_type would round to float32 while JAX's x64 flag is off
        return np.dtype(np.float64)
    return jnp.result_type(*known) if known else jnp.result_type(float)


def _names(params: Params, name: str) -> list[str]:
    keys = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    if not name:
        return [jax.tree_util.keystr(key, simple=True, separator=".") for key in keys]
    return [name + jax.tree_util.keystr(key) for key in keys]


def _float_leaf(name: str, leaf: Any, target: Any) -> Any:
    """A leaf of the parameters as a floating array."""
    if not is_numeric(leaf):
        raise TypeError(f"{name} must be a real number or an array of them, got {_kind(leaf)}")
    array = real_array(name, leaf)
    if array.size == 0:
        raise ValueError(f"{name} is empty")
    finite(name, array)
    if array.dtype == target:
        return array
    if not is_concrete(array):
        return array.astype(jax.dtypes.canonicalize_dtype(target))
    # NumPy casts: jax.numpy would make float32 of float64 while the x64 flag is off.
    return np.asarray(array).astype(target)


def _kind(value: Any) -> str:
    return f"dtype {value.dtype}" if hasattr(value, "dtype") else f"{value!r}"


def _show(array: np.ndarray) -> str:
    return str(array.item()) if array.size == 1 else f"values from {array.min()} to {array.max()}"
