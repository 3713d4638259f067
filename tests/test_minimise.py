"""The descent: its reference run, its rows, how it ends, and what it does under JAX."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlcalc_jax as mc
from mlcalc_jax import Status

from .cases import HEIGHTS_START, bowl, counting, heights

RATE = 0.1  # on p^2: every step multiplies p by 1 - 2 RATE = 0.8
DESCENT = mc.steepest_descent(RATE)
START = np.float32(2.0)


def _squared(p: Any) -> Any:
    return p**2


def _numpy_descent(aggression: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The assignment in NumPy: the rows (mu, sigma) and chi-squared, derivatives by hand."""
    bins = mc.data.heights_histogram()
    x, y = bins.left_edge + 1.25, bins.frequency / (bins.frequency.sum() * 2.5)
    rows, costs = [np.array([155.0, 6.0])], []
    for _ in range(steps + 1):
        mu, sigma = rows[-1]
        f = np.exp(-((x - mu) ** 2) / (2 * sigma**2)) / np.sqrt(2 * np.pi * sigma**2)
        df_dmu = f * (x - mu) / sigma**2
        df_dsigma = f * ((x - mu) ** 2 / sigma**3 - 1 / sigma)
        costs.append(np.sum((f - y) ** 2))
        J = 2 * np.array([df_dmu @ (f - y), df_dsigma @ (f - y)])
        rows.append(rows[-1] - aggression * J)
    return np.array(rows[:-1]), np.array(costs)


def test_heights_reference() -> None:
    """Outside fact: the published run of the assignment, in float64 with the x64 flag off."""
    assert jnp.ones(1).dtype == np.float32
    path = mc.minimise(heights(), HEIGHTS_START, mc.steepest_descent(2000), 50)
    mu, sigma = path.params["mu"], path.params["sigma"]
    assert round(float(path.cost[0]), 7) == 0.0323333
    assert (round(mu[10], 2), round(sigma[10], 2)) == (164.96, 19.59)
    assert (round(mu[25], 2), round(sigma[25], 2)) == (175.13, 12.95)
    assert (round(mu[50], 6), round(sigma[50], 6)) == (178.519824, 7.549908)
    assert f"{path.cost[50]:.6e}" == "4.392454e-04"


def test_a_function_without_a_hash_may_change() -> None:
    """Outside fact: the cost at the start, ``sum (a k x - 2 x)^2`` with k = 1, by hand."""

    @dataclass
    class Model:
        a: float

        def __call__(self, p: Any, x: Any) -> Any:
            return self.a * p["k"] * x

    class Bowl:
        __hash__ = None  # type: ignore[assignment]
        height = 1.0

        def __call__(self, p: Any) -> Any:
            return jnp.sum(p**2) + self.height

    model, x, optimiser = Model(1.0), np.arange(5.0), optax.sgd(1e-3)
    problem = mc.LeastSquares(model, x, 2 * x)
    for a, cost in ((1.0, 30.0), (5.0, 270.0)):
        model.a = a
        assert mc.minimise(problem, {"k": 1.0}, optimiser, 2).cost[0] == pytest.approx(cost)
        again = mc.LeastSquares(Model(a), x, 2 * x)
        assert mc.minimise(again, {"k": 1.0}, optimiser, 2).cost[0] == pytest.approx(cost)
    bowl = Bowl()
    for height in (1.0, 2.0):
        bowl.height = height
        assert mc.minimise(bowl, np.zeros(2), optimiser, 2).cost[0] == height


def test_an_optimiser_whose_state_is_a_bare_number() -> None:
    """Outside fact: each step makes p 0.9 times as long."""
    still = optax.GradientTransformation(
        lambda params: 0, lambda g, state, params=None: (-0.05 * g, 0)
    )
    path = mc.minimise(lambda p: jnp.sum(p**2), np.ones(2), still, 3)
    assert_allclose(path.final, 0.9**3 * np.ones(2))


@pytest.mark.parametrize(
    ("aggression", "mu", "sigma"),
    [(500, "168.29", "17.75"), (1000, "176.65", "10.34"), (4000, "178.52", "7.550")],
)
def test_heights_at_other_aggressions(aggression: float, mu: str, sigma: str) -> None:
    """Outside fact: the published ends of 50 steps of the assignment."""
    final = mc.minimise(heights(), HEIGHTS_START, mc.steepest_descent(aggression), 50).final
    assert f"{final['mu']:.2f}" == mu
    assert f"{final['sigma']:.{len(sigma.split('.')[1])}f}" == sigma


