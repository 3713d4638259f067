"""Taylor polynomials against published series, and their bounds against 50-digit arithmetic."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc

#: name, function, centre, coefficients from the 0th
SERIES: dict[str, tuple[Callable[[Any], Any], float, list[float]]] = {
    "cos": (jnp.cos, 0, [1, 0, -1 / 2, 0, 1 / 24, 0, -1 / 720]),
    "exp": (jnp.exp, 0, [1 / math.factorial(k) for k in range(21)]),
    "1/x": (lambda x: 1 / x, 2.0, [(-1) ** k / 2 ** (k + 1) for k in range(12)]),
    "x sin x": (lambda x: x * jnp.sin(x), 0, [0, 0, 1, 0, -1 / 6, 0, 1 / 120]),
    "sum": (lambda x: jnp.exp(x) + x + jnp.sin(x), 0, [1, 3, 1 / 2, 0, 1 / 24]),
    "asymptotes": (lambda x: 2 / (x**2 - x), 0.5, [-8, 0, -32, 0, -128]),
    "decay": (
        lambda x: jnp.exp(-2 * x),
        2.0,
        [math.exp(-4) * (-2) ** k / math.factorial(k) for k in range(8)],
    ),
    "tan": (jnp.tan, 0, [0, 1, 0, 1 / 3, 0, 2 / 15, 0, 17 / 315]),
    "tanh": (jnp.tanh, 0, [0, 1, 0, -1 / 3, 0, 2 / 15, 0, -17 / 315]),
    "logistic": (jax.nn.sigmoid, 0, [1 / 2, 1 / 4, 0, -1 / 48, 0, 1 / 480]),
    "log": (jnp.log, 1.0, [0, 1, -1 / 2, 1 / 3, -1 / 4, 1 / 5]),
    "log1p": (jnp.log1p, 0, [0, 1, -1 / 2, 1 / 3, -1 / 4, 1 / 5]),
    "expm1": (jnp.expm1, 0, [0, 1, 1 / 2, 1 / 6]),
    "sqrt": (jnp.sqrt, 1.0, [1, 1 / 2, -1 / 8, 1 / 16, -5 / 128]),
    "rsqrt": (jax.lax.rsqrt, 1.0, [1, -1 / 2, 3 / 8, -5 / 16]),
    "power": (lambda x: x**2.5, 1.0, [1, 2.5, 1.875, 0.3125]),
    "negative power": (lambda x: x**-2, 1.0, [1, -2, 3, -4, 5]),
    "x^x": (lambda x: x**x, 1.0, [1, 1, 1, 1 / 2, 1 / 3]),
    "2^x": (
        lambda x: jnp.exp2(x),
        0,
        [math.log(2) ** k / math.factorial(k) for k in range(5)],
    ),
    "atan": (jnp.arctan, 0, [0, 1, 0, -1 / 3, 0, 1 / 5]),
    "sinh": (jnp.sinh, 0, [0, 1, 0, 1 / 6, 0, 1 / 120]),
    "cosh": (jnp.cosh, 0, [1, 0, 1 / 2, 0, 1 / 24]),
    "erf": (
        jax.scipy.special.erf,
        0,
        [2 / math.sqrt(math.pi) * c for c in (0, 1, 0, -1 / 3, 0, 1 / 10)],
    ),
    "constant": (lambda x: 0 * x + 3, 1.0, [3, 0, 0]),
    "polynomial": (lambda x: 1 + 2 * x + 3 * x**3, 0, [1, 2, 0, 3, 0, 0]),
}


@pytest.mark.parametrize("name", SERIES)
def test_known_series(name: str) -> None:
    """Outside fact: the series of textbooks; and each lies within the error that is claimed."""
    f, centre, expected = SERIES[name]
    found = mc.taylor(f, centre, len(expected) - 1)
    assert_allclose(found.coefficients, expected, rtol=1e-13, atol=1e-15)
    apart = np.abs(found.coefficients - expected)
    assert np.all(apart <= found.coefficient_errors + 1e-15 * np.abs(expected))


@pytest.mark.slow
def test_derivatives_of_jax() -> None:
    """Outside fact: repeated ``jax.grad``, divided by the factorial."""
    with jax.enable_x64(True):

        @jax.jit
        def f(x: Any) -> Any:
            return jax.nn.sigmoid(3 * x) * jnp.exp(-(x**2)) / (2 + jnp.cos(x))

        found = mc.taylor(f, 0.7, 5).coefficients
        g: Any = f
        for k in range(6):
            assert_allclose(found[k], g(0.7) / math.factorial(k), rtol=1e-12)
            g = jax.grad(g)


def test_polynomial_under_transformations() -> None:
    """Outside fact: NumPy's own evaluation of the polynomial, and of its derivative."""
    found = mc.taylor(jnp.sin, 0.5, 7)
    x = np.linspace(-1, 2, 9)
    numpys = np.polynomial.Polynomial(found.coefficients)
    assert_allclose(found.polynomial(x), numpys(x - 0.5), rtol=1e-14)
    with jax.enable_x64(True):
        slopes = jax.jit(jax.vmap(jax.grad(found.polynomial)))(x)
    assert_allclose(slopes, numpys.deriv()(x - 0.5), rtol=1e-12)


