"""Counted passes against the calls that instrumented costs see, and against what formulas say."""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mlcalc_jax as mc
from mlcalc_jax._race._oracle import counted_update

START = {"x": jnp.array([-1.2, 1.0, 0.7])}


def rosenbrock(x: jax.Array) -> jax.Array:
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def watched(calls: Counter[str]) -> Any:
    """A cost that tells, from inside compiled code, each time it or its backward pass is run."""

    def tell(what: str) -> None:
        jax.debug.callback(lambda: calls.update([what]))

    @jax.custom_vjp
    def cost(x: jax.Array) -> jax.Array:
        tell("value")
        return rosenbrock(x)

    def forward(x: jax.Array) -> Any:
        tell("value")
        return jax.vjp(rosenbrock, x)

    def backward(pull: Any, cotangent: jax.Array) -> Any:
        tell("cotangent")
        return pull(cotangent)

    cost.defvjp(forward, backward)
    return lambda params: cost(params["x"])


@pytest.mark.parametrize(
    "optimiser",
    [
        optax.adam(0.01),
        optax.lbfgs(),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20)),
        optax.chain(optax.sgd(1.0), optax.scale_by_zoom_linesearch(20)),
    ],
    ids=["adam", "lbfgs", "backtracking", "zoom"],
)
def test_counts_are_the_calls_that_an_instrumented_cost_sees(optimiser: Any) -> None:
    """Line searches of unknown length included, step by step, in compiled code."""
    calls: Counter[str] = Counter()
    cost = watched(calls)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        value, gradient = jax.value_and_grad(cost)(params)
        updates, state, passes = counted_update(optimiser, gradient, state, params, value, cost)
        return optax.apply_updates(params, updates), state, passes

    params, state = START, optimiser.init(START)
    lengths = set()
    for _ in range(6):
        calls.clear()
        params, state, passes = step(params, state)
        jax.effects_barrier()
        assert passes.tolist() == [calls["value"], 0, calls["cotangent"]]
        lengths.add(calls["value"])
    assert len(lengths) > 1 or lengths == {1}  # the searches were of different length


def update_of(optimiser: Any, cost: Any, params: Any) -> list[int]:
    value, gradient = jax.value_and_grad(cost)(params)
    _, _, passes = counted_update(optimiser, gradient, optimiser.init(params), params, value, cost)
    return [int(n) for n in passes]


@pytest.mark.slow
def test_what_second_order_methods_ask_for() -> None:
    """A Hessian of n parameters, forward over reverse, and a Jacobian, forward, by their formulas.

    Gauss-Newton uses no gradient of the loop, so none is charged. Newton's Hessian is n tangents
    through one value and one backward pass, and n tangents of that backward pass.
    """
    x = np.linspace(0, 1, 7)
    problem = mc.LeastSquares(mc.models.polynomial, x, x**2)
    params = {"coefficients": jnp.zeros(4)}
    assert update_of(mc.gauss_newton(), problem, params) == [1, 4, 0]
    with_loop = [1, 0, 1]
    newton = np.add([1, 4, 5], with_loop).tolist()
    assert update_of(mc.newton(), problem, params) == newton
    assert update_of(mc.newton(), lambda p: problem(p), params) == newton


def test_jacobian_columns_are_counted_where_they_are_computed() -> None:
    """A model that tells of each tangent it is run with: one for each column of the Jacobian."""
    seen: Counter[str] = Counter()

    @jax.custom_jvp
    def line(slope: jax.Array, x: jax.Array) -> jax.Array:
        return slope * x

    @line.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        def tell(tangent: Any) -> Any:
            seen.update(["tangent"])
            return tangent

        slope, x = primals
        shape = jax.ShapeDtypeStruct((), tangents[0].dtype)
        moved = jax.pure_callback(tell, shape, tangents[0], vmap_method="sequential")
        return slope * x, moved * x

    def model(params: Any, x: Any) -> Any:
        return line(params["a"] + params["b"], x)

    data = mc.LeastSquares(model, np.ones(3, "f4"), np.ones(3, "f4"))
    params = {"a": jnp.ones(()), "b": jnp.ones(())}

    @jax.jit
    def ask(params: Any) -> Any:
        return counted_update(mc.gauss_newton(), params, optax.EmptyState(), params, 0.0, data)

    passes = jax.block_until_ready(ask(params))[2]
    assert passes[1] == seen["tangent"] == 2


def test_passes_inside_scans_branches_and_own_jits_are_counted() -> None:
    """An optimiser may call the cost wherever it likes."""

    def update(updates: Any, state: Any, params: Any, *, value_fn: Any, **_: Any) -> Any:
        def scanned(total: Any, _: Any) -> Any:
            return total + value_fn(params), None

        total, _ = jax.lax.scan(scanned, 0.0, None, length=5)
        total += jax.lax.cond(state > 0, lambda: value_fn(params), lambda: 0.0)
        total += jax.jit(value_fn)(params)
        total += jnp.sum(jax.vmap(lambda t: value_fn({"x": t * params["x"]}))(jnp.ones(3)))
        return jax.tree.map(lambda leaf: 0 * leaf + 0 * total, updates), state

    for state, branch in ((0, 0), (1, 1)):
        optimiser = optax.GradientTransformationExtraArgs(lambda _, s=state: jnp.array(s), update)
        counted = update_of(optimiser, lambda p: rosenbrock(p["x"]), START)
        assert counted == [5 + branch + 1 + 3 + 1, 0, 1]  # and the loop's gradient, once


def test_a_cost_in_the_condition_of_a_loop_is_refused() -> None:
    """It cannot be counted there, and is not guessed."""

    def update(updates: Any, state: Any, params: Any, *, value_fn: Any, **_: Any) -> Any:
        def goes_on(x: Any) -> Any:
            return value_fn({"x": x}) > 1.0

        return {"x": jax.lax.while_loop(goes_on, lambda x: x / 2, params["x"])}, state

    optimiser = optax.GradientTransformationExtraArgs(lambda _: (), update)
    with pytest.raises(TypeError, match="condition of a while loop"):
        update_of(optimiser, lambda p: rosenbrock(p["x"]), START)


@pytest.mark.slow
def test_counting_changes_no_number() -> None:
    """The update with counting is the update without, bit for bit."""

    def cost(params: Any) -> Any:
        return rosenbrock(params["x"])

    for optimiser in (optax.adam(0.1), optax.lbfgs(), mc.newton()):
        value, gradient = jax.value_and_grad(cost)(START)
        state = optimiser.init(START)
        plain, _ = jax.jit(
            lambda g, s, v, o=optimiser: optax.with_extra_args_support(o).update(
                g, s, START, value=v, grad=g, value_fn=cost
            )
        )(gradient, state, value)
        counted, _, _ = jax.jit(
            lambda g, s, v, o=optimiser: counted_update(o, g, s, START, v, cost)
        )(gradient, state, value)
        np.testing.assert_array_equal(plain["x"], counted["x"])
