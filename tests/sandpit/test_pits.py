"""The pits: their derivatives, the phone's place, and the rules of the game."""

import datetime
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from mlcalc_jax import sandpit
from mlcalc_jax.sandpit import Outcome

pytestmark = pytest.mark.slow

_SEEDS = 1000


def course(x: float, y: float) -> float:
    """The first level's closed form, by NumPy."""
    trap = -((x - 4.1) ** 2) - (y - 0.9) ** 2
    return float(trap - 30 * np.exp(-((x - 1.5) ** 2 + (y - 3.7) ** 2) / 2.8))


def test_the_first_pit_is_the_course_s() -> None:
    """Outside fact: SciPy's minimum and maximum of the closed form, and depths between them."""
    pit = sandpit.pit("bowl", 0)
    low = minimize(lambda p: course(*p), (1.2, 4.0), tol=1e-12)
    high = minimize(lambda p: -course(*p), (4.2, 0.8), tol=1e-12)
    np.testing.assert_allclose(pit.phone, low.x, atol=1e-5)
    np.testing.assert_allclose(pit.phone, (1.215, 4.010), atol=0.005)
    np.testing.assert_allclose(high.x, (4.205, 0.790), atol=0.005)
    for xy in ((0.0, 6.0), (3.0, 3.0), (5.5, 0.2)):
        depth = -1 - 8 * (-high.fun - course(*xy)) / (-high.fun - low.fun)
        np.testing.assert_allclose(pit.depth(np.array(xy)), depth, atol=1e-9)
    np.testing.assert_allclose(pit.depth(high.x), -1, atol=1e-9)
    np.testing.assert_allclose(pit.depth(pit.phone), -9, atol=1e-9)
    corner = -9 + 8 * (course(0, 6) - low.fun) / (-high.fun - low.fun)
    np.testing.assert_allclose(pit.margin, corner + 9, atol=1e-6)  # the trap


@pytest.mark.parametrize("level", sandpit.LEVELS)
def test_derivatives_are_finite_differences(level: str) -> None:
    """Outside fact: central differences of the depth."""
    pit, h = sandpit.pit(level, 7), 1e-4
    for xy in np.random.default_rng(0).uniform(0.5, 5.5, (4, 2)):
        ends = np.eye(2) * h
        slope = [(pit.depth(xy + e) - pit.depth(xy - e)) / (2 * h) for e in ends]
        bend = [(pit.gradient(xy + e) - pit.gradient(xy - e)) / (2 * h) for e in ends]
        np.testing.assert_allclose(pit.gradient(xy), slope, atol=1e-5)
        np.testing.assert_allclose(pit.hessian(xy), bend, atol=1e-4)


def test_no_level_gives_away_the_phone_of_another() -> None:
    """Levels of the same kind of floor, and of one seed."""
    places = [sandpit.pit(level, 0).phone for level in ("dunes", "blind", "day")]
    assert min(np.linalg.norm(places[k] - places[k - 1]) for k in range(3)) > 0.1


def test_places_of_any_kind() -> None:
    """Whole numbers, lists and tuples are places; what is none is said to be none."""
    pit = sandpit.pit("bowl", 0)
    for place in ([1, 2], (1.0, 2.0), np.array([1, 2])):
        assert_allclose(pit.gradient(place), pit.gradient(np.array([1.0, 2.0])))
        assert np.shape(pit.hessian(place)) == (2, 2)
    with pytest.raises(ValueError, match="two numbers"):
        pit.depth(np.ones(3))
    with pytest.raises(ValueError, match="these are 2 pits"):
        sandpit.pits("bowl", 2).depth([1, 2])