@pytest.mark.parametrize("aggression", [500.0, 2000.0, 4000.0])
def test_heights_equal_a_numpy_loop(aggression: float) -> None:
    """Outside fact: an independent loop in NumPy, row by row."""
    path = mc.minimise(heights(), HEIGHTS_START, mc.steepest_descent(aggression), 50)
    rows, costs = _numpy_descent(aggression, 50)
    assert_allclose(path.params["mu"], rows[:, 0], rtol=1e-9)
    assert_allclose(path.params["sigma"], rows[:, 1], rtol=1e-9)
    assert_allclose(path.cost, costs, rtol=1e-9)


def test_rows_of_a_path() -> None:
    """Outside fact: the closed form of the descent on p^2; row k is before step k."""
    path = mc.minimise(_squared, START, DESCENT, 6)
    expected = 2 * 0.8 ** np.arange(7)
    assert path.params.shape == path.cost.shape == path.gradient_norm.shape == (7,)
    assert_allclose(path.params, expected, rtol=1e-6)
    assert_allclose(path.cost, expected**2, rtol=1e-6)
    assert_allclose(path.gradient_norm, 2 * expected, rtol=1e-6)
    assert_array_equal(path.step, np.arange(7))
    assert path.final == path.params[-1]
    assert path.steps_taken == 6
    assert path.status == Status.STEPS_USED
    assert path.message == "All steps were taken."


@pytest.mark.parametrize("every", [2, 3, 4, 6, 10])
def test_every_kth_row_and_the_last(every: int) -> None:
    """Outside fact: the rows of the full path."""
    full = mc.minimise(_squared, START, DESCENT, 6)
    kept = mc.minimise(_squared, START, DESCENT, 6, every=every)
    rows = [*range(0, 6, every), 6]
    assert_array_equal(kept.step, rows)
    assert_allclose(kept.params, full.params[np.array(rows)], rtol=1e-6)
    assert_allclose(kept.cost, full.cost[np.array(rows)], rtol=1e-6)


def test_no_steps() -> None:
    """Outside fact: p^2 and |2 p| at the start."""
    path = mc.minimise(_squared, START, DESCENT, 0)
    assert_array_equal(path.params, [2])
    assert_array_equal(path.cost, [4])
    assert_array_equal(path.gradient_norm, [4])
    assert path.steps_taken == 0
    assert path.trimmed().params.shape == (1,)
    assert path.status == Status.STEPS_USED


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ({"target": 1.0}, Status.TARGET_REACHED),
        ({"gradient_tolerance": 2.0}, Status.GRADIENT_BELOW_TOLERANCE),
    ],
    ids=["target", "gradient"],
)
def test_stops_early_and_pads(limit: dict[str, Any], status: Status, every: int) -> None:
    """Outside fact: 2 * 0.8^k first falls below 1 at k = ceil(log 2 / log 1.25) = 4."""
    path = mc.minimise(_squared, START, DESCENT, 9, every=every, **limit)
    assert path.status == status
    assert path.message == status.message
    assert path.steps_taken == 4
    expected = np.minimum([*range(0, 9, every), 9], 4)
    assert_array_equal(path.step, expected)
    assert_allclose(path.params, 2 * 0.8**expected, rtol=1e-6)
    assert_allclose(path.cost, path.params**2, rtol=1e-6)
    assert np.isfinite(path.gradient_norm).all()
    trimmed = path.trimmed()
    assert_array_equal(trimmed.step, np.arange(0, 5, every))
    jax.tree.map(lambda few, all_: assert_array_equal(few, all_[: len(few)]), trimmed[:4], path[:4])


@pytest.mark.parametrize("limit", ["target", "gradient_tolerance"])
def test_stops_before_the_first_step(limit: str) -> None:
    """Outside fact: the start, where cost and gradient norm are 4, is already good enough."""
    limits: dict[str, Any] = {limit: 4.0}
    path = mc.minimise(_squared, START, DESCENT, 3, **limits)
    assert path.steps_taken == 0
    assert_array_equal(path.params, [2, 2, 2, 2])
    assert path.trimmed().cost.shape == (1,)


