"""Levenberg-Marquardt of many small problems side by side: one fit a lane.

What is compiled: a chunk of fits is cut into blocks of lanes, each with a loop of its own. All sums
over the points are taken in one pass, so that no Jacobian is ever written to memory; or a few at a
time, of a Jacobian that stays in cache.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from .._path import Status
from .._types import Model
from .._xla import compiled, knows
from ..losses import Poisson
from ._lanes import lanewise
from ._small import cholesky, inverse, place, solved

RUNNING = -1

_BY_FIT = ("starts", "low", "high", "held", "taken")  # a number a fit; the rest have points as well

_CONVERGED = [status for status in Status if status.has_converged]


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


#: A chunk of fits: ``starts``, ``low``, ``high``, ``held`` (lists by parameter), ``x``, ``y``,
#: ``weight``, ``mask``, ``loss``, None where there is none; ``taken`` and ``damping`` of the call
#: before, from which they are carried on with, or those of :func:`begun`.
Chunk: TypeAlias = dict[str, Any]


#: What is found, and how many axes it has before that of the fits.
_FOUND = {
    "at": 1,
    "stderr": 1,
    "covariance": 2,
    "damping": 1,
    **dict.fromkeys(("cost", "chi_squared", "degrees_of_freedom", "status", "iterations"), 0),
}


def is_batched(name: str, leaf: Any, settings: Settings) -> bool:
    """Whether a leaf of a chunk has a leading axis of fits."""
    if name == "x":
        return not settings.has_shared_x
    return bool(np.ndim(leaf) == (1 if name in _BY_FIT else 2))


_POINTS, _UNROLLED = 10, 50  # of a loop of which LLVM works on several lanes side by side
_APART = 1024  # bytes of y of a fit

#: What a step that is not evaluated may change, at most: this part of each parameter and, by each
#: alone, of the length of the residuals.
_SHORT = 0.1


def sums_apart(points: int, dtype: Any) -> bool:
    """Whether sums are faster a few at a time, as far as was measured."""
    is_new = jax.default_backend() == "cpu" and not knows("xla_cpu_use_fusion_emitters", False)
    return is_new and points * np.dtype(dtype).itemsize <= _APART


def begun(fits: int, size: int, dtype: Any) -> Chunk:
    """The part of a chunk that says that no step is taken yet: lambda, its growth and D^2."""
    damping = np.array([1e-2, 2] + [0] * size, dtype)
    return {
        "taken": np.broadcast_to(np.int32(0), (fits,)),
        "damping": np.broadcast_to(damping, (fits, size + 2)),
    }


# JAX 0.10 computes sums over points three times faster on a CPU with the older of its two ways to
# write loops; later versions have only one, which is as fast, and know no such option. Of vectors
# LLVM takes half as wide as the processor has them where it is not told.
@compiled(static_argnums=0, xla_cpu_use_fusion_emitters=False, xla_cpu_prefer_vector_width="512")
def descend(
    settings: Settings, chunk: Chunk, tolerance: Any, steps: Any, used: Any
) -> dict[str, Array]:
    """What each fit of a chunk finds, the fits in the last axis.

    ``used`` (devices,) blocks of each device's share count.
    """
    if settings.devices == 1:
        return _blocks(settings, chunk, tolerance, steps, used)
    mesh, specs = placement(settings, chunk)
    return jax.shard_map(
        partial(_blocks, settings),
        mesh=mesh,
        in_specs=(specs, PartitionSpec(), PartitionSpec(), PartitionSpec("fits")),
        out_specs={
            name: PartitionSpec(*[None] * axes, "fits")
            for name, axes in _FOUND.items()
            if name != "covariance" or settings.wants_covariance
        },
        check_vma=False,
    )(chunk, tolerance, steps, used)


def placement(settings: Settings, chunk: Chunk) -> tuple[Mesh, Any]:
    """This machine's devices, and over which axis each leaf of a chunk is divided among them."""

    def spec(path: Any, leaf: Any) -> PartitionSpec:
        name = path[0].key
        return PartitionSpec("fits") if is_batched(name, leaf, settings) else PartitionSpec()

    mesh = Mesh(np.array(jax.local_devices()[: settings.devices]), ("fits",))
    return mesh, jax.tree_util.tree_map_with_path(spec, chunk)


