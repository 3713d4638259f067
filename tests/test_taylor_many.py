"""Taylor polynomials of several variables against series by hand and 50-digit arithmetic."""

import math
from typing import Any

import jax
import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc

NAMES = ("x", "y", "z")


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("exp(x + y)", (0, 0), {(i, j): 1 / math.factorial(i) / math.factorial(j)
                                for i in range(5) for j in range(5 - i)}),
        ("1/(1 - x*y)", (0, 0), {(0, 0): 1, (1, 1): 1, (2, 2): 1}),
        ("sin(x)*cos(y)", (0, 0), {(1, 0): 1, (3, 0): -1 / 6, (1, 2): -1 / 2}),
        ("x**2*y", (2, 3), {(0, 0): 12, (1, 0): 12, (0, 1): 4, (2, 0): 3, (1, 1): 4, (2, 1): 1}),
        ("x*y*z + z**3", (0, 0, 0), {(1, 1, 1): 1, (0, 0, 3): 1}),
        ("log(x + 2*y)", (1, 0), {(1, 0): 1, (0, 1): 2, (2, 0): -1 / 2, (1, 1): -2, (0, 2): -2,
                                  (3, 0): 1 / 3, (2, 1): 2, (1, 2): 4, (0, 3): 8 / 3,
                                  (4, 0): -1 / 4, (3, 1): -2, (2, 2): -6, (1, 3): -8, (0, 4): -4}),
    ],
)  # fmt: skip
def test_known_series(text: str, at: tuple[float, ...], expected: dict[Any, float]) -> None:
    """Outside fact: the series by hand; powers that are not named are zero."""
    names = NAMES[: len(at)]
    order = 4 if len(at) == 2 else 3
    found = mc.taylor(mc.expression(text, names), dict(zip(names, at, strict=True)), order)
    assert found.names == names
    assert len(found.coefficients) == math.comb(len(at) + order, order)
    for powers, c in found.coefficients.items():
        true = expected.get(powers, 0.0)
        assert abs(c - true) <= found.coefficient_errors[powers] + 1e-15 * abs(true)
        assert found.coefficient_errors[powers] < 1e-12


def test_second_order_is_gradient_and_hessian() -> None:
    """Outside fact: jax.grad and jax.hessian, in float64."""
    f = mc.expression("exp(sin(x) * y) / (2 + x**2 + y**2)", ("x", "y"))
    at = {"x": 0.4, "y": -0.7}
    found = mc.taylor(f, at, 2)
    gradient, hessian = mc.gradient(f, at), mc.hessian(f, at).matrix
    c = found.coefficients
    assert_allclose([c[1, 0], c[0, 1]], [gradient["x"], gradient["y"]], rtol=1e-13)
    assert_allclose(
        [2 * c[2, 0], c[1, 1], 2 * c[0, 2]], [hessian[0, 0], hessian[0, 1], hessian[1, 1]],
        rtol=1e-12,
    )  # fmt: skip


def random_formula(rng: np.random.Generator, names: tuple[str, ...], depth: int) -> str:
    """A formula that is defined everywhere near the origin."""
    if depth == 0:
        return str(rng.choice([*names, *names, f"{rng.uniform(-2, 2):.3f}"]))
    a, b = (random_formula(rng, names, depth - 1) for _ in range(2))
    return str(
        rng.choice(
            [
                f"({a} + {b})",
                f"({a} - {b})",
                f"({a}) * ({b})",
                f"sin({a})",
                f"cos({a})",
                f"exp(0.3*({a}))",
                f"tanh({a})",
                f"({a}) / (3 + ({b})**2)",
                f"sqrt(1 + ({a})**2)",
                f"log(2 + ({a})**2)",
                f"atan({a})",
            ]
        )
    )


