"""The rules: dips of a stick in the sand, until the phone is found or the dips are used up."""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from .. import _check
from .._precision import in_precision_of
from .._types import AnyArray
from ._pit import SIDE, Pit

#: A dip this near to the phone finds it, in m.
REACH = 0.15
#: After so many dips it is time to hurry; with the last one the game is lost.
HURRY, LAST = 22, 26

_FLOW = 0.05  # longest step of the sand that runs down a valley, m
_FLOW_STEPS = 400


class Outcome(enum.IntEnum):
    """How a game stands."""

    PLAYING = 0
    FOUND = 1
    LOST = 2
    GAVE_UP = 3
    LEFT_THE_PIT = 4
    NOT_FINITE = 5

    @property
    def message(self) -> str:
        """One sentence."""
        return {
            Outcome.PLAYING: "the game goes on",
            Outcome.FOUND: "the phone is found",
            Outcome.LOST: f"lost: {LAST} dips and no phone",
            Outcome.GAVE_UP: "given up: the floor is revealed",
            Outcome.LEFT_THE_PIT: "lost: a step left the pit",
            Outcome.NOT_FINITE: "lost: a step was not finite",
        }[self]


class State(NamedTuple):
    """A game: row k of each array is dip k; rows from ``dips`` on are zero."""

    places: Float[AnyArray, "*games rows 2"]  #: m
    depths: Float[AnyArray, "*games rows"]  #: m
    jacobians: Float[AnyArray, "*games rows 2"]  #: m per m
    hessians: Float[AnyArray, "*games rows 2 2"]  #: 1/m
    dips: Int[AnyArray, "*games"]
    outcome: Int[AnyArray, "*games"]  #: an :class:`Outcome`

    @property
    def is_over(self) -> Any:
        """Whether no dip counts any more."""
        return self.outcome != Outcome.PLAYING


class Observation(NamedTuple):
    """What a dip tells."""

    depth: Float[AnyArray, "*games"]  #: m, from -1 to -9
    jacobian: Float[AnyArray, "*games 2"]  #: d(depth)/d(x, y): it points uphill; m per m
    hessian: Float[AnyArray, "*games 2 2"]  #: 1/m
    is_found: Bool[AnyArray, "*games"]
    is_other_hole: Bool[AnyArray, "*games"]  #: whether this valley ends where no phone is


def new_game() -> State:
    """A game before its first dip, in float64."""
    return State(
        np.zeros((LAST, 2)),
        np.zeros(LAST),
        np.zeros((LAST, 2)),
        np.zeros((LAST, 2, 2)),
        np.zeros((), np.int32),
        np.full((), Outcome.PLAYING, np.int32),
    )


def dip(pit: Pit, state: State, xy: Any) -> tuple[State, Observation]:
    """Poke the stick into the sand at a place: a pure function, to be jitted and vmapped.

    Within 0.15 m of the phone the game is won; the 26th dip elsewhere loses it, and so does a
    place that is not finite or outside the pit. A dip after the end changes nothing.

    ``is_other_hole`` follows the way down from the dip, in steps of at most 0.05 m against the
    Jacobian, each lower than the last, and tells whether it ends more than 0.15 m from the phone.

    Args:
        pit: where the phone is hidden.
        state: the game so far, from :func:`new_game` or the last dip.
        xy: the place, in m from the corner.

    Raises:
        TypeError, ValueError: a place that is no two real numbers.
    """
    xy = _check.real_array("xy", xy)
    if np.shape(xy) != (2,):
        raise ValueError(f"xy must be two numbers, got shape {np.shape(xy)}")
    return in_precision_of((pit, state), _dip, pit, state, xy)


@jax.jit
def _dip(pit: Pit, state: State, xy: Any) -> tuple[State, Observation]:
    xy = jnp.asarray(xy, state.places.dtype)
    is_finite = jnp.all(jnp.isfinite(xy))
    is_inside = jnp.all((xy >= 0) & (xy <= SIDE))
    place = jnp.where(is_finite & is_inside, xy, SIDE / 2)  # where everything is finite
    (depth, jacobian), hessian = jax.value_and_grad(pit.depth)(place), jax.hessian(pit.depth)(place)
    is_found = is_inside & (jnp.linalg.norm(place - pit.phone) <= REACH)

    counts = (state.outcome == Outcome.PLAYING) & is_inside & is_finite
    row = (jnp.arange(LAST, dtype=state.dips.dtype) == state.dips) & counts
    dips = state.dips + counts.astype(state.dips.dtype)
    after = jnp.where(
        ~is_finite,
        Outcome.NOT_FINITE,
        jnp.where(
            ~is_inside,
            Outcome.LEFT_THE_PIT,
            jnp.where(is_found, Outcome.FOUND, jnp.where(dips >= LAST, Outcome.LOST, 0)),
        ),
    ).astype(state.outcome.dtype)
    state = State(
        jnp.where(row[:, None], place, state.places),
        jnp.where(row, depth, state.depths),
        jnp.where(row[:, None], jacobian, state.jacobians),
        jnp.where(row[:, None, None], hessian, state.hessians),
        dips,
        jnp.where(state.outcome == Outcome.PLAYING, after, state.outcome),
    )
    is_other = jnp.linalg.norm(_end_of_valley(pit, place) - pit.phone) > REACH
    return state, Observation(depth, jacobian, hessian, is_found, is_other)


def _end_of_valley(pit: Pit, start: Any) -> Any:
    """Where sand would come to rest that runs down from ``start``."""

    def run(carry: Any, _: Any) -> Any:
        xy, depth, length = carry
        jacobian = jax.grad(pit.depth)(xy)
        size = jnp.linalg.norm(jacobian)
        trial = jnp.clip(xy - length * jacobian / jnp.where(size > 0, size, 1), 0, SIDE)
        trial_depth = pit.depth(trial)
        is_lower = trial_depth < depth
        length = jnp.where(is_lower, jnp.minimum(1.5 * length, _FLOW), length / 2)
        return (
            jnp.where(is_lower, trial, xy),
            jnp.where(is_lower, trial_depth, depth),
            length,
        ), None

    first = (start, pit.depth(start), jnp.asarray(_FLOW, start.dtype))
    return jax.lax.scan(run, first, length=_FLOW_STEPS)[0][0]


def undo(state: State) -> State:
    """The game before its last dip; an end undone with it. A game without a dip stays as it is."""
    xp: Any = np if isinstance(state.dips, (np.ndarray, np.generic)) else jnp
    last = xp.arange(LAST) == state.dips - 1
    where = xp.where
    return State(
        where(last[:, None], 0, state.places),
        where(last, 0, state.depths),
        where(last[:, None], 0, state.jacobians),
        where(last[:, None, None], 0, state.hessians),
        where(state.dips > 0, state.dips - 1, 0).astype(state.dips.dtype),
        where(state.dips > 0, Outcome.PLAYING, state.outcome).astype(state.outcome.dtype),
    )


def give_up(state: State) -> State:
    """The game ended, with the floor to be revealed; one that is over stays as it is."""
    where: Any = np.where if isinstance(state.outcome, (np.ndarray, np.generic)) else jnp.where
    outcome = where(state.is_over, state.outcome, int(Outcome.GAVE_UP))
    return state._replace(outcome=outcome.astype(state.outcome.dtype))


def predict(
    depth: Any, jacobian: Any, hessian: Any | None, step: Any
) -> Float[AnyArray, ""] | float:
    """Depth to expect after a step, in m: ``d + J s``, with a Hessian ``+ s H s / 2``."""
    linear = depth + jacobian @ step
    return linear if hessian is None else linear + step @ hessian @ step / 2