def test_target_at_the_last_step_is_reached() -> None:
    """Outside fact: the fourth and last step falls below 1."""
    assert mc.minimise(_squared, START, DESCENT, 4, target=1.0).status == Status.TARGET_REACHED
    assert mc.minimise(_squared, START, DESCENT, 3, target=1.0).status == Status.STEPS_USED


def _walled(p: Any) -> Any:
    return p + 0 * jnp.log(p)


@pytest.mark.parametrize(
    ("cost", "rate", "start", "last", "taken"),
    [
        (_walled, 0.75, 2.0, 0.5, 2),  # steps of 0.75 from 2 meet log of a negative number
        (lambda p: p**4, 1e20, 1.0, 1.0, 0),  # overflow of the cost
        (lambda p: jnp.where(p > 0, 1e10 * p, 0.0), 1e30, 1.0, 1.0, 0),  # of the parameter
    ],
    ids=["NaN", "infinite cost", "infinite parameter"],
)
def test_non_finite_keeps_the_last_finite_point(
    cost: Any, rate: float, start: float, last: float, taken: int
) -> None:
    """Outside fact: the last point before the wall, by hand."""
    path = mc.minimise(cost, np.float32(start), mc.steepest_descent(rate), 5)
    assert path.status == Status.NON_FINITE
    assert Status(int(path.status)).is_failure
    assert "last finite point" in path.message
    assert path.final == last
    assert path.steps_taken == taken
    for leaf in (path.params, path.cost, path.gradient_norm):
        assert np.isfinite(leaf).all()


def test_start_that_is_not_finite() -> None:
    """Outside fact: log(-1) is NaN; nothing can be done, and no step is taken."""
    path = mc.minimise(_walled, np.float32(-1), DESCENT, 3)
    assert path.status == Status.NON_FINITE
    assert path.steps_taken == 0


def test_divergence() -> None:
    """Outside fact: |1 - 2 * 1.1| = 1.2 > 1, so p^2 grows by 1.44 a step; at 0.9 it falls."""
    path = mc.minimise(_squared, START, mc.steepest_descent(1.1), 5)
    assert path.status == Status.DIVERGED
    assert Status.DIVERGED.is_failure
    assert_allclose(path.cost, 4 * 1.44 ** np.arange(6), rtol=1e-5)
    assert "smaller steps" in path.message
    assert mc.minimise(_squared, START, mc.steepest_descent(0.9), 5).status == Status.STEPS_USED


def test_every_status_has_its_message() -> None:
    """Outside fact: the statuses of minimise and fit; failures leave no answer."""
    assert len({status.message for status in Status}) == len(Status) == 10
    assert {s for s in Status if s.is_failure} == {Status.DIVERGED, Status.NON_FINITE}


@pytest.mark.parametrize(
    "params",
    [
        {"a": {"b": 1.0, "c": np.ones((2, 3), np.float32)}, "d": (2.0, [3])},
        (1.0, 2),
        [np.ones(3, np.float32)],
        np.ones(3, np.float32),
        jnp.ones((2, 2)),
        1.5,
        2,
        (np.int32(3), {"k": np.arange(3)}),
    ],
    ids=["nested", "tuple", "list", "array", "matrix", "float", "int", "integers"],
)
def test_any_pytree(params: Any) -> None:
    """Outside fact: the closed form 0.8^k of every parameter; the tree comes back the same."""
    path = mc.minimise(bowl, params, DESCENT, 3)
    jax.tree.map(
        lambda kept, start: assert_allclose(
            kept, np.stack([0.8**k * np.asarray(start) for k in range(4)]), rtol=1e-5
        ),
        path.params,
        params,
    )
    jax.tree.map(lambda a, b, c: None, params, path.params, path.final)  # raises if trees differ
    assert type(path.params) is type(path.final)


