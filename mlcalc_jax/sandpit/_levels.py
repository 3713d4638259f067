"""The levels: how each one's floor is drawn from a seed, and what it lets the player see."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _check
from .._precision import in_double
from ._pit import SIDE, Pit, Survey, survey

_MIDDLE = SIDE / 2
_MOST_TRIES = 200


class Ground(NamedTuple):
    """Numbers of a floor made of a bowl, holes, waves and a rim; any of them may be empty."""

    bowl: Float[Array, "bowls 3"]  #: strength (1/m), x, y of the middle
    holes: Float[Array, "holes 4"]  #: depth, x, y, width (m^2)
    waves: Float[Array, "waves 4"]  #: amplitude, wave number along x and y (1/m), phase
    rim: Float[Array, ""]  #: how high the floor rises at the middle of each border


def ground(shape: Ground, xy: Any) -> Any:
    """Height of the floor: bowls ``s r^2``, holes ``-d exp(-r^2 / w)``, waves and a rim."""
    x, y = xy[0], xy[1]
    bowl, holes, waves = shape.bowl, shape.holes, shape.waves
    z = jnp.sum(bowl[:, 0] * ((x - bowl[:, 1]) ** 2 + (y - bowl[:, 2]) ** 2))
    r2 = (x - holes[:, 1]) ** 2 + (y - holes[:, 2]) ** 2
    z -= jnp.sum(holes[:, 0] * jnp.exp(-r2 / holes[:, 3]))
    z += jnp.sum(waves[:, 0] * jnp.cos(waves[:, 1] * x + waves[:, 2] * y + waves[:, 3]))
    return z + shape.rim * (((x - _MIDDLE) / _MIDDLE) ** 8 + ((y - _MIDDLE) / _MIDDLE) ** 8)


@dataclass(frozen=True)
class Level:
    """One kind of pit, and what its dip-stick tells besides the depth."""

    name: str
    story: str
    draw: Callable[[Any, Any], Ground]  #: the floor from (seed, key)
    margin: float  #: how much deeper than any other hole the phone lies at least, m
    jacobian: bool = True
    hessian: bool = False
    prediction: str = ""  #: "linear" or "quadratic": the depth to expect where the pointer is
    border_holes: bool = False  #: whether a hole that holds no phone may lie on the border
    salt: int = 0  #: so that no other level gives away where the phone of a seed lies


def _course(seed: Any, key: Any) -> Ground:
    """The course's own floor; other seeds move its two places, turn it and mirror it."""
    places = jnp.array([[4.1, 0.9], [1.5, 3.7]])
    turn, mirror, move = jax.random.split(key, 3)
    moved = places + jax.random.uniform(move, (2, 2), minval=-0.25, maxval=0.25) - _MIDDLE
    angle = jax.random.randint(turn, (), 0, 4).astype(places.dtype) * jnp.pi / 2
    c, s = jnp.round(jnp.cos(angle)), jnp.round(jnp.sin(angle))
    turned = jnp.stack([c * moved[:, 0] - s * moved[:, 1], s * moved[:, 0] + c * moved[:, 1]], 1)
    turned = jnp.where(jax.random.bernoulli(mirror), turned[:, ::-1], turned) + _MIDDLE
    top, well = jnp.where(seed == 0, places, turned)
    bowl = jnp.concatenate([jnp.array([-1.0]), top])[None]
    hole = jnp.concatenate([jnp.array([30.0]), well, jnp.array([2.8])])[None]
    return Ground(bowl, hole, jnp.zeros((0, 4)), jnp.array(0.0))


def _waves(key: Any, count: int, shortest: float, longest: float, power: float) -> Any:
    """Waves in all directions; amplitudes fall with the wave number, to that power."""
    length, direction, phase = jax.random.split(key, 3)
    lengths = jnp.exp(
        jax.random.uniform(length, (count,), minval=jnp.log(shortest), maxval=jnp.log(longest))
    )
    number = 2 * jnp.pi / lengths
    angle = jax.random.uniform(direction, (count,), maxval=2 * jnp.pi)
    amplitude = (lengths / longest) ** power
    return jnp.stack(
        [
            amplitude,
            number * jnp.cos(angle),
            number * jnp.sin(angle),
            jax.random.uniform(phase, (count,), maxval=2 * jnp.pi),
        ],
        axis=1,
    )


def _nothing(columns: int) -> Any:
    return jnp.zeros((0, columns))


def _dunes(_: Any, key: Any) -> Ground:
    return Ground(_nothing(3), _nothing(4), _waves(key, 12, 2.2, 8.0, 1.0), jnp.array(1.5))


def _holes(_: Any, key: Any) -> Ground:
    """Nine holes of different depths, one in each ninth of the square."""
    place, depth, width = jax.random.split(key, 3)
    cells = jnp.stack(jnp.meshgrid(jnp.arange(3.0), jnp.arange(3.0)), -1).reshape(9, 2)
    places = 2 * cells + 1 + jax.random.uniform(place, (9, 2), minval=-0.5, maxval=0.5)
    depths = jax.random.permutation(depth, jnp.linspace(1.0, 2.0, 9))
    widths = jax.random.uniform(width, (9,), minval=0.35, maxval=0.8)
    holes = jnp.concatenate([depths[:, None], places, widths[:, None]], axis=1)
    return Ground(_nothing(3), holes, _nothing(4), jnp.array(0.5))


