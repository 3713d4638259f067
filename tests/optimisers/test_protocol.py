"""What every optimiser must do: a new one is one more row of the table."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mlcalc_jax as mc

from ..cases import counting, heights

#: Near enough for undamped Newton and Gauss-Newton to converge.
NEAR = {"mu": 177.0, "sigma": 8.0}

OPTIMISERS: dict[str, optax.GradientTransformation] = {
    "steepest_descent": mc.steepest_descent(1000.0),
    "noisy steepest_descent": mc.steepest_descent(1000.0, 0.1, 1),
    "newton": mc.newton(),
    "gauss_newton": mc.gauss_newton(),
    "levenberg_marquardt": mc.levenberg_marquardt(),
    "tunable adam": mc.tunable(optax.adam, learning_rate=0.05),
    "optax sgd": optax.sgd(1000.0),
    "optax momentum": optax.sgd(300.0, momentum=0.5),
    "optax rmsprop": optax.rmsprop(0.05),
    "optax adam": optax.adam(0.05),
    "optax lbfgs": optax.lbfgs(),
    "gauss_newton with line search": optax.chain(
        mc.gauss_newton(), optax.scale_by_backtracking_linesearch(15)
    ),
}
every_optimiser = pytest.mark.parametrize("name", OPTIMISERS)


@every_optimiser
def test_lowers_the_cost_and_compiles_once(name: str) -> None:
    """Outside facts: chi-squared in NumPy; Python code under jit runs only while tracing."""
    model, traces = counting(mc.models.gaussian)
    data = heights()
    problem = mc.LeastSquares(model, data.x, data.y)
    path = mc.minimise(problem, NEAR, OPTIMISERS[name], 10)
    once = len(traces)
    mc.minimise(problem, {"mu": 179.0, "sigma": 7.0}, OPTIMISERS[name], 10)
    assert len(traces) == once > 0

    def chi_squared(mu: float, sigma: float) -> float:
        z = (data.x - mu) / sigma
        return float(np.sum((np.exp(-(z**2) / 2) / (sigma * np.sqrt(2 * np.pi)) - data.y) ** 2))

    np.testing.assert_allclose(path.cost[0], chi_squared(**NEAR), rtol=1e-10)
    np.testing.assert_allclose(path.cost[-1], chi_squared(**path.final), rtol=1e-10)
    assert path.cost[-1] < 0.9 * path.cost[0]
    assert path.status == mc.Status.STEPS_USED


OURS = [name for name in OPTIMISERS if not name.startswith("optax") and "search" not in name]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.usefixtures("double")
def test_update_drops_what_it_does_not_know(name: str) -> None:
    """Outside fact: optax's protocol, by which unknown extra arguments change nothing."""
    problem, optimiser = heights(), optax.with_extra_args_support(OPTIMISERS[name])
    params = jax.tree.map(jnp.asarray, NEAR)
    value, grad = jax.jit(jax.value_and_grad(problem))(params)
    state = optimiser.init(params)
    known: dict[str, Any] = {"value": value, "grad": grad, "value_fn": problem}
    plain, more = jax.jit(
        lambda: (
            optimiser.update(grad, state, params, **known),
            optimiser.update(grad, state, params, **known, colour="red", residual_fn=None),
        )
    )()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(*map(_numbers, (a, b))), plain, more)
    jax.tree.map(lambda update, param: None, plain[0], params)  # raises if the trees differ
    jax.tree.map(lambda new, old: None, plain[1], state)


def _numbers(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def test_multi_steps_is_an_optimiser_too() -> None:
    """optax's MultiSteps moves every third step, by a mean gradient: times 0.8 on p^2."""
    path = mc.minimise(lambda p: p**2, np.float32(1), optax.MultiSteps(optax.sgd(0.1), 3), 6)
    np.testing.assert_allclose(path.params, [1, 1, 1, 0.8, 0.8, 0.8, 0.64], rtol=1e-6)