class Expression:
    """A random expression, as a function of jax.numpy or of mpmath."""

    unary = ("exp", "sin", "cos", "tanh", "logistic", "erf", "square", "cube", "halved")
    guarded = ("log", "sqrt", "reciprocal", "power", "tan")

    def __init__(self, draw: np.random.Generator, depth: int) -> None:
        kinds = ["unary", "guarded", "add", "sub", "mul"]
        kind = "leaf" if depth == 0 else str(draw.choice(kinds, p=[0.35, 0.2, 0.15, 0.1, 0.2]))
        self.constant = float(np.round(draw.uniform(-2, 2), 2))
        choices: dict[str, tuple[str, ...]] = {"unary": self.unary, "guarded": self.guarded}
        self.name = str(draw.choice(choices.get(kind, (kind,))))
        arity = 0 if kind == "leaf" else 2 if kind in ("add", "sub", "mul") else 1
        self.parts = [Expression(draw, depth - 1) for _ in range(arity)]
        self.is_constant = kind == "leaf" and draw.uniform() < 0.25

    def __call__(self, x: Any, m: Any) -> Any:
        if self.name == "leaf":
            return m.number(self.constant) + 0 * x if self.is_constant else x
        parts = [part(x, m) for part in self.parts]
        u = parts[0]
        safe = m.number(1.5) + m.tanh(u)  # between 0.5 and 2.5
        match self.name:
            case "add":
                return u + parts[1]
            case "sub":
                return u - parts[1]
            case "mul":
                return u * parts[1]
            case "square":
                return u * u
            case "cube":
                return u**3
            case "halved":
                return u / 2 + m.number(self.constant)
            case "logistic":
                return m.logistic(u)
            case "log":
                return m.log(safe)
            case "sqrt":
                return m.sqrt(safe)
            case "reciprocal":
                return m.number(self.constant) / safe
            case "power":
                return safe ** m.number(self.constant)
            case "tan":
                return m.tan(m.tanh(u))
        return getattr(m, self.name)(m.tanh(u) if self.name == "exp" else u)


class OnJax:
    """The functions of an expression in jax.numpy."""

    exp, sin, cos, tan, tanh, log, sqrt = (
        jnp.exp, jnp.sin, jnp.cos, jnp.tan, jnp.tanh, jnp.log, jnp.sqrt,
    )  # fmt: skip
    logistic, erf, number = jax.nn.sigmoid, jax.scipy.special.erf, float


class OnMpmath:
    """The same in mpmath."""

    exp, sin, cos, tan, tanh, log, sqrt = (
        mpmath.exp, mpmath.sin, mpmath.cos, mpmath.tan, mpmath.tanh, mpmath.log, mpmath.sqrt,
    )  # fmt: skip
    erf, number = mpmath.erf, mpmath.mpf

    @staticmethod
    def logistic(u: Any) -> Any:
        return 1 / (1 + mpmath.exp(-u))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_bounds_hold_for_random_expressions(part: int) -> None:
    """Outside fact: f - p in 50 digits of mpmath, on 4 times 100 expressions, orders and radii.

    No bound is ever broken, and the median bound is within 3 times the largest error seen.
    """
    draw = np.random.default_rng([20261123, part])
    ratios = []
    for _ in range(100):
        expression = Expression(draw, int(draw.integers(1, 4)))
        order, radius = int(draw.integers(0, 9)), float(np.round(draw.uniform(0.02, 0.5), 3))
        centre = float(np.round(draw.uniform(-1, 1), 2))
        found = mc.taylor(partial(expression, m=OnJax), centre, order)
        low, high = found.remainder(radius)
        with mpmath.workdps(50):
            worst = mpmath.mpf(0)
            for h in np.linspace(-radius, radius, 9):
                x = mpmath.mpf(centre) + mpmath.mpf(float(h))
                terms = enumerate(map(float, found.coefficients))
                p = sum(mpmath.mpf(c) * (x - centre) ** k for k, c in terms)
                error = expression(x, OnMpmath) - p
                assert low <= error <= high, (found, radius, h, error, low, high)
                worst = max(worst, abs(error))
            if worst > 1e-14:
                ratios.append(float(max(-low, high) / worst))
    assert len(ratios) > 48
    assert np.median(ratios) < 1.1
    assert np.quantile(ratios, 0.95) < 3


def test_bound_of_cos_is_lagrange_s() -> None:
    """Outside fact: |cos x - (1 - x^2/2)| <= x^4/24, nearly reached."""
    low, high = mc.taylor(jnp.cos, 0.0, 2).remainder(0.5)
    assert -1e-8 < low <= 0
    assert 0.99 * 0.5**4 / 24 < high <= 0.5**4 / 24


