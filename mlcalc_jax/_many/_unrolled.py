"""A traced model run number by number: of its small arrays, each number by itself.

So ``jnp.stack``, products of matrices, sums over peaks, polynomials and loops of a known length
are made of the same elementwise steps as a model that is written with numbers alone. All that is
left of arrays is the axis of the points and that of the fits.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import Any, TypeAlias, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array

from .._primitives import CALLS, ELEMENTWISE, OWN_DERIVATIVE, called, loop_of
from .._xla import RUNS_STEP_BY_STEP
from ._dual import Dual, along, extreme, stepped
from ._moves import MOVES, PICKS, Move, picking

_ELEMENTWISE = ELEMENTWISE | {"real", "imag", "complex", "conj", "round", "xor", "nextafter"}
_FOLDS = {
    "reduce_sum": lax.add_p,
    "reduce_prod": lax.mul_p,
    "reduce_max": lax.max_p,
    "reduce_min": lax.min_p,
    "reduce_and": lax.and_p,
    "reduce_or": lax.or_p,
}
_CUMULATIVE = {
    "cumsum": lax.add_p,
    "cumprod": lax.mul_p,
    "cummax": lax.max_p,
    "cummin": lax.min_p,
}
_SHAPES = {"broadcast_in_dim", "reshape", "squeeze"}
# Steps that a model may have beyond those it is written with, as far as it was faster so.
_MOST_STEPS = 100 if RUNS_STEP_BY_STEP else 600
_MOST_NUMBERS = 256  # of an array
_MOST_PLACES = 2**22  # of an array, the points included, of which numbers are moved
_MOST_TURNS = 20_000  # of all loops
_ANY = -1  # point of what is the same at all


class NotLanewiseError(Exception):
    """The model cannot be run number by number."""


class Known:
    """An array that all fits share; traced if it depends on x, NumPy's if on nothing."""

    def __init__(self, value: Any) -> None:
        is_key = jnp.issubdtype(jnp.result_type(value), jax.dtypes.prng_key)
        self.value = value if isinstance(value, Tracer) or is_key else np.asarray(value)
        self.shape: tuple[int, ...] = self.value.shape
        self.is_traced = isinstance(value, Tracer)


@dataclass(frozen=True)
class Numbers:
    """An array as the numbers in it.

    ``items`` has the axes of ``shape``; it is 1 along the axis of the points, which is within each
    item, and may be along any other if all are the same there.
    """

    items: np.ndarray  #: of Dual
    shape: tuple[int, ...]
    axis: int | None = None  #: that of the points, if it has one

    @classmethod
    def of(cls, dual: Dual, shape: tuple[int, ...] = (), axis: int | None = None) -> "Numbers":
        """One number, or one at each point."""
        return cls(_array([dual], (1,) * len(shape)), shape, axis)

    def spread(self, axes: Sequence[int]) -> "Numbers":
        """The same, with an item for each number along some axes."""
        if self.axis in axes:
            raise NotLanewiseError
        to = list(self.items.shape)
        for k in axes:
            to[k] = self.shape[k]
        return Numbers(np.broadcast_to(self.items, to), self.shape, self.axis)


Value: TypeAlias = Known | Numbers


def _is_constant(value: Value) -> TypeGuard[Known]:
    return isinstance(value, Known) and not value.is_traced