@pytest.mark.parametrize("level", [name for name in sandpit.LEVELS if name not in ("blind", "day")])
def test_a_thousand_pits_have_one_phone_each(level: str) -> None:
    """Each phone lies inside, at a minimum, and no place of another grid is nearly so deep."""
    many = sandpit.pits(level, _SEEDS)
    offset = (np.arange(97) + 0.37) * 6 / 97  # no point of it is one of the survey's
    grid = np.stack(np.meshgrid(offset, offset), axis=-1).reshape(-1, 2)

    def look(pit: sandpit.Pit) -> tuple[Any, ...]:
        depth = jax.vmap(pit.depth)(jnp.asarray(grid))
        far = jnp.hypot(grid[:, 0] - pit.phone[0], grid[:, 1] - pit.phone[1]) > 0.5
        return (
            pit.depth(pit.phone),
            jnp.linalg.norm(pit.gradient(pit.phone)),
            jnp.linalg.eigvalsh(pit.hessian(pit.phone))[0],
            jnp.min(jnp.where(far, depth, 0)),
            jnp.max(depth),
        )

    with jax.enable_x64(True):
        seen = jax.jit(lambda p: jax.lax.map(look, p))(many)
    at_phone, slope, bend, elsewhere, top = map(np.asarray, seen)
    np.testing.assert_allclose(at_phone, -9, atol=1e-9)
    assert np.max(slope) < 1e-6
    assert np.min(bend) > 0
    assert np.all((many.phone > 0.3) & (many.phone < 5.7))
    assert np.all(many.margin >= sandpit.LEVELS[level].margin)
    assert np.min(elsewhere) > -9
    assert np.max(top) <= -1 + 1e-9
    assert len(np.unique(many.phone, axis=0)) == _SEEDS


def test_a_pit_is_the_same_alone_and_among_others() -> None:
    """Bit for bit."""
    alone, among = sandpit.pit("holes", 5), sandpit.pits("holes", [3, 5])
    for one, two in zip(jax.tree.leaves(alone), jax.tree.leaves(among), strict=True):
        np.testing.assert_array_equal(one, two[1])


def test_the_day_gives_a_seed() -> None:
    """As it is written."""
    assert sandpit.seed_of_day(datetime.date(2026, 11, 24)) == 20261124
    assert sandpit.Session("day").seed == sandpit.seed_of_day()


def test_a_pit_of_one_s_own() -> None:
    """A paraboloid's phone lies where its closed form says."""
    pit = sandpit.dig(lambda xy: (xy[0] - 2.0) ** 2 + 3 * (xy[1] - 4.5) ** 2)
    np.testing.assert_allclose(pit.phone, (2.0, 4.5), atol=1e-9)
    np.testing.assert_allclose(pit.depth(np.array([2.0, 4.5])), -9)


@pytest.mark.parametrize(
    ("floor", "message"),
    [
        (lambda xy: xy[0], "border"),
        (lambda xy: 0 * xy[0], "flat"),
        (lambda xy: jnp.log(xy[0] - 1), "finite"),
        (lambda xy: jnp.cos(2 * xy[0]) + jnp.cos(2 * xy[1]), "cannot be told"),
        (lambda xy: xy, "one real number"),
        (lambda xy: float(xy[0]), "jax.numpy"),
    ],
)
def test_floors_that_are_no_pit(floor: object, message: str) -> None:
    """A sentence that says why."""
    with pytest.raises((ValueError, TypeError), match=message):
        sandpit.dig(floor)  # type: ignore[arg-type]


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize(
    ("level", "seeds"),
    [("moon", 1), ("bowl", 0), ("bowl", []), ("bowl", [-1]), ("bowl", [2**32]), ("bowl", [0.5])],
)
def test_pits_that_cannot_be(level: str, seeds: object) -> None:
    """An unknown level, no seed, and seeds that are none."""
    with pytest.raises((ValueError, TypeError), match=r"level|seeds"):
        sandpit.pits(level, seeds)  # type: ignore[arg-type]


def dip_all(pit: sandpit.Pit, places: object) -> sandpit.State:
    state = sandpit.new_game()
    for place in np.asarray(places):
        state, _ = sandpit.dip(pit, state, place)
    return state


