"""The data decide the precision, whatever JAX's global flag says, and the flag stays as it was."""

import os
import subprocess
import sys
import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc
from mlcalc_jax._precision import holds_tracer

X = np.linspace(-1.0, 1.0, 8)
Y = 2 * X - 1 + 0.1 * np.sin(9 * X)
FLAT = {"slope": 0.0, "intercept": 0.0}


def _problem(dtype: Any) -> mc.LeastSquares:
    return mc.LeastSquares(mc.models.line, X.astype(dtype), Y.astype(dtype))


@pytest.mark.parametrize("optimiser", [mc.gauss_newton(), optax.sgd(0.05)], ids=["ours", "optax"])
def test_double_stays_double(optimiser: Any) -> None:
    """Outside fact: numpy.polyfit, to more digits than float32 has."""
    assert jnp.ones(1).dtype == np.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = mc.minimise(_problem(np.float64), FLAT, optimiser, 200)
    assert jnp.ones(1).dtype == np.float32
    for leaf in (*jax.tree.leaves(path.params), path.cost, path.gradient_norm):
        assert isinstance(leaf, np.ndarray)
        assert leaf.dtype == np.float64
    slope, intercept = np.polyfit(X, Y, 1)
    assert_allclose(path.final["slope"], slope, rtol=1e-12)
    assert_allclose(path.final["intercept"], intercept, rtol=1e-12)


def test_value_and_residuals_in_double() -> None:
    """Outside fact: NumPy in float64."""
    problem = _problem(np.float64)
    assert problem(FLAT).dtype == problem.residuals(FLAT).dtype == np.float64
    assert_allclose(problem(FLAT), np.sum(Y**2), rtol=1e-14)


def test_single_stays_single() -> None:
    """Outside fact: numpy.polyfit, to what float32 can hold."""
    problem = _problem(np.float32)
    path = mc.minimise(problem, FLAT, mc.gauss_newton(), 3)
    for leaf in (*jax.tree.leaves(path.params), path.cost, path.gradient_norm, problem(FLAT)):
        assert isinstance(leaf, jax.Array)
        assert leaf.dtype == np.float32
    assert_allclose(path.final["slope"], np.polyfit(X, Y, 1)[0], rtol=1e-6)


@pytest.mark.usefixtures("double")
def test_single_stays_single_with_the_flag_on() -> None:
    """Outside fact: the documented rule, that the data decide and not the flag."""
    start = jax.tree.map(np.float32, FLAT)
    for optimiser in (mc.levenberg_marquardt(), mc.steepest_descent(0.05, 0.1)):
        path = mc.minimise(_problem(np.float32), start, optimiser, 3)
        for leaf in (*jax.tree.leaves(path.params), path.cost, path.gradient_norm):
            assert leaf.dtype == np.float32


@pytest.mark.parametrize(
    ("data", "start", "expected"),
    [
        (np.float32, np.float64(0), np.float64),
        (np.float64, np.float32(0), np.float64),
        (np.float32, 0.0, np.float32),
        (np.float64, 0, np.float64),
        (np.float32, 0, np.float32),
        (np.float32, np.int64(0), np.float32),
    ],
)
def test_the_most_precise_leaf_decides(data: Any, start: Any, expected: Any) -> None:
    """Outside fact: numpy.result_type of the floating inputs, bare Python numbers being weak."""
    path = mc.minimise(
        _problem(data), {"slope": start, "intercept": start}, mc.steepest_descent(0.05), 2
    )
    assert path.final["slope"].dtype == path.cost.dtype == expected


def test_bare_numbers_beside_double_parameters() -> None:
    """Outside fact: the rule that float64 is never rounded; 1/3 has more digits than float32."""
    start = {"a": np.ones(2), "b": 1 / 3}
    path = mc.minimise(lambda p: p["a"] @ p["a"] + p["b"] ** 2, start, mc.steepest_descent(0.1), 1)
    assert path.final["a"].dtype == path.final["b"].dtype == np.float64
    assert_allclose(path.final["b"], 0.8 / 3, rtol=1e-15)


def test_double_start_of_a_plain_cost() -> None:
    """Outside fact: the closed form p (1 - 2 rate)^k of a descent on p^2."""
    path = mc.minimise(lambda p: p**2, np.float64(1), mc.steepest_descent(0.1), 3)
    assert path.params.dtype == np.float64
    assert_allclose(path.params, 0.8 ** np.arange(4), rtol=1e-15)


def test_progress_keeps_the_precision() -> None:
    """Outside fact: the path without progress, to the last bit."""
    args = (_problem(np.float64), FLAT, mc.steepest_descent(0.05), 4)
    shown = mc.minimise(*args, progress=lambda step, cost: None)
    for leaf in (*jax.tree.leaves(shown.params), shown.cost, shown.gradient_norm):
        assert leaf.dtype == np.float64
        assert isinstance(leaf, np.ndarray)