class Unrolled:
    """One run of a traced model.

    Args:
        points: how many there are; 0 if the model is run at one of them, without an axis for it.
    """

    def __init__(self, points: int) -> None:
        self.points, self.left, self.turns = points, _MOST_STEPS, 0
        self.is_elementwise = True  #: all of it, that is, what depends on x alone included

    def run(self, closed: Any, given: Sequence[Value]) -> Dual:
        """What the model makes of its parameters and its x."""
        self.left += _length(closed)
        (result,) = self._called(closed, given)
        return self._one(result)

    def _one(self, value: Value) -> Dual:
        """A number, or one at each point, without its axis."""
        numbers = self._numbers(value, 0)
        if numbers.items.size != 1:
            raise NotLanewiseError
        dual: Dual = numbers.items.item()
        return dual

    def _called(self, closed: Any, given: Sequence[Value]) -> list[Value]:
        jaxpr, consts = closed.jaxpr, closed.consts
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, map(Known, consts), strict=True))
        known |= dict(zip(jaxpr.invars, given, strict=True))

        def read(atom: Any) -> Value:
            return Known(atom.val) if hasattr(atom, "val") else known[atom]

        for eqn in jaxpr.eqns:
            results = self._step(eqn, [read(atom) for atom in eqn.invars])
            known |= dict(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _step(self, eqn: Any, operands: list[Value]) -> list[Value]:
        name, params = eqn.primitive.name, eqn.params
        shared = [v.value for v in operands if isinstance(v, Known)]
        if len(shared) == len(operands):
            return self._known(eqn, shared)
        if name in CALLS:
            return self._called(called(eqn), operands)
        if name in _ELEMENTWISE:
            return [self._elementwise(eqn, operands)]
        if name in MOVES:
            if any(math.prod(out.aval.shape) > _MOST_PLACES for out in eqn.outvars):
                raise NotLanewiseError
            return self._moved(partial(MOVES[name], params), operands)
        first, known = operands[0], [v for v in operands if _is_constant(v)]
        if name in PICKS and isinstance(first, Numbers) and len(known) == len(operands) - 1:
            return self._moved(picking(eqn, [v.value for v in known]), [first])
        if name == "cond" and _is_constant(first):
            branch = params["branches"][np.clip(first.value, 0, len(params["branches"]) - 1)]
            return self._called(branch, operands[1:])
        if name in _FOLDS and isinstance(first, Numbers):
            return [self._folded(_FOLDS[name], params["axes"], first)]
        if name in _CUMULATIVE and isinstance(first, Numbers):
            return [self._cumulative(_CUMULATIVE[name], params, first)]
        if name == "dot_general":
            return [self._product(eqn, *operands)]
        if name == "polynomial":
            return [self._polynomial(eqn, *operands)]
        if name == "scan":
            return self._scan(eqn, operands)
        if name in OWN_DERIVATIVE:
            return self._whole(eqn, operands)
        raise NotLanewiseError

    def _known(self, eqn: Any, values: list[Any]) -> list[Value]:
        """A step of what all fits share, as it stands."""
        is_traced = any(isinstance(value, Tracer) for value in values)
        if is_traced:
            self._count()
        self.is_elementwise &= not is_traced or _is_elementwise(eqn)
        params = eqn.primitive.get_bind_params(eqn.params)
        with nullcontext() if is_traced else jax.ensure_compile_time_eval():
            results = eqn.primitive.bind(*values, **params)
        return [Known(r) for r in (results if eqn.primitive.multiple_results else [results])]

    def _numbers(self, value: Value, axis: int | None) -> Numbers:
        """A value as numbers; one that all fits share with its points along some axis."""
        if isinstance(value, Numbers):
            return value
        array, shape = value.value, value.shape
        if axis is not None and (not shape or shape[axis] != self.points or self.points < 2):
            axis = None
        items = tuple(1 if k == axis else size for k, size in enumerate(shape))
        if not 0 < (count := math.prod(items)) <= _MOST_NUMBERS:
            raise NotLanewiseError
        if count == 1:
            return Numbers(_array([self._shared(array)], items), shape, axis)
        self.is_elementwise &= not value.is_traced  # to take it apart is not
        if axis is not None:
            array = (jnp if value.is_traced else np).moveaxis(array, axis, -1)
        duals = [self._shared(row) for row in array.reshape(count, -1)]
        return Numbers(_array(duals, items), shape, axis)

    def _shared(self, row: Any) -> Dual:
        """A number that all fits share, or one at each point."""
        if self.points:
            return Dual(jnp.asarray(row).reshape(-1, 1))
        # A number of NumPy's: an array is none that a kernel can have inside.
        return Dual(row.reshape(())[()])

    def _axis(self, values: Sequence[Value], shape: tuple[int, ...]) -> int | None:
        """Along which axis values of one shape have their points, or may have them."""
        arrays = [v for v in values if isinstance(v, Numbers) and v.shape == shape]
        axes = {a.axis for a in arrays if a.axis is not None}
        if axes:
            return _only(axes)
        for k in reversed(range(len(shape))):
            if shape[k] == self.points and all(a.items.shape[k] == 1 for a in arrays):
                return k
        return None

    def _elementwise(self, eqn: Any, operands: list[Value]) -> Numbers:
        shape = eqn.outvars[0].aval.shape
        axis = self._axis(operands, shape)
        arrays = [self._numbers(v, axis if v.shape == shape else None) for v in operands]
        axes = {a.axis for a in arrays if a.axis is not None}
        axis = _only(axes) if axes else None
        # What has no shape is the same for all numbers of the others.
        items = [a.items.reshape(a.items.shape or (1,) * len(shape)) for a in arrays]
        return Numbers(self._of_each(eqn.primitive, eqn.params, items, axis), shape, axis)

    def _of_each(
        self, primitive: Any, params: dict[str, Any], items: Any, axis: int | None
    ) -> np.ndarray:
        """A step of every number."""
        if axis is not None and any(some.shape[axis] > 1 for some in items):
            raise NotLanewiseError  # the points of one, and numbers of another
        wide = np.broadcast_arrays(*items)
        duals = []
        for row in zip(*(some.flat for some in wide), strict=True):
            self._count()
            duals.append(stepped(primitive, params, row, self.points))
        return _array(duals, wide[0].shape)

    def _moved(self, move: Move, operands: Sequence[Value]) -> list[Value]:
        """Numbers in other places: which they are, and of which point, is seen by moving both."""
        duals: list[Dual] = []
        which, at = [], []
        for value in operands:
            numbers = self._numbers(value, self._axis(operands, value.shape))
            places = np.arange(numbers.items.size).reshape(numbers.items.shape)
            which.append(np.broadcast_to(len(duals) + places, numbers.shape))
            duals += numbers.items.flat
            if numbers.axis is None:
                at.append(np.full(numbers.shape, _ANY))
            else:
                along = [-1 if k == numbers.axis else 1 for k in range(len(numbers.shape))]
                points = np.arange(self.points).reshape(along)
                at.append(np.broadcast_to(points, numbers.shape))
        return [self._placed(duals, *each) for each in zip(move(which), move(at), strict=True)]

    def _placed(self, duals: list[Dual], which: np.ndarray, at: np.ndarray) -> Numbers:
        """An array of numbers, and of which point each is to be."""
        axis = None
        if np.any(at >= 0):
            axis = next((k for k in range(at.ndim) if self._is_axis(k, which, at)), None)
            if axis is None:
                raise NotLanewiseError
        if not which.size or which.min() < 0:
            raise NotLanewiseError
        for k in range(which.ndim):
            if _is_level(which, k):
                which = which.take([0], k)
        if which.size > _MOST_NUMBERS:
            raise NotLanewiseError
        return Numbers(_array([duals[k] for k in which.flat], which.shape), at.shape, axis)

    def _is_axis(self, k: int, which: np.ndarray, at: np.ndarray) -> bool:
        """Whether an axis is that of the points, all of them in their order."""
        if at.shape[k] != self.points or not _is_level(which, k):
            return False
        lines = np.moveaxis(at, k, -1)
        return bool(np.all((lines == np.arange(self.points)) | (lines == _ANY)))

    def _folded(self, primitive: Any, axes: Sequence[int], value: Numbers) -> Numbers:
        """One number of all along some axes: their sum, say."""
        wide = value.spread(axes)
        rows = np.moveaxis(wide.items, axes, range(len(axes)))
        rest = rows.shape[len(axes) :]
        rows = rows.reshape(-1, *rest)
        if not len(rows):
            raise NotLanewiseError
        if primitive in (lax.max_p, lax.min_p):
            found = self._extreme(primitive, rows)
        else:
            found = reduce(
                lambda a, b: self._of_each(primitive, {}, [a, b], None),
                [rows[k, ...] for k in range(len(rows))],
            )
        shape = tuple(size for k, size in enumerate(wide.shape) if k not in axes)
        axis = None if wide.axis is None else wide.axis - sum(k < wide.axis for k in axes)
        return Numbers(found.reshape(rest), shape, axis)

    def _extreme(self, primitive: Any, rows: np.ndarray) -> np.ndarray:
        """The greatest or the least of each column."""
        self._count(rows.size)
        columns = rows.reshape(len(rows), -1).T
        return _array([extreme(primitive, list(column)) for column in columns], rows.shape[1:])

    def _cumulative(self, primitive: Any, params: dict[str, Any], value: Numbers) -> Numbers:
        """Sums so far, say, along an axis."""
        wide = value.spread([params["axis"]])
        items = np.moveaxis(wide.items, params["axis"], 0)
        rows = [items[k, ...] for k in range(len(items))]
        order = range(len(rows))[:: -1 if params["reverse"] else 1]
        for before, k in pairwise(order):
            rows[k] = self._of_each(primitive, {}, [rows[before], rows[k]], None)
        return Numbers(np.stack(rows, params["axis"]), wide.shape, wide.axis)

    def _product(self, eqn: Any, *sides: Value) -> Numbers:
        """A product of matrices, its sums written out."""
        contracted, batches = eqn.params["dimension_numbers"]
        free = [
            [k for k in range(len(v.shape)) if k not in (*summed, *batch)]
            for v, summed, batch in zip(sides, contracted, batches, strict=True)
        ]
        out = eqn.outvars[0].aval
        if any(v.aval.dtype != out.dtype for v in eqn.invars) or out.dtype.itemsize < 4:
            raise NotLanewiseError  # half a precision is summed in a whole one
        factors, axes = [], set()
        for side, value in enumerate(sides):
            summed, batch, mine = contracted[side], batches[side], free[side]
            kept = [k for k in (*batch, *mine) if value.shape[k] == self.points]
            wide = self._numbers(value, kept[-1] if kept else None).spread(summed)
            items = wide.items.transpose(*batch, *mine, *summed)
            shape = list(items.shape[: len(batch) + len(mine)])
            before = 0 if side == 0 else len(free[0])  # axes of the other side alone
            after = len(free[1]) if side == 0 else 0
            shape[len(batch) : len(batch)] = [1] * before
            factors.append(items.reshape(*shape, *[1] * after, -1))
            if wide.axis in batch:
                axes.add(batch.index(wide.axis))
            elif wide.axis is not None:
                axes.add(len(batch) + before + mine.index(wide.axis))
        axis = _only(axes) if axes else None
        a, b = factors
        terms = [
            self._of_each(lax.mul_p, {}, [a[..., k], b[..., k]], axis) for k in range(a.shape[-1])
        ]
        if not terms:
            raise NotLanewiseError
        found = reduce(lambda a, b: self._of_each(lax.add_p, {}, [a, b], axis), terms)
        return Numbers(found, out.shape, axis)

    def _polynomial(self, eqn: Any, x: Value, *coefficients: Value) -> Numbers:
        """By Horner's rule; the last coefficient is that of the highest power."""
        shape = eqn.outvars[0].aval.shape
        at = self._numbers(x, self._axis([x], shape))
        one = (1,) * len(shape)
        *lower, found = (self._numbers(c, None).items.reshape(one) for c in coefficients)
        for c in reversed(lower):
            found = self._of_each(lax.mul_p, {}, [found, at.items], at.axis)
            found = self._of_each(lax.add_p, {}, [found, c], at.axis)
        return Numbers(found, shape, at.axis)

    def _scan(self, eqn: Any, operands: list[Value]) -> list[Value]:
        """A loop of a known length, turn by turn."""
        body, (stay, carried) = called(eqn), loop_of(eqn)
        fixed, rest = operands[:stay], operands[stay:]
        now, each = rest[:carried], rest[carried:]
        order = range(eqn.params["length"])[:: -1 if eqn.params["reverse"] else 1]
        self.turns += len(order)
        if not order or self.turns > _MOST_TURNS:
            raise NotLanewiseError
        found: dict[int, list[Value]] = {}
        for k in order:
            of_turn = [self._of_turn(value, k) for value in each]
            results = self._called(body, [*fixed, *now, *of_turn])
            now, found[k] = results[:carried], results[carried:]
        columns = zip(*(found[k] for k in sorted(found)), strict=True)
        return [*now, *(self._stacked(column) for column in columns)]

    def _of_turn(self, value: Value, k: int) -> Value:
        if isinstance(value, Known):
            return Known(value.value[k])
        return self._moved(lambda arrays: [a[k, ...] for a in arrays], [value])[0]

    def _stacked(self, rows: Sequence[Value]) -> Value:
        known = [row.value for row in rows if isinstance(row, Known)]
        if len(known) == len(rows):
            is_traced = any(isinstance(value, Tracer) for value in known)
            self.is_elementwise &= not is_traced
            return Known((jnp if is_traced else np).stack(known))
        return self._moved(lambda arrays: [np.stack(arrays)], rows)[0]

    def _whole(self, eqn: Any, operands: list[Value]) -> list[Value]:
        """A function with a derivative of its own, of numbers or of what is one at each point."""
        shapes, outs = ([v.aval.shape for v in some] for some in (eqn.invars, eqn.outvars))
        if any(shape not in ((), (1,), (self.points,)) for shape in (*shapes, *outs)):
            raise NotLanewiseError
        self._count()
        self.is_elementwise &= _is_elementwise(eqn)
        rows = [self._one(value) for value in operands]
        fits = jnp.broadcast_shapes((1,), *(np.shape(row.value)[-1:] for row in rows))

        def given(leaf: Any, shape: tuple[int, ...]) -> Array:
            """With the shape that the function asks for, and the fits last."""
            leaf = leaf if shape else jnp.reshape(leaf, np.shape(leaf)[-1:])
            return jnp.broadcast_to(leaf, (*shape, *fits))

        def taken(leaf: Array) -> Array:
            return leaf.reshape((-1, *fits) if self.points else fits)

        params = eqn.primitive.get_bind_params(eqn.params)
        function = jax.vmap(lambda *some: eqn.primitive.bind(*some, **params), -1, -1)
        values = [given(row.value, shape) for row, shape in zip(rows, shapes, strict=True)]
        found = [Dual(taken(value)) for value in function(*values)]
        for k in dict.fromkeys(k for row in rows for k in row.slopes):
            moving = {i: row.slopes[k] for i, row in enumerate(rows) if k in row.slopes}
            tangents = {i: given(slope, shapes[i]) for i, slope in moving.items()}
            for dual, slope in zip(found, along(function, values, tangents), strict=True):
                if slope.dtype == dual.value.dtype:  # none of an integer
                    dual.slopes[k] = taken(slope)
        has_points = [shape == (self.points,) and self.points > 1 for shape in outs]
        return [
            Numbers.of(dual, shape, 0 if has else None)
            for dual, shape, has in zip(found, outs, has_points, strict=True)
        ]

    def _count(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise NotLanewiseError


def _array(duals: Sequence[Dual], shape: tuple[int, ...]) -> np.ndarray:
    """An array of them."""
    array = np.empty(len(duals), object)
    array[:] = duals
    return array.reshape(shape)


def _is_level(array: np.ndarray, axis: int) -> bool:
    """Whether it is the same all along an axis."""
    return bool(np.all(array == array.take([0], axis)))


def _only(axes: set[int]) -> int:
    if len(axes) > 1:
        raise NotLanewiseError
    return next(iter(axes))


def _length(closed: Any) -> int:
    """How many steps a program has, those of what it calls included."""
    eqns = closed.jaxpr.eqns
    return len(eqns) + sum(_length(called(eqn)) for eqn in eqns if eqn.primitive.name in CALLS)


def _is_elementwise(eqn: Any) -> bool:
    """Whether a step is elementwise, or gives what is there another shape."""
    if eqn.primitive.name in CALLS | OWN_DERIVATIVE:
        return all(map(_is_elementwise, called(eqn).jaxpr.eqns))
    return eqn.primitive.name in _ELEMENTWISE | _SHAPES