def test_found_within_reach_and_not_beyond() -> None:
    """0.149 m from the phone wins, 0.151 m does not; then nothing counts any more."""
    pit = sandpit.pit("bowl", 0)
    near, far = (np.asarray(pit.phone) + away for away in ([0.149, 0], [0, 0.151]))
    state = dip_all(pit, [far, near, far])
    assert (int(state.dips), int(state.outcome)) == (2, Outcome.FOUND)
    assert dip_all(pit, [far]).outcome == Outcome.PLAYING


def test_the_26th_dip_loses() -> None:
    """And the 25th does not."""
    pit = sandpit.pit("bowl", 0)
    assert dip_all(pit, np.full((25, 2), 3.0)).outcome == Outcome.PLAYING
    assert dip_all(pit, np.full((27, 2), 3.0)).outcome == Outcome.LOST


@pytest.mark.parametrize(
    ("place", "outcome"),
    [((-0.1, 3), Outcome.LEFT_THE_PIT), ((3, np.inf), 5), ((np.nan, 1), Outcome.NOT_FINITE)],
)
def test_places_outside(place: tuple[float, float], outcome: int) -> None:
    """End the game with the reason, count as no dip, and leave no NaN behind."""
    state = dip_all(sandpit.pit("bowl", 0), [(3.0, 3.0), place])
    assert (int(state.dips), int(state.outcome)) == (1, outcome)
    assert all(np.isfinite(leaf).all() for leaf in state)


def test_a_valley_says_where_it_ends() -> None:
    """The corner's trap does; the phone's own valley does not."""
    pit, new = sandpit.pit("bowl", 0), sandpit.new_game()
    assert sandpit.dip(pit, new, (0.2, 5.8))[1].is_other_hole
    assert not sandpit.dip(pit, new, (2.5, 3.0))[1].is_other_hole


def test_undo_takes_back_bit_for_bit() -> None:
    """Also the dip that won; giving up ends a game."""
    pit = sandpit.pit("dunes", 1)
    before = dip_all(pit, [(1.0, 2.0), (3.0, 3.0)])
    after, _ = sandpit.dip(pit, before, pit.phone)
    assert after.outcome == Outcome.FOUND
    for one, two in zip(sandpit.undo(after), before, strict=True):
        np.testing.assert_array_equal(one, two)
    assert sandpit.give_up(before).outcome == Outcome.GAVE_UP
    assert sandpit.give_up(after).outcome == Outcome.FOUND
    assert sandpit.undo(sandpit.new_game()).dips == 0


def test_dip_under_vmap_and_jit_is_the_same(double: None) -> None:
    """A game in each of three pits."""
    many = sandpit.pits("rocks", 3)
    places = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 0.5]])
    new = sandpit.new_game()
    together, _ = jax.jit(jax.vmap(sandpit.dip, (0, None, 0)))(many, new, places)
    for k in range(3):
        alone, _ = sandpit.dip(sandpit.pit("rocks", k), new, places[k])
        np.testing.assert_allclose(together.depths[k], alone.depths, rtol=1e-12)
        np.testing.assert_allclose(together.hessians[k], alone.hessians, rtol=1e-9, atol=1e-9)


def test_predictions_are_taylor_s() -> None:
    """Outside fact: the error of the quadratic prediction falls as the cube of the step."""
    pit = sandpit.pit("dunes", 2)
    here, step = np.array([2.0, 3.0]), np.array([0.1, -0.06])
    _, seen = sandpit.dip(pit, sandpit.new_game(), here)
    errors = [
        sandpit.predict(seen.depth, seen.jacobian, seen.hessian, s) - pit.depth(here + s)
        for s in (step, step / 2)
    ]
    assert 6 < errors[0] / errors[1] < 10
    linear = sandpit.predict(seen.depth, seen.jacobian, None, step)
    np.testing.assert_allclose(linear, seen.depth + seen.jacobian @ step)
