"""What the pictures of a race show, read back from what was drawn."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest

import mlcalc_jax as mc
from mlcalc_jax.plots._labels import _apart

OPTIMISERS = {"sgd": optax.sgd, "Adam": optax.adam, "Newton": mc.newton}


@pytest.fixture(scope="module")
def race() -> mc.Comparison:
    return mc.compare(
        [mc.problems.quadratic(10.0), mc.problems.himmelblau()],
        OPTIMISERS,
        steps=50,
        learning_rates=[1e-3, 1e-2, 0.1, 1.0],
        tuning_seeds=3,
        seeds=4,
        repeats=1,
    )


@pytest.fixture(autouse=True)
def close() -> Any:
    yield
    plt.close("all")


def named(ax: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in ax.get_lines() if line.get_label()[0] != "_"}


@pytest.mark.slow
@pytest.mark.parametrize("against", ["steps", "oracle", "seconds"])
def test_race_draws_the_median_of_the_fresh_seeds(race: mc.Comparison, against: str) -> None:
    """The last point of every line is the median of the lowest costs, above the minimum."""
    ax = mc.plots.race(race, "himmelblau", against=against)
    drawn = named(ax)
    assert list(drawn) == list(OPTIMISERS)
    for name, line in drawn.items():
        one = race.race(name, "himmelblau")
        last = np.quantile(one.lowest[:, -1], 0.5, method="nearest")
        assert line.get_ydata()[-1] == pytest.approx(max(last, 2.2e-308), rel=1e-12)
        assert np.all(np.diff(line.get_ydata()) <= 0)
        ends = {"steps": 50.0, "seconds": 50 * one.second_per_step}
        if against in ends:
            assert line.get_xdata()[-1] == pytest.approx(ends[against])
        else:
            assert line.get_xdata()[-1] == np.median(one.oracle_at[:, -1])
    assert {text.get_text() for text in ax.texts} == {*OPTIMISERS, "target"}
    (_, right), (bottom, _) = ax.get_xlim(), ax.get_ylim()
    seen = [line.get_xdata()[line.get_ydata() > bottom][-1] for line in drawn.values()]
    assert right == pytest.approx(1.25 * max(seen))  # no room where nothing is drawn


@pytest.mark.slow
def test_same_colours_everywhere(race: mc.Comparison) -> None:
    """Handed to each picture, a name has one colour and one line in all of them."""
    styles = mc.plots.lines(race.optimisers)
    pictures = (
        mc.plots.race(race, "himmelblau", styles=styles),
        mc.plots.sensitivity(race, "himmelblau", styles=styles),
        mc.plots.performance_profile(race, styles=styles),
        mc.plots.data_profile(race, styles=styles),
    )
    for ax in pictures:
        for name, line in named(ax).items():
            assert line.get_color() == styles[name].color
            assert line.get_linestyle() == styles[name].linestyle


@pytest.mark.slow
def test_sensitivity_shows_costs_and_divergence(race: mc.Comparison) -> None:
    """A rate of 1 on curvatures up to 10 is beyond 2/10: every run of sgd diverges there."""
    problem = race.problems[0].name
    ax = mc.plots.sensitivity(race, problem, what="diverged")
    assert set(named(ax)) == {"sgd", "Adam"}  # Newton has no learning rate
    assert named(ax)["sgd"].get_ydata().tolist() == [0, 0, 0, 1]
    ax = mc.plots.sensitivity(race, problem)
    explained = ax.get_legend()
    assert explained is not None
    assert [text.get_text() for text in explained.get_texts()] == ["rate that was chosen", "target"]
    costs = named(ax)["sgd"].get_ydata()
    assert np.argmin(costs) == race.race("sgd", problem).winner == 2
    with pytest.raises(ValueError, match="what must be"):
        mc.plots.sensitivity(race, problem, what="speed")
    alone = mc.compare(mc.problems.quadratic(), {"N": mc.newton}, steps=2, repeats=0)
    with pytest.raises(ValueError, match="no optimiser of this comparison"):
        mc.plots.sensitivity(alone)
    for draw in (
        lambda: mc.plots.race(alone, against="seconds"),
        lambda: mc.plots.animate_race(alone, against="seconds"),
        lambda: mc.plots.performance_profile(alone, measure="seconds"),
    ):
        with pytest.raises(ValueError, match="the race was not timed"):
            draw()


def test_profiles_rise_to_the_share_that_was_solved(race: mc.Comparison) -> None:
    """The last value is the share of problems and seeds, for each."""
    for ax in (mc.plots.performance_profile(race), mc.plots.data_profile(race)):
        for name, line in named(ax).items():
            shares = [row["share"] for p in race.problems for row in race.table(p.name)
                      if row["optimiser"] == name]  # fmt: skip
            assert line.get_ydata()[-1] == pytest.approx(np.mean(shares))
            assert np.all(np.diff(line.get_ydata()) >= 0)


def test_animation_ends_where_the_picture_does(race: mc.Comparison) -> None:
    """The last frame has every line whole; the first has next to nothing."""
    animation = mc.plots.animate_race(race, "himmelblau", frames=5)
    ax = plt.gcf().axes[0]
    animation._func(4)  # type: ignore[attr-defined]
    whole = {name: line.get_xdata().size for name, line in named(ax).items()}
    animation._func(0)  # type: ignore[attr-defined]
    first = {name: line.get_xdata().size for name, line in named(ax).items()}
    assert all(first[name] < whole[name] for name in whole)
    animation._draw_was_started = True  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_race_that_nobody_finished_is_drawn_too(tmp_path: Path) -> None:
    """A cost that is NaN everywhere, and one without a lower bound: no warning, no error."""
    quick: dict[str, Any] = {
        "steps": 5,
        "learning_rates": [0.1],
        "tuning_seeds": 1,
        "seeds": 2,
        "repeats": 0,
    }
    for cost in (lambda p: jnp.sum(p["x"]) * jnp.nan, lambda p: -jnp.sum(p["x"] ** 2)):
        race = mc.compare(cost, {"sgd": optax.sgd}, params={"x": np.ones(2)}, **quick)
        assert race.races[0].cost.shape == (2, 6)
        for draw in (mc.plots.race, mc.plots.sensitivity, mc.plots.performance_profile):
            draw(race)
            plt.savefig(tmp_path / "picture.png")


def test_wrong_names_are_refused(race: mc.Comparison) -> None:
    """A problem that was not raced on, an axis that there is not."""
    with pytest.raises(ValueError, match="problem must be one of"):
        mc.plots.race(race)
    with pytest.raises(ValueError, match="against must be one of"):
        mc.plots.race(race, "himmelblau", against="hours")


@pytest.mark.parametrize("heights", [[0.5] * 10, [0.0, 0.01, 0.02, 0.9], [1.0] * 3, [0.3]])
def test_labels_are_pushed_apart_and_stay_on_the_axes(heights: list[float]) -> None:
    """No two nearer than a line of text, all beside the axes, in order."""
    placed = _apart(np.array(heights))
    assert np.all(np.diff(placed) > 0.05)
    assert placed[0] >= -0.021
    assert placed[-1] <= 1.021
    if len(heights) == 4:
        assert placed[-1] == 0.9