def test_wide_radius() -> None:
    """Outside fact: exp(2) - 1 - 2 is the error of 1 + x at 2, exp(-2) + 1 that at -2."""
    low, high = mc.taylor(jnp.exp, 0.0, 1).remainder(2.0)
    assert high >= math.e**2 - 3
    assert high == pytest.approx(math.e**2 - 3, rel=1e-3)
    assert -1e-2 < low <= 0


def test_guess_is_the_first_term_left_out() -> None:
    """Outside fact: the next term of cos after x^4/24 is x^6/720; a polynomial has none."""
    assert mc.taylor(jnp.cos, 0.0, 4).guess(0.5) == pytest.approx(0.5**6 / 720)
    assert mc.taylor(lambda x: x**2, 1.0, 2).guess(0.5) == 0


@pytest.mark.parametrize(
    ("f", "centre", "order", "error", "message"),
    [
        (jnp.abs, 0.0, 3, NotImplementedError, "no Taylor arithmetic for the primitive 'abs'"),
        (lambda x: jnp.where(x > 0, x, 0), 1.0, 3, NotImplementedError, "primitive"),
        (lambda x: jnp.log(x - 5), 0.0, 3, ValueError, "logarithm of an interval"),
        (lambda x: 1 / x, 0.0, 3, ValueError, "holds 0"),
        (jnp.sqrt, 0.0, 3, ValueError, "reaches 0 or below"),
        (lambda x: jnp.stack([x, x]), 0.0, 3, TypeError, "one real scalar"),
        (lambda x: (x, x), 0.0, 3, TypeError, "one real scalar"),
        (
            lambda x: jnp.sum(x * jnp.arange(3.0)),
            0.0,
            3,
            NotImplementedError,
            "no Taylor arithmetic",
        ),
        (jnp.exp, 0.0, -1, ValueError, "order must be at least 0, got -1"),
        (jnp.exp, 0.0, 41, ValueError, "order must be at most 40, got 41"),
        (jnp.exp, math.nan, 1, ValueError, "x0 must be finite"),
        (jnp.exp, np.zeros(2), 1, ValueError, "x0 must be one number"),
        (jnp.exp, 1000.0, 1, ValueError, "no finite Taylor coefficients"),
    ],
)
def test_wrong_input(f: Any, centre: Any, order: Any, error: type[Exception], message: str) -> None:
    """Outside fact: the documented errors name what is wrong."""
    with pytest.raises(error, match=message):
        mc.taylor(f, centre, order)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_wrong_radius(radius: float) -> None:
    """Outside fact: the documented error."""
    with pytest.raises(ValueError, match="radius must be finite and above zero"):
        mc.taylor(jnp.exp, 0.0, 3).remainder(radius)


def test_radius_past_the_asymptote() -> None:
    """Outside fact: 1/x has no bound on an interval that holds 0, and has one just short of it."""
    found = mc.taylor(lambda x: 1 / x, 1.0, 3)
    low, high = found.remainder(0.9)
    assert low <= 0 < 10 - (1 + 0.9 + 0.81 + 0.729) <= high
    with pytest.raises(ValueError, match="holds 0"):
        found.remainder(1.1)
    with pytest.raises(ValueError, match="pole"):
        mc.taylor(jnp.tan, 1.5, 3).remainder(0.2)


@pytest.mark.parametrize(
    ("f", "n"), [(lambda x: x**65.0, 65), (lambda x: x**20_001, 20_001), (lambda x: x**-301, -301)]
)
def test_high_powers(f: Any, n: int) -> None:
    """Outside fact: the binomial series, at -1 too, where no real power has a value."""
    found = mc.taylor(f, -1.0, 4)
    exact = [
        math.prod(range(n, n - k, -1)) // math.factorial(k) * (-1) ** (n - k) for k in range(5)
    ]
    assert (np.abs(found.coefficients - exact) <= found.coefficient_errors).all()
    assert (found.coefficient_errors <= 1e-13 * abs(n) * np.abs(exact)).all()


def test_order_0_knows_what_is_constant() -> None:
    """Outside fact: the same function at order 1, and the value itself."""
    with pytest.raises(NotImplementedError, match="int"):
        mc.taylor(lambda x: (x * x).astype(int) * 1.0, 1.3, 0)
    found = mc.taylor(lambda x: x ** (x * x), 1.3, 0)
    assert abs(found.coefficients[0] - 1.3 ** (1.3 * 1.3)) <= found.coefficient_errors[0] + 1e-15


def test_functions_that_are_computed_again_for_their_derivative() -> None:
    """jax.checkpoint changes no number: outside fact, log and its derivatives at 2."""
    found = mc.taylor(jax.checkpoint(lambda x: jnp.log(x)), 2.0, 2)
    assert_allclose(found.coefficients, [np.log(2.0), 1 / 2, -1 / 8], rtol=1e-15)
    graph = mc.computational_graph(jax.checkpoint(lambda p: jnp.log(p["x"])), {"x": 2.0})
    assert graph.gradient == {"x": 0.5}
