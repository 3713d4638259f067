"""The input of ``fit_many``: checked, and cut into windows of fits.

Data may be larger than memory (``numpy.memmap``, Zarr, HDF5): they are read window by window, and
what can be known of their values only then is checked then.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _check
from .._minimise import checked_cost
from .._problem import LeastSquares, loss_of, model_name
from ..losses import Poisson

Bounds = Mapping[str, tuple[Any, Any]]
#: x, y and mask of a window: params with a leading axis of fits.
Guess = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Input:
    """Everything that is fitted; what all fits share has no leading axis."""

    model: Any
    treedef: Any
    names: list[str]
    starts: list[Any]  # of each number, () or (fits,)
    guess: Guess | None  # that makes them, window by window
    low: list[np.ndarray | None]
    high: list[np.ndarray | None]
    held: list[np.ndarray | None]  # (fits,), where fixed in some only
    free: tuple[int, ...]
    x: Any  # leaves flat, or of each fit
    has_shared_x: bool
    y: Any  # (fits, *grid), maybe on disk
    sigma: Any
    mask: Any
    loss: Any
    dtype: np.dtype[Any]

    @property
    def fits(self) -> int:
        """How many."""
        return int(self.y.shape[0])

    @property
    def points(self) -> int:
        """Of one fit."""
        return int(np.prod(self.y.shape[1:]))

    @property
    def is_on_device(self) -> bool:
        """Whether y is in the memory of an accelerator, where results are to be as well."""
        return is_on_device(self.y)

    def window(self, start: int, stop: int, dtype: Any = None) -> dict[str, Any]:
        """The fits from ``start`` to ``stop``, flat, in memory: in that of an accelerator if y is.

        With a ``dtype`` of their own they are in that of the host.

        Raises:
            ValueError: sigma that is not above zero, counts below zero.
        """
        xp: Any = jnp if self.is_on_device and dtype is None else np
        part = slice(start, stop)
        dtype = dtype or self.dtype
        with jax.enable_x64(True) if dtype == np.float64 else nullcontext():
            return self._window(xp, part, dtype)

    def _window(self, xp: Any, part: slice, dtype: Any) -> dict[str, Any]:
        def rows(array: Any, kind: Any = dtype) -> Any:
            if array is None or array.ndim < 2:
                return array if array is None else np.asarray(array, kind)
            return _flat(xp.asarray(array[part]), self.points).astype(kind, copy=False)

        def of_each(numbers: list[Any], kind: Any) -> list[Any]:
            return [
                n if n is None else xp.asarray(n[part], kind) if n.ndim else n.astype(kind)
                for n in numbers
            ]

        def rounded(numbers: list[Any]) -> list[Any]:
            """As the data are, whatever is computed in: a start at a bound stays there."""
            of_data = of_each(numbers, self.dtype)
            return [n if n is None else n.astype(dtype) for n in of_data]

        y, mask, weight = rows(self.y), rows(self.mask, bool), rows(self.sigma)
        counts = True if mask is None else mask
        if weight is not None:
            bad = ~(xp.isfinite(weight) & (weight > 0)) & counts
            if bad.any():
                raise ValueError(
                    f"sigma must be finite and above zero, got {bad.sum()} that are not"
                    f"{_first_of(bad, part)}"
                )
            weight = 1 / xp.where(weight > 0, weight, 1)
        if isinstance(self.loss, Poisson):
            with np.errstate(invalid="ignore"):
                below = (y < 0) & counts
            if below.any():
                raise ValueError(
                    f"y must be counts for a Poisson loss, got {y[below].min()}"
                    f"{_first_of(below, part)}"
                )
        x = jax.tree.map(
            (lambda leaf: np.asarray(leaf, dtype)) if self.has_shared_x else rows, self.x
        )
        low, high = rounded(self.low), rounded(self.high)
        if self.guess is None:
            starts = rounded(self.starts)
            self._inside(starts, low, high)
        else:
            guess = self.guess(*jax.tree.map(np.asarray, (x, y, mask)))
            starts = [
                np.clip(np.asarray(s, dtype), a, b) if a is not None or b is not None else s
                for s, a, b in zip(jax.tree.leaves(guess), low, high, strict=True)
            ]
            starts = [np.asarray(s, dtype) for s in starts]
        return {
            "starts": starts,
            "low": low,
            "high": high,
            "held": of_each(self.held, bool),
            "x": x,
            "y": y,
            "weight": weight,
            "mask": mask,
            "loss": self.loss,
        }

    def _inside(self, starts: list[Any], low: list[Any], high: list[Any]) -> None:
        for name, start, least, most in zip(self.names, starts, low, high, strict=True):
            outside: Any = np.zeros((), bool)
            if least is not None:
                outside = outside | (start < least)
            if most is not None:
                outside = outside | (start > most)
            if outside.any():
                count = int(outside.sum())
                raise ValueError(f"{count} start(s) of {name!r} lie outside its bounds")


def checked(
    model: Any,
    params: Any,
    x: Any,
    y: Any,
    sigma: Any,
    mask: Any,
    loss: Any,
    bounds: Bounds | None,
    fixed: Iterable[str] | Mapping[str, Any],
) -> Input:
    """The input, once everything that its shapes and parameters can be asked is answered.

    Raises:
        TypeError, ValueError: as for :func:`mlcalc_jax.fit_many`.
    """
    if not callable(model):
        raise TypeError(f"model must be a function f(params, x), got {model!r}")
    y, dtype = _data("y", y)
    if y.ndim < 2 or 0 in y.shape:
        raise ValueError(f"y must be (fits, points) with something in it, got shape {y.shape}")
    fits = int(y.shape[0])
    x, has_shared_x = _predictors(x, y)
    loss = loss_of(loss)
    if several := [np.shape(leaf) for leaf in jax.tree.leaves(loss) if np.ndim(leaf)]:
        raise ValueError(
            f"each number of a loss must be one for all fits and points, got shape {several[0]}"
        )
    if sigma is not None:
        if isinstance(loss, Poisson):
            raise ValueError("counts have their own variance: a Poisson loss takes no sigma")
        sigma = _of_points("sigma", _data("sigma", sigma)[0], y)
    if mask is not None:
        _check.nothing_masked("mask", mask)
        if not is_on_device(mask):
            mask = _sliced(mask) if _is_on_disk(mask) else np.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(f"mask must be True or False, got dtype {mask.dtype}")
        mask = _of_points("mask", mask, y)
    guess = None
    if params is None:
        guess = _guess_of(model, has_shared_x)
        first = x if has_shared_x else jax.tree.map(lambda leaf: _first(leaf, dtype), x)
        one = mask if mask is None or mask.ndim == 1 else _first(mask, bool)
        params = jax.tree.map(lambda leaf: leaf[0], guess(first, _first(y, dtype), one))
    if not has_shared_x:
        _one_way(model, params, x, y)
    names, starts, treedef = _starts(params, fits, dtype)
    points = int(np.prod(y.shape[1:]))
    shapes = tuple(leaf.shape if has_shared_x else (points,) for leaf in jax.tree.leaves(x))
    _traced_once(model, treedef, jax.tree.structure(x), shapes, points, dtype)
    held, always = _held(fixed, names, fits)
    free = tuple(k for k in range(len(names)) if k not in always)
    if not free:
        raise ValueError("every parameter is fixed: there is nothing to fit")
    low, high = _limits(bounds or {}, names, fits)
    return Input(
        model, treedef, names, starts, guess, low, high, held, free, x, has_shared_x, y, sigma,
        mask, loss, dtype,
    )  # fmt: skip


def is_on_device(array: Any) -> bool:
    """Whether an array is in the memory of an accelerator."""
    return isinstance(array, jax.Array) and any(d.platform != "cpu" for d in array.devices())


def _is_on_disk(array: Any) -> bool:
    """Whether reading an array may take more memory than there is."""
    if isinstance(array, np.memmap):
        return True
    is_plain = array is None or isinstance(array, (np.ndarray, jax.Array, list, tuple))
    return not is_plain and hasattr(array, "shape") and hasattr(array, "dtype")


class _Sliced:
    """An array of what has no more than ``shape``, ``dtype`` and slices."""

    def __init__(self, given: Any) -> None:
        self.given, self.shape, self.dtype = given, tuple(given.shape), np.dtype(given.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, where: Any) -> np.ndarray:
        return np.asarray(self.given[where])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.given[:], dtype)


def _sliced(given: Any) -> Any:
    is_array = hasattr(given, "ndim") and hasattr(given, "__array__")
    return given if is_array else _Sliced(given)


def _data(name: str, given: Any) -> tuple[Any, np.dtype[Any]]:
    """An array of real numbers, and the precision to compute in."""
    if _is_on_disk(given):
        if np.dtype(given.dtype).kind not in "fiu":
            raise TypeError(f"{name} must be real numbers, got dtype {given.dtype}")
        if np.dtype(given.dtype).itemsize > 8:
            raise TypeError(f"{name} must be of double precision at most, got dtype {given.dtype}")
        array = _sliced(given)
    elif is_on_device(given):
        array = given if given.dtype.kind in "iu" else _check.real_array(name, given)
    else:
        _check.nothing_masked(name, given)
        array = np.asarray(given)
        is_swapped = array.dtype.kind == "f" and not array.dtype.isnative
        if array.dtype.kind not in "iu" and not is_swapped:  # those: window by window
            array = np.asarray(_check.real_array(name, given))
    kind = np.dtype(array.dtype).newbyteorder("=")
    is_single = kind == np.float32 or (kind != np.float64 and kind.itemsize < 4)
    return array, np.dtype(np.float32 if is_single else np.float64)


def _flat(array: Any, points: int) -> Any:
    """Rows of points."""
    return array.reshape(len(array), points)


def _predictors(x: Any, y: Any) -> tuple[Any, bool]:
    """x with its points in one axis, and whether it is of all fits."""
    grid = tuple(y.shape[1:])
    x = _check.arrays_of_lists(x, y)
    leaves = [_sliced(leaf) if _is_on_disk(leaf) else _check.real_array("x", leaf)
              for leaf in jax.tree.leaves(x)]  # fmt: skip
    leaves = [leaf if _stays(leaf, y) else np.asarray(leaf) for leaf in leaves]
    if not leaves:
        raise ValueError("x holds nothing")
    treedef = jax.tree.structure(x)
    shapes = sorted({tuple(leaf.shape) for leaf in leaves})
    if shapes == [tuple(y.shape)]:
        return jax.tree.unflatten(treedef, leaves), False
    if any(shape == tuple(y.shape) for shape in shapes):
        raise ValueError(
            f"some of x is of one fit and some of each, got shapes {shapes}: give all one way"
        )
    if any(shape[-len(grid) :] != grid or len(shape) > len(grid) + 1 for shape in shapes):
        raise ValueError(
            f"x must have the points of one fit, {grid}, along its last axes as y has, or the "
            f"shape of y, {tuple(y.shape)}, got {shapes}"
        )
    flat = [np.asarray(leaf).reshape(*leaf.shape[: leaf.ndim - len(grid)], -1) for leaf in leaves]
    return jax.tree.unflatten(treedef, flat), True


def _stays(array: Any, y: Any) -> bool:
    """Whether an array is read window by window from where it is."""
    return (
        _is_on_disk(array)
        or isinstance(array, _Sliced)
        or (is_on_device(array) and array.shape == y.shape)
    )


def _of_points(name: str, array: Any, y: Any) -> Any:
    """Of every fit and point, as it is; or of the points, flat."""
    if tuple(array.shape) == tuple(y.shape):
        return array
    grid = tuple(y.shape[1:])
    try:
        return np.broadcast_to(np.asarray(array), grid).reshape(-1)
    except ValueError:
        raise ValueError(
            f"{name} must have the shape of one fit, {grid}, or of all, {tuple(y.shape)}, got "
            f"{tuple(array.shape)}"
        ) from None


def _starts(params: Any, fits: int, dtype: Any) -> tuple[list[str], list[Any], Any]:
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    if not leaves:
        raise ValueError("params holds no parameter: expected a pytree of numbers")
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    starts, places = [], dict[str, str]()
    for name, (path, leaf) in zip(names, leaves, strict=True):
        place = "params" + jax.tree_util.keystr(path)
        if (other := places.setdefault(name, place)) != place:
            raise ValueError(f"{other} and {place} have one name, {name!r}: rename one")
        if not _check.is_numeric(leaf):
            raise TypeError(f"params[{name!r}] must be a number or one for each fit, got {leaf!r}")
        start = _check.real_array(f"params[{name!r}]", leaf)
        if not (is_on_device(start) and start.ndim):
            start = np.asarray(start).astype(dtype, copy=False)
        if start.shape not in ((), (fits,)):
            raise ValueError(
                f"params[{name!r}] must be one number or {fits} of them, one for each fit, got "
                f"shape {start.shape}; a vector of parameters is given as a list of them"
            )
        starts.append(start)
    return names, starts, treedef


def storable(names: list[str]) -> None:
    """Raise if the array of a parameter cannot lie in a Zarr group beside the others."""
    paths = [[part for part in name.replace("\\", "/").split("/") if part] for name in names]
    for k, (name, path) in enumerate(zip(names, paths, strict=True)):
        others = (names[i] for i, p in enumerate(paths) if i != k and p[: len(path)] == path)
        if other := next(others, None):
            raise ValueError(f"out cannot store parameter {name!r} beside {other!r}: rename one")
        try:
            is_usable = all(len(part.encode()) <= 255 and "\0" not in part for part in path)
        except UnicodeEncodeError:  # half of a pair of surrogates
            is_usable = False
        if not is_usable or {".", "..", "zarr.json"} & set(path):
            raise ValueError(f"out cannot store a parameter of the name {name!r}: rename it")


def _first_of(bad: Any, part: slice) -> str:
    """Which fit is the first with something bad, unless that is of all fits."""
    if bad.ndim < 2:
        return ""
    row = int(np.argmax(np.asarray(bad.any(axis=1))))
    return f": the first in fit {part.start + row}"


@lru_cache(maxsize=32)
def _traced_once(
    model: Any, params: Any, x: Any, shapes: tuple[tuple[int, ...], ...], points: int, dtype: Any
) -> None:
    """Raise what is wrong with the model of one fit, found by tracing whatever the values.

    ``params`` and ``x`` are the structures of the two; ``shapes`` are those of x.
    """
    ones = jax.tree.unflatten(params, [np.ones((), dtype)] * params.num_leaves)
    own = jax.tree.unflatten(x, [np.ones(shape, dtype) for shape in shapes])
    with jax.enable_x64(dtype == np.float64):
        checked_cost(LeastSquares(model, own, np.ones(points, dtype)), ones)


def _held(
    fixed: Iterable[str] | Mapping[str, Any], names: list[str], fits: int
) -> tuple[list[np.ndarray | None], set[int]]:
    """Where each parameter is fixed in some fits, and which are in all."""
    if isinstance(fixed, str):
        fixed = [fixed]
    by_name = dict(fixed) if isinstance(fixed, Mapping) else dict.fromkeys(fixed, True)
    _known("fixed", by_name, names)
    held: list[np.ndarray | None] = [None] * len(names)
    always = set()
    for name, given in by_name.items():
        _check.nothing_masked(f"fixed[{name!r}]", given)
        k, where = names.index(name), np.asarray(given)
        if where.dtype != bool or where.shape not in ((), (fits,)):
            raise ValueError(f"fixed[{name!r}] must be True or False, or {fits} of them")
        if where.all():
            always.add(k)
        elif where.any():
            held[k] = where
    return held, always


def _limits(
    bounds: Bounds, names: list[str], fits: int
) -> tuple[list[np.ndarray | None], list[np.ndarray | None]]:
    """The lower and the upper bound of each parameter, None where there is none."""
    if not isinstance(bounds, Mapping):
        raise TypeError(f"bounds must be (low, high) by the name of a parameter, got {bounds!r}")
    _known("bounds", bounds, names)
    ends: list[list[np.ndarray | None]] = [[None] * len(names), [None] * len(names)]
    for name, pair in bounds.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"bounds of {name!r} must be (low, high), got {pair!r}")
        for end, given in zip(ends, pair, strict=True):
            if given is not None:
                value = np.asarray(_check.real_array(f"bounds of {name!r}", given), float)
                if value.shape not in ((), (fits,)) or np.isnan(value).any():
                    raise ValueError(f"bounds of {name!r} must be numbers, or {fits} of each")
                end[names.index(name)] = value
        low, high = (end[names.index(name)] for end in ends)
        if low is not None and high is not None and not np.all(low < high):
            raise ValueError(f"bounds of {name!r} must be (low, high), got {pair}")
    return ends[0], ends[1]


def _known(what: str, given: Iterable[str], names: list[str]) -> None:
    if unknown := [name for name in given if name not in names]:
        known = ", ".join(map(repr, names))
        raise ValueError(f"{what} names {unknown[0]!r}; the parameters are {known}")


def _guess_of(model: Any, has_shared_x: bool) -> Guess:
    """How to find the starts of many fits: all at once where the model can, else one by one."""
    at_once: Guess | None = getattr(model, "guess_many", None)
    single = getattr(model, "guess", None)
    if at_once is not None and has_shared_x:
        return at_once
    if single is None:
        raise ValueError(f"{model_name(model)} has no guess of its own: give params, the start")

    def one_by_one(x: Any, y: np.ndarray, mask: np.ndarray | None) -> Any:
        found = []
        for row in range(len(y)):
            own = x if has_shared_x else jax.tree.map(lambda leaf, row=row: leaf[row], x)
            own = jax.tree.map(np.asarray, own)
            counts = np.isfinite(y[row])
            for leaf in jax.tree.leaves(own):
                counts &= np.isfinite(leaf).reshape(-1, counts.size).all(axis=0)
            if mask is not None:
                counts &= np.broadcast_to(mask, y.shape)[row]
            if not counts.any():  # of no consequence, and anything will do
                counts = np.ones_like(counts)
                own = jax.tree.map(lambda leaf: np.where(np.isfinite(leaf), leaf, 0), own)
            own = jax.tree.map(lambda leaf, counts=counts: leaf[..., counts], own)
            found.append(single(own, np.nan_to_num(y[row][counts])))
        return jax.tree.map(lambda *leaves: np.array(leaves), *found)

    return one_by_one


def _first(array: Any, dtype: Any) -> Any:
    """The first row."""
    return np.asarray(array[:1]).reshape(1, -1).astype(dtype)


def _one_way(model: Any, params: Any, x: Any, y: Any) -> None:
    """Raise if x of all fits could as well be that of one, with several predictors in its rows."""

    def struct(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, jnp.float32)

    number = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((), jnp.float32), params)
    try:
        shape = jax.eval_shape(model, number, jax.tree.map(struct, x)).shape
    except Exception:
        return  # the model cannot take it so: there is one way
    if shape == tuple(y.shape[1:]):
        raise ValueError(
            f"x of shape {tuple(y.shape)} can be that of each fit or that of one: give it as a "
            "tuple of predictors, or repeat it for each fit"
        )
