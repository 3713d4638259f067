"""Formulas: what they mean is what NumPy computes; what is none is refused, and never run."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc


@pytest.mark.parametrize(
    ("text", "x", "expected"),
    [
        ("x * sin(x)", 0.7, 0.7 * math.sin(0.7)),
        ("x * jnp.sin(x)", 0.7, 0.7 * math.sin(0.7)),
        ("np.exp(-2*x) + jax.nn.sigmoid(x)", 0.3, math.exp(-0.6) + 1 / (1 + math.exp(-0.3))),
        ("2 / (x**2 - x)", 0.5, -8.0),
        ("-x**2", 3.0, -9.0),
        ("2**-x", 2.0, 0.25),
        ("x**0.5 + pi*e", 4.0, 2 + math.pi * math.e),
        ("x**-1", -2.0, -0.5),
        ("1e3", 2.0, 1000.0),
        ("erf(x) + atan(x) + sqrt(2)", 0.4, math.erf(0.4) + math.atan(0.4) + math.sqrt(2)),
    ],
)
@pytest.mark.usefixtures("double")
def test_value(text: str, x: float, expected: float) -> None:
    """Outside fact: the same formula in Python's math."""
    assert_allclose(mc.expression(text)(x), expected, rtol=1e-15)


@pytest.mark.usefixtures("double")
def test_works_under_transformations() -> None:
    """Outside fact: the derivative of x^3 sin y by hand; vmap is the function of each number."""
    f = mc.expression("x**3 * sin(y)", ("x", "y"))
    assert_allclose(jax.grad(f)(-2.0, 0.3), 12 * math.sin(0.3))
    assert_allclose(jax.grad(f)({"x": -2.0, "y": 0.3})["y"], -8 * math.cos(0.3))
    assert_allclose(jax.vmap(mc.expression("7"))(jnp.arange(3.0)), [7, 7, 7])
    assert mc.expression("x + 1") == mc.expression("x + 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('true')", "is no function it may use"),
        ("x.__class__", "not understood"),
        ("(lambda: 1)()", "is no function it may use; these are: "),
        ("maximum(x, 1)", "maximum is no function it may use; these are: "),
        ("[x for x in ()]", "not understood"),
        ("x[0]", "not understood"),
        ("x if x else 1", "not understood"),
        ("x^2", r"write \*\*"),
        ("q + 1", "q is unknown"),
        ("sin", "a function, not a number"),
        ("sin(x, x)", "takes one argument"),
        ("sin(x=x)", "takes one argument"),
        ("open(x)", "open is no function"),
        ("'a'", "no real number"),
        ("1j", "no real number"),
        ("True", "no real number"),
        ("x +", "cannot read"),
        ("", "cannot read"),
        ("import os", "cannot read"),
        ("9**9**9**9", "no value"),
        ("1/0", "no value"),
        ("(-1)**0.5", "not real"),
        ("1" * 400, "beyond 1e300"),
        ("-" * 150 + "x", "deeper"),
        ("(" * 900 + "x" + ")" * 900, "cannot read"),
        ("x" * 3000, "longer"),
    ],
)
def test_what_is_no_formula_is_refused(text: str, message: str) -> None:
    """One line that says what is wrong."""
    with pytest.raises(ValueError, match=message) as caught:
        mc.expression(text)
    assert len(str(caught.value)) < 400


def test_wrong_arguments(annotations_unchecked: None) -> None:
    """Not a string; not as many values as variables; a name missing in a mapping."""
    with pytest.raises(TypeError, match="must be a string"):
        mc.expression(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be names"):
        mc.expression("x", ("x y",))
    with pytest.raises(ValueError, match="must differ"):
        mc.expression("x", ("x", "x"))
    f = mc.expression("x + y", ("x", "y"))
    with pytest.raises(TypeError, match="function of"):
        f(1.0)
    with pytest.raises(KeyError):
        f({"x": 1.0})
    assert np.asarray(f({"x": 1.0, "y": 2.0, "z": 5.0})) == 3
