"""The network's chain rule against automatic, written-out and numerical derivatives."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats

import mlcalc_jax as mc
from mlcalc_jax.network import Layer

POINTS = 5
SIZES = [(1, 2), (1, 6, 7, 2), (3, 4, 2), (2, 5, 4, 3, 1)]
every_size = pytest.mark.parametrize("sizes", SIZES, ids=str)


def _case(sizes: tuple[int, ...], seed: int = 0) -> tuple[Any, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    params = tuple(
        Layer(random.normal(size=(b, a)), random.normal(size=b)) for a, b in pairwise(sizes)
    )
    x = random.uniform(-1, 1, (sizes[0], POINTS))
    return params, x, random.uniform(0, 1, (sizes[-1], POINTS))


def _numpy_cost(params: Any, x: np.ndarray, y: np.ndarray) -> float:
    a = x
    for W, b in params:
        a = special.expit(W @ a + b[:, None])
    return float(np.mean(np.sum((a - y) ** 2, axis=0)))


def _numpy_chain(params: Any, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The chain rule a point at a time, as products of whole Jacobian matrices."""
    layers = len(params)
    J_W = [np.zeros_like(W) for W, _ in params]
    J_b = [np.zeros_like(b) for _, b in params]
    columns: dict[str, list[list[np.ndarray]]] = {"delta": [], "slope": [], "below": []}
    errors = []
    for n in range(x.shape[1]):
        below, slopes = [x[:, n]], []
        for W, b in params:
            e = np.exp(-(W @ below[-1] + b))
            below.append(1 / (1 + e))
            slopes.append(e / (1 + e) ** 2)
        row = 2 * (below[-1] - y[:, n])
        errors.append(row)
        deltas: list[np.ndarray] = []
        for k in reversed(range(layers)):
            row = row @ np.diag(slopes[k])
            deltas.insert(0, row)
            J_W[k] += np.einsum("i,j->ij", row, below[k]) / x.shape[1]
            J_b[k] += row / x.shape[1]
            row = row @ params[k].W
        for name, values in (("delta", deltas), ("slope", slopes), ("below", below)):
            columns[name].append(values)
    by_layer = {
        name: [np.stack(points, axis=1) for points in zip(*values, strict=True)]
        for name, values in columns.items()
    }
    return {"J_W": J_W, "J_b": J_b, "dC_da": np.stack(errors, axis=1), **by_layer}


@every_size
@pytest.mark.usefixtures("double")
def test_jacobian_equals_jax_grad_and_numpy(sizes: tuple[int, ...]) -> None:
    """Outside facts: jax.grad of the cost, and the chain rule written out in NumPy."""
    params, x, y = _case(sizes)
    jacobian = jax.jit(mc.network.backprop)(params, x, y).jacobian
    by_hand = _numpy_chain(params, x, y)
    automatic = jax.jit(jax.grad(mc.network.cost))(params, x, y)
    assert isinstance(jacobian, tuple)
    for k, layer in enumerate(jacobian):
        for mine, outside in [
            (layer.W, automatic[k].W),
            (layer.b, automatic[k].b),
            (layer.W, by_hand["J_W"][k]),
            (layer.b, by_hand["J_b"][k]),
        ]:
            assert mine.dtype == np.float64
            assert_allclose(mine, outside, rtol=1e-12, atol=1e-16)


@every_size
@pytest.mark.usefixtures("double")
def test_every_factor(sizes: tuple[int, ...]) -> None:
    """Outside fact: the factors of the chain rule, written out in NumPy."""
    params, x, y = _case(sizes)
    factors, by_hand = jax.jit(mc.network.backprop)(params, x, y), _numpy_chain(params, x, y)
    assert_allclose(factors.dC_da, by_hand["dC_da"], rtol=1e-13, atol=1e-16)
    for k, (W, _) in enumerate(params):
        assert_allclose(factors.da_dz[k], by_hand["slope"][k], rtol=1e-12)
        assert_array_equal(factors.dz_da[k], W)
        assert_allclose(factors.dz_dW[k], by_hand["below"][k], rtol=1e-13)
        assert_allclose(factors.delta[k], by_hand["delta"][k], rtol=1e-12, atol=1e-16)
    for name in ("da_dz", "dz_da", "dz_dW", "delta"):
        assert len(getattr(factors, name)) == len(params)