def _blocks(
    settings: Settings, chunk: Chunk, tolerance: Any, steps: Any, used: Any
) -> dict[str, Array]:
    """Each of the first ``used`` blocks of lanes on its own.

    The number is traced: were it known, the compiler would unroll the loop of a single block, and
    its last bits would differ from those of the same fits among more.
    """
    fits, dtype, lanes = len(chunk["y"]), chunk["y"].dtype, settings.lanes

    def each(name: str, leaf: Any, k: Any) -> Any:
        """A block of a leaf, the fits last."""
        if is_batched(name, leaf, settings):
            return lax.dynamic_slice_in_dim(leaf, k * lanes, lanes, 0).T
        return leaf[:, None] if name in ("weight", "mask") else leaf

    def one(k: Any) -> dict[str, Array]:
        block = {name: jax.tree.map(partial(each, name, k=k), tree) for name, tree in chunk.items()}
        return _Block(settings, block, jnp.asarray(tolerance, dtype), steps).descended()

    def body(k: Any, found: dict[str, Array]) -> dict[str, Array]:
        return {
            name: lax.dynamic_update_slice_in_dim(found[name], value, k * lanes, value.ndim - 1)
            for name, value in one(k).items()
        }

    nothing = {
        name: jnp.zeros((*of.shape[:-1], fits), of.dtype)
        for name, of in jax.eval_shape(one, 0).items()
    }
    return lax.fori_loop(0, used[0], body, nothing)


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
    status: Array
    taken: Array