@pytest.mark.usefixtures("double")
def test_under_jit_and_vmap_over_starts() -> None:
    """Outside fact: NumPy's loop from the assignment's start, and single runs."""
    problem = heights()
    starts = {"mu": jnp.array([155.0, 160.0, 190.0]), "sigma": jnp.array([6.0, 9.0, 12.0])}
    run = jax.jit(lambda start: mc.minimise(problem, start, mc.steepest_descent(2000.0), 10))
    paths = jax.jit(jax.vmap(run))(starts)
    rows, costs = _numpy_descent(2000.0, 10)
    assert_allclose(paths.params["mu"][0], rows[:, 0], rtol=1e-11)
    assert_allclose(paths.cost[0], costs, rtol=1e-10)
    for i in range(3):
        one = run(jax.tree.map(lambda leaf, i=i: leaf[i], starts))
        jax.tree.map(lambda a, b, i=i: assert_allclose(a[i], b, rtol=1e-11), paths, one)
        assert_allclose(paths.final["mu"][i], one.final["mu"], rtol=1e-11)
    assert_array_equal(paths.steps_taken, [10, 10, 10])


@pytest.mark.usefixtures("double")
def test_vmap_over_data_sets() -> None:
    """Outside fact: single runs on each data set."""
    problem = heights()
    many = jnp.stack([problem.y, 0.9 * problem.y, jnp.roll(problem.y, 1)])

    def run(y: Any) -> mc.Path:
        return mc.minimise(
            mc.LeastSquares(problem.model, problem.x, y),
            HEIGHTS_START,
            mc.steepest_descent(2000.0),
            10,
        )

    paths = jax.vmap(run)(many)
    for i in range(3):
        assert_allclose(paths.cost[i], run(many[i]).cost, rtol=1e-10)
    assert len(np.unique(paths.cost[:, -1])) == 3


SWEEPS: dict[str, tuple[Any, Any]] = {
    "aggression": (mc.steepest_descent, jnp.array([500.0, 1000.0, 2000.0])),
    "noise": (lambda noise: mc.steepest_descent(1000.0, noise, 3), jnp.array([0.0, 0.1, 0.5])),
    "seed": (lambda seed: mc.steepest_descent(1000.0, 0.3, seed), jnp.arange(3)),
    "damping": (mc.levenberg_marquardt, jnp.array([1e-3, 1.0, 10.0])),
    "adam": (lambda r: mc.tunable(optax.adam, learning_rate=r), jnp.array([0.1, 0.3, 1.0])),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "build"),
    [*((name, "outside") for name in SWEEPS), ("aggression", "inside"), ("adam", "inside")],
)
@pytest.mark.usefixtures("double")
def test_sweep_equals_single_runs_and_compiles_once(name: str, build: str) -> None:
    """Outside fact: the loop of single runs; Python code under jit runs only while tracing."""
    factory, values = SWEEPS[name]
    model, traces = counting(mc.models.gaussian)
    problem = mc.LeastSquares(model, heights().x, heights().y)

    def run(optimiser: Any) -> mc.Path:
        return mc.minimise(problem, HEIGHTS_START, optimiser, 10)

    if build == "inside":
        sweep = jax.jit(jax.vmap(lambda value: run(factory(value))))
        paths, once = sweep(values), len(traces)
        sweep(values + 1)
    else:
        # An optimiser is a pytree whose leaves are its numbers: stack them, and map over it.
        sweep = jax.jit(jax.vmap(run))
        many = [factory(value) for value in (*values, *(values + 1))]
        stacked = [
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *m) for m in (many[:3], many[3:])
        ]
        paths, once = sweep(stacked[0]), len(traces)
        sweep(stacked[1])
    assert len(traces) == once
    singles = [run(factory(value)) for value in values]
    for i, single in enumerate(singles):
        assert_allclose(paths.cost[i], single.cost, rtol=1e-8)
        assert_allclose(paths.params["mu"][i], single.params["mu"], rtol=1e-8)
    assert len(np.unique(paths.cost[:, -1])) == 3


def test_numbers_never_compile_again() -> None:
    """Outside fact: Python code under jit runs only while tracing."""
    model, traces = counting(mc.models.gaussian)
    bins = heights()

    def run(start: Any, optimiser: Any) -> mc.Path:
        problem = mc.LeastSquares(model, bins.x, bins.y * start["mu"])
        return mc.minimise(problem, start, optimiser, 4)

    costs: list[float] = []
    for start, rate, noise, key in [
        ({"mu": 155.0, "sigma": 6.0}, 2000.0, 0.1, 0),
        ({"mu": 150.0, "sigma": 7.0}, 2000.0, 0.1, 0),
        ({"mu": 155.0, "sigma": 6.0}, 1000.0, 0.1, 0),
        ({"mu": 155.0, "sigma": 6.0}, 2000.0, 0.2, 0),
        ({"mu": 155.0, "sigma": 6.0}, 2000.0, 0.1, 1),
    ]:
        costs.append(float(run(start, mc.steepest_descent(rate * 1e-6, noise, key)).cost[-1]))
        if len(costs) == 1:
            once = len(traces)
    assert len(traces) == once > 0
    assert len(set(costs)) == 5


