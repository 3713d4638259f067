"""Derivatives against the course's results by hand, and slopes against theory."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc

XYZ = ("x", "y", "z")


def test_derivative_of_the_course() -> None:
    """Outside fact: d/dx sin(2x^5 + 3x) / e^(7x) by the product and chain rules, by hand."""
    x = np.linspace(-0.5, 1, 7)
    u = 2 * x**5 + 3 * x
    by_hand = np.exp(-7 * x) * ((10 * x**4 + 3) * np.cos(u) - 7 * np.sin(u))
    found = mc.derivative(mc.expression("sin(2*x**5 + 3*x) / exp(7*x)"), x)
    assert found.dtype == np.float64
    assert_allclose(found, by_hand, rtol=1e-13)


@pytest.mark.parametrize("order", range(9))
def test_derivative_of_any_order(order: int) -> None:
    """Outside fact: the n-th derivative of sin is sin(x + n pi / 2)."""
    assert_allclose(
        mc.derivative(jnp.sin, 0.4, order), math.sin(0.4 + order * math.pi / 2), rtol=1e-13
    )


def test_jacobian_of_the_course() -> None:
    """Outside fact: of x^2 y + 3z it is [2xy, x^2, 3]; of u = x - 2y, v = 3y - 2x a constant."""
    row = mc.jacobian(mc.expression("x**2*y + 3*z", XYZ), {"x": 2.0, "y": 5.0, "z": 7.0})
    assert_allclose(row.matrix, [[20, 4, 3]])
    assert (row.rows, row.columns, row.mode) == (("f",), XYZ, "reverse")
    assert float(row.tree["y"]) == 4
    linear = mc.jacobian(
        lambda p: {"u": p["x"] - 2 * p["y"], "v": 3 * p["y"] - 2 * p["x"]}, {"x": 1.0, "y": 1.0}
    )
    assert_allclose(np.asarray(linear), [[1, -2], [-2, 3]])
    assert (linear.rows, linear.columns, linear.mode) == (("u", "v"), ("x", "y"), "forward")
    assert str(linear).splitlines()[1].split() == ["u", "1", "-2"]


def test_polar_coordinates() -> None:
    """Outside fact: the determinant of the Jacobian of polar coordinates is r."""

    def polar(p: Any) -> Any:
        return {"x": p["r"] * jnp.cos(p["phi"]), "y": p["r"] * jnp.sin(p["phi"])}

    found = mc.jacobian(polar, {"phi": 0.4, "r": 2.5})
    assert found.columns == ("phi", "r")
    assert_allclose(abs(np.linalg.det(found.matrix)), 2.5)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_both_modes_agree_on_pytrees(mode: Any) -> None:
    """Outside fact: J of A x + b is A, whatever the mode; names tell each number's place."""
    A = np.random.default_rng(0).normal(size=(3, 4))

    def f(p: Any) -> Any:
        return {"a": A[:2] @ p["x"], "b": A[2] @ p["x"] + p["c"]}

    found = mc.jacobian(f, {"x": np.ones(4), "c": 2.0}, mode=mode)
    assert found.rows == ("a[0]", "a[1]", "b")
    assert found.columns == ("c", "x[0]", "x[1]", "x[2]", "x[3]")
    assert_allclose(found.matrix, np.column_stack([np.array([0.0, 0, 1]), A]))
    assert_allclose(found.tree["a"]["x"], A[:2])


@pytest.mark.parametrize(("sign", "verdict"), [("+", "minimum"), ("-", "saddle")])
def test_hessian_s_verdict(sign: str, verdict: str) -> None:
    """Outside fact: x^2 + y^2 has a minimum, x^2 - y^2 a saddle."""
    f = mc.expression(f"x**2 {sign} y**2", ("x", "y"))
    found = mc.hessian(f, {"x": 0.3, "y": -1.0})
    assert_allclose(found.matrix, np.diag([2, float(f"{sign}2")]), atol=1e-15)
    (point,) = mc.critical_points(f, {"x": (-1, 1), "y": (-2, 2)})
    assert point.kind == verdict


