"""The computational graph: its derivative is jax.grad's, its local derivatives are the rules'."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc

AT = {"x": 0.7, "y": 1.3}


@pytest.mark.parametrize(
    "text",
    [
        "sin(x) * exp(y * x**2)",
        "x / y - y / x + 2 / x",
        "(x * x + x) * (x * x + x)",
        "log(x) + sqrt(y) + tanh(x*y) + cosh(x) - atan(y)",
        "x**y + 2**x + y**-3 + y**1.5",
        "sigmoid(x) * softplus(y) + erf(x)",
        "x + 0*y",
        "3 - (-x)",
    ],
)
def test_gradient_is_that_of_jax(text: str) -> None:
    """Outside fact: jax.grad, which knows no graph of ours, and the value itself."""
    f = mc.expression(text, ("x", "y"))
    found = mc.computational_graph(f, AT)
    with jax.enable_x64(True):
        expected, value = jax.grad(f)(AT), f(AT)
        assert_allclose(found.nodes[-1].value, value, rtol=1e-14)
        assert_allclose(
            [found.gradient[k] for k in "xy"], [expected[k] for k in "xy"], rtol=1e-12, atol=1e-15
        )


def test_local_derivatives_are_the_rules() -> None:
    """Outside fact: d(u v) = v du + u dv; d exp = exp; a number used twice counts twice."""
    graph = mc.computational_graph(mc.expression("exp(x) * x + x*x"), 2.0)
    rules: dict[Any, Any] = {
        (graph.nodes[e.source].name, graph.nodes[e.target].operation): (e.rule, e.derivative)
        for e in graph.edges
    }
    e2 = np.exp(2)
    assert rules["x", "exp(x)"] == ("w", pytest.approx(e2))
    assert rules["v1", "v1 * x"] == ("v", pytest.approx(2))
    assert rules["x", "v1 * x"] == ("u", pytest.approx(e2))
    assert rules["x", "x * x"] == ("v + u", pytest.approx(4))
    assert "exp(x)" in str(graph)


@pytest.mark.parametrize(
    ("f", "at", "message"),
    [
        (jnp.sum, np.ones(3), "no arrays"),
        (lambda x: jnp.sum(jnp.ones(3) * x), 1.0, "array"),
        (lambda x: 3.0 + 0 * jnp.float64(1), 1.0, "constant"),
        (lambda x: sum((jnp.sin(x * k) for k in range(150)), x), 1.0, "more than 200"),
    ],
)
def test_what_cannot_be_drawn(f: Any, at: Any, message: str) -> None:
    """One clear line."""
    with pytest.raises(ValueError, match=message):
        mc.computational_graph(f, at)


def test_no_function_and_no_scalar(annotations_unchecked: None) -> None:
    """TypeErrors that say so."""
    with pytest.raises(TypeError, match="must be a function"):
        mc.computational_graph(3, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="one real scalar"):
        mc.computational_graph(lambda x: jnp.stack([x, x]), 1.0)


def test_inputs_named_as_inner_numbers() -> None:
    """Outside fact: the derivatives of sin(v1) v2, on paper."""
    graph = mc.computational_graph(lambda p: jnp.sin(p["v1"]) * p["v2"], {"v1": 2.0, "v2": 3.0})
    assert graph.gradient == pytest.approx({"v1": 3 * np.cos(2.0), "v2": np.sin(2.0)})
    assert len({node.name for node in graph.nodes}) == len(graph.nodes)