@pytest.mark.parametrize(
    "optimisers",
    [
        [mc.levenberg_marquardt(d) for d in (1e-3, 1e-2)],
        [mc.tunable(optax.adam, learning_rate=r) for r in (0.1, 0.2)],
        [mc.tunable(optax.sgd, learning_rate=r, momentum=0.9, nesterov=True) for r in (1.0, 2.0)],
        [mc.gauss_newton(), mc.gauss_newton()],
    ],
    ids=["levenberg_marquardt", "adam", "sgd", "gauss_newton"],
)
def test_new_optimiser_objects_compile_nothing(optimisers: list[Any]) -> None:
    """Outside fact: Python code under jit runs only while tracing."""
    model, traces = counting(mc.models.gaussian)
    problem = mc.LeastSquares(model, heights().x, heights().y)
    mc.minimise(problem, HEIGHTS_START, optimisers[0], 4)
    once = len(traces)
    mc.minimise(problem, HEIGHTS_START, optimisers[1], 4)
    assert len(traces) == once > 0


def test_limits_are_traced_too() -> None:
    """Outside fact: Python code under jit runs only while tracing."""
    model, traces = counting(mc.models.gaussian)
    problem = mc.LeastSquares(model, heights().x, heights().y)
    descent = mc.steepest_descent(2000.0)
    taken = []
    for target in (0.012, 0.009, 0.006):
        taken.append(int(mc.minimise(problem, HEIGHTS_START, descent, 30, target=target).step[-1]))
        if len(taken) == 1:
            once = len(traces)
    assert len(traces) == once
    costs = _numpy_descent(2000.0, 30)[1]
    assert taken == [int(np.argmax(costs <= target)) for target in (0.012, 0.009, 0.006)]


@pytest.mark.parametrize("optimiser", ["steepest_descent", "adam"])
@pytest.mark.usefixtures("double")
def test_derivatives_through_the_descent(optimiser: str) -> None:
    """Outside fact: central differences of the final cost, in the start and the learning rate."""
    problem = heights()

    def final_cost(numbers: Any) -> Any:
        start = {"mu": numbers["mu"], "sigma": numbers["sigma"]}
        if optimiser == "adam":
            step = mc.tunable(optax.adam, learning_rate=numbers["rate"])
        else:
            step = mc.steepest_descent(2000 * numbers["rate"])
        return 1e3 * mc.minimise(problem, start, step, 8).cost[-1]

    at = {"mu": 160.0, "sigma": 9.0, "rate": 0.5}
    value, found = jax.jit(final_cost), jax.jit(jax.grad(final_cost))(at)
    for name, number in at.items():
        high, low = (value({**at, name: number + h}) for h in (1e-4, -1e-4))
        assert_allclose(found[name], (high - low) / 2e-4, rtol=1e-5)


@pytest.mark.usefixtures("double")
def test_derivative_of_a_descent_that_stopped_at_the_minimum() -> None:
    """Outside fact: at a start on the minimum of p^2 nothing moves: d final / d start is 0.8^3."""
    slope = jax.grad(lambda p: mc.minimise(_squared, p, DESCENT, 3).params[-1])(0.0)
    assert_allclose(slope, 0.8**3, rtol=1e-14)
    norm = jax.grad(lambda p: mc.minimise(_squared, p, DESCENT, 3).gradient_norm[-1])(0.0)
    assert np.isfinite(norm)


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (0, {}),
        (7, {}),
        (120, {}),
        (120, {"every": 7}),
        (120, {"target": 5e-4}),
    ],
    ids=str,
)
def test_progress_changes_nothing(steps: int, options: dict[str, Any]) -> None:
    """Outside fact: the path without progress, and what a progress bar needs."""
    calls: list[tuple[int, float]] = []
    args = (heights(), HEIGHTS_START, mc.steepest_descent(2000.0), steps)
    seen = mc.minimise(*args, progress=lambda *call: calls.append(call), **options)
    unseen = mc.minimise(*args, **options)
    jax.tree.map(assert_array_equal, seen, unseen)
    reached = [step for step, _ in calls]
    assert reached == sorted(set(reached))
    assert len(calls) <= 50
    if steps:
        assert reached[-1] == unseen.steps_taken
        assert all(type(step) is int and type(cost) is float for step, cost in calls)
        if "every" not in options:
            assert_array_equal([cost for _, cost in calls], unseen.cost[np.array(reached)])
    else:
        assert calls == []


