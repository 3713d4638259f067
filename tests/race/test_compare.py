"""The protocol: who is crowned, who is not, what is refused, what is kept."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mlcalc_jax as mc
from mlcalc_jax._race import _compare
from mlcalc_jax._race._sweep import luck_of

QUADRATIC = mc.problems.quadratic(20.0, 3)
QUICK: dict[str, Any] = {"steps": 120, "trials": 5, "tuning_seeds": 3, "seeds": 5, "repeats": 0}
SMALL = {"steepest descent": mc.steepest_descent, "Newton": mc.newton}


@pytest.fixture(scope="module")
def small() -> mc.Comparison:
    return mc.compare(QUADRATIC, SMALL, learning_rates=mc.log_uniform(1e-3, 1.0), **QUICK)


@pytest.mark.slow
def test_newton_takes_one_step_and_steepest_descent_its_theory(small: mc.Comparison) -> None:
    """One step for Newton; at the chosen a, ``k`` steps for ``max|1 - a lambda|^(2k)``."""
    assert small.race("Newton").steps.tolist() == [1] * 5
    assert small.winners() == {QUADRATIC.name: "Newton"}
    race, target = small.race("steepest descent"), small.standing().target
    rate = race.setting["aggression"]
    curvature = np.geomspace(1, 20, 3)
    for x0, steps in zip(
        luck_of(QUADRATIC, 0, small.protocol["seeds"]).starts["x"], race.steps, strict=True
    ):
        k = np.arange(121)[:, None]
        cost = (curvature * x0**2 * (1 - rate * curvature) ** (2 * k)).sum(1) / 2
        assert steps == (np.argmax(cost <= target) if (cost <= target).any() else math.inf)
    assert np.isfinite(race.steps).sum() >= 3


def test_the_target_is_more_and_wild_s(small: mc.Comparison) -> None:
    """``f + tolerance (f_start - f)``, from the known minimum 0 and the median start."""
    standing = small.standing()
    starts = luck_of(QUADRATIC, 0, [0, 1, 2]).starts["x"]
    start = np.median((np.geomspace(1, 20, 3) * starts**2).sum(1) / 2)
    assert standing.target == pytest.approx(1e-3 * start, rel=1e-12)


def test_the_same_twice_to_the_last_bit(small: mc.Comparison) -> None:
    """Two runs of one key on one device."""
    again = mc.compare(QUADRATIC, SMALL, learning_rates=mc.log_uniform(1e-3, 1.0), **QUICK)
    for one, other in zip(small.races, again.races, strict=True):
        for name in ("tuning_lowest", "tuning_oracle", "cost", "lowest", "oracle_at", "steps"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    lucky = mc.compare(QUADRATIC, SMALL, learning_rates=mc.log_uniform(1e-3, 1.0), key=1, **QUICK)
    assert not np.array_equal(lucky.races[0].cost, small.races[0].cost)


def cheater(starts: Any) -> optax.GradientTransformationExtraArgs:
    """Jumps to the minimum at 0 from starts that it knows by heart, and stays put elsewhere."""

    def update(updates: Any, state: Any, params: Any, **_: Any) -> Any:
        knows = jnp.any(jnp.all(jnp.abs(starts - params["x"][None]) < 1e-9, axis=1))
        return {"x": jnp.where(knows, -params["x"], 0 * updates["x"])}, state

    return optax.GradientTransformationExtraArgs(lambda _: (), update)


def test_a_cheater_is_not_crowned() -> None:
    """Neither one that is lucky on one seed of all, nor one that knows every tuning seed."""
    all_starts = luck_of(QUADRATIC, 0, np.arange(8)).starts["x"]
    with jax.enable_x64(True):
        cheats = {
            "one seed": cheater(jnp.asarray(all_starts[5:6])),
            "all tuning": cheater(jnp.asarray(all_starts[:3])),
        }
        found = mc.compare(
            QUADRATIC,
            {"honest": mc.steepest_descent, **cheats},
            learning_rates=[0.05, 0.09],
            **QUICK | {"trials": None},
        )
    assert found.winners() == {QUADRATIC.name: "honest"}
    table = {row["optimiser"]: row for row in found.table()}
    assert table["one seed"]["share"] == 0.2  # it was the fastest of all there
    assert found.race("one seed").steps.min() == 1
    assert np.all(found.race("all tuning").tuning_steps == 1)
    assert table["all tuning"]["share"] == 0.0
    assert "all tuning fell short: 5 stalled" in found.report()


def test_a_lucky_setting_is_not_chosen() -> None:
    """A rate that is best on one tuning seed and fails on the others loses to a steady one."""
    from mlcalc_jax._race._standing import chosen

    lucky, steady = [3.0, math.inf, math.inf], [50.0, 60.0, 70.0]
    assert chosen(np.array([lucky, steady]), np.ones((2, 3)), np.zeros((2, 3), bool)) == 1


def raises(learning_rate: Any) -> optax.GradientTransformationExtraArgs:
    def update(*_: Any, **__: Any) -> Any:
        raise RuntimeError("I never\nwork")

    return optax.GradientTransformationExtraArgs(lambda _: (), update)


def fails_at_work(learning_rate: Any) -> optax.GradientTransformation:
    """Can be compiled, and then raises."""

    def refuse(_: Any) -> Any:
        raise ValueError("not today")

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        shape = jax.ShapeDtypeStruct((), updates["x"].dtype)
        zero = jax.pure_callback(refuse, shape, updates["x"][0], vmap_method="sequential")
        return jax.tree.map(lambda leaf: leaf * zero, updates), state

    return optax.GradientTransformation(lambda _: (), update)


def test_one_that_fails_spoils_nobody_else(small: mc.Comparison) -> None:
    """Raising, diverging, or asking for residuals that are not there: the others are as before."""
    found = mc.compare(
        QUADRATIC,
        SMALL
        | {
            "raises": raises,
            "fails": fails_at_work,
            "needs residuals": mc.levenberg_marquardt,
            "diverges": mc.steepest_descent(100.0),
        },
        learning_rates=mc.log_uniform(1e-3, 1.0),
        **QUICK,
    )
    for name in SMALL:
        np.testing.assert_array_equal(found.race(name).cost, small.race(name).cost)
    assert found.race("raises").error == "RuntimeError: I never work"
    assert "not today" in found.race("fails").error
    assert "LeastSquares" in found.race("needs residuals").error
    assert set(found.race("diverges").outcome) == {mc.Outcome.DIVERGED}
    report = found.report()
    assert "raises could not run: RuntimeError: I never work" in report
    assert "diverges fell short: 5 diverged" in report
    assert (
        repr(found)
        == f"<Comparison of {len(found.optimisers)} optimisers on {found.problems[0].name}>"
    )
    assert {row["optimiser"] for row in found.records()} == {*SMALL, "diverges"}


@pytest.mark.slow
def test_a_report_says_what_to_doubt() -> None:
    """A minimum that is none (of 1 + |p - 1|^2 it is 1), and rates that all are far too small."""
    problem = mc.problems.from_cost(
        lambda p: 1 + jnp.sum((p - 1) ** 2), np.array([3.0, 2.0]), minimum=2.0, name="bowl"
    )
    contenders = {"sgd": optax.sgd, "L-BFGS": optax.lbfgs()}
    settings = {"learning_rates": [1e-5, 1e-4], "trials": 2, "target": 2.5}
    report = mc.compare(problem, contenders, **QUICK | settings).report()
    assert "known minimum 2, WHICH IT IS NOT: there are lower costs" in report
    assert "lowest found while tuning 1" in report
    assert "sgd took the highest of its learning rates, 1e-05 to 0.0001" in report
    assert "L-BFGS took" not in report


def test_diverged_and_stalled_are_told_apart() -> None:
    """Too large a step diverges, one of 1e-6 is unfinished, a zero step has stalled."""
    found = mc.compare(
        QUADRATIC,
        {
            "huge": mc.steepest_descent(0.2),
            "tiny": mc.steepest_descent(1e-3),
            "none": optax.sgd(0.0),
        },
        **QUICK,
    )
    outcome = {race.optimiser: set(race.outcome) for race in found.races}
    assert outcome == {
        "huge": {mc.Outcome.DIVERGED},
        "tiny": {mc.Outcome.UNFINISHED},
        "none": {mc.Outcome.STALLED},
    }


@pytest.mark.slow
def test_targets_may_be_stated_or_multiples() -> None:
    """A cost, a cost by problem, or so many times the lowest found by anyone."""
    heights = mc.problems.heights()
    race = partial(mc.compare, heights, {"LM": mc.levenberg_marquardt}, **QUICK)
    assert race(target=1e-3).standing().target == 1e-3
    assert race(target={"heights": 2e-3}).standing().target == 2e-3
    found = race(multiple=1.5)
    assert found.standing().target == 1.5 * found.standing().best


@pytest.mark.slow
def test_more_than_the_learning_rate_may_be_tuned() -> None:
    """As many trials as the others have, over a Halton sequence, within the ranges."""
    found = mc.compare(
        QUADRATIC,
        {
            "sgd": optax.sgd,
            "heavy ball": mc.contender(optax.sgd, momentum=mc.uniform(0.0, 0.9)),
            "choice": mc.contender(optax.adam, learning_rate=[0.1, 0.2], b1=0.8),
        },
        learning_rates=mc.log_uniform(1e-3, 0.1),
        **QUICK | {"trials": 12},
    )
    settings = found.race("heavy ball").settings
    assert set(settings) == {"learning_rate", "momentum"}
    for name, low, high in (("learning_rate", 1e-3, 0.1), ("momentum", 0.0, 0.9)):
        values = np.sort(settings[name])
        assert values.shape == (12,)
        assert low < values[0] < values[-1] < high
        assert len(np.unique(values)) == 12
    assert set(found.race("choice").settings["learning_rate"]) == {0.1, 0.2}
    np.testing.assert_allclose(
        found.race("sgd").settings["learning_rate"], np.geomspace(1e-3, 0.1, 12)
    )
    steps = {name: np.median(found.race(name).steps) for name in found.optimisers}
    assert steps["heavy ball"] <= steps["sgd"]


def test_saved_and_loaded_without_pickle(small: mc.Comparison, tmp_path: Path) -> None:
    """Every number and the whole report come back; what is no comparison is refused."""
    file = tmp_path / "race.npz"
    small.save(file)
    again = mc.Comparison.load(file)
    assert again.report() == small.report()
    assert json.dumps(again.records()) == json.dumps(small.records())
    np.testing.assert_array_equal(again.races[0].oracle_at, small.races[0].oracle_at)
    np.load(file, allow_pickle=False)["about"]
    assert [f.name for f in tmp_path.iterdir()] == ["race.npz"]
    for bad in (b"", b"PK nothing", file.read_bytes()[:-200]):
        (tmp_path / "bad.npz").write_bytes(bad)
        with pytest.raises(ValueError, match="no saved comparison"):
            mc.Comparison.load(tmp_path / "bad.npz")


def test_records_are_one_row_a_run(small: mc.Comparison) -> None:
    """Trials times tuning seeds and the fresh seeds, for each; they agree with the arrays."""
    rows = small.records()
    assert len(rows) == (5 * 3 + 5) + (3 + 5)
    fresh = [r for r in rows if r["phase"] == "fresh" and r["optimiser"] == "Newton"]
    assert [r["seed"] for r in fresh] == [3, 4, 5, 6, 7]
    assert all(r["outcome"] == "REACHED" and r["steps_to_target"] == 1 for r in fresh)
    json.dumps(rows)


def test_seconds_are_timed_and_shown() -> None:
    """With repeats there are seconds a step, and a race against seconds can be told."""
    found = mc.compare(QUADRATIC, SMALL, **QUICK | {"repeats": 2})
    race = found.race("Newton")
    assert race.seconds_per_step.shape == (2,)
    assert 0 < race.second_per_step < 0.1
    np.testing.assert_allclose(race.seconds, race.steps * race.second_per_step)


def test_replay_is_the_run_that_was_judged(small: mc.Comparison) -> None:
    """The path of a fresh seed has the costs that the race kept."""
    paths = mc.replay(small, QUADRATIC, SMALL, seed=4)
    for name, path in paths.items():
        np.testing.assert_allclose(path.cost, small.race(name).cost[1], rtol=1e-9, atol=1e-25)
    with pytest.raises(ValueError, match="took no part"):
        mc.replay(small, QUADRATIC, {"Adam": optax.adam})
    with pytest.raises(ValueError, match="raced with, 3 to 7"):
        mc.replay(small, QUADRATIC, SMALL, seed=999)


def test_the_bar_of_a_stopped_race_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said afterwards begins on a line of its own."""
    pytest.importorskip("tqdm")

    def broken(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(_compare._Comparing, "_judged", broken)
    with pytest.raises(KeyboardInterrupt) as raised:
        mc.compare(
            QUADRATIC, SMALL, learning_rates=mc.log_uniform(1e-3, 1.0), progress=True, **QUICK
        )
    assert raised  # while it is kept, with all that it came through
    assert capsys.readouterr().err.endswith("\n")


def test_a_stopped_race_goes_on(tmp_path: Path, small: mc.Comparison) -> None:
    """What was tuned is not run again, a broken file is, and the result is the same bit for bit."""
    out = tmp_path / "race"
    rules: dict[str, Any] = {"learning_rates": mc.log_uniform(1e-3, 1.0), **QUICK}

    def stop(done: int, of: int) -> None:
        if done >= 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mc.compare(QUADRATIC, SMALL, out=out, progress=stop, **rules)
    with pytest.raises(FileExistsError, match="already holds"):
        mc.compare(QUADRATIC, SMALL, out=out, **rules)
    with pytest.raises(ValueError, match="steps was 120, now it is 121"):
        mc.compare(QUADRATIC, SMALL, out=out, resume=True, **rules | {"steps": 121})
    changed = SMALL | {"Newton": optax.sgd(0.1)}
    with pytest.raises(ValueError, match="optimiser Newton was"):
        mc.compare(QUADRATIC, changed, out=out, resume=True, **rules)
    with pytest.raises(ValueError, match="made with other rules"):
        mc.compare(QUADRATIC, SMALL, out=out, resume=True, quasi_random=True,
                   **rules | {"learning_rates": mc.log_uniform(1e-3, 1.0 + 1e-12)})  # fmt: skip
    seen: list[tuple[int, int]] = []
    found = mc.compare(
        QUADRATIC, SMALL, out=out, resume=True, progress=lambda *now: seen.append(now), **rules
    )
    assert seen[-1] == (28, 28)
    for one, other in zip(found.races, small.races, strict=True):
        np.testing.assert_array_equal(one.cost, other.cost)
    for k, file in enumerate(out.glob("*.npz")):
        whole = file.read_bytes()
        file.write_bytes(whole[:-50] if k else whole[:200] + b"?" * 50 + whole[250:])
    again = mc.compare(QUADRATIC, SMALL, out=out, resume=True, **rules)
    np.testing.assert_array_equal(again.races[0].cost, small.races[0].cost)


def test_history_keeps_within_its_memory() -> None:
    """A budget of 2 kB: fewer rows, the same lowest costs, steps to the target known to k."""
    rules = QUICK | {"learning_rates": [0.02, 0.05], "trials": None, "steps": 200}
    whole = mc.compare(QUADRATIC, {"sd": mc.steepest_descent}, **rules)
    thin = mc.compare(QUADRATIC, {"sd": mc.steepest_descent}, memory=2_000, **rules)
    one, other = whole.race("sd"), thin.race("sd")
    assert len(other.step) < 0.2 * len(one.step)
    np.testing.assert_allclose(other.lowest[:, -1], one.lowest[:, -1], rtol=1e-12)
    every = other.step[1]
    assert np.all((other.steps >= one.steps) & (other.steps < one.steps + every))


@pytest.mark.parametrize(
    ("change", "error", "cause"),
    [
        ({"optimisers": {}}, ValueError, "no optimisers"),
        ({"optimisers": {"a": 3}}, TypeError, "'a' is no optimiser"),
        ({"optimisers": {"a": lambda: 3}}, TypeError, "does not return an optax"),
        ({"optimisers": [("a", optax.adam), ("a", optax.sgd)]}, ValueError, "'a' is given twice"),
        ({"optimisers": ["adam"]}, TypeError, "mapping of names"),
        ({"seeds": 0}, ValueError, "seeds must be at least 1"),
        ({"tuning_seeds": 0}, ValueError, "tuning_seeds must be at least 1"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"steps": 1.5}, TypeError, "whole number"),
        ({"trials": 0}, ValueError, "trials must be at least 1"),
        ({"learning_rates": []}, ValueError, "got none"),
        ({"learning_rates": [-1.0]}, ValueError, "above zero"),
        ({"learning_rates": [0.1, math.nan]}, ValueError, "above zero"),
        ({"learning_rates": [0.1], "trials": 3}, ValueError, "1 trials, not 3"),
        ({"target": -1.0}, ValueError, "below the known minimum"),
        ({"target": math.nan}, ValueError, "finite"),
        ({"target": {"nothing": 1.0}}, ValueError, "names no problem"),
        ({"target": "low"}, TypeError, "must be a number"),
        ({"target": 1.0, "multiple": 2.0}, ValueError, "not both"),
        ({"multiple": 0.9}, ValueError, "above 1"),
        ({"tolerance": 0.0}, ValueError, "above zero"),
        ({"tolerance": 2.0}, ValueError, "below 1"),
        ({"learning_rates": [0.1], "quasi_random": True}, ValueError, "needs a range"),
        ({"resume": True}, ValueError, "needs out"),
        ({"params": {"x": 1.0}}, ValueError, "has its own"),
        ({"problem": []}, ValueError, "no problems"),
        ({"problem": 3}, TypeError, "must be a Problem"),
        ({"problem": "heights"}, TypeError, "must be a Problem.*got 'heights'"),
        ({"problem": ["heights"]}, TypeError, "must be a Problem.*got 'heights'"),
        ({"problem": [QUADRATIC, QUADRATIC]}, ValueError, "different names"),
        ({"problem": lambda p: p["x"]}, TypeError, "needs params"),
        ({"problem": lambda p: p["x"], "params": {"x": np.ones(2)}}, TypeError, "real scalar"),
    ],
)
def test_bad_input_is_refused_before_anything_is_compiled(
    change: dict[str, Any],
    error: type[Exception],
    cause: str,
    monkeypatch: pytest.MonkeyPatch,
    annotations_unchecked: None,
) -> None:
    """A clear error; no program is made."""
    from mlcalc_jax._race import _compare

    def unexpected(*_: Any) -> None:
        raise AssertionError("a program was compiled")

    monkeypatch.setattr(_compare, "Sweep", unexpected)
    given: dict[str, Any] = {"problem": QUADRATIC, "optimisers": SMALL, "steps": 5} | change
    with pytest.raises(error, match=cause):
        mc.compare(**given)


