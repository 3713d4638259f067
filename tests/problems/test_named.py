"""What holds for every problem, and how one is asked for by name or made of one's own."""

from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import mlcalc_jax as mc

from ..cases import bowl

P = mc.problems
every_name = pytest.mark.parametrize("name", P.NAMES)


@every_name
def test_goes_through_the_front_door_in_double(name: str) -> None:
    """float64 whatever JAX's flag says, alone and as a batch of starts under jit and vmap."""
    problem = P.named(name)
    starts = [problem.draw_start(seed) for seed in (0, 1)]
    assert jax.tree.structure(starts[0]) == jax.tree.structure(problem.start)  # type: ignore[operator]
    costs = []
    for start in (problem.start, *starts):
        path = mc.minimise(problem.cost, start, mc.steepest_descent(1e-12), 1)
        of_double = (start, path.cost, path.final)
        assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(of_double))
        assert np.isfinite([path.cost, path.gradient_norm]).all()
        costs.append(path.cost[0])
    with jax.enable_x64(True):
        batch = jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
        np.testing.assert_allclose(jax.jit(jax.vmap(problem.cost))(batch), costs[1:], rtol=1e-9)
    if problem.minimum is not None:
        assert min(costs) >= problem.minimum


@every_name
def test_made_twice_compiles_once(name: str) -> None:
    """Outside fact: JAX runs the Python code of a jitted function only to trace it."""
    traces: list[int] = []

    @jax.jit
    def value(cost: Any, params: Any) -> jax.Array:
        traces.append(1)
        return cost(params)

    for problem in (P.named(name), P.named(name)):
        value.lower(problem.cost, problem.start)
    assert len(traces) == 1


@every_name
@pytest.mark.usefixtures("double")
def test_float32_stays_float32(name: str) -> None:
    """JAX would promote: a constant of float64 in a cost makes float64 of it under the x64 flag."""
    problem = P.named(name)
    cost, start = jax.tree.map(np.float32, (problem.cost, problem.start))
    assert jax.eval_shape(cost, start).dtype == np.float32


@every_name
def test_its_name_gives_it_again(name: str) -> None:
    problem = P.named(name)
    again = P.named(problem.name)
    assert again.name == problem.name
    jax.tree.map(assert_array_equal, again.start, problem.start)