def test_progress_of_a_descent_that_fails() -> None:
    """Outside fact: the same failing descent without progress."""
    args = (_walled, np.float32(2), mc.steepest_descent(0.75), 60)
    seen, unseen = mc.minimise(*args, progress=lambda step, cost: None), mc.minimise(*args)
    assert seen.status == unseen.status == Status.NON_FINITE
    assert_array_equal(seen.params, unseen.params)


@pytest.mark.parametrize(("steps", "every", "taken"), [(120, 1, 9), (20, 1, 3), (200, 3, 18)])
def test_ctrl_c_keeps_the_path_so_far(steps: int, every: int, taken: int) -> None:
    """Outside fact: the rows of the undisturbed descent, up to the third call of progress.

    120 steps run in pieces of ceil(120 / 50) = 3; 67 rows of three steps in pieces of 2.
    """
    calls: list[int] = []

    def interrupt(step: int, cost: float) -> None:
        calls.append(step)
        if len(calls) == 3:
            raise KeyboardInterrupt

    args = (heights(), HEIGHTS_START, mc.steepest_descent(2000.0), steps)
    path = mc.minimise(*args, every=every, progress=interrupt)
    whole = mc.minimise(*args, every=every)
    assert path.status == Status.INTERRUPTED
    assert "Interrupted" in path.message
    assert path.steps_taken == calls[-1] == taken
    assert path.cost.shape == whole.cost.shape
    rows = taken // every + 1
    assert path.trimmed().cost.shape == (rows,)
    jax.tree.map(lambda a, b: assert_array_equal(a[:rows], b[:rows]), path[:4], whole[:4])
    assert_array_equal(path.cost[rows:], path.cost[rows - 1])
    assert_array_equal(path.params["mu"][rows:], path.params["mu"][rows - 1])


def test_other_errors_of_progress_come_through() -> None:
    """Outside fact: an exception in the user's own function is the user's to see."""

    def broken(step: int, cost: float) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        mc.minimise(_squared, START, DESCENT, 3, progress=broken)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad], ids=["jit", "vmap", "grad"])
def test_no_progress_under_a_transformation(transform: Any) -> None:
    """Outside fact: the documented error."""

    def run(p: Any) -> Any:
        return mc.minimise(_squared, p, DESCENT, 3, progress=lambda step, cost: None).cost[-1]

    start = jnp.ones(2) if transform is jax.vmap else jnp.ones(())
    with pytest.raises(ValueError, match="progress cannot be shown under jit, vmap or grad"):
        transform(run)(start)


