"""Descents of many fits on a CPU: blocks of lanes, each with a loop of its own.

All sums over the points are taken in one pass, so that no Jacobian is ever written to memory; or a
few at a time, of a Jacobian that stays in cache.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .._xla import RUNS_STEP_BY_STEP, as_one_function
from ._descent import Chunk, Descent, Points, Settings, Terms, is_batched
from ._lanes import lanewise

# Of a loop of which LLVM works on several lanes side by side, as far as was measured.
_POINTS, _UNROLLED = (5, 25) if RUNS_STEP_BY_STEP else (10, 50)
_APART = 1024  # bytes of y of a fit


def sums_apart(points: int, dtype: Any) -> bool:
    """Whether sums are faster a few at a time, as far as was measured."""
    return jax.default_backend() == "cpu" and points * np.dtype(dtype).itemsize <= _APART


def descended(
    settings: Settings, chunk: Chunk, tolerance: Any, steps: Any, used: Any
) -> dict[str, Array]:
    """What each of the first ``used[0]`` fits of a chunk finds, block by block of lanes.

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
        found = _Block(settings, block, jnp.asarray(tolerance, dtype), steps).descended()
        return {name: _stacked(rows) for name, rows in found.items()}

    def body(k: Any, found: dict[str, Array]) -> dict[str, Array]:
        return {
            name: lax.dynamic_update_slice_in_dim(found[name], value, k * lanes, value.ndim - 1)
            for name, value in one(k).items()
        }

    nothing = {
        name: jnp.zeros((*of.shape[:-1], fits), of.dtype)
        for name, of in jax.eval_shape(one, 0).items()
    }
    return lax.fori_loop(0, -(-used[0] // lanes), body, nothing)


def _stacked(rows: Any) -> Array:
    return jnp.stack([_stacked(row) for row in rows]) if isinstance(rows, list) else rows


class _Block(Descent):
    """Lanes whose data are (points, lanes); what is the same in all of them may be (points, 1)."""

    def __init__(self, settings: Settings, block: Chunk, tolerance: Array, steps: Any) -> None:
        self.data = Points(*(block[name] for name in Points._fields))
        self.shape = block["y"].shape
        one_x = settings.x_of_one(self.data.x)
        self.predict, self.is_elementwise = lanewise(
            settings.of_numbers, len(block["starts"]), one_x, block["y"].dtype,
            settings.has_shared_x,
        )  # fmt: skip
        super().__init__(settings, block, self.shape[1], block["y"].dtype, tolerance, steps)

    def predicted(self, numbers: Sequence[Array], x: Any) -> tuple[Array, list[Array]]:
        """The model, (points, lanes), and its derivatives, (1 or points, 1 or lanes)."""
        return self.predict([number[None] for number in numbers], x, self.settings.free)

    def descended(self) -> dict[str, Any]:
        """Go until every lane has stopped, and describe what each has found."""
        if self.is_elementwise:
            return as_one_function(super().descended, "cost")
        return super().descended()

    def used(self) -> Any:
        """How many points count."""
        mask = self.data.mask
        return self.shape[0] if mask is None else jnp.sum(mask, axis=0, dtype=jnp.int32)

    def is_any(self, lanes: Array) -> Array:
        """Whether it is so in one lane at least."""
        return jnp.any(lanes)

    def once(self, values: Any) -> Any:
        """The same: without the barrier, every selection would compute it for itself."""
        return lax.optimization_barrier(values)

    def once_at_points(self, terms: list[Array]) -> list[Array]:
        """What many sums are made of; computed once, not for each of them.

        Not what is the same at all points or in all fits: the compiler simplifies its products.
        """
        full = [term for term in terms if term.shape == self.shape]
        if not self.settings.sums_apart or not full:
            return terms
        computed = iter(lax.optimization_barrier(full))
        return [next(computed) if term.shape == self.shape else term for term in terms]

    def added(self, terms: Terms) -> list[Array]:
        """The sum of each over the points."""
        all_terms = terms(self.data)
        full = [term for term in all_terms if term.shape == self.shape]
        added = iter(_sums_in_rows(full) if self.settings.sums_apart else _sums(full, 0))

        def total(term: Array) -> Array:
            if term.shape == self.shape:
                return next(added)
            one = jnp.sum(jnp.broadcast_to(term, (self.shape[0], term.shape[1])), axis=0)
            return jnp.broadcast_to(one, (self.lanes,))

        return [total(term) for term in all_terms]


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
