"""Pictures of the calculus: what is drawn, held against the numbers it shows."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose

import mlcalc_jax as mc

BOWL = mc.expression("x**2 + 2*y**2", ("x", "y"))
X, Y = ("x", -1.0, 1.0), ("y", -2.0, 2.0)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def by_label(ax: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in ax.get_lines()}


def test_secants_end_on_the_curve() -> None:
    """Outside fact: the secant of x^2 from 1 over 0.5 ends at (1.5, 2.25); the tangent has 2."""
    lines = by_label(mc.plots.secants(lambda x: x**2, 1.0, [0.5, 0.1]))
    assert_allclose(lines["h = 0.5: slope 2.5"].get_xydata(), np.array([[1, 1], [1.5, 2.25]]))
    x, y = np.asarray(lines["tangent: slope 2"].get_data())
    assert_allclose(y, 2 * x - 1, atol=1e-12)


def test_slope_errors_are_drawn_as_measured() -> None:
    """The points are the errors; the best runs are marked."""
    errors = mc.slope_errors(jnp.sin, 1.0)
    lines = by_label(mc.plots.slope_errors(errors))
    y = np.asarray(lines["forward: order 1.00"].get_ydata())
    assert_allclose(y[y > 0], errors.error["forward"][errors.error["forward"] > 0])


def test_graph_shows_every_number() -> None:
    """Each value, each derivative and each local derivative is written somewhere."""
    f = mc.expression("sin(x) * y", ("x", "y"))
    graph = mc.computational_graph(f, {"x": 1.0, "y": 3.0})
    said = "\n".join(text.get_text() for text in mc.plots.graph(graph).texts)
    for node in graph.nodes:
        assert f"{node.value:.4g}" in said
        assert f"d result: {node.derivative:.4g}" in said
    assert "cos u = 0.5403" in said


def test_graph_with_long_names_covers_nothing() -> None:
    """Boxes, derivatives and the labels of edges lie apart."""

    def f(p: Any) -> Any:
        ratio = p["activation_energy_of_it"] / p["temperature_of_it"]
        return ratio * p["offset_of_all"] * p["activation_energy_of_it"]

    names = ("activation_energy_of_it", "temperature_of_it", "offset_of_all")
    ax = mc.plots.graph(mc.computational_graph(f, dict.fromkeys(names, 2.123456)))
    figure: Any = ax.figure
    figure.draw_without_rendering()
    extents = [text.get_window_extent() for text in ax.texts]
    for k, extent in enumerate(extents):
        assert extent.count_overlaps(extents[:k]) == 0, ax.texts[k].get_text()


def test_gradient_field_points_uphill() -> None:
    """Outside fact: the gradient of x^2 + 2 y^2 is (2x, 4y)."""
    ax = mc.plots.gradient_field(BOWL, x=X, y=Y, resolution=5)
    arrows: Any = next(c for c in ax.collections if hasattr(c, "U"))
    for (x, y), u, v in zip(arrows.get_offsets(), arrows.U, arrows.V, strict=True):
        assert u * 4 * y == pytest.approx(v * 2 * x, abs=1e-12)
        assert u * x >= 0
        assert v * y >= 0


def test_points_constraint_and_surface() -> None:
    """Markers at the points; the line g = 0 is the circle; 3-D needs 3-D axes."""
    points = mc.critical_points(BOWL, {"x": X[1:], "y": Y[1:]})
    lines = by_label(mc.plots.critical_points(points, x="x", y="y"))
    assert_allclose(lines["minimum"].get_xydata(), 0, atol=1e-12)
    ax = mc.plots.constraint(
        lambda p: p["x"] ** 2 + p["y"] ** 2 - 0.25, x=("x", -1, 1), y=("y", -1, 1)
    )
    (drawn,) = ax.collections
    vertices = np.concatenate([path.vertices for path in drawn.get_paths()])
    assert_allclose(np.hypot(*vertices.T), 0.5, atol=1e-3)
    assert mc.plots.surface(BOWL, x=X, y=Y, points=points).name == "3d"
    with pytest.raises(ValueError, match="3d"):
        mc.plots.surface(BOWL, x=X, y=Y, ax=ax)


def test_newton_raphson_pictures() -> None:
    """Outside fact: x^2 - 2 has roots of both signs; the tangents meet the axis at the iterates."""
    f = mc.expression("x**2 - 2")
    search = mc.newton_raphson(f, 3.0)
    lines = by_label(mc.plots.tangents(f, search))
    root = next(label for label in lines if label.startswith("after"))
    assert root.endswith("1.41421")
    staircase = by_label(mc.plots.cobweb(f, search, x=(0.5, 4)))["iterates"]
    assert_allclose(staircase.get_xdata()[::2][:2], search.x[:2])
    ends = by_label(mc.plots.basins(f, x=(-3, 2.9), resolution=50))
    assert (np.asarray(ends["-1.4142"].get_xdata()) < 0).all()
    assert (np.asarray(ends["1.4142"].get_xdata()) > 0).all()
    (image,) = mc.plots.basins(f, x=(-2, 2), y=(-2, 1.9), resolution=20).get_images()
    assert np.asarray(image.get_array()).shape[:2] == (20, 20)
    cubic = mc.plots.basins(mc.expression("x**3 - 1"), x=(-2, 2), y=(-2, 2), resolution=20)
    patches = [line for line in cubic.get_lines() if line.get_label() != "no root"]
    greys = np.sort([np.dot(to_rgb(line.get_color()), (0.299, 0.587, 0.114)) for line in patches])
    assert len(greys) == 3
    assert (np.diff(greys) > 0.2).all()  # told apart in grey
    with pytest.raises(ValueError, match="from lower to higher"):
        mc.plots.basins(f, x=(1, 0))


def test_network_and_factor_pictures(annotations_unchecked: None) -> None:
    """Each neuron's mean activation is written in it; a heat map shows the factor."""
    params = mc.network.init_params(0, (1, 3, 2), dtype="float64")
    curve = mc.data.curve(points=9)
    found = mc.explain_backprop(params, curve.x, curve.y)
    ax = mc.plots.network(found, "forward")
    said = [text.get_text() for text in ax.texts]
    expected = [f"{value:.2g}" for a in found.passed.a for value in np.asarray(a).mean(axis=1)]
    assert said == expected
    assert len(mc.plots.network(found, "backward").texts) == 5
    (image,) = mc.plots.factor(found.factor("J_W2")).get_images()
    assert_allclose(np.asarray(image.get_array()), found.chain.jacobian[1].W)
    with pytest.raises(ValueError, match="way"):
        mc.plots.network(found, "sideways")  # type: ignore[arg-type]