def _rocks(_: Any, key: Any) -> Ground:
    """A smooth floor under ripples so fine that every arrow lies."""
    smooth, fine = jax.random.split(key)
    large = _waves(smooth, 6, 4.0, 9.0, 1.0)
    ripples = _waves(fine, 4, 0.5, 0.8, 0.0).at[:, 0].set(0.07)
    return Ground(_nothing(3), _nothing(4), jnp.concatenate([large, ripples]), jnp.array(1.5))


def _well(_: Any, key: Any) -> Ground:
    """A gentle bowl that leads away from a narrow well."""
    first, second = jax.random.split(key)
    middle = jax.random.uniform(first, (2,), minval=1.5, maxval=4.5)
    well = jax.random.uniform(second, (2,), minval=0.6, maxval=5.4)
    bowl = jnp.concatenate([jnp.array([0.08]), middle])[None]
    hole = jnp.concatenate([jnp.array([3.0]), well, jnp.array([0.3])])[None]
    return Ground(bowl, hole, _nothing(4), jnp.array(0.3))


LEVELS = {
    level.name: level
    for level in (
        Level("bowl", "one bowl and a trap", _course, 0.2, prediction="linear", border_holes=True),
        Level("blind", "depths only, no arrow", _dunes, 0.5, jacobian=False, salt=1),
        Level("dunes", "random waves of sand", _dunes, 0.5, prediction="linear"),
        Level("holes", "nine holes, one phone", _holes, 0.3, hessian=True, prediction="quadratic"),
        Level("rocks", "ripples so fine that every arrow lies", _rocks, 0.1, prediction="linear"),
        Level("well", "a narrow well", _well, 1.0, hessian=True, prediction="quadratic"),
        Level(
            "day", "the pit of the day", _dunes, 0.5, hessian=True, prediction="quadratic", salt=2
        ),
    )
}


def level_named(name: str) -> Level:
    """A level by its name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in LEVELS:
        raise ValueError(f"there is no level {name!r}; there are {', '.join(LEVELS)}")
    return LEVELS[name]


def seed_of_day(day: datetime.date | None = None) -> int:
    """The seed of a day's pit, yyyymmdd; today's unless given."""
    day = day or datetime.date.today()
    return 10_000 * day.year + 100 * day.month + day.day


def pit(level: str = "bowl", seed: int = 0) -> Pit:
    """A pit of a level; the same seed gives the same pit.

    The bowl of seed 0 is the course's own floor,
    ``-((x - 4.1)^2 + (y - 0.9)^2) - 30 exp(-((x - 1.5)^2 + (y - 3.7)^2) / 2.8)``.

    Raises:
        TypeError, ValueError: an unknown level; a seed that is no whole number from 0 to 2^32 - 1.
    """
    many = pits(level, [seed])
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), many)


def pits(level: str, seeds: Sequence[int] | np.ndarray | int) -> Pit:
    """Many pits of a level, on a leading axis of every leaf; each the same as it is alone.

    Args:
        level: its name.
        seeds: of the pits, or how many (then from 0 on).

    Raises:
        TypeError, ValueError: an unknown level; no seed, or one that is no whole number from 0 to
            2^32 - 1.
    """
    chosen = level_named(level)
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        seeds = range(_check.count("seeds", seeds))
    array = np.asarray(seeds)
    if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"seeds must be whole numbers, at least one, got {seeds!r}")
    if array.min() < 0 or array.max() >= 2**32:
        raise ValueError(f"seeds must lie from 0 to 2^32 - 1, got {array.min()} to {array.max()}")
    dug = in_double(_dug, chosen, array.astype(np.uint32))
    drawn, seen, is_sound = jax.tree.map(np.asarray, dug)
    if not np.all(is_sound):
        bad = array[~is_sound]
        raise ValueError(f"no sound pit of the level {level} could be dug from seed {bad[0]}")
    return Pit(drawn, seen.highest, seen.lowest, seen.phone, seen.margin, ground)


@partial(jax.jit, static_argnums=0)
def _dug(level: Level, seeds: Any) -> tuple[Ground, Survey, Any]:
    """Draw floors from each seed until one is sound; the last in any case, and whether it is."""

    def attempt(seed: Any, number: Any) -> tuple[Ground, Survey, Any]:
        key = jax.random.fold_in(jax.random.key(seed), number)
        drawn = level.draw(seed, jax.random.fold_in(key, level.salt) if level.salt else key)
        seen = survey(partial(ground, drawn))
        is_sound = (
            seen.is_finite
            & (seen.proved > 0)
            & (seen.margin >= level.margin)
            & (seen.to_border > 0.3)
            & (level.border_holes | ~seen.has_border_hole)
        )
        return drawn, seen, is_sound

    def one(seed: Any) -> tuple[Ground, Survey, Any]:
        def body(carry: Any) -> Any:
            number, _ = carry
            return number + 1, attempt(seed, number)

        def is_wanted(carry: Any) -> Any:
            number, (_, _, is_sound) = carry
            return ~is_sound & (number < _MOST_TRIES)

        shapes = jax.eval_shape(attempt, seed, jnp.zeros((), jnp.int32))
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return jax.lax.while_loop(is_wanted, body, (jnp.zeros((), jnp.int32), nothing))[1]

    return jax.lax.map(one, seeds)