@pytest.mark.usefixtures("double")
def test_jacobian_equals_central_differences() -> None:
    """Outside fact: central differences of the cost in NumPy."""
    params, x, y = _case((2, 5, 4, 3, 1))
    flat, unravel = ravel_pytree(params)
    found, _ = ravel_pytree(jax.jit(mc.network.backprop)(params, x, y).jacobian)
    steps = 1e-5 * np.eye(flat.size)
    high, low = (
        np.array([_numpy_cost(unravel(flat + sign * step), x, y) for step in steps])
        for sign in (1, -1)
    )
    assert_allclose(found, (high - low) / 2e-5, rtol=1e-7, atol=1e-10)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=2, max_size=5),
    scale=st.sampled_from([0.1, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_jacobian_of_any_network(sizes: list[int], scale: float, seed: int) -> None:
    """Outside fact: the chain rule written out in NumPy; sizes and weights are hypothesis's."""
    random = np.random.default_rng(seed)
    params = tuple(
        Layer(scale * random.normal(size=(b, a)), scale * random.normal(size=b))
        for a, b in pairwise(sizes)
    )
    x, y = random.normal(size=(sizes[0], POINTS)), random.uniform(size=(sizes[-1], POINTS))
    with jax.enable_x64(True):
        found = mc.network.backprop(params, x, y).jacobian
    by_hand = _numpy_chain(params, x, y)
    size = max(np.abs(J).max() for J in by_hand["J_b"])
    for k, (J_W, J_b) in enumerate(found):
        assert_allclose(J_W, by_hand["J_W"][k], rtol=1e-10, atol=1e-13 * size)
        assert_allclose(J_b, by_hand["J_b"][k], rtol=1e-10, atol=1e-13 * size)


@every_size
@pytest.mark.usefixtures("double")
def test_cost_and_forward(sizes: tuple[int, ...]) -> None:
    """Outside fact: the cost in NumPy."""
    params, x, y = _case(sizes)
    passed = jax.jit(mc.network.forward)(params, x)
    assert len(passed.z) == len(params)
    assert len(passed.a) == len(params) + 1
    for z, a in zip(passed.z, passed.a[1:], strict=True):
        assert_allclose(a, special.expit(z), rtol=1e-13)
    for cost in (mc.network.cost, mc.network.cost_by_backprop):
        assert_allclose(jax.jit(cost)(params, x, y), _numpy_cost(params, x, y), rtol=1e-13)


@pytest.mark.parametrize("sizes", [(1, 6, 7, 2), (3, 4, 2)], ids=str)
@pytest.mark.usefixtures("double")
def test_cost_by_backprop_in_every_argument(sizes: tuple[int, ...]) -> None:
    """Outside fact: jax.grad of the plain cost, in params, x and y."""
    params, x, y = _case(sizes)
    every = (0, 1, 2)
    for at in [x, x[0]] if sizes[0] == 1 else [x]:
        found, expected = (
            jax.jit(jax.grad(cost, every))(params, at, y)
            for cost in (mc.network.cost_by_backprop, mc.network.cost)
        )
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-12, atol=1e-16), found, expected)


@pytest.mark.usefixtures("double")
def test_cost_by_backprop_scales_and_sums_its_cotangent() -> None:
    """Outside fact: the chain rule of log(cost), by jax.grad of the plain cost."""
    params, x, y = _case((3, 4, 2))
    found, expected = (
        ravel_pytree(jax.jit(jax.grad(lambda p, f=f: jnp.log(f(p, x, y))))(params))[0]
        for f in (mc.network.cost_by_backprop, mc.network.cost)
    )
    assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.usefixtures("double")
def test_hessian_through_backprop() -> None:
    """Outside fact: the Hessian of the plain cost, which is symmetric."""
    params, x, y = _case((1, 3, 2))
    flat, unravel = ravel_pytree(params)
    found, expected = (
        jax.jit(jax.hessian(lambda v, f=f: f(unravel(v), x, y)))(flat)
        for f in (mc.network.cost_by_backprop, mc.network.cost)
    )
    assert_allclose(found, expected, rtol=1e-11, atol=1e-14)
    assert_allclose(found, found.T, rtol=1e-11, atol=1e-14)


def test_backprop_under_vmap() -> None:
    """Outside fact: one call a network."""
    several = [jax.tree.map(np.float32, _case((1, 3, 2), seed)[0]) for seed in range(3)]
    many = jax.tree.map(lambda *leaves: np.stack(leaves), *several)
    x, y = np.linspace(0, 1, POINTS, dtype=np.float32), np.full((2, POINTS), 0.3, np.float32)
    found = jax.vmap(mc.network.backprop, in_axes=(0, None, None))(many, x, y)
    for i, params in enumerate(several):
        one = mc.network.backprop(params, x, y)
        jax.tree.map(lambda a, b, i=i: assert_allclose(a[i], b, rtol=1e-5, atol=1e-7), found, one)


@pytest.mark.parametrize("part", ["W", "b"])
def test_init_params_draws_from_half_a_normal(part: str) -> None:
    """Outside fact: the normal distribution of mean 0 and standard deviation 1/2, by KS test."""
    params = mc.network.init_params(jax.random.key(7), (60, 60, 400))
    drawn = np.concatenate([np.ravel(getattr(layer, part)) for layer in params])
    assert abs(drawn.mean()) < 4 * 0.5 / drawn.size**0.5
    assert abs(drawn.std() - 0.5) < 4 * 0.5 / (2 * drawn.size) ** 0.5
    assert stats.kstest(drawn, stats.norm(0, 0.5).cdf).pvalue > 1e-3


