"""The chain rule explained, and the landscape around a network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from numpy.testing import assert_allclose

import mlcalc_jax as mc

CURVE = mc.data.curve(points=20)


def params(scale: float = 1.0) -> Any:
    drawn = mc.network.init_params(1, (1, 4, 3, 2), dtype="float64")
    return jax.tree.map(lambda leaf: scale * leaf, drawn)


@pytest.mark.slow
def test_factors_multiply_to_the_gradient() -> None:
    """Outside fact: NumPy's product of the factors by the chain rule, and jax.grad."""
    found = mc.explain_backprop(params(), CURVE.x, CURVE.y)
    value = {f.name: f.value for f in found.factors}
    for k in (3, 2, 1):
        assert_allclose(value[f"dC/dz{k}"], value[f"dC/da{k}"] * value[f"sigma'(z{k})"])
        assert_allclose(value[f"J_W{k}"], value[f"dC/dz{k}"] @ value[f"dz{k}/dW{k}"].T / 20)
        assert_allclose(value[f"J_b{k}"], value[f"dC/dz{k}"].sum(axis=1) / 20)
        if k > 1:
            assert_allclose(
                value[f"dC/da{k - 1}"], value[f"dz{k}/da{k - 1}"].T @ value[f"dC/dz{k}"]
            )
    with jax.enable_x64(True):
        by_jax = jax.grad(mc.network.cost)(params(), CURVE.x, CURVE.y)
    for k, layer in enumerate(by_jax, start=1):
        assert_allclose(value[f"J_W{k}"], layer.W, rtol=1e-10, atol=1e-16)
    assert found.disagreement < 1e-13
    assert len(found.factors) == 21
    assert "J_W1" in str(found)


@pytest.mark.slow
def test_saturation_makes_the_gradient_vanish() -> None:
    """Outside fact: sigma' <= 1/4, and it is nearly zero where |z| is large."""
    fresh, saturated = (mc.explain_backprop(params(s), CURVE.x, CURVE.y) for s in (1, 60))
    assert fresh.factor("sigma'(z1)").value.max() <= 0.25
    assert saturated.factor("sigma'(z2)").norm < 0.2 * fresh.factor("sigma'(z2)").norm
    assert fresh.factor("J_W1").norm == pytest.approx(
        np.sqrt(np.mean(np.square(fresh.chain.jacobian[0].W)))
    )
    with pytest.raises(KeyError, match="J_W1"):
        fresh.factor("J_W9")
    for scale in (1e300, 1e-300, 0.0):  # whose squares a float64 cannot hold
        huge = fresh.factor("J_W1")._replace(value=scale * np.array([3.0, 4.0]))
        assert huge.norm == pytest.approx(scale * 12.5**0.5)


def test_explanation_of_wrong_input(annotations_unchecked: None) -> None:
    """One clear line."""
    with pytest.raises(ValueError, match="finite"):
        mc.explain_backprop(params(), np.full(20, np.nan), CURVE.y)
    with pytest.raises(ValueError, match="y must be"):
        mc.explain_backprop(params(), CURVE.x, CURVE.y[:1])
    with pytest.raises(ValueError, match="no points"):
        mc.explain_backprop(params(), CURVE.x[:0], CURVE.y[:, :0])
    with pytest.raises(TypeError, match="must be layers"):
        mc.explain_backprop({"W": 1.0, "b": 2.0}, CURVE.x, CURVE.y)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer 1 does not fit"):
        mc.explain_backprop(params(), np.ones((3, 20)), CURVE.y)


def quadratic(p: Any) -> Any:
    """Eigenvalues of its Hessian: 2, 6 and 10."""
    return p["a"] ** 2 + jnp.sum(jnp.array([3.0, 5.0]) * p["b"] ** 2)


CENTRE = {"a": np.float64(1.0), "b": np.array([0.5, -2.0])}
NOWHERE = {"a": np.float64(np.nan), "b": np.ones(2)}


def test_landscape_is_the_cost_on_the_plane() -> None:
    """Outside fact: a quadratic's value at the corners and in the middle, by hand."""
    across = {"a": np.float64(1.0), "b": np.zeros(2)}
    up = {"a": np.float64(0.0), "b": np.array([0.0, 1.0])}
    found = mc.landscape(quadratic, CENTRE, across, up, extent=(-1, 3, -2, 2), resolution=5)
    assert found.cost.shape == (5, 5)
    assert_allclose(found.cost[0, 0], 0 + 3 * 0.25 + 5 * 16)
    assert_allclose(found.cost[2, 1], 1 + 3 * 0.25 + 5 * 4)
    assert_allclose(found.cost[4, 4], 16 + 3 * 0.25 + 0)


