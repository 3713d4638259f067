"""Levenberg-Marquardt of many small problems side by side: one fit a lane."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import or_
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .._path import Status
from .._types import Model
from .._uncertainty import is_lost, reduced
from ..losses import Poisson
from ._small import cholesky, inverse, place, solved

RUNNING = -1

_BY_FIT = ("starts", "low", "high", "held", "taken")  # a number a fit; the rest have points as well


class Settings(NamedTuple):
    """What a compilation depends on."""

    model: Model
    treedef: Any  # of the parameters
    free: tuple[int, ...]  # which of the numbers are fitted, in one fit at least
    has_shared_x: bool
    absolute_sigma: bool
    wants_covariance: bool
    lanes: int = 128  #: of a block, which stops on its own
    devices: int = 1  #: among which a chunk is divided
    sums_apart: bool = False  #: whether sums over the points are taken a few at a time
    in_kernel: bool = False  #: whether all of a descent is one kernel of an accelerator
    is_interpreted: bool = False  #: a kernel where there is no accelerator, for tests

    def of_numbers(self, numbers: Any, x: Any) -> Any:
        """The model of one fit, of a list of numbers."""
        return self.model(jax.tree.unflatten(self.treedef, numbers), x)

    def x_of_one(self, x: Any) -> Any:
        """Shapes and dtypes of the x of one fit, of an x that has the fits last."""

        def struct(leaf: Any) -> jax.ShapeDtypeStruct:
            shape = leaf.shape if self.has_shared_x else leaf.shape[:-1]
            return jax.ShapeDtypeStruct(shape, leaf.dtype)

        return jax.tree.map(struct, x)


#: A chunk of fits: ``starts``, ``low``, ``high``, ``held`` (lists by parameter), ``x``, ``y``,
#: ``weight``, ``mask``, ``loss``, None where there is none; ``taken`` and ``damping`` of the call
#: before, from which they are carried on with, or 0 and those of :func:`begun`.
Chunk: TypeAlias = dict[str, Any]


def results(settings: Settings, dtype: Any) -> dict[str, tuple[tuple[int, ...], Any]]:
    """What is found of each fit: its shape and dtype."""
    free = len(settings.free)
    found: dict[str, tuple[tuple[int, ...], Any]] = {
        "at": ((free,), dtype),
        "stderr": ((free,), dtype),
    }
    if settings.wants_covariance:
        found["covariance"] = (free, free), dtype
    found |= dict.fromkeys(("cost", "chi_squared"), ((), dtype))
    whole = ("degrees_of_freedom", "status", "iterations")
    return found | dict.fromkeys(whole, ((), np.dtype(np.int32)))


def is_batched(name: str, leaf: Any, settings: Settings) -> bool:
    """Whether a leaf of a chunk has a leading axis of fits."""
    if name == "x":
        return not settings.has_shared_x
    return bool(np.ndim(leaf) == (1 if name in _BY_FIT else 2))


#: What rounding may do to a standard error, relatively; where it may do more there is none.
_INEXACT = 0.03

#: How much more than the damping a pivot is where a step is free. What a step promises says how
#: far it is to the minimum only then: in a narrow valley it goes a small part of the way.
_FREE = 30

#: What a step that is not evaluated may change, at most: this part of each parameter and, by each
#: alone, of the length of the residuals.
_SHORT = 0.1


def begun(size: int, dtype: Any) -> np.ndarray:
    """What a fit begins with, before a step is taken: lambda, its growth and D^2."""
    return np.array([1e-2, 2] + [0] * size, dtype)


class _Sums(NamedTuple):
    """What one evaluation tells: the cost, J^T r and the lower triangle of J^T J, a row each."""

    cost: Any
    slope: tuple[Any, ...]
    square: tuple[Any, ...]
    chi_squared: Any  # None without a loss: the cost
    size: Any  # of y as it counts there, squared; None without a robust loss: it is always the same


class _State(NamedTuple):
    at: tuple[Array, ...]
    sums: _Sums
    damping: Array
    growth: Array
    scale: tuple[Array, ...]  # D^2
    ahead: tuple[Array, ...]  # the step that is planned
    promised: Array  # what it should take off the cost
    is_free: Array  # 1 where the damping hardly holds it back, in whichever direction; else 0
    status: Array
    taken: Array


class Points(NamedTuple):
    """Data of the lanes, at all points of each or at one: whatever shapes they are computed in."""

    y: Any
    x: Any
    weight: Any
    mask: Any

    def masked(self, values: Array) -> Array:
        """0 where a point does not count."""
        return values if self.mask is None else jnp.where(self.mask, values, 0)

    def weighed(self, values: Array) -> Array:
        """In the unit of the residuals."""
        return self.masked(values if self.weight is None else values * self.weight)

    @property
    def counted_y(self) -> Array:
        """y where a point counts, whatever it is elsewhere."""
        return self.y if self.mask is None else jnp.where(self.mask, self.y, 0)


#: What is summed over points, of some of them.
Terms: TypeAlias = Callable[[Points], list[Array]]


class Descent(ABC):
    """The descents of some lanes; every array is (lanes,), but for the data.

    How data are read and summed over is for those to say who know where it is computed.
    """

    def __init__(
        self, settings: Settings, block: Chunk, lanes: int, dtype: Any, tolerance: Any, steps: Any
    ) -> None:
        self.settings, self.tolerance, self.steps = settings, tolerance, steps
        self.loss, self.taken, self.damping = block["loss"], block["taken"], block["damping"]
        self.lanes, self.dtype, self.size = lanes, dtype, len(settings.free)
        self.eps = jnp.finfo(dtype).eps
        self.starts = [jnp.broadcast_to(s, (lanes,)).astype(dtype) for s in block["starts"]]
        free = settings.free
        self.low, self.high, self.fixed = (
            [block[name][k] for k in free] for name in ("low", "high", "held")
        )
        self.is_robust = self.loss is not None and not isinstance(self.loss, Poisson)
        squares, sizes = self.added(self._sizes_of_y)
        self.size_of_y, self.is_data = jnp.sqrt(squares), sizes > 0

    @abstractmethod
    def added(self, terms: Terms) -> list[Array]:
        """The sums of terms over the points that there are."""

    @abstractmethod
    def predicted(self, numbers: Sequence[Array], x: Any) -> tuple[Array, list[Array]]:
        """The model and its derivatives by the free parameters."""

    @abstractmethod
    def used(self) -> Any:
        """How many points count."""

    @abstractmethod
    def is_any(self, lanes: Array) -> Array:
        """Whether it is so in one lane at least."""

    def begins(self) -> Array:
        """The status of each lane at its start."""
        return jnp.full_like(self.taken, RUNNING)

    def once(self, values: Any) -> Any:
        """The same, computed once and not for each that uses it."""
        return values

    def once_at_points(self, terms: list[Array]) -> list[Array]:
        """The same, of terms that many sums are made of."""
        return terms

    def _sizes_of_y(self, of: Points) -> list[Array]:
        y = of.counted_y
        size = jnp.sqrt(y) if isinstance(self.loss, Poisson) else of.weighed(y)
        return [size**2, jnp.abs(size)]

    def descended(self) -> dict[str, Any]:
        """Go until every lane has stopped, and describe what each has found.

        What has axes before that of the lanes is in lists.
        """
        held = sum((f.astype(jnp.int32) for f in self.fixed if f is not None), jnp.int32(0))
        freedoms = jnp.broadcast_to(self.used() - self.size + held, (self.lanes,)).astype(jnp.int32)
        last = lax.while_loop(
            lambda now: self.is_any(now.status == RUNNING),
            partial(self._step, freedoms=freedoms),
            self._begun(),
        )
        return self._described(last, freedoms)

    def _begun(self) -> _State:
        """Nothing is known yet of any lane: its cost is infinite, and its first step none.

        So the sums are computed at one place only, with the same last bits at a start and where a
        fit is carried on with.
        """
        at = tuple(self.starts[k] for k in self.settings.free)
        zero = jnp.zeros((self.lanes,), self.dtype)
        sums = _Sums(
            zero + jnp.inf,
            (zero,) * self.size,
            (zero,) * (self.size * (self.size + 1) // 2),
            None if self.loss is None else zero,
            zero if self.is_robust else None,
        )
        damping, growth, *scale = self.damping
        status = self.begins()
        ahead, promised, is_free = (zero,) * self.size, zero, jnp.zeros_like(status)
        return _State(
            at, sums, damping, growth, tuple(scale), ahead, promised, is_free, status, self.taken
        )

    def _sums(self, at: tuple[Array, ...], for_covariance: bool = False) -> _Sums:
        """Sums at some parameters; ``for_covariance`` with the curvature of the loss as it is."""
        numbers = list(self.starts)
        for k, value in zip(self.settings.free, at, strict=True):
            numbers[k] = value
        out = self.added(partial(self._terms, numbers, for_covariance))
        size = self.size
        ahead = len(out) - size - size * (size + 1) // 2
        slope, square = out[ahead : ahead + size], out[ahead + size :]
        chi_squared, size_of_y = [*out[1:ahead], None, None][:2]
        return _Sums(out[0], tuple(slope), tuple(square), chi_squared, size_of_y)

    def _terms(self, numbers: list[Array], for_covariance: bool, of: Points) -> list[Array]:
        """What is summed: cost, chi-squared and size of y if there is a loss; slope, square."""
        predicted, columns = self.predicted(numbers, of.x)
        r = of.weighed(predicted.astype(self.dtype) - of.y)
        columns = [of.weighed(column.astype(self.dtype)) for column in columns]
        if self.loss is None:
            r, *columns = self.once_at_points([r, *columns])
            terms = [r * r]
        else:
            # Pearson's residuals under a Poisson loss, as LeastSquares has them.
            y = of.counted_y
            a, b = self.loss.weights(r, y)
            plain = a * r if isinstance(self.loss, Poisson) else r
            terms = [of.masked(self.loss.terms(r, y)), plain * plain]
            if self.is_robust:
                terms.append((b * of.weighed(y)) ** 2)
            if for_covariance:
                b = self.loss.information(r, y)
            r, columns = a * r, [b * column for column in columns]
            *terms, r = self.once_at_points([*terms, r])
            columns = self.once_at_points(columns)
        terms += [c * r for c in columns]
        terms += [c * d for k, c in enumerate(columns) for d in columns[: k + 1]]
        return terms

    def _stuck(self, at: tuple[Array, ...], of: _Sums) -> tuple[list[Any], list[Array]]:
        """Where each parameter stays, fixed or at a bound that it would cross; the slope beside."""
        stuck: list[Any] = list(self.fixed)
        for k, (a, g) in enumerate(zip(at, of.slope, strict=True)):
            for bound, is_outward in (
                (self.low[k], lambda a, g, low: (a <= low) & (g > 0)),
                (self.high[k], lambda a, g, high: (a >= high) & (g < 0)),
            ):
                if bound is not None:
                    there = is_outward(a, g, bound)
                    stuck[k] = there if stuck[k] is None else stuck[k] | there
        return stuck, [
            g if h is None else jnp.where(h, 0, g) for g, h in zip(of.slope, stuck, strict=True)
        ]

    def _clipped(self, at: tuple[Array, ...], d: list[Array]) -> tuple[tuple[Array, ...], Array]:
        """The step within the bounds, and where it was cut."""
        clipped, is_cut = [], jnp.zeros_like(at[0], bool)
        for a, s, low, high in zip(at, d, self.low, self.high, strict=True):
            if low is not None or high is not None:
                there = jnp.clip(a + s, low, high)
                is_cut |= there != a + s
                s = there - a
            clipped.append(s)
        return tuple(clipped), is_cut

    def _step(self, now: _State, freedoms: Array) -> _State:
        """Evaluate the step that was planned, take it or not, and plan the next."""
        eps, running, is_free = self.eps, now.status == RUNNING, now.is_free > 0
        is_first = jnp.isinf(now.sums.cost)
        trial = tuple(a + s for a, s in zip(now.at, now.ahead, strict=True))
        there = self._sums(trial)
        cost, promised = now.sums.cost, now.promised
        decrease = cost - there.cost
        is_finite = _is_finite(there)
        is_level = jnp.abs(decrease) <= self._rounding(there._replace(cost=cost))
        is_trusted = now.damping <= 1
        is_level &= is_trusted
        is_better = is_finite & ((decrease > 0) | is_level)
        is_better, is_finite, is_level, is_first = self.once(
            (is_better, is_finite, is_level, is_first)
        )
        has_arrived = promised <= self._reached(now.sums)
        least = jnp.where(is_better, there.cost, cost)
        is_exact = jnp.maximum(least, promised) <= (4 * eps * self._size(there)) ** 2
        gain = jnp.where(is_better & (promised > 0), decrease / promised, 0)
        factor = jnp.maximum(1 / 3, 1 - (2 * jnp.clip(gain, -1, 2) - 1) ** 3)
        factor = jnp.where(is_level, 1 / 3, factor)  # rounding is no reason to damp more
        damping = now.damping * jnp.where(is_better, factor, now.growth)
        ends = [
            (is_better & has_arrived & is_trusted & is_free, Status.GRADIENT_BELOW_TOLERANCE),
            ((is_exact | (is_level & is_finite)) & is_free, Status.COST_CONVERGED),
            (damping > 1 / eps**2, Status.STALLED),
        ]
        status = _first_of(ends)
        begins = jnp.where(is_finite, RUNNING, Status.NON_FINITE)
        begins = jnp.where(freedoms < 0, Status.SINGULAR, begins)
        status = jnp.where(is_first, begins, status)
        moves, goes_on = running & (is_better | is_first), running & ~is_first
        growth = jnp.where(is_better, 2, 2 * now.growth)
        return self._planned(
            now._replace(
                at=_kept(trial, now.at, moves),
                sums=_kept(there, now.sums, moves),
                damping=jnp.where(goes_on, damping, now.damping),
                growth=jnp.where(goes_on, growth, now.growth),
                status=jnp.where(running, status, now.status).astype(jnp.int32),
                taken=now.taken + (goes_on | (running & (now.taken == 0))).astype(jnp.int32),
            )
        )

    def _planned(self, now: _State) -> _State:
        """Plan the next step; one that can change next to nothing is the last, and not evaluated.

        Cost and curvature stay those of the point before it.
        """
        sums, running = now.sums, now.status == RUNNING
        scale = tuple(
            jnp.maximum(0.64 * old, sums.square[place(k, k)]) for k, old in enumerate(now.scale)
        )
        scale = tuple(jnp.where(s > 0, s, 1) for s in scale)
        stuck, slope = self._stuck(now.at, sums)
        d, least = solved(sums.square, slope, scale, now.damping, stuck)
        is_free = (least > _FREE * now.damping) | (now.damping <= 8 * self.size * self.eps)
        d, is_cut = self.once(self._clipped(now.at, d))
        length = sum(q * s * s for q, s in zip(scale, d, strict=True))
        promised = now.damping * length - sum(g * s for g, s in zip(slope, d, strict=True))
        trial = tuple(a + s for a, s in zip(now.at, d, strict=True))
        is_trusted = now.damping <= 1
        # Each parameter alone may change the residuals by the root of this part of their square.
        part = jnp.clip((10 * self.tolerance) ** 2, self.eps**0.5, _SHORT**2)
        is_short = is_trusted & is_free & ~is_cut & (length <= part * sums.cost)
        is_tiny = jnp.ones_like(running)
        for s, a in zip(d, now.at, strict=True):
            is_short &= jnp.abs(s) <= _SHORT * jnp.abs(a)
            is_tiny &= jnp.abs(s) <= 2 * self.eps * jnp.abs(a)
        ends = [
            (is_short & (promised <= self._reached(sums)), Status.GRADIENT_BELOW_TOLERANCE),
            (is_short & (promised <= self._rounding(sums)), Status.COST_CONVERGED),
            (is_tiny & is_trusted, Status.STEP_CONVERGED),
            (is_tiny, Status.STALLED),
            (now.taken >= self.steps, Status.STEPS_USED),
        ]
        status = _first_of(ends)
        status = jnp.where(running, status, now.status).astype(jnp.int32)
        is_last = running & has_converged(status)
        return now._replace(
            at=_kept(trial, now.at, is_last),
            ahead=d,
            promised=promised,
            is_free=is_free.astype(jnp.int32),
            # Of what is carried on with by another call, D^2 is renewed there.
            scale=_kept(scale, now.scale, status == RUNNING),
            status=status,
        )

    def _size(self, sums: _Sums) -> Any:
        """The length of y in the unit of the residuals, outliers left out."""
        return self.size_of_y if sums.size is None else jnp.sqrt(sums.size)

    def _rounding(self, sums: _Sums) -> Array:
        """What rounding hides of a change of the cost."""
        return 2 * self.eps * (sums.cost + jnp.sqrt(sums.cost) * self._size(sums))

    def _reached(self, sums: _Sums) -> Array:
        """Where a descent has arrived: the square of the part of r that is left to reach."""
        return jnp.maximum(self.tolerance**2 * sums.cost, (self.eps * self._size(sums)) ** 2)

    def _has_nowhere_to_go(self, last: _State) -> Array:
        """Whether the undamped step promises less than rounding hides.

        What rounding hides is that of the predicted values, and that of the parameters in them: a
        lane within it may see its cost rise whichever way it goes, and damps its steps to nothing.
        """
        sums = last.sums
        stuck, slope = self._stuck(last.at, sums)
        square = [sums.square[place(k, k)] for k in range(self.size)]
        scale = tuple(jnp.where(q > 0, q, 1) for q in square)
        d, _ = solved(sums.square, slope, scale, jnp.zeros_like(sums.cost), stuck)
        promised = -sum(g * s for g, s in zip(slope, d, strict=True))
        values = self._size(sums) + sum(
            jnp.abs(a) * jnp.sqrt(q) for a, q in zip(last.at, square, strict=True)
        )
        return promised <= 2 * self.eps * (sums.cost + jnp.sqrt(sums.cost) * values)

    def _described(self, last: _State, freedoms: Array) -> dict[str, Any]:
        """The result, the fits last: what the last sums say of its uncertainty."""
        size, settings = self.size, self.settings
        sums = self._sums(last.at, for_covariance=True) if self.is_robust else last.sums
        square = list(sums.square)
        for k, fixed in enumerate(self.fixed):
            if fixed is not None:
                for i, j in ((max(k, h), min(k, h)) for h in range(size)):
                    square[place(i, j)] = jnp.where(fixed, float(i == j), square[place(i, j)])
        diagonal = [square[place(k, k)] for k in range(size)]
        root = [jnp.sqrt(jnp.where(q > 0, q, 1)) for q in diagonal]
        L, least = cholesky(
            [square[place(i, j)] / (root[i] * root[j]) for i in range(size) for j in range(i + 1)],
            size,
        )
        lost = reduce(or_, [q <= 0 for q in diagonal])
        inverted = inverse(L, root, size)
        # By how much the others widen the variance of a parameter; rounding by eps times as much.
        widest = reduce(jnp.maximum, [inverted[place(k, k)] * root[k] ** 2 for k in range(size)])
        is_exact = size * self.eps * widest < _INEXACT
        is_singular = (least <= 8 * size * self.eps) | lost | ~is_exact
        variance = reduced(last.sums.cost, freedoms)
        variance = jnp.ones_like(variance) if settings.absolute_sigma else variance
        is_bad = (last.status == Status.NON_FINITE) | is_lost(
            last.sums.cost, self.eps * self._size(last.sums), self.is_data
        )
        is_known = ~is_singular & ~is_bad & (freedoms >= 0)
        variance = jnp.where(is_known, variance, jnp.nan)
        status = jnp.where(
            (last.status == Status.STALLED) & ~is_singular & self._has_nowhere_to_go(last),
            Status.COST_CONVERGED,
            last.status,
        ).astype(jnp.int32)
        ended = jnp.where(is_singular & has_converged(status), Status.SINGULAR, status)
        ended = jnp.where(is_bad, Status.NON_FINITE, ended)

        def entry(i: int, j: int) -> Array:
            value = inverted[place(max(i, j), min(i, j))] * variance
            for fixed in (self.fixed[i], self.fixed[j]):
                value = value if fixed is None else jnp.where(fixed, 0, value)
            return value

        found: dict[str, Any] = {
            "at": list(last.at),
            "stderr": [jnp.sqrt(entry(k, k)) for k in range(size)],
            "cost": jnp.where(is_bad, jnp.nan, last.sums.cost),
            "degrees_of_freedom": freedoms,
            "status": ended.astype(jnp.int32),
            "iterations": last.taken,
            "damping": [last.damping, last.growth, *last.scale],
        }
        if self.loss is not None:  # else it is the cost
            found["chi_squared"] = jnp.where(is_bad, jnp.nan, last.sums.chi_squared)
        if settings.wants_covariance:
            found["covariance"] = [[entry(i, j) for j in range(size)] for i in range(size)]
        return found


def has_converged(status: Array) -> Array:
    """Which of them are those of a fit that has arrived."""
    return reduce(or_, [status == one for one in Status if one.has_converged])


def _first_of(ends: list[tuple[Array, Status]]) -> Array:
    """The status of the first end that has come; RUNNING where none has."""
    status: Any = RUNNING
    for has_come, end in reversed(ends):
        status = jnp.where(has_come, end, status)
    return status


def _kept(new: Any, old: Any, where: Array) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(where, a, b), new, old)


def _is_finite(sums: _Sums) -> Array:
    is_finite = jnp.isfinite(sums.cost)
    for part in (*sums.slope, *sums.square):
        is_finite &= jnp.isfinite(part)
    return is_finite