def test_a_learning_rate_for_one_that_has_none(annotations_unchecked: None) -> None:
    """And other arguments that a factory does not take."""
    with pytest.raises(TypeError, match="newton takes no learning rate"):
        mc.contender(mc.newton, learning_rate=[0.1])
    with pytest.raises(TypeError, match="adam takes no argument 'beta'"):
        mc.contender(optax.adam, beta=0.1)
    with pytest.raises(TypeError, match="function that returns an optimiser"):
        mc.contender(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no values to choose from"):
        mc.contender(optax.adam, b1=[])
    with pytest.raises(TypeError, match="hashable"):
        mc.contender(optax.adamw, mask=np.ones(3))
    for low, high in ((1.0, 1.0), (0.0, math.inf), (2.0, 1.0)):
        with pytest.raises(ValueError, match="from lower to higher"):
            mc.uniform(low, high)
    with pytest.raises(ValueError, match="above zero"):
        mc.log_uniform(0.0, 1.0)


@pytest.mark.slow
def test_a_bare_cost_and_its_start() -> None:
    """float32 data stay float32; a cost of one's own needs nothing but a start."""
    found = mc.compare(
        lambda p: jnp.sum((p["x"] - 3) ** 2),
        {"sgd": optax.sgd},
        params={"x": np.zeros(2, np.float32)},
        learning_rates=[0.1, 0.3],
        **QUICK | {"trials": None},
    )
    assert found.races[0].cost.dtype == np.float32
    assert found.standing().minimum is None
    assert found.table()[0]["share"] == 1.0


@pytest.mark.slow
def test_a_whole_cost_that_turns_nan_spoils_nobody() -> None:
    """A batch may be finite where the whole is not: such a run ends, and the target stands."""
    x = np.linspace(0.0, 1.0, 10)

    def model(params: Any, x: Any) -> Any:
        return jnp.where((x > 0.95) & (params["a"] > 2.0), jnp.nan, params["a"] * x)

    problem = mc.problems.Problem(
        "nan", mc.Minibatches(mc.LeastSquares(model, x, x), 2), {"a": np.array(0.1)}
    )
    found = mc.compare(
        problem, {"wild": optax.sgd(3.0), "calm": optax.sgd(0.05)}, **QUICK | {"steps": 80}
    )
    assert np.isfinite(found.race("wild").lowest).all()
    assert math.isfinite(found.standing().target)
    assert found.winners() == {"nan": "calm"}


@pytest.mark.slow
def test_a_multiple_of_a_negative_cost_lies_above_it() -> None:
    """Half as much again as -5 would be below what anyone can reach."""
    problem = mc.problems.from_cost(lambda p: p["x"] ** 2 - 5, {"x": 1.0}, name="below")
    found = mc.compare(problem, {"newton": mc.newton}, multiple=1.5, key=2**31 + 1, **QUICK)
    assert found.standing().target == pytest.approx(-2.5)
    assert found.table()[0]["share"] == 1


def test_one_that_dislikes_a_number_it_can_see_loses_its_rows() -> None:
    """It cannot look at traced rates; when its best one is timed, it raises."""

    def picky(learning_rate: Any) -> optax.GradientTransformation:
        if not isinstance(learning_rate, jax.core.Tracer) and learning_rate > 0.01:
            raise ValueError("at most 0.01")
        return optax.sgd(learning_rate)

    found = mc.compare(
        QUADRATIC,
        SMALL | {"picky": picky},
        learning_rates=[0.05],
        **QUICK | {"trials": None, "repeats": 1},
    )
    assert found.race("picky").error == "ValueError: at most 0.01"
    assert found.winners() == {QUADRATIC.name: "Newton"}


def test_a_damaged_folder_of_a_race_is_said_to_be_so(tmp_path: Path) -> None:
    """And one that was left by a race that was killed before it began is carried on with."""
    race = partial(mc.compare, QUADRATIC, {"sgd": optax.sgd}, resume=True, **QUICK)
    (tmp_path / ".rules.json").write_text("{")
    assert not race(out=tmp_path).races[0].error
    for damaged in (b"", b"[1]", b"\xff\xfe", b"null"):
        (tmp_path / "rules.json").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            race(out=tmp_path)


def test_noise_with_a_key_of_jax_is_kept(tmp_path: Path) -> None:
    """Outside fact: a key of JAX's is no array of NumPy's."""
    cost = mc.Noisy(lambda p: jnp.sum((p - 1.5) ** 2), 0.1, key=jax.random.key(3))
    problem = mc.problems.from_cost(cost, np.ones(3), name="noisy")
    found = mc.compare(problem, {"sgd": optax.sgd}, out=tmp_path / "race", **QUICK)
    found.save(tmp_path / "race.npz")
    assert mc.Comparison.load(tmp_path / "race.npz").standing().target == found.standing().target


def test_half_a_precision_races_too() -> None:
    found = mc.compare(
        lambda p: jnp.sum((p - 1.5) ** 2),
        {"sgd": optax.sgd},
        params=jnp.ones(3, jnp.bfloat16),
        **QUICK,
    )
    assert not found.races[0].error
