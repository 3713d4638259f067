"""Levenberg-Marquardt until it has converged: the loop of ``fit``, and how it knows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ._linear import Local, Triangle, bend, local, product, step
from ._packing import known, while_loop
from ._path import Status
from ._problem import LeastSquares
from ._trust import Proposal, Trust, first_trust, judge, lengths, propose
from ._types import ArrayLike
from ._uncertainty import is_lost, is_singular

_RUNNING = -1
_BEGINNING = -2


class Trace(NamedTuple):
    """A fit row by row, refused steps included; only the first ``steps + 1`` rows are in use.

    A second attempt follows the first, and begins where that did.
    """

    at: Float[Array, "rows free"]  #: the free vector
    cost: Float[Array, "rows"]
    gradient_norm: Float[Array, "rows"]  #: of the cost, over the free vector
    damping: Float[Array, "rows"]  #: lambda for the step from here
    length: Float[Array, "rows"]  #: ``|D d|`` of the step that was tried to get here


def trace_of(table: Any) -> Trace:
    """The columns of a table that :func:`converge` kept, by name."""
    return Trace(table[..., :-4], *(table[..., k] for k in (-4, -3, -2, -1)))


class State(NamedTuple):
    """Where the fit stands."""

    at: Float[Array, "free"]
    here: Local
    left: Float[Array, ""]  #: the length of the part of r that the free numbers can reach
    trust: Trust
    proposed: Proposal  #: the step to try next
    steps: Int[Array, ""]
    bends: Int[Array, ""]  #: how often the second derivative was asked for
    status: Int[Array, ""]
    table: Float[Array, "rows columns"] | None  #: a :class:`Trace`, in one array


def converge(
    problem: LeastSquares,
    params_of: Callable[[Array], Any],
    at: Float[Array, "free"],
    limits: tuple[Array, Array] | None,
    damping: ArrayLike,
    steps: ArrayLike,
    tolerance: ArrayLike,
    rows: int,
    linear: bool = False,
    attempts: int = 1,
) -> State:
    """Fit from ``at``, within ``limits``, and keep a trace of ``rows`` rows (0 for none).

    A step is taken if it lowers the cost by more than rounding can. Where the cost can no longer
    tell, it is taken if it shortens what is left of the gradient; so the last digits are found that
    the cost does not show. The end:

    - GRADIENT_BELOW_TOLERANCE: the part of r that the parameters can reach is shorter than
      ``tolerance`` times r (Bates and Watts' relative offset), or than rounding errors of r.
    - COST_CONVERGED: the fit is exact, or what a step could still gain is below rounding.
    - STEP_CONVERGED: the step is below the rounding of the parameters.
    - STALLED: the same, but only because lambda has grown, as in front of a cliff.
    - NON_FINITE: the start is not finite, or squares are beyond the range of the precision.

    A ``linear`` model is solved by undamped steps, unless its Jacobian is singular to rounding.

    With 2 ``attempts``, a fit that stalls, or ends where the data do not determine the parameters
    (two peaks on one place, an exponential gone to infinity), is begun again from ``at`` with next
    to no damping, which leads elsewhere; the end with the lower cost counts.
    """
    eps = jnp.finfo(at.dtype).eps

    def noise_at(at: Array) -> Array:
        """The rounding errors of r, at least."""
        return eps * problem.magnitude(params_of(at))

    same_everywhere = noise_at(at) if problem.loss is None else None
    is_data = problem.has_data()

    def held(at: Array, of: Triangle) -> Array | None:
        """Which numbers stand at a bound with the cost falling beyond it."""
        if limits is None:
            return None
        downhill = -product(of.R.T, of.z)
        return ((at <= limits[0]) & (downhill < 0)) | ((at >= limits[1]) & (downhill > 0))

    def reachable(of: Triangle, held: Array | None) -> Array:
        """The length of the part of r that the free numbers can reach."""
        if held is None:
            return jnp.linalg.norm(of.z)
        only = without(of, held)
        weak = eps * jnp.where(held, 1, jnp.linalg.norm(of.R, axis=0))
        return jnp.linalg.norm(only.R @ step(only, jnp.where(weak > 0, weak, 1)))

    def has_arrived(cost: Array, left: Array, noise: Array) -> Array:
        return left <= jnp.maximum(tolerance * jnp.sqrt(cost), noise)

    def next_step(at: Array, here: Local, trust: Trust) -> Proposal:
        stuck = held(at, here.triangle)
        of = without(here.triangle, stuck)
        proposed = propose(of, at, trust, lambda d: bend(problem, params_of, at, d))
        if limits is None or stuck is None:
            return proposed
        return within(proposed, here.triangle, at, stuck, trust, limits)

    def go(now: State) -> State:
        """Try the step, judge it, and propose the next; the first try is the start itself."""
        is_first, cost = now.status == _BEGINNING, now.here.cost
        trial = now.at + now.proposed.d
        there = local(problem, params_of, trial)
        noise = noise_at(trial) if same_everywhere is None else same_everywhere
        left = reachable(there.triangle, held(trial, there.triangle))
        is_finite = jnp.isfinite(there.cost) & jnp.all(jnp.isfinite(there.triangle.R))
        decrease = cost - there.cost
        rounding = 2 * (eps * cost + jnp.sqrt(cost) * noise)
        # A cost may be off by what rounding the parameters does to it, which may be more.
        moved = jnp.vdot(jnp.abs(trial), jnp.linalg.norm(there.triangle.R, axis=0))
        is_level = jnp.abs(decrease) <= rounding + 2 * eps * jnp.sqrt(cost) * moved
        is_better = is_finite & jnp.where(is_level, left < now.left, decrease > 0)

        is_tiny = ~is_first & jnp.all(jnp.abs(now.proposed.d) <= 2 * eps * jnp.abs(trial))
        # By the slopes at both ends of the step, where the cost cannot tell.
        slopes = product(now.here.triangle.R.T, now.here.triangle.z)
        slopes += product(there.triangle.R.T, there.triangle.z)
        told = jnp.where(is_level, -jnp.vdot(slopes, now.proposed.d), decrease)
        judged = judge(now.trust, now.proposed, told, is_better)
        at, here, left = jax.tree.map(
            lambda new, old: jnp.where(is_better, new, old),
            (trial, there, left),
            (now.at, now.here, now.left),
        )
        trust = jax.tree.map(lambda a, b: jnp.where(is_first, a, b), now.trust, judged)
        ends = {
            Status.NON_FINITE: (is_first & ~(is_finite & jnp.isfinite(noise)))
            | is_lost(here.cost, noise, is_data),
            Status.GRADIENT_BELOW_TOLERANCE: is_better & has_arrived(here.cost, left, noise),
            Status.COST_CONVERGED: (here.cost <= (4 * noise) ** 2)
            | (
                (~is_better | (is_tiny & (now.proposed.damping > 1)))
                & is_finite
                & (left**2 <= rounding)
            ),
            Status.STEP_CONVERGED: is_tiny & (now.proposed.damping <= 1),
            Status.STALLED: is_tiny,
        }
        status: Any = known(_RUNNING, np.int32)
        for end, is_so in reversed(ends.items()):  # the first that holds
            status = jnp.where(is_so, known(end, np.int32), status)
        if linear:
            is_clear = is_first & ~is_singular(here.triangle.R)
            trust = trust._replace(damping=jnp.where(is_clear, eps**2, trust.damping))
        trust = trust._replace(
            scale=lengths(here.triangle, trust, at), is_bent=trust.is_bent & (status == _RUNNING)
        )
        proposed = next_step(at, here, trust)
        after = State(
            at=at,
            here=here,
            left=left,
            trust=trust,
            proposed=proposed,
            steps=now.steps + 1,
            bends=now.bends + proposed.is_bent.astype(jnp.int32),
            status=status,
            table=now.table,
        )
        return noted(after, jnp.linalg.norm(now.trust.scale * now.proposed.d))

    def noted(now: State, length: Array) -> State:
        if now.table is None:
            return now
        of = now.here.triangle
        slope = 2 * jnp.linalg.norm(product(of.R.T, of.z))
        numbers = jnp.stack([now.here.cost, slope, now.trust.damping, length])
        row = jnp.concatenate([now.at, numbers])
        first = now.steps, jnp.zeros_like(now.steps)
        return now._replace(table=lax.dynamic_update_slice(now.table, row[None], first))

    def beginning(damping: ArrayLike, steps: Any, bends: Any, table: Array | None) -> State:
        trust = first_trust(at, damping, jnp.inf if linear else 3.0)
        return _before(at, trust, steps, bends, table)

    def attempt(tried: Any, found: State) -> tuple[Any, State]:
        """Once more from the start; kept if it ends lower."""
        lam = jnp.where(tried == 0, damping, second_damping(at.dtype))
        begun = beginning(lam, found.steps, found.bends, found.table)
        most = jnp.asarray(steps).astype(jnp.int32)
        last = while_loop(lambda now: (now.status <= _RUNNING) & (now.steps < most), go, begun)
        last = last._replace(
            status=jnp.where(last.status <= _RUNNING, Status.STEPS_USED, last.status)
        )
        if attempts == 1:
            return tried + 1, last
        is_worse = (tried > 0) & ~(last.here.cost < found.here.cost)
        kept = jax.tree.map(
            lambda old, new: jnp.where(is_worse, old, new),
            (found.at, found.here, found.status),
            (last.at, last.here, last.status),
        )
        return tried + 1, last._replace(at=kept[0], here=kept[1], status=kept[2])

    none = known(0, np.int32)
    table = jnp.zeros((rows, at.size + 4), at.dtype) if rows else None
    first = beginning(damping, known(-1, np.int32), none, table)
    if attempts == 1 or linear:
        return attempt(none, first)[1]

    return while_loop(
        lambda now: (now[0] == 0) | ((now[0] < attempts) & is_unsatisfying(now[1])),
        lambda now: attempt(*now),
        (none, first),
    )[1]


def is_unsatisfying(found: State) -> Bool[Array, ""]:
    """Whether a second attempt is worth it: a fit stalled, or left parameters undetermined."""
    return (found.status == Status.STALLED) | (
        (found.status != Status.NON_FINITE) & is_singular(found.here.triangle.R)
    )


def second_damping(dtype: Any) -> float:
    """Lambda for a second attempt: next to none, which leads elsewhere."""
    return float(jnp.finfo(dtype).eps ** 0.5)


def _before(at: Array, trust: Trust, steps: Any, bends: Any, table: Array | None) -> State:
    """Nothing is known yet, and the start is the first point to try."""
    size, nothing = at.size, jnp.zeros_like(at)
    unknown = known(np.inf, at.dtype)
    no, zero = known(False, bool), known(0, at.dtype)
    R = jnp.zeros((size, size), at.dtype)
    return State(
        at=at,
        here=Local(unknown, Triangle(R, nothing, zero)),
        left=unknown,
        trust=trust,
        proposed=Proposal(nothing, trust.damping, zero, no, no),
        steps=steps,
        bends=bends,
        status=known(_BEGINNING, np.int32),
        table=table,
    )


def without(of: Triangle, held: Array | None) -> Triangle:
    """The triangle for steps that leave the held numbers where they are."""
    return of if held is None else of._replace(R=jnp.where(held[None], 0, of.R))


def within(
    proposed: Proposal,
    of: Triangle,
    at: Array,
    held: Array,
    trust: Trust,
    limits: tuple[Array, Array],
) -> Proposal:
    """The proposal kept within the limits: what would cross one goes there, and the rest adapts."""
    low, high = limits
    d = jnp.where(held, 0, proposed.d)
    crosses = (at + d < low) | (at + d > high)
    to_limit = jnp.where(crosses, jnp.clip(at + d, low, high) - at, 0)
    rest = of._replace(z=of.z + of.R @ to_limit)
    stays = held | crosses
    adapted = step(without(rest, stays), jnp.sqrt(proposed.damping) * trust.scale)
    shrink = jnp.minimum(
        1, jnp.linalg.norm(trust.scale * d) / (jnp.linalg.norm(trust.scale * adapted) + 1e-300)
    )
    adapted = jnp.where(stays, to_limit, adapted * shrink)
    d = jnp.where(jnp.any(crosses), adapted, d)
    d = jnp.clip(at + d, low, high) - at
    moved = of.R @ d
    return proposed._replace(d=d, predicted=-jnp.vdot(moved, 2 * of.z + moved))