def test_arguments_follow_in_brackets_or_after_colons() -> None:
    for name in ("quadratic(1000, 10)", "quadratic:1000:10", " quadratic ( 1e3,10 ) "):
        problem = P.named(name)
        assert problem.name == "quadratic(1000, 10)"
        assert problem.dimension == 10
    spiral = P.named('curve("spiral")')
    assert spiral.name == P.named("curve:spiral").name == "curve(spiral)"
    assert P.named("curve(circle, 30)").name == "curve(circle, 30)"
    assert P.named("bard()").name == "bard"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rosenbrok", r"no problem 'rosenbrok'; the problems are heights, curve.*chebyquad"),
        ("quadratic(2", "no problem"),
        ("__import__('os')", "no problem"),
        ("bard(3)", r"bard\(\) does not take the arguments of 'bard\(3\)'"),
        ("quadratic(1, 2, 3)", r"quadratic\(condition, dimension\) does not take"),
        ("quadratic(0.5)", "condition must be at least 1"),
        ("curve(square)", "no curve 'square'"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        P.named(name)


def test_sets_are_of_names() -> None:
    assert set(P.SETS) == {"course", "regressions", "surfaces", "mgh", "all"}
    assert all(set(names) <= set(P.NAMES) for names in P.SETS.values())
    assert P.SETS["all"] == P.NAMES
    assert len(set(P.NAMES)) == len(P.NAMES) == 2 + 2 + 6 + 35 - 2
    assert len(P.MGH) == 35
    assert set(P.named("rosenbrock").start) == {"x", "y"}


def test_starts_are_scattered_reproducibly_and_relatively() -> None:
    """Closed form: x (1 + spread z) with z of N(0, 1), so that z has mean 0 and deviation 1."""
    draw = P.scattered({"a": np.float64(200), "b": np.float64(0)}, 0.1)
    with jax.enable_x64(True):
        many = jax.vmap(draw)(jax.random.split(jax.random.key(0), 4000))
    for name, middle in (("a", 200), ("b", 0)):
        z = (np.asarray(many[name]) - middle) / 20  # b is 0, so that it moves as far as a
        assert abs(z.mean()) < 4 / np.sqrt(4000)
        assert abs(z.std() - 1) < 4 / np.sqrt(8000)
    assert abs(np.corrcoef(many["a"], many["b"])[0, 1]) < 4 / np.sqrt(4000)
    for start in ({"a": 1, "b": 2.5}, {"a": np.float64(1), "b": np.float64(2.5)}):
        assert np.isfinite([*P.scattered(start)(0).values()]).all()  # with no warning
    with pytest.raises(TypeError, match=r"start\['a'\]"):
        P.scattered({"a": "one"})
    problem = P.rosenbrock()
    assert problem.draw_start(3) == problem.draw_start(jax.random.key(3)) != problem.draw_start(4)


def test_noise_is_as_strong_as_asked_for() -> None:
    """Closed form: the gradient's noise has the given standard deviation in every number."""
    problem = P.noisy(P.quadratic(1.0), 0.3)
    assert isinstance(problem.cost, mc.Noisy)
    noisy = problem.cost

    def slope(step: Any) -> Any:
        return jax.grad(noisy.batch(step, None))(problem.start)

    slopes = jax.vmap(slope)(np.arange(400))
    assert abs(np.std(slopes["x"]) / 0.3 - 1) < 4 / np.sqrt(800)
    assert abs(np.corrcoef(slopes["x"], slopes["y"])[0, 1]) < 4 / np.sqrt(400)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ((("x", 0, np.inf), ("y", 0, 1)), "must go from lower to higher"),
        ((("x", 0, 1), ("x", 2, 3)), "'x' twice"),
    ],
)
def test_views_that_show_nothing(view: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        P.anywhere(P.View(*view))


def test_one_of_ones_own() -> None:
    problem = P.from_cost(
        bowl, {"x": 3.0, "y": np.float64(4)}, minimum=0, minimiser={"x": 0, "y": 0}
    )
    assert (problem.name, problem.dimension, problem.view) == ("bowl", 2, None)
    assert float(problem.cost(problem.minimiser)) == problem.minimum
    fixed = P.from_cost(bowl, {"x": 3.0}, spread=0)
    assert fixed.draw_start(5) == fixed.start


@pytest.mark.parametrize(
    ("cost", "start", "extra", "error", "message"),
    [
        (3, {"x": 1.0}, {}, TypeError, "cost must be a function"),
        (bowl, {"x": np.nan}, {}, ValueError, r"params\['x'\] must be finite"),
        (bowl, {}, {}, ValueError, "holds no parameter"),
        (bowl, {"x": "far"}, {}, TypeError, "must be a real number"),
        (bowl, {"x": 1.0}, {"minimum": np.inf}, ValueError, "minimum must be finite"),
        (bowl, {"x": 1.0}, {"spread": -1}, ValueError, "spread must be finite and not negative"),
        (bowl, {"x": 1.0}, {"minimiser": {"y": 0.0}}, ValueError, "minimiser must have the names"),
        (bowl, {"x": 1.0}, {"minimiser": {"x": np.zeros(2)}}, ValueError, "names and shapes"),
        (bowl, {"x": 1.0}, {"view": P.View(("x", 0, 1), ("y", 0, 1))}, ValueError, "view shows x"),
        (bowl, {"x": 1.0}, {"view": P.View(("x", 1, 0), ("x", 0, 1))}, ValueError, "range of x"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_says_what_is_wrong_with_ones_own(
    cost: Any, start: Any, extra: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        P.from_cost(cost, start, **extra)