def test_a_path_is_projected_where_it_is_nearest() -> None:
    """Outside fact: the last point is the centre; the parts along both directions by hand."""
    path = mc.minimise(quadratic, CENTRE, mc.steepest_descent(0.05), 30)
    along = mc.path_directions(path)
    assert sum(along.explained) == pytest.approx(1, abs=0.05)
    assert np.hypot(along.across["a"], np.linalg.norm(along.across["b"])) == pytest.approx(1)
    across = {"a": np.float64(2.0), "b": np.zeros(2)}
    up = {"a": np.float64(0.0), "b": np.array([0.0, 1.0])}
    plane = mc.landscape(quadratic, path.final, across, up, resolution=3)
    places = plane.project(path)
    assert_allclose(places[-1], 0, atol=1e-12)
    assert_allclose(places[0, 0], (1 - path.final["a"]) / 2)
    assert_allclose(places[0, 1], -2 - path.final["b"][1])
    other = mc.minimise(lambda p: p["a"] ** 2, {"a": np.float64(1)}, mc.steepest_descent(0.1), 3)
    with pytest.raises(ValueError, match="other parameters"):
        plane.project(other)
    with pytest.raises(ValueError, match="three rows"):
        mc.path_directions(other)


def test_directions_are_normalised_by_filter() -> None:
    """Outside fact: each row of W has the norm of the network's own row; seeds differ."""
    network = params()
    direction = mc.filter_normalised(network, 0)
    for mine, theirs in zip(direction, network, strict=True):
        assert_allclose(np.linalg.norm(mine.W, axis=1), np.linalg.norm(theirs.W, axis=1))
        assert_allclose(np.linalg.norm(mine.b), np.linalg.norm(theirs.b))
    other = mc.filter_normalised(network, 1)
    assert not np.allclose(direction[0].W, other[0].W)
    assert_allclose(mc.filter_normalised({"zero": np.zeros(3)}, 0)["zero"], 0)


@pytest.mark.slow
def test_spectrum_whole_and_by_lanczos() -> None:
    """Outside fact: a quadratic's eigenvalues; NumPy's of the dense Hessian of a network."""
    assert_allclose(mc.hessian_spectrum(quadratic, CENTRE).eigenvalues, [2, 6, 10])
    cost = Partial(mc.network.cost, x=CURVE.x, y=CURVE.y)
    dense = np.linalg.eigvalsh(mc.hessian(cost, params()).matrix)
    whole = mc.hessian_spectrum(cost, params())
    ends = mc.hessian_spectrum(cost, params(), extremes=3)
    assert whole.is_whole
    assert not ends.is_whole
    assert_allclose(whole.eigenvalues, dense, atol=1e-12)
    assert_allclose(ends.eigenvalues, dense[[0, 1, 2, -3, -2, -1]], atol=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mc.landscape(quadratic, CENTRE, {"a": 1.0}), ValueError, "across"),
        (lambda: mc.landscape(quadratic, CENTRE, across=NOWHERE), ValueError, "across.*finite"),
        (lambda: mc.landscape(quadratic, CENTRE, extent=0), ValueError, "extent"),
        (lambda: mc.landscape(quadratic, CENTRE, extent=(0, np.inf, 0, 1)), ValueError, "finite"),
        (lambda: mc.landscape(quadratic, CENTRE, extent=(0, 1, 0)), ValueError, "one number or"),  # type: ignore[arg-type]
        (lambda: mc.landscape(quadratic, CENTRE, extent=(1, 0, 0, 1)), ValueError, "rise"),
        (lambda: mc.landscape(quadratic, CENTRE, resolution=1), ValueError, "resolution"),
        (lambda: mc.landscape(jnp.sin, np.ones(2)), TypeError, "cost must return a real scalar"),
        (lambda: mc.landscape(np.sin, 1.0), TypeError, "cost must be written with jax.numpy"),
        (lambda: mc.hessian_spectrum(jnp.sin, np.ones(2)), TypeError, "return a real scalar"),
        (lambda: mc.hessian_spectrum(quadratic, CENTRE, extremes=2), ValueError, "below half"),
        (lambda: mc.hessian_spectrum(lambda p: jnp.sqrt(p), 0.0), FloatingPointError, "finite"),
        (lambda: mc.filter_normalised({"a": np.nan}), ValueError, "finite"),
    ],
)
def test_landscape_with_wrong_input(
    call: Any, error: type[Exception], message: str, annotations_unchecked: None
) -> None:
    """One clear line."""
    with pytest.raises(error, match=message):
        call()