def test_total_derivative_of_the_course() -> None:
    """Outside fact: f = sin(x) e^(y z^2), x = t - 1, y = t^2, z = 1/t: df/dt = e cos(t - 1)."""
    f = mc.expression("sin(x) * exp(y * z**2)", XYZ)
    for t in (0.5, 1.7, -2.0):
        found = mc.total_derivative(f, lambda t: {"x": t - 1, "y": t**2, "z": 1 / t}, t)
        assert_allclose(found.value, math.e * math.cos(t - 1), rtol=1e-13)
        assert_allclose(found.term["y"], -found.term["z"], rtol=1e-13)
        assert_allclose(found.partial["x"] * found.rate["x"], found.term["x"])


def test_products_and_directions() -> None:
    """Outside fact: J v and w J of a matrix; the slope along the gradient is its length."""
    A = np.random.default_rng(1).normal(size=(3, 4))
    v, w = np.arange(4.0), np.array([1.0, -1.0, 2.0])
    assert_allclose(mc.jvp(lambda x: A @ x, np.zeros(4), v), A @ v)
    assert_allclose(mc.vjp(lambda x: A @ x, np.zeros(4), w), w @ A)
    f, at = mc.expression("x**2*y", ("x", "y")), {"x": 1.0, "y": 2.0}
    uphill = mc.gradient(f, at)
    length = math.hypot(4, 1)
    assert_allclose([uphill["x"], uphill["y"]], [4, 1])
    assert_allclose(mc.directional_derivative(f, at, uphill), length, rtol=1e-15)
    along = jax.jit(lambda d: mc.directional_derivative(f, at, {"x": d, "y": 0.0}))
    assert_allclose(along(jnp.float32(3.0)), 4, rtol=1e-6)
    assert_allclose(mc.directional_derivative(f, at, {"x": 0, "y": 3}), 1)
    assert_allclose(mc.directional_derivative(f, at, {"x": 0, "y": 3}, normalise=False), 3)