LINE = {"slope": 1.0, "intercept": 0.0}
GOOD = {"cost": bowl, "params": LINE, "optimiser": DESCENT, "steps": 2}
BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("cost 3", {"cost": 3}, TypeError, "cost must be a function params -> scalar, got 3"),
    ("vector", {"cost": lambda p: p["slope"] * jnp.ones(3)}, TypeError, r"got float32\[3\]"),
    ("tuple", {"cost": lambda p: (bowl(p), 1.0)}, TypeError, "cost must return a real scalar"),
    ("integer", {"cost": lambda p: jnp.zeros((), int)}, TypeError, "real scalar, got int"),
    ("complex", {"cost": lambda p: 1j * bowl(p)}, TypeError, "real scalar, got complex"),
    ("nothing", {"cost": lambda p: None}, TypeError, "cost must return a real scalar"),
    ("a class", {"optimiser": optax.adam}, TypeError, "optimiser must be an optax.Gradient"),
    ("a name", {"optimiser": "adam"}, TypeError, "such as optax.adam.*got 'adam'"),
    ("steps -1", {"steps": -1}, ValueError, "steps must be at least 0, got -1"),
    ("steps 2.5", {"steps": 2.5}, TypeError, "steps must be a whole number, got 2.5"),
    ("steps True", {"steps": True}, TypeError, "steps must be a whole number, got True"),
    ("every 0", {"every": 0}, ValueError, "every must be at least 1, got 0"),
    ("steps", {"steps": 2**33}, ValueError, "steps must be at most 1,000,000,000, got 8,589,"),
    ("every 1.5", {"every": 1.5}, TypeError, "every must be a whole number"),
    ("empty", {"params": {}}, ValueError, "params holds no parameter"),
    ("None", {"params": None}, ValueError, "params holds no parameter"),
    ("no entries", {"params": {"a": np.ones(0)}}, ValueError, r"params\['a'\] is empty"),
    ("text", {"params": {"a": "1"}}, TypeError, r"params\['a'\] must be a real number"),
    ("bool", {"params": {"a": True}}, TypeError, r"params\['a'\] must be real numbers"),
    ("complex start", {"params": [1j]}, TypeError, r"params\[0\] must be real numbers"),
    ("NaN", {"params": (1.0, np.nan)}, ValueError, r"params\[1\] must be finite, got 1"),
    ("inf", {"params": np.array([1, np.inf])}, ValueError, "params must be finite, got 1"),
    ("target NaN", {"target": np.nan}, ValueError, "target must be finite"),
    ("target a", {"target": "a"}, TypeError, "target must be real numbers"),
    ("targets", {"target": np.ones(2)}, ValueError, "target must be one number"),
    ("below 0", {"gradient_tolerance": -1}, ValueError, "gradient_tolerance must be finite and"),
    ("flat NaN", {"gradient_tolerance": np.nan}, ValueError, "gradient_tolerance must be finite"),
    ("NumPy", {"cost": lambda p: np.sin(p["slope"])}, TypeError, "cost must be written with jax"),
    ("float", {"cost": lambda p: float(p["slope"])}, TypeError, "cost must be written with jax"),
    ("if", {"cost": lambda p: p["slope"] if p["slope"] > 0 else 0.0}, TypeError, "jnp.where"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_refuses(change: dict[str, Any], error: type[Exception], message: str) -> None:
    """Outside fact: the documented errors."""
    with pytest.raises(error, match=message):
        mc.minimise(**{**GOOD, **change})


@pytest.mark.parametrize(
    "wrap", [lambda p: p, lambda p: mc.Minibatches(p, 2)], ids=["all", "batch"]
)
def test_parameter_the_model_does_not_know(wrap: Any) -> None:
    """Outside fact: the documented error names the parameter, at any depth."""
    problem = wrap(mc.LeastSquares(mc.models.line, np.arange(4.0), np.arange(4.0)))
    with pytest.raises(ValueError, match=r"line does not use params\['extra'\]\[0\]"):
        mc.minimise(problem, {**LINE, "extra": (1.0,)}, DESCENT, 2)


@pytest.mark.parametrize("double", [False, True])
def test_seeds_of_64_bits(double: bool) -> None:
    """Of 2^31 and more, which bare integers in compiled code cannot hold: as the key they make."""
    x = np.arange(4.0, dtype=np.float64 if double else np.float32)
    problem = mc.LeastSquares(mc.models.line, x, x)
    for seed in (2**31, -(2**40), 2**63 - 1):
        for make in (partial(mc.Noisy, problem, 0.1), partial(mc.Minibatches, problem, 2)):
            with jax.enable_x64(double):
                with jax.enable_x64(True):
                    key = jax.random.key(seed)  # of all its bits
                paths = [
                    mc.minimise(seen, LINE, DESCENT, 3)
                    for seen in (make(seed), make(key), make().seeded(seed))
                ]
            for path in paths[1:]:
                np.testing.assert_array_equal(path.cost, paths[0].cost)


def test_a_spike_at_the_end_is_no_divergence() -> None:
    """Outside fact: 1 - 2 * (-1e4) = 20001 throws p from 2 * 0.8^29 far above its start at last."""

    def spiked(step: Any) -> Any:
        return jnp.where(step < 29, RATE, -1e4)

    path = mc.minimise(_squared, START, mc.steepest_descent(spiked), 30)
    assert path.cost[-1] > path.cost[0] > path.cost[-2]
    assert path.status == Status.STEPS_USED