@pytest.mark.parametrize(
    "optimiser", [mc.steepest_descent, optax.sgd], ids=["number", "closure over a number"]
)
def test_traced_number_beside_double_data(optimiser: Any) -> None:
    """Inside grad and vmap JAX's flag decides, wherever the traced number hides: all is float32.

    Outside fact: on (p - 1)^2 from 3, one step of rate r ends at cost 4 (1 - 2 r)^2, whose first
    two derivatives at r = 0.25 are -8 and 32.
    """
    problem = mc.LeastSquares(lambda p, x: p * x, np.ones(1), np.ones(1))

    def last_cost(rate: Any) -> Any:
        return mc.minimise(problem, 3.0, optimiser(rate), 1).cost[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(jax.grad(last_cost)(0.25), -8, rtol=1e-6)
        assert_allclose(jax.jit(jax.hessian(last_cost))(0.25), 32, rtol=1e-6)
        swept = jax.vmap(last_cost)(np.array([0.25, 0.5], np.float32))
    assert swept.dtype == np.float32
    assert_allclose(swept, [1, 0], atol=1e-6)


class _Scaled:
    def __init__(self, scale: Any) -> None:
        self.scale = scale

    def __call__(self, params: Any, x: Any) -> Any:
        return self.scale * x

    def method(self, params: Any, x: Any) -> Any:
        return self(params, x)


def _scaled(scale: Any, params: Any, x: Any) -> Any:
    return scale * x


def _by_default(scale: Any) -> Any:
    return lambda params, x, scale=scale: scale * x


def _by_keyword(scale: Any) -> Any:
    return lambda params, x, *, scale=scale: scale * x


@pytest.mark.parametrize(
    "carrying",
    [
        lambda scale: lambda params, x: scale * x,
        lambda scale: partial(_scaled, scale),
        lambda scale: partial(_scaled, {"in": [scale]}),
        lambda scale: jax.jit(partial(_scaled, scale)),
        lambda scale: _Scaled(partial(_scaled, scale)),
        lambda scale: _Scaled(scale).method,
        _by_default,
        _by_keyword,
    ],
    ids=["closure", "partial", "tree", "jitted", "attribute", "method", "default", "keyword"],
)
def test_what_a_function_carries_is_seen(carrying: Any) -> None:
    """Outside fact: inside jit its argument is traced, and outside it is a number."""
    seen = []
    jax.jit(lambda scale: seen.append(holds_tracer(carrying(scale))))(1.0)
    assert [*seen, holds_tracer(carrying(1.0))] == [True, False]


_STRICTLY = """
import jax.numpy as jnp
import numpy as np

import mlcalc_jax as mc

x = np.linspace(-5.0, 5.0, 25)
y = 7 * np.exp(-(((x - 0.3) / 1.4) ** 2) / 2) + 1 + 0.05 * np.sin(9 * x)
start = {"amplitude": 6.0, "mu": 0.1, "sigma": 1.2, "offset": 0.3}
model, bounds, mask = mc.models.gaussian_peak, {"sigma": (0.5, 3.0)}, x < 4
for dtype in (np.float32, np.float64):
    u, v = x.astype(dtype), y.astype(dtype)
    for loss in (None, "huber", "poisson"):
        given = {"loss": loss, "bounds": bounds, "mask": mask}
        assert mc.fit(model, start, u, v, **given).success
        assert mc.fit_many(model, start, u, np.stack([v] * 3), **given).success.all()
    held = {"offset": np.eye(3)[0] > 0}
    assert mc.fit_many(model, None, u, np.stack([v] * 3), fixed=held).success.all()
    problem = mc.LeastSquares(model, u, v, mask=mask)
    noisy = mc.steepest_descent(1e-3, noise=0.1)
    for optimiser in (noisy, mc.gauss_newton(), mc.levenberg_marquardt(), mc.newton()):
        assert np.isfinite(mc.minimise(problem, start, optimiser, 3).cost).all()
    assert np.isfinite(mc.minimise(mc.Minibatches(problem, 5), start, noisy, 3).cost).all()
mc.compare(mc.problems.heights(), {"ours": mc.levenberg_marquardt()}, steps=5)
mc.newton_raphson(jnp.cos, 1.0)
"""


@pytest.mark.slow
def test_fits_and_descents_promote_no_types() -> None:
    """Fits and descents run where JAX promotes nothing by itself; optax's Adam does not."""
    environment = {**os.environ, "JAX_NUMPY_DTYPE_PROMOTION": "strict"}
    subprocess.run([sys.executable, "-c", _STRICTLY], check=True, env=environment, timeout=300)