def test_precision_follows_the_data() -> None:
    """float32 in, float32 out; a bare number is a float64; all of it works under jit."""
    assert mc.derivative(jnp.sin, np.float32(0.5)).dtype == np.float32
    assert mc.gradient(jnp.sin, 0.5).dtype == np.float64
    x = jnp.arange(1.0, 4.0)
    assert_allclose(jax.jit(lambda a: mc.jacobian(lambda s: s**2, a).matrix)(x), np.diag(2 * x))
    assert_allclose(jax.vmap(lambda a: mc.gradient(jnp.sin, a))(x), np.cos(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mc.gradient(jnp.sin, np.ones(2)), TypeError, "one real scalar"),
        (lambda: mc.gradient(lambda x: x, 1j), TypeError, "real"),
        (lambda: mc.gradient(lambda x: x, "a"), TypeError, "real number"),
        (lambda: mc.gradient(jnp.sin, np.nan), ValueError, "finite"),
        (lambda: mc.gradient(jnp.sum, {}), ValueError, "no parameter"),
        (lambda: mc.gradient(3, 1.0), TypeError, "must be a function"),  # type: ignore[arg-type]
        (lambda: mc.jacobian(jnp.sin, 1.0, mode="up"), ValueError, "mode"),  # type: ignore[arg-type]
        (lambda: mc.jacobian(lambda x: x > 0, 1.0), TypeError, "real numbers"),
        (lambda: mc.jacobian(lambda x: None, 1.0), TypeError, "real numbers, got None"),
        (lambda: mc.derivative(lambda x: (x, x), 1.0), TypeError, "must return one scalar"),
        (lambda: mc.slope(lambda x: x * np.ones(2), 1.0, 0.1), TypeError, "must return one scalar"),
        (lambda: mc.slope(jnp.sin, np.nan, 0.1), ValueError, "x must be finite"),
        (lambda: mc.slope(jnp.sin, 1.0, "a"), TypeError, "h must be a number"),
        (lambda: mc.jvp(jnp.sin, np.ones(2), np.ones(3)), ValueError, "shape"),
        (lambda: mc.vjp(jnp.sin, np.ones(2), {"a": 1.0}), ValueError, "structure"),
        (lambda: mc.directional_derivative(jnp.sum, np.ones(2), np.zeros(2)), ValueError, "0"),
        (lambda: mc.total_derivative(jnp.sum, lambda t: t, np.ones(2)), ValueError, "one number"),
        (lambda: mc.derivative(jnp.sin, 1.0, 9), ValueError, "at most 8"),
        (lambda: mc.derivative(jnp.sin, 1.0, -1), ValueError, "at least 0"),
        (lambda: mc.slope(jnp.sin, 1.0, 0.0), ValueError, "must not be 0"),
        (lambda: mc.slope(jnp.sin, 1.0, 1.0, scheme="up"), ValueError, "scheme"),  # type: ignore[arg-type]
        (lambda: mc.slope_errors(jnp.sin, np.inf), ValueError, "finite"),
        (lambda: mc.slope_errors(jnp.sin, 1.0, -1.0), ValueError, "above zero"),
    ],
)
def test_wrong_input(
    call: Any, error: type[Exception], message: str, annotations_unchecked: None
) -> None:
    """One clear line."""
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [("forward", 0.21), ("backward", 0.19), ("central", 0.2), ("complex", 0.2)],
)
def test_rise_over_run(scheme: Any, expected: float) -> None:
    """Outside fact: of x^2 at 0.1 over 0.01 the slopes are 2x + h, 2x - h and, twice, 2x."""
    assert_allclose(mc.slope(lambda x: x**2, 0.1, 0.01, scheme=scheme), expected, rtol=1e-12)


def test_slope_takes_arrays() -> None:
    """Outside fact: (sin(x + h) - sin x) / h by NumPy, for every pair."""
    x, h = np.linspace(0, 1, 3)[:, None], np.array([[0.1, -0.2]])
    with jax.numpy_rank_promotion("allow"):
        found = mc.slope(jnp.sin, x, h)
    assert_allclose(found, (np.sin(x + h) - np.sin(x)) / h, rtol=1e-13)


