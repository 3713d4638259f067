"""Newton-Raphson and stationary points against the course's exercises and SciPy."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq

import mlcalc_jax as mc
from mlcalc_jax.calculus import RootStatus

SEXTIC = mc.expression("x**6/6 - 3*x**4 - 2*x**3/3 + 27*x**2/2 + 18*x - 30")


@pytest.mark.parametrize(("start", "root"), [(1.0, 1.063070629709697), (-4.0, -3.7602139721974477)])
def test_roots_of_the_course(start: float, root: float) -> None:
    """Outside fact: the exercise's roots, and Brent's method of SciPy."""
    found = mc.newton_raphson(SEXTIC, start)
    assert RootStatus(int(found.status)) is RootStatus.CONVERGED
    assert_allclose(found.root, root, rtol=1e-15)
    with jax.enable_x64(True):
        bracketed = brentq(lambda x: float(SEXTIC(x)), root - 0.1, root + 0.1, xtol=1e-14)
    assert_allclose(found.root, bracketed, rtol=1e-13)


def test_iterates_of_the_course() -> None:
    """Outside fact: from 1 the first iterate is 1.0625; from 1.99 it leaps to -36.47."""
    assert mc.newton_raphson(SEXTIC, 1.0).x[1] == 1.0625
    assert mc.newton_raphson(SEXTIC, 1.99).x[1] == pytest.approx(-36.47, abs=0.005)


@pytest.mark.parametrize(
    ("text", "start", "status"),
    [
        ("x**3 - 2*x + 2", 0.0, RootStatus.CYCLE),
        ("x**2 + 1", 0.0, RootStatus.FLAT),
        ("x**2 + 1", 0.5, RootStatus.STEPS_USED),
        ("x**2", 1.0, RootStatus.STEPS_USED),
        ("x**2", 0.0, RootStatus.CONVERGED),
        ("sqrt(x)", 1.0, RootStatus.NON_FINITE),
        ("log(x)", 5.0, RootStatus.NON_FINITE),
        ("3", 1.0, RootStatus.FLAT),
    ],
)
def test_failures_have_names(text: str, start: float, status: RootStatus) -> None:
    """Outside fact: x^3 - 2x + 2 from 0 goes 0, 1, 0, 1; x^2 + 1 has no real root."""
    found = mc.newton_raphson(mc.expression(text), start)
    assert RootStatus(int(found.status)) is status
    assert found.message == status.message
    assert np.isfinite(found.x).all()


@pytest.mark.slow
def test_complex_roots_and_a_map_of_starts() -> None:
    """Outside fact: the roots of x^3 - 1 are the three cube roots of one."""
    found = mc.newton_raphson(lambda z: z**3 - 1, -1 + 1j)
    assert_allclose(found.root, np.exp(2j * np.pi / 3), rtol=1e-15)
    starts = jnp.linspace(-5.0, -3.2, 7)
    ends = jax.vmap(lambda x: mc.newton_raphson(SEXTIC, x))(starts)
    assert_allclose(ends.root, -3.7602139721974477, rtol=1e-6)  # float32 without the global flag
    assert ends.x.shape == (7, 51)
    assert jax.tree.map(lambda a: a[2], ends).message.startswith("Converged")
    with pytest.raises(ValueError, match="a batch of searches; take one with"):
        _ = ends.message


def test_search_with_wrong_input(annotations_unchecked: None) -> None:
    """One clear line."""
    with pytest.raises(ValueError, match="finite"):
        mc.newton_raphson(jnp.sin, np.nan)
    with pytest.raises(ValueError, match="one number"):
        mc.newton_raphson(jnp.sin, np.ones(2))
    with pytest.raises(ValueError, match="at least 1"):
        mc.newton_raphson(jnp.sin, 1.0, 0)
    with pytest.raises(TypeError, match="function"):
        mc.newton_raphson(3, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x0 must be a real"):
        mc.newton_raphson(jnp.sin, "a")  # type: ignore[arg-type]
    for start, what in ((1.0, "one real scalar"), (1j, "one scalar")):
        with pytest.raises(TypeError, match=what):
            mc.newton_raphson(lambda x: jnp.stack([x, x]), start)


@pytest.mark.slow
def test_lagrange_on_the_ellipse() -> None:
    """Outside fact: the exercise's four points, multiplier and values of two of them."""
    points = mc.constrained(
        mc.expression("exp(-(2*x**2 + y**2 - x*y) / 2)", ("x", "y")),
        mc.expression("x**2 + 3*(y + 1)**2 - 1", ("x", "y")),
        {"x": (-2, 2), "y": (-3, 1)},
    )
    at = np.array([[p.at["x"], p.at["y"]] for p in points])
    expected = [
        [0.93094, -1.21083],
        [-0.95896, -1.16370],
        [-0.62614, -1.45017],
        [-0.09584, -0.42531],
    ]
    assert_allclose(at, expected, atol=5e-6)
    assert [p.kind for p in points] == ["minimum", "minimum", "maximum", "maximum"]
    assert points[0].multiplier == pytest.approx(-0.15232, abs=5e-6)
    assert points[0].value == pytest.approx(0.114944, abs=5e-7)
    assert points[3].value == pytest.approx(0.923811, abs=5e-7)


