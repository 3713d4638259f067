"""Strategies played in thousands of pits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.stats import binomtest

from mlcalc_jax import sandpit
from mlcalc_jax.sandpit import Outcome

pytestmark = pytest.mark.slow


def bowl() -> sandpit.Pit:
    """depth = -9 + 8 r^2 / R^2 around (2, 3): Newton's step ends at the phone at once."""
    return sandpit.dig(lambda xy: (xy[0] - 2.0) ** 2 + (xy[1] - 3.0) ** 2)


def test_newton_needs_two_dips_in_a_paraboloid() -> None:
    """Outside fact: Newton's method solves a quadratic in one step."""
    starts = np.random.default_rng(0).uniform(0.3, 5.7, (50, 2))
    games = sandpit.play(sandpit.newton(), bowl(), starts)
    assert games.win_rate == 1
    assert set(games.dips) <= {1, 2}


def test_steepest_descent_shrinks_as_theory_says() -> None:
    """Outside fact: each step multiplies the distance by ``|1 - aggression lambda|``."""
    pit = bowl()
    rate = 0.1
    curvature = float(pit.hessian(np.array([2.0, 3.0]))[0, 0])
    games = sandpit.play(sandpit.steepest(rate), pit, (5.0, 1.0))
    away = np.linalg.norm(games.places[0, : games.dips[0]] - (2.0, 3.0), axis=1)
    np.testing.assert_allclose(away[1:] / away[:-1], 1 - rate * curvature, rtol=1e-9)


@pytest.mark.parametrize("name", sandpit.strategies())
def test_play_is_the_loop_over_dips(name: str) -> None:
    """The same game by hand, one dip after another, for every built-in strategy."""
    strategy = sandpit.strategies()[name]
    pit, start = sandpit.pit("dunes", 11), np.array([1.0, 4.5])
    games = sandpit.play(strategy, pit, start, seed=3)
    luck = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 1), 0)
    state, seen = sandpit.dip(pit, sandpit.new_game(), start)
    while not state.is_over:
        key = jax.random.fold_in(luck, int(state.dips))
        memory = sandpit.Memory(state.places, state.depths, state.jacobians, state.dips, key)
        with jax.enable_x64(True):
            step = strategy(seen.depth, seen.jacobian, seen.hessian, memory)
            place = np.asarray(memory.here + step)
        state, seen = sandpit.dip(pit, state, place)
    assert games.outcome[0] == state.outcome
    assert games.dips[0] == state.dips
    np.testing.assert_allclose(games.places[0], state.places, atol=1e-6)


def test_bad_strategies_lose_their_own_games_alone() -> None:
    """NaN, and a step out of the pit, from some places; the other games go on."""

    def wild(depth: Any, jacobian: Any, hessian: Any, memory: Any) -> Any:
        x = memory.here[0]
        wrong = jnp.where(x < 2, jnp.nan, 100.0)
        return jnp.where(x < 4, wrong, -0.1 * jacobian)

    starts = np.stack([np.linspace(0.5, 5.5, 30), np.full(30, 3.0)], axis=1)
    many = sandpit.pits("well", 30)
    games = sandpit.play(wild, many, starts)
    ended = np.where(starts[:, 0] < 2, Outcome.NOT_FINITE, Outcome.LEFT_THE_PIT)
    at_once = (games.dips == 1) & ~games.won
    assert at_once[starts[:, 0] < 4].all()
    np.testing.assert_array_equal(games.outcome[at_once], ended[at_once])
    assert (games.dips > 1).any()
    assert "not finite" in games.report()
    assert "left the pit" in games.report()
    assert repr(games) == f"<Games: 30, of which {int(games.won.sum())} won>"
    assert np.isfinite(games.places).all()