@pytest.mark.parametrize("x", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("f", [jnp.sin, jnp.exp, jnp.tanh, lambda x: x**3 + 2 * x])
def test_errors_go_as_theory_says(f: Any, x: float) -> None:
    """Outside fact: orders 1, 1, 2, 2; the floor within the prediction's factor; best h near."""
    found = mc.slope_errors(f, x)
    assert_allclose(
        [found.order[s] for s in ("forward", "backward", "central", "complex")],
        [1, 1, 2, 2],
        atol=0.02,
    )
    for scheme in ("forward", "central"):
        k = int(np.argmin(np.abs(found.h - found.best_h[scheme])))
        ratio = found.error[scheme] / found.predicted[scheme]
        assert np.max(ratio[found.h < 0.1]) < 4
        near = slice(k - 4, k + 5)
        assert np.max(found.error[scheme][near]) > 0.05 * np.min(found.predicted[scheme])
    # As exact as f and its slope are computed: tanh' is 1 - tanh^2, which subtracts.
    with jax.enable_x64(True):
        rounding = 4e-16 * max(abs(found.exact), abs(float(f(x))))
    assert found.error["complex"][-1] <= rounding
    assert found.automatic <= rounding
    assert found.exact_error < 1e-13 * abs(found.exact)


def test_slope_of_what_has_no_proof() -> None:
    """|x| has no Taylor arithmetic, erf takes no complex number: the rest is measured still."""
    assert mc.slope_errors(jnp.abs, 1.0).exact_error == np.inf
    assert len(repr(mc.slope_errors(jnp.abs, 1.0))) < 100
    assert "complex" not in mc.slope_errors(jax.scipy.special.erf, 1.0).error


@pytest.mark.parametrize("gradient_of", [None, "by hand"])
def test_a_right_gradient_passes(gradient_of: str | None) -> None:
    """Outside fact: finite differences know neither jax.grad nor the chain rule by hand."""
    curve = mc.data.curve()
    params = mc.network.init_params(3, dtype="float64")

    def by_hand(p: Any) -> Any:
        return mc.network.backprop(p, curve.x, curve.y).jacobian

    found = mc.check_gradient(
        lambda p: mc.network.cost(p, curve.x, curve.y), params, by_hand if gradient_of else None
    )
    assert found.agrees
    assert len(found.names) == 77
    assert_allclose(found.gradient, found.differences, rtol=1e-7, atol=1e-13)
    assert str(found).startswith("agrees")


def test_a_wrong_gradient_is_found_where_it_is() -> None:
    """A factor of 1 + 1e-5 on one number of 77."""
    curve = mc.data.curve()
    params = mc.network.init_params(3, dtype="float64")

    def wrong(p: Any) -> Any:
        layers = list(mc.network.backprop(p, curve.x, curve.y).jacobian)
        layers[1] = layers[1]._replace(W=layers[1].W.at[2, 3].multiply(1 + 1e-5))
        return tuple(layers)

    found = mc.check_gradient(lambda p: mc.network.cost(p, curve.x, curve.y), params, wrong)
    assert not found.agrees
    assert found.where == "1.W[2, 3]"
    assert found.worst == pytest.approx(1e-5, rel=1e-2)
    assert str(found).startswith("DISAGREES")


@pytest.mark.parametrize("w", [1e4, 1e5, 1e6])
def test_a_gradient_of_what_wiggles_within_the_longest_step(w: float) -> None:
    """Outside fact: w cos(w x). Nine in ten of it are still found wrong."""
    of_sine = lambda p: {"x": w * jnp.cos(w * p["x"])}  # noqa: E731
    assert mc.check_gradient(lambda p: jnp.sin(w * p["x"]), {"x": 0.3}, of_sine).agrees
    less = lambda p: {"x": 0.9 * w * jnp.cos(w * p["x"])}  # noqa: E731
    assert not mc.check_gradient(lambda p: jnp.sin(w * p["x"]), {"x": 0.3}, less).agrees


def test_slopes_at_lists_of_numbers() -> None:
    """As of the same array; bare numbers in the precision of x."""
    runs = [0.1, 0.01]
    assert_allclose(mc.slope(jnp.exp, 1.0, runs), mc.slope(jnp.exp, 1.0, np.array(runs)))
    assert_allclose(mc.derivative(jnp.exp, [[0.0, 1.0]]), np.exp([[0.0, 1.0]]))
    assert mc.slope(jnp.exp, np.float32(1), runs).dtype == np.float32


@pytest.mark.slow
def test_gradient_check_of_scales_and_of_zero() -> None:
    """1e-10 beside 1e10, a gradient of zero, and a kink where JAX takes one side."""
    scaled = mc.check_gradient(
        lambda p: jnp.log(p["a"]) + p["b"] ** 2, {"a": 1e-10, "b": np.float64(3.0)}
    )
    assert scaled.agrees
    assert mc.check_gradient(lambda p: 1 + p["x"] ** 2, {"x": 0.0}).agrees
    kink = mc.check_gradient(lambda p: jnp.abs(p["x"]), {"x": 0.0})
    assert not kink.agrees
    with pytest.raises(ValueError, match="structure"):
        mc.check_gradient(lambda p: p["x"] ** 2, {"x": 1.0}, lambda p: p["x"])
    with pytest.raises(ValueError, match="shaped"):
        mc.check_gradient(jnp.sum, np.ones(2), lambda p: p[:1])


@pytest.mark.parametrize(
    "call",
    [
        lambda f: mc.taylor(f, 0.5, 2),
        lambda f: mc.gradient(f, 0.5),
        lambda f: mc.newton_raphson(f, 0.5),
        lambda f: mc.slope(f, 0.5, 0.1),
        lambda f: mc.computational_graph(f, 0.5),
        lambda f: mc.critical_points(lambda p: f(p["x"]), {"x": (0, 1)}),
        lambda f: mc.check_gradient(f, 0.5),
    ],
)
def test_a_function_that_cannot_be_traced(call: Any) -> None:
    """NumPy and math: the error says what to write."""
    for f in (np.sin, math.sin, lambda x: float(x)):
        with pytest.raises(TypeError, match=r"jax\.numpy"):
            call(f)


@pytest.mark.parametrize(
    "call",
    [
        lambda f: mc.gradient(f, {"x": 1.0}),
        lambda f: mc.minimise(f, {"x": 1.0}, mc.steepest_descent(0.1), 2),
        lambda f: mc.critical_points(f, {"x": (-1, 1)}),
        lambda f: mc.plots.contour(f, x=("x", -1, 1), y=("z", -1, 1)),
        lambda f: mc.plots.gradient_field(f, x=("x", -1, 1), y=("z", -1, 1)),
    ],
)
def test_a_coordinate_that_is_missing(call: Any) -> None:
    """The error names it."""
    with pytest.raises(ValueError, match="asks for 'y', which is not given"):
        call(lambda p: p["x"] ** 2 + p["y"] ** 2)


def test_a_function_that_branches() -> None:
    """An ``if`` on the value: the error says what to write."""
    for call in (lambda f: mc.taylor(f, 0.5, 2), lambda f: mc.check_gradient(f, 0.5)):
        with pytest.raises(TypeError, match=r"jnp\.where"):
            call(lambda x: jnp.sin(x) if x > 0 else x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_length_of_a_direction_whose_squares_are_out_of_range(dtype: Any) -> None:
    """Outside fact: the slope along (3, 4) / 5 of x^2 y, on paper."""
    at = {"x": dtype(2), "y": dtype(5)}
    largest = np.finfo(dtype)
    least = 1e4 * largest.smallest_subnormal
    for size in (least, largest.tiny, largest.tiny**0.6, largest.max**0.6, largest.max / 5):
        direction = {"x": dtype(3 * size), "y": dtype(4 * size)}
        along = mc.directional_derivative(lambda p: p["x"] ** 2 * p["y"], at, direction)
        assert_allclose(along, 0.6 * 20 + 0.8 * 4, rtol=1e-4)


def test_a_gradient_that_rounding_hides_is_undecided() -> None:
    """Differences of 1e13 + x are right to a tenth: they cannot tell 1 from 1.5."""
    check = mc.check_gradient(lambda p: 1e13 + p["x"], {"x": 1.0}, lambda p: {"x": 1.5})
    assert check.undecided == ("x",)
    assert not check.agrees


@pytest.mark.parametrize(("sign", "kind"), [(1, "minimum"), (-1, "saddle")])
def test_units_do_not_make_a_point_degenerate(sign: int, kind: str) -> None:
    """Microseconds beside volts: outside fact, the signs of the two squares."""
    box = {"t": (-1e-6, 1e-6), "V": (-1.0, 1.0), "w": (-2.0, 2.0)}

    def f(p: Any) -> Any:
        return (p["t"] / 1e-6) ** 2 + sign * p["V"] ** 2

    (point,) = mc.critical_points(f, {name: box[name] for name in "tV"})
    assert point.kind == kind
    assert_allclose(point.eigenvalues, sorted([2e12, 2 * sign]))
    (held,) = mc.constrained(lambda p: f(p) + p["w"] ** 2, lambda p: p["w"] - 1, box)
    assert held.kind == kind