def test_lagrange_on_the_catenary() -> None:
    """Outside fact: the exercise's two points; far out f is nearly level, and no point is there."""
    points = mc.constrained(
        mc.expression("-exp(x - y**2 + x*y)", ("x", "y")),
        mc.expression("cosh(y) + x - 2", ("x", "y")),
        {"x": (-4, 4), "y": (-4, 4)},
    )
    assert_allclose(
        [[p.at["x"], p.at["y"]] for p in points],
        [[0.95778, 0.28956], [-1.17105, -1.82136]],
        atol=5e-6,
    )
    assert points[0].multiplier == pytest.approx(-4.07789, abs=5e-6)
    assert points[0].value == pytest.approx(-3.16222, abs=5e-6)


@pytest.mark.slow
def test_constrained_in_three_dimensions() -> None:
    """Outside fact: x + 2y + 3z on the unit sphere is stationary at +-(1, 2, 3) / sqrt(14)."""
    low, high = mc.constrained(
        mc.expression("x + 2*y + 3*z", ("x", "y", "z")),
        mc.expression("x**2 + y**2 + z**2 - 1", ("x", "y", "z")),
        {"x": (-2, 2), "y": (-2, 2), "z": (-2, 2)},
    )
    assert_allclose([high.at[k] for k in "xyz"], np.array([1, 2, 3]) / math.sqrt(14), rtol=1e-12)
    assert (low.kind, high.kind) == ("minimum", "maximum")
    assert high.multiplier == pytest.approx(math.sqrt(14) / 2, rel=1e-12)


def test_critical_points_of_himmelblau() -> None:
    """Outside fact: Himmelblau's function has four minima at zero, four saddles, one maximum."""
    f = mc.expression("(x**2 + y - 11)**2 + (x + y**2 - 7)**2", ("x", "y"))
    points = mc.critical_points(f, {"x": (-5, 5), "y": (-5, 5)})
    kinds = [p.kind for p in points]
    assert kinds == ["minimum"] * 4 + ["saddle"] * 4 + ["maximum"]
    found = sorted((round(p.at["x"], 6), round(p.at["y"], 6)) for p in points[:4])
    expected = [(-3.779310, -3.283186), (-2.805118, 3.131313), (3.0, 2.0), (3.584428, -1.848127)]
    assert_allclose(found, expected, atol=1e-6)
    assert points[-1].value == pytest.approx(181.617, abs=5e-4)


@pytest.mark.parametrize(
    ("text", "count", "kind"),
    [
        ("sin(x) * cos(y)", 24, None),
        ("x + y", 0, None),
        ("x**4 + y**4", 1, "degenerate"),
        ("exp(-x**2 - y**2)", 1, "maximum"),
        ("(1 - x)**2 + 100*(y - x**2)**2", 1, "minimum"),
        ("log(x) + y**2", 0, None),
        ("log(-1 - x**2) + y**2", 0, None),
    ],
)
def test_critical_points_are_counted(text: str, count: int, kind: str | None) -> None:
    """Outside fact: counts by hand; the tails of a bell and the edge of a domain give none."""
    points = mc.critical_points(mc.expression(text, ("x", "y")), {"x": (-5, 5), "y": (-5, 5)})
    assert len(points) == count
    assert kind is None or points[0].kind == kind


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: mc.critical_points(f, {}), ValueError, "bounds"),
        (lambda f: mc.critical_points(f, {"x": (1, 0), "y": (0, 1)}), ValueError, "low < high"),
        (lambda f: mc.critical_points(f, {"x": (0, np.inf), "y": (0, 1)}), ValueError, "low"),
        (
            lambda f: mc.critical_points(3, {"x": (0, 1)}),  # type: ignore[arg-type]
            TypeError,
            "function",
        ),
        (lambda f: mc.critical_points(lambda p: p, {"x": (0, 1)}), TypeError, "scalar"),
        (lambda f: mc.constrained(lambda p: p["x"], f, {"x": (0, 1)}), ValueError, "asks for 'y'"),
        (
            lambda f: mc.constrained(lambda p: p["x"], lambda p: p["x"], {"x": (0, 1)}),
            ValueError,
            "two coordinates",
        ),
    ],
)
def test_stationary_points_with_wrong_input(
    call: Any, error: type[Exception], message: str, annotations_unchecked: None
) -> None:
    """One clear line."""
    with pytest.raises(error, match=message):
        call(mc.expression("x**2 + y**2", ("x", "y")))