def exactly(text: str, at: dict[str, Any]) -> Any:
    """The formula in 50 digits, its constants as they are in float64."""
    import ast

    tree = ast.parse(text, mode="eval")

    class Digits(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            if isinstance(node.value, int):
                return node
            return ast.Call(ast.Name("mpf", ast.Load()), [node], [])

    code = compile(ast.fix_missing_locations(Digits().visit(tree)), "formula", "eval")
    return eval(code, {**vars(mpmath), "mpf": mpmath.mpf, **at})


@pytest.mark.parametrize("seed", range(40))
def test_bounds_hold_in_50_digits(seed: int) -> None:
    """Outside fact: mpmath's value of the formula and of the polynomial, at corners and inside."""
    rng = np.random.default_rng(seed)
    names = NAMES[: rng.choice([2, 2, 3])]
    text = random_formula(rng, names, 3)
    order, radius = int(rng.integers(1, 4)), float(rng.choice([0.1, 0.3, 0.5]))
    at = {name: float(rng.uniform(-0.5, 0.5)) for name in names}
    found = mc.taylor(mc.expression(text, names), at, order)
    low, high = found.remainder(radius)
    seen = []
    with mpmath.workdps(50):
        for _ in range(40):
            h = [mpmath.mpf(float(rng.choice([-radius, radius, rng.uniform(-radius, radius)])))
                 for _ in names]  # fmt: skip
            x = {name: mpmath.mpf(at[name]) + step for name, step in zip(names, h, strict=True)}
            p = mpmath.fsum(
                mpmath.mpf(c) * mpmath.fprod(s**n for s, n in zip(h, powers, strict=True))
                for powers, c in found.coefficients.items()
            )
            apart = exactly(text, x) - p
            assert low <= apart <= high, (text, at, order, radius)
            seen.append(abs(float(apart)))
    # Tight as well as true: the largest error seen at so few points is near the bound.
    assert max(-low, high) <= 10 * max(seen) + 1e-3 * radius ** (order + 1) + 1e-13


def test_polynomial_takes_arrays_and_transformations() -> None:
    """Outside fact: of x^2 y the polynomial of order 3 is the function."""
    f = mc.expression("x**2 * y", ("x", "y"))
    found = mc.taylor(f, {"x": 1.0, "y": 2.0}, 3)
    x = {"x": np.linspace(0, 2, 5), "y": np.linspace(1, 3, 5)}
    assert_allclose(found.polynomial(x), x["x"] ** 2 * x["y"], rtol=1e-14, atol=1e-15)
    slope = jax.grad(lambda p: found.polynomial(p))({"x": 3.0, "y": 1.0})
    assert_allclose([slope["x"], slope["y"]], [6, 9], rtol=1e-6)
    wide = found.remainder({"x": 0.1, "y": 0.2})
    assert max(-wide.low, wide.high) < 1e-13


@pytest.mark.parametrize(
    ("text", "at", "order", "radius", "error", "message"),
    [
        ("1/(x + y)", {"x": 0.5, "y": 0.0}, 2, 0.5, ValueError, "holds 0"),
        ("log(x*y)", {"x": 0.5, "y": -1.0}, 2, 0.1, ValueError, "logarithm"),
        ("abs(x) + y", {"x": 0.5, "y": 1.0}, 2, 0.1, NotImplementedError, "abs"),
        ("x + y", {"x": 0.5, "y": 1.0}, 2, 0.0, ValueError, "above zero"),
        ("x + y", {"x": 0.5, "y": 1.0}, 2, {"x": 1.0}, ValueError, "one for each"),
        ("x + y", {"x": 0.5, "y": 1.0}, -1, 0.1, ValueError, "at least 0"),
        ("x + y", {"x": 0.5, "y": 1.0}, 40, 0.1, ValueError, "the most is"),
        ("x + y", {"x": np.nan, "y": 1.0}, 2, 0.1, ValueError, "finite"),
        ("x + y", {"x": np.ones(2), "y": 1.0}, 2, 0.1, ValueError, "pytree of numbers"),
    ],
)
def test_wrong_input(
    text: str, at: Any, order: int, radius: Any, error: type[Exception], message: str
) -> None:
    """One clear line."""
    with pytest.raises(error, match=message):
        mc.taylor(mc.expression(text, ("x", "y")), at, order).remainder(radius)