class _Block:
    """The descents of the lanes of one block; every array is (points, lanes) or (lanes,)."""

    def __init__(self, settings: Settings, block: Chunk, tolerance: Array, steps: Any) -> None:
        self.settings, self.tolerance, self.steps = settings, tolerance, steps
        self.y, self.x = block["y"], block["x"]
        self.weight, self.mask, self.loss = block["weight"], block["mask"], block["loss"]
        self.taken, self.damping = block["taken"], block["damping"]
        self.points, self.lanes = self.y.shape
        self.dtype, self.size = self.y.dtype, len(settings.free)
        self.eps = jnp.finfo(self.dtype).eps
        self.starts = [
            jnp.broadcast_to(s, (self.lanes,)).astype(self.dtype) for s in block["starts"]
        ]
        free = settings.free
        self.low, self.high, self.fixed = (
            [block[name][k] for k in free] for name in ("low", "high", "held")
        )
        one_x = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape if settings.has_shared_x else leaf.shape[:-1], leaf.dtype
            ),
            self.x,
        )
        self.is_robust = self.loss is not None and not isinstance(self.loss, Poisson)
        self.predict = lanewise(
            self._of_one, len(self.starts), one_x, self.dtype, settings.has_shared_x
        )
        y = self.y if self.mask is None else jnp.where(self.mask, self.y, 0)
        self.counted_y = y
        weighed = jnp.sqrt(y) if isinstance(self.loss, Poisson) else self._weighed(y)
        self.size_of_y = jnp.sqrt(jnp.sum(weighed**2, axis=0))

    def descended(self) -> dict[str, Array]:
        """Go until every lane has stopped, and describe what each has found."""
        used = self.points if self.mask is None else jnp.sum(self.mask, axis=0)
        held = sum((f.astype(jnp.int32) for f in self.fixed if f is not None), jnp.int32(0))
        freedoms = jnp.broadcast_to(used - self.size + held, (self.lanes,)).astype(jnp.int32)
        last = lax.while_loop(
            lambda now: jnp.any(now.status == RUNNING),
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
        status = jnp.full_like(self.taken, RUNNING)
        ahead, promised = (zero,) * self.size, zero
        return _State(at, sums, damping, growth, tuple(scale), ahead, promised, status, self.taken)

    def _of_one(self, numbers: Any, x: Any) -> Any:
        return self.settings.model(jax.tree.unflatten(self.settings.treedef, numbers), x)

    def _weighed(self, values: Array) -> Array:
        values = values if self.weight is None else values * self.weight
        return self._masked(values)

    def _masked(self, values: Array) -> Array:
        return values if self.mask is None else jnp.where(self.mask, values, 0)

    def _sums(self, at: tuple[Array, ...], for_covariance: bool = False) -> _Sums:
        """Sums at some parameters; ``for_covariance`` with the curvature of the loss as it is."""
        numbers = [s[None] for s in self.starts]
        for k, value in zip(self.settings.free, at, strict=True):
            numbers[k] = value[None]
        predicted, columns = self.predict(numbers, self.x, self.settings.free)
        r = self._weighed(predicted.astype(self.dtype) - self.y)
        columns = [self._weighed(column.astype(self.dtype)) for column in columns]
        if self.loss is None:
            r, *columns = self._once([r, *columns])
            terms = [r * r]
        else:
            # Pearson's residuals under a Poisson loss, as LeastSquares has them.
            a, b = self.loss.weights(r, self.counted_y)
            plain = a * r if isinstance(self.loss, Poisson) else r
            terms = [self._masked(self.loss.terms(r, self.counted_y)), plain * plain]
            if self.is_robust:
                terms.append((b * self._weighed(self.counted_y)) ** 2)
            if for_covariance:
                b = self.loss.information(r, self.counted_y)
            r, columns = a * r, [b * column for column in columns]
            *terms, r = self._once([*terms, r])
            columns = self._once(columns)
        ahead, size = len(terms), self.size
        terms += [c * r for c in columns]
        terms += [columns[i] * columns[j] for i in range(size) for j in range(i + 1)]
        out = self._added(terms)
        slope, square = out[ahead : ahead + size], out[ahead + size :]
        chi_squared, size_of_y = [*out[1:ahead], None, None][:2]
        return _Sums(out[0], tuple(slope), tuple(square), chi_squared, size_of_y)

    def _once(self, terms: list[Array]) -> list[Array]:
        """What many sums are made of; computed once, not for each of them.

        Not what is the same at all points or in all fits: the compiler simplifies its products.
        """
        full = [term for term in terms if term.shape == self.y.shape]
        if not self.settings.sums_apart or not full:
            return terms
        computed = iter(lax.optimization_barrier(full))
        return [next(computed) if term.shape == self.y.shape else term for term in terms]

    def _added(self, terms: list[Array]) -> list[Array]:
        """The sum of each over the points."""
        full = [term for term in terms if term.shape == self.y.shape]
        added = iter(_sums_in_rows(full) if self.settings.sums_apart else _sums(full, 0))

        def total(term: Array) -> Array:
            if term.shape == self.y.shape:
                return next(added)
            one = jnp.sum(jnp.broadcast_to(term, (self.points, term.shape[1])), axis=0)
            return jnp.broadcast_to(one, (self.lanes,))

        return [total(term) for term in terms]

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
        eps, running = self.eps, now.status == RUNNING
        is_first = jnp.isinf(now.sums.cost)
        trial = tuple(a + s for a, s in zip(now.at, now.ahead, strict=True))
        there = self._sums(trial)
        cost, promised = now.sums.cost, now.promised
        decrease = cost - there.cost
        is_finite = _is_finite(there)
        is_level = jnp.abs(decrease) <= self._rounding(there._replace(cost=cost))
        is_trusted = now.damping <= 1
        is_better = is_finite & ((decrease > 0) | (is_level & is_trusted))
        # Computed once: without the barrier, every selection below would compute it for itself.
        is_better, is_finite, is_level, is_first = lax.optimization_barrier(
            (is_better, is_finite, is_level, is_first)
        )
        has_arrived = promised <= self._reached(now.sums)
        is_exact = jnp.where(is_better, there.cost, cost) <= (4 * eps * self._size(there)) ** 2
        gain = jnp.where(is_better & (promised > 0), decrease / promised, 0)
        factor = jnp.maximum(1 / 3, 1 - (2 * jnp.clip(gain, -1, 2) - 1) ** 3)
        damping = now.damping * jnp.where(is_better, factor, now.growth)
        ends = [
            (is_better & has_arrived & is_trusted, Status.GRADIENT_BELOW_TOLERANCE),
            (is_exact | (is_level & is_trusted & is_finite), Status.COST_CONVERGED),
            (damping > 1 / eps**2, Status.STALLED),
        ]
        status = jnp.select([c for c, _ in ends], [s for _, s in ends], RUNNING)
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
                taken=now.taken + (goes_on | (running & (now.taken == 0))),
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
        d = solved(sums.square, slope, scale, now.damping, stuck)
        d, is_cut = lax.optimization_barrier(self._clipped(now.at, d))
        length = sum(q * s * s for q, s in zip(scale, d, strict=True))
        promised = now.damping * length - sum(g * s for g, s in zip(slope, d, strict=True))
        trial = tuple(a + s for a, s in zip(now.at, d, strict=True))
        is_trusted = now.damping <= 1
        # Each parameter alone may change the residuals by the root of this part of their square.
        part = jnp.clip((10 * self.tolerance) ** 2, self.eps**0.5, _SHORT**2)
        is_short = is_trusted & ~is_cut & (length <= part * sums.cost)
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
        status = jnp.select([c for c, _ in ends], [s for _, s in ends], RUNNING)
        status = jnp.where(running, status, now.status).astype(jnp.int32)
        is_last = running & jnp.isin(status, jnp.array(_CONVERGED))
        return now._replace(
            at=_kept(trial, now.at, is_last),
            ahead=d,
            promised=promised,
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
        d = solved(sums.square, slope, scale, jnp.zeros_like(sums.cost), stuck)
        promised = -sum(g * s for g, s in zip(slope, d, strict=True))
        values = self._size(sums) + sum(
            jnp.abs(a) * jnp.sqrt(q) for a, q in zip(last.at, square, strict=True)
        )
        return promised <= 2 * self.eps * (sums.cost + jnp.sqrt(sums.cost) * values)

    def _described(self, last: _State, freedoms: Array) -> dict[str, Array]:
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
        lost = jnp.any(jnp.stack(diagonal) <= 0, axis=0)
        is_singular = (least <= 8 * size * self.eps) | lost
        inverted = inverse(L, root, size)
        variance = jnp.where(freedoms > 0, last.sums.cost / jnp.maximum(freedoms, 1), jnp.nan)
        variance = jnp.ones_like(variance) if settings.absolute_sigma else variance
        is_bad = last.status == Status.NON_FINITE
        is_known = ~is_singular & ~is_bad & (freedoms >= 0)
        variance = jnp.where(is_known, variance, jnp.nan)
        status = jnp.where(
            (last.status == Status.STALLED) & ~is_singular & self._has_nowhere_to_go(last),
            Status.COST_CONVERGED,
            last.status,
        ).astype(jnp.int32)
        has_converged = jnp.isin(status, jnp.array(_CONVERGED))
        ended = jnp.where(is_singular & has_converged, Status.SINGULAR, status)

        def entry(i: int, j: int) -> Array:
            value = inverted[place(max(i, j), min(i, j))] * variance
            for fixed in (self.fixed[i], self.fixed[j]):
                value = value if fixed is None else jnp.where(fixed, 0, value)
            return value

        chi_squared = last.sums.cost if self.loss is None else last.sums.chi_squared
        found = {
            "at": jnp.stack(last.at),
            "stderr": jnp.sqrt(jnp.stack([entry(k, k) for k in range(size)])),
            "cost": jnp.where(is_bad, jnp.nan, last.sums.cost),
            "chi_squared": jnp.where(is_bad, jnp.nan, chi_squared),
            "degrees_of_freedom": freedoms,
            "status": ended.astype(jnp.int32),
            "iterations": last.taken,
            "damping": jnp.stack([last.damping, last.growth, *last.scale]),
        }
        if settings.wants_covariance:
            rows = [jnp.stack([entry(i, j) for j in range(size)]) for i in range(size)]
            found["covariance"] = jnp.stack(rows)
        return found


def _kept(new: Any, old: Any, where: Array) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(where, a, b), new, old)


def _is_finite(sums: _Sums) -> Array:
    is_finite = jnp.isfinite(sums.cost)
    for part in (*sums.slope, *sums.square):
        is_finite &= jnp.isfinite(part)
    return is_finite


def _sums(terms: Sequence[Array], axis: int) -> list[Array]:
    """All of them in one loop."""
    zero = jnp.zeros((), terms[0].dtype)

    def added(a: Sequence[Array], b: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(p + q for p, q in zip(a, b, strict=True))

    return list(lax.reduce(tuple(terms), (zero,) * len(terms), added, (axis,)))


def _sums_in_rows(terms: Sequence[Array]) -> list[Array]:
    """Sums over points, a few at a time, of a few points at a time: as many as LLVM unrolls."""
    points, lanes = terms[0].shape
    groups = -(-points // _POINTS)
    rows = points // groups
    sums: list[Array] = []
    for k in range(0, len(terms), _UNROLLED // rows):
        some = terms[k : k + _UNROLLED // rows]
        of_rows = [term[: groups * rows].reshape(groups, rows, lanes) for term in some]
        added = _sums(_sums(of_rows, 1), 0)
        if groups * rows < points:
            rest = _sums([term[groups * rows :] for term in some], 0)
            added = [a + b for a, b in zip(added, rest, strict=True)]
        sums += added
    return sums