def test_landscape_and_spectrum_pictures() -> None:
    """The path is where it is projected; eigenvalues below zero are told apart."""
    path = mc.minimise(BOWL, {"x": 1.0, "y": 1.0}, mc.steepest_descent(0.05), 20)
    plane = mc.landscape(BOWL, path.final, resolution=5)
    lines = by_label(mc.plots.landscape(plane, path))
    assert_allclose(lines["path, projected"].get_xydata(), plane.project(path))
    saddle = mc.hessian_spectrum(mc.expression("x**2 - 3*y**2", ("x", "y")), {"x": 0.0, "y": 0.0})
    lines = by_label(mc.plots.spectrum(saddle))
    assert_allclose(lines["above zero"].get_ydata(), [2])
    assert_allclose(lines["below zero"].get_ydata(), [6])


def test_taylor_beyond_the_radius() -> None:
    """The band ends at the radius; past the pole of 1/x only lines are drawn, with a gap."""
    ax = mc.plots.taylor(mc.taylor(lambda x: 1 / x, 1.0, 3), 0.5, reach=1.5)
    (band,) = ax.collections
    drawn = np.asarray(band.get_paths()[0].vertices)
    assert drawn[:, 0].min() >= 0.5 - 1e-9
    assert drawn[:, 0].max() <= 1.5 + 1e-9
    f = np.asarray(by_label(ax)["f"].get_ydata())
    assert np.isnan(f).any()
    assert (f[np.isfinite(f)][0]) < 0 < f[-1]