def test_another_step_size_compiles_nothing() -> None:
    """The strategy's function is traced once for a sweep."""
    traced = []

    def counted(length: Any, depth: Any, jacobian: Any, hessian: Any, memory: Any) -> Any:
        traced.append(1)
        return -length * jacobian

    many = sandpit.pits("bowl", 20)
    rates = [sandpit.play(Partial(counted, a), many).win_rate for a in (0.05, 0.2, 0.5)]
    assert len(traced) == 1
    assert len(set(rates)) > 1


def test_intervals_are_the_textbook_s() -> None:
    """Outside fact: SciPy's Wilson interval of the same counts."""
    games = sandpit.play(sandpit.hybrid(), sandpit.pits("dunes", 200))
    known = binomtest(int(games.won.sum()), 200).proportion_ci(method="wilson")
    np.testing.assert_allclose(games.win_rate_interval(), (known.low, known.high), rtol=1e-12)
    low, high = games.mean_dips_interval()
    assert low < games.mean_dips < high
    two = sandpit.Games(*(leaf[:2].copy() for leaf in vars(games).values()))
    two.dips[:], two.outcome[:] = [2, 19], sandpit.Outcome.FOUND
    assert two.mean_dips_interval() == (1, sandpit.LAST)  # 10.5 +- 12.7 8.5 without
    none = sandpit.play(lambda d, J, H, m: 0 * J, sandpit.pit("bowl"), (5.0, 1.0))
    assert none.win_rate == 0
    assert np.isnan(none.mean_dips)
    assert none.win_rate_interval()[0] == 0
    lost = sandpit.Games(*(leaf.repeat(7, axis=0) for leaf in vars(none).values()))
    np.testing.assert_allclose(
        lost.win_rate_interval(), binomtest(0, 7).proportion_ci(method="wilson"), atol=1e-15
    )


def test_play_is_the_same_twice_and_in_any_company() -> None:
    """Bit for bit, also for the strategy that has luck."""
    many = sandpit.pits("holes", 40)
    one, two = (sandpit.play(sandpit.restarts(), many, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.places, two.places)
    other = sandpit.play(sandpit.restarts(), many, seed=6)
    assert not np.array_equal(one.places, other.places)


def test_trials_are_the_same_games_as_play() -> None:
    """And par is the fewest dips among them."""
    pit = sandpit.pit("dunes", 1)
    played = sandpit.trials(pit)
    for name, strategy in sandpit.strategies().items():
        if name != "restarts":  # which has its own luck
            alone = sandpit.play(strategy, pit, (3.0, 3.0))
            assert played[name].dips[0] == alone.dips[0]
            assert played[name].outcome[0] == alone.outcome[0]
    won = [int(games.dips[0]) for games in played.values() if games.won[0]]
    assert sandpit.par(played)[0] == min(won)
    assert sandpit.par({}) == (None, "")


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize(
    ("strategy", "starts", "message"),
    [
        (3, None, "must be a function"),
        (lambda d, J, H, m: d, None, "two real numbers"),
        (lambda d, J, H, m: jnp.zeros(2, int), None, "two real numbers"),
        (lambda d, J, H, m: None, None, "two numbers, got None"),
        (lambda d, J, H, m: J if d > 1 else -J, None, "jnp.where"),
        (sandpit.newton(), (7.0, 1.0), "must lie in the pit"),
        (sandpit.newton(), np.zeros((3, 2)), "starts must have shape"),
        (sandpit.newton(), ("a", "b"), "real numbers"),
    ],
)
def test_what_play_refuses(strategy: Any, starts: Any, message: str) -> None:
    """With a sentence."""
    with pytest.raises((TypeError, ValueError), match=message):
        sandpit.play(strategy, sandpit.pits("bowl", 2), starts)


def test_strategies_refuse_what_they_cannot_be() -> None:
    """Step sizes that are not above zero, or no single number."""
    for make in (sandpit.fixed_step, sandpit.steepest, sandpit.hybrid, sandpit.momentum):
        with pytest.raises(ValueError, match="above zero"):
            make(-1.0)
        for several in (np.ones(0), np.ones(2)):
            with pytest.raises(TypeError, match="must be a number"):
                make(several)