def test_init_params_shapes_and_seeds() -> None:
    """Outside fact: the sizes asked for; one key is one draw, another key another."""
    one, again, other = (mc.network.init_params(jax.random.key(k)) for k in (0, 0, 1))
    assert [layer.W.shape for layer in one] == [(6, 1), (7, 6), (2, 7)]
    assert [layer.b.shape for layer in one] == [(6,), (7,), (2,)]
    jax.tree.map(assert_array_equal, one, again)
    flat, flat_other = ravel_pytree(one)[0], ravel_pytree(other)[0]
    assert not np.isin(flat, flat_other).any()
    assert len(np.unique(flat)) == flat.size


def test_init_params_in_double_leaves_jax_as_it_was() -> None:
    """Outside fact: float64 has numbers that float32 has not."""
    params = mc.network.init_params(jax.random.key(0), (1, 6, 2), np.float64)
    for leaf in jax.tree.leaves(params):
        assert leaf.dtype == np.float64
        assert (leaf != leaf.astype(np.float32)).any()
    assert jnp.ones(1).dtype == np.float32
    assert mc.network.init_params(jax.random.key(0))[0].W.dtype == np.float32


@pytest.mark.parametrize(
    ("sizes", "dtype", "error", "message"),
    [
        ((1,), None, ValueError, r"sizes must name an input and an output at least, got \(1,\)"),
        ((), None, ValueError, "an input and an output"),
        ((1, 0, 2), None, ValueError, r"sizes\[1\] must be at least 1, got 0"),
        ((1, 2.5), None, TypeError, r"sizes\[1\] must be a whole number, got 2.5"),
        ((1, True), None, TypeError, r"sizes\[1\] must be a whole number, got True"),
        ((1, 2), np.int32, TypeError, "dtype must be floating, got int32"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_init_params_refuses(sizes: Any, dtype: Any, error: Any, message: str) -> None:
    """Outside fact: the documented errors."""
    with pytest.raises(error, match=message):
        mc.network.init_params(jax.random.key(0), sizes, dtype)


def _zeros(*shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    return tuple(Layer(np.zeros(W, np.float32), np.zeros(b, np.float32)) for W, b in shapes)


@pytest.mark.parametrize(
    ("params", "x_shape", "y_shape", "message"),
    [
        (_zeros(((3, 1), (3,)), ((2, 4), (2,))), (5,), (2, 5), r"layer 2 does not fit: layer 1"),
        (_zeros(((3, 1), (3,)), ((2, 3), (3,))), (5,), (2, 5), r"b2 has shape \(3,\)"),
        (_zeros(((2, 1), (2, 1))), (5,), (2, 5), r"b1 has shape \(2, 1\)"),
        (_zeros(((2, 1), (2,))), (3, 5), (2, 5), r"layer 1 does not fit: x has 3 feature"),
        (_zeros(((2, 1), (2,))), (5, 1), (2, 5), r"x has 5 feature"),
        (_zeros(((2, 1), (2,))), (), (2, 5), r"x must be \(inputs, points\) or \(points,\)"),
        (_zeros(((2, 1), (2,))), (1, 5, 1), (2, 5), r"got shape \(1, 5, 1\)"),
        (_zeros(((2, 1), (2,))), (5,), (5, 2), r"y must be .* = \(2, 5\), got shape \(5, 2\)"),
        (_zeros(((2, 1), (2,))), (5,), (5,), r"y must be .* got shape \(5,\)"),
        (_zeros(((1, 1), (1,))), (5,), (), r"y must be .* got shape \(\)"),
    ],
)
def test_shapes_that_do_not_fit(params: Any, x_shape: Any, y_shape: Any, message: str) -> None:
    """Outside fact: the documented errors, the same for all that take x and y."""
    x, y = np.ones(x_shape, np.float32), np.ones(y_shape, np.float32)
    functions = (mc.network.cost, mc.network.backprop, jax.grad(mc.network.cost_by_backprop))
    for function in functions:
        with pytest.raises(ValueError, match=message):
            function(params, x, y)


@pytest.mark.parametrize("params", ["abc", {"W": 1.0, "b": 2.0}, 3.0, (1.0,)])
def test_what_is_no_network(params: Any, annotations_unchecked: None) -> None:
    """Outside fact: the documented error."""
    with pytest.raises(TypeError, match="params must be layers"):
        mc.network.forward(params, np.ones(5))


def test_single_point_and_line_of_inputs() -> None:
    """Outside fact: x of shape (points,) is x of shape (1, points)."""
    params = mc.network.init_params(jax.random.key(3), (1, 3, 2))
    x, y = np.array([0.4], np.float32), np.array([[0.1], [0.9]], np.float32)
    assert_array_equal(mc.network.cost(params, x, y), mc.network.cost(params, x[None], y))
