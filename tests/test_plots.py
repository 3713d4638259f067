"""Pictures: what is drawn, held against the data; how they look is for eyes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose

import mlcalc_jax as mc

START = {"mu": 155.0, "sigma": 6.0}


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def problem() -> mc.LeastSquares:
    heights = mc.data.heights_histogram()
    return mc.LeastSquares(mc.models.gaussian, heights.centre, heights.density)


@pytest.fixture(scope="module")
def path(problem: mc.LeastSquares) -> mc.Path:
    return mc.minimise(problem, START, mc.steepest_descent(2000.0), 50)


def test_each_draws_where_it_is_told(problem: mc.LeastSquares, path: mc.Path) -> None:
    """``ax`` is returned, no figure is opened, and nothing is shown."""
    figure = mc.plots.figure()
    ax = figure.add_subplot()
    before = plt.get_fignums()
    heights = mc.data.heights_histogram()
    assert mc.plots.cost(path, ax=ax) is ax
    assert mc.plots.contour(problem, path, x=("mu", 150, 200), y=("sigma", 3, 25), ax=ax) is ax
    assert mc.plots.histogram(heights, mc.models.gaussian, START, ax=ax) is ax
    assert plt.get_fignums() == before


def test_cost_line_is_the_path_without_its_padding(problem: mc.LeastSquares) -> None:
    """The line's data are the path's own, against step and against seconds."""
    path = mc.minimise(problem, START, mc.steepest_descent(2000.0), 500, target=1e-3)
    taken = int(path.steps_taken)
    (line,) = mc.plots.cost(path).get_lines()
    np.testing.assert_array_equal(line.get_xdata(), np.arange(taken + 1))
    np.testing.assert_array_equal(line.get_ydata(), path.cost[: taken + 1])
    (timed,) = mc.plots.cost({"a": path}, seconds_per_step={"a": 0.5}).get_lines()
    np.testing.assert_array_equal(timed.get_xdata(), 0.5 * np.arange(1, taken + 1))


def test_bars_add_up_to_the_data_and_to_the_model() -> None:
    """Overlap plus data-above-model is the density; overlap plus model-above-data is the model."""
    heights = mc.data.heights_histogram()
    ax = mc.plots.histogram(heights, mc.models.gaussian, START, unit="cm")
    overlap, data_above, model_above = (
        np.array([bar.get_height() for bar in bars]) for bars in ax.containers
    )
    np.testing.assert_allclose(overlap + data_above, heights.density, atol=1e-15)
    z = (heights.centre - 155) / 6
    expected = np.exp(-(z**2) / 2) / (6 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(overlap + model_above, expected, atol=1e-12)
    assert ax.get_xlabel() == "height / cm"


def test_contour_shows_the_cost_and_the_path(problem: mc.LeastSquares, path: mc.Path) -> None:
    """The lowest filled level lies at the optimum, and the line is the path."""
    ax = mc.plots.contour(problem, path, x=("mu", 150, 200), y=("sigma", 3, 25))
    line = ax.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), path.params["mu"])
    np.testing.assert_array_equal(line.get_ydata(), path.params["sigma"])
    lowest = ax.collections[0].get_paths()[0].get_extents()
    assert lowest.contains(path.final["mu"], path.final["sigma"])
    with pytest.raises(ValueError, match="range of mu"):
        mc.plots.contour(problem, x=("mu", 2, 1), y=("sigma", 3, 25))


def test_heights_that_hardly_differ_are_told_apart() -> None:
    """On the colour bar, by as many digits as it takes; two where these do."""
    for low, digits in ((8000.0, 4), (1.0, 2)):

        def cost(p: Any, low: float = low) -> Any:
            return low + p["x"] ** 2 + p["y"] ** 2

        ax = mc.plots.contour(cost, x=("x", -1, 1), y=("y", -1, 1))
        (bar,) = (other for other in ax.figure.axes if other is not ax)
        shown = [text.get_text() for text in bar.get_yticklabels()]
        assert len({*shown}) == len(shown) == 6
        assert max(len(text.replace(".", "")) for text in shown) <= digits + 1


def test_contour_of_a_cost_that_goes_below_zero() -> None:
    """A logarithmic scale is only for costs above zero."""
    ax = mc.plots.contour(lambda p: p["a"] * p["b"], x=("a", -1, 1), y=("b", -1, 1), resolution=20)
    assert ax.get_xlabel() == "a"


@pytest.mark.slow
def test_learning_ends_with_the_last_curve() -> None:
    """The last line is the network's output at the last row; the animation has its frames."""
    target = mc.data.curve("circle", 20)
    cost = jax.tree_util.Partial(mc.network.cost, x=target.x, y=target.y)
    start = mc.network.init_params(jax.random.key(0), (1, 3, 2))
    path = mc.minimise(cost, start, mc.steepest_descent(7.0), 30)
    ax = mc.plots.learning(path, target.x, target.y)
    drawn = mc.models.network(path.final, target.x)
    np.testing.assert_allclose(np.asarray(ax.get_lines()[-1].get_data()), drawn, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(ax.get_lines()[0].get_data()), target.y)
    animation = mc.plots.animate_learning(path, target.x, target.y, frames=5)
    assert animation.to_jshtml().count("data:image/png") == 5


def test_lines_differ_in_colour_dash_or_marker() -> None:
    """32 names, 32 styles; the first eight differ in lightness or marker, so that grey will do."""
    styles = mc.plots.lines([str(i) for i in range(32)])
    assert len({(s.color, str(s.linestyle)) for s in styles.values()}) == 32
    first = list(styles.values())[:8]
    assert len({(s.marker, round(sum(to_rgb(s.color)), 1)) for s in first}) == 8


@pytest.mark.slow
def test_taylor_band_holds_the_function() -> None:
    """Outside fact: the drawn band is where the bounds of the remainder say, and holds cos."""
    found = mc.taylor(jnp.cos, 0.0, 2)
    ax = mc.plots.taylor(found, 2.0, resolution=51)
    (x, f), (_, p) = (np.asarray(line.get_data(), float) for line in ax.lines[:2])
    assert_allclose(f, np.cos(x), rtol=1e-12)
    assert_allclose(p, 1 - x**2 / 2, rtol=1e-12)
    (band,) = ax.collections
    corners = np.asarray(band.get_paths()[0].vertices)
    for here, height in zip(x, f, strict=True):
        column = corners[np.isclose(corners[:, 0], here, rtol=0, atol=1e-12), 1]
        assert column.min() <= height <= column.max() + 1e-15
        assert column.max() - column.min() < 1.02 * here**4 / 24 + 1e-2


def test_taylor_error_lies_below_its_bound() -> None:
    """Outside fact: |cos x - 1 + x^2/2| is largest at the end of the range, x^4/24 at most."""
    ax = mc.plots.taylor_error(mc.taylor(jnp.cos, 0.0, 2), 1.0)
    bound, seen, guess = (np.asarray(line.get_ydata(), float) for line in ax.lines)
    h = np.asarray(ax.lines[0].get_xdata(), float)
    assert np.all(seen <= bound + 1e-15)
    assert_allclose(guess, h**4 / 24, rtol=1e-9)
    assert_allclose(seen[-1], abs(np.cos(1.0) - 0.5), rtol=1e-12)


@pytest.mark.usefixtures("annotations_unchecked")
def test_only_one_axis_can_be_drawn_along() -> None:
    """Taylor polynomials and searches of several numbers, or of complex ones, are refused."""
    several = mc.taylor(lambda p: p["a"] * p["b"], {"a": 0.0, "b": 1.0}, 2)
    for draw in (mc.plots.taylor, mc.plots.taylor_error):
        with pytest.raises(TypeError, match="of one number"):
            draw(several, 1.0)  # type: ignore[arg-type]
    search = mc.newton_raphson(lambda z: z * z + 1, 1 + 1j)
    with pytest.raises(TypeError, match="one real number"):
        mc.plots.tangents(lambda z: z * z + 1, search)


def _image(fits: int = 12) -> mc.ManyFits:
    """Lines of slope 0, 1, ..., one of them NaN and one masked."""
    x = np.linspace(0, 1, 5)
    y = np.arange(fits)[:, None] * x + 0.25
    y[4, 2], mask = np.nan, np.ones(y.shape, bool)
    mask[7] = False
    return mc.fit_many(mc.models.line, {"slope": 0.0, "intercept": 0.0}, x, y, mask=mask)


def test_maps_of_an_image() -> None:
    """The pixels are the parameters, blank where a fit has none; the legend counts the ends."""
    found = _image()
    ax = mc.plots.parameter_map(found, "slope", (3, 4), unit="m/s")
    shown = ax.images[0].get_array()
    assert shown is not None
    expected = np.arange(12.0)
    expected[[4, 7]] = np.nan
    assert_allclose(np.ma.filled(shown, np.nan), expected.reshape(3, 4), atol=1e-9)
    assert ax.child_axes[0].get_ylabel() == "slope / m/s"
    legend = mc.plots.status_map(found, (3, 4)).get_legend()
    assert legend is not None
    said = [text.get_text() for text in legend.get_texts()]
    assert "1 singular" in said
    assert "1 not finite" in said
    assert sum(int(text.split()[0]) for text in said) == 12


@pytest.mark.parametrize(
    ("slopes", "extend"),
    [
        (np.arange(300.0), "both"),
        (np.r_[np.zeros(299), 1.0], "max"),
        (np.r_[np.zeros(299), -1.0], "min"),
        (np.r_[np.zeros(150), np.ones(150)], "neither"),
    ],
)
def test_a_map_says_that_there_are_values_beyond_its_colours(slopes: Any, extend: str) -> None:
    """By an arrow at that end of the bar."""
    number = len(slopes)
    found = replace(
        _image(), params={"slope": slopes}, status=np.full(number, mc.Status.COST_CONVERGED)
    )
    image = mc.plots.parameter_map(found, "slope", (1, number)).images[0]
    assert image.colorbar is not None
    assert image.colorbar.extend == extend


def test_the_rarest_ends_lie_on_top() -> None:
    """Of fits at one place the most frequent are drawn first."""
    status = np.repeat([mc.Status.STALLED, mc.Status.COST_CONVERGED, mc.Status.SINGULAR], (2, 5, 3))
    found = replace(_image(), status=status)
    drawn = mc.plots.status_map(found, (np.zeros(10), np.zeros(10))).collections
    assert [len(np.asarray(some.get_offsets())) for some in drawn] == [5, 3, 2]


def test_maps_of_places() -> None:
    """Points where the fits are; every end has a marker of its own."""
    found, x, y = _image(), np.arange(12.0), np.arange(12.0) % 5
    ax = mc.plots.parameter_map(found, "intercept", (x, y), length_unit="nm")
    assert_allclose(np.asarray(ax.collections[0].get_offsets()), np.stack([x, y], 1)[found.success])
    assert ax.get_xlabel() == "x / nm"
    drawn = mc.plots.status_map(found, (x, y)).collections
    assert sum(len(np.asarray(some.get_offsets())) for some in drawn) == 12
    assert len(drawn) == len(np.unique(found.status))


def test_maps_with_wrong_input() -> None:
    """One line that says what is wrong."""
    found = _image()
    with pytest.raises(ValueError, match="no parameter 'speed'; there are intercept, slope"):
        mc.plots.parameter_map(found, "speed", (3, 4))
    with pytest.raises(ValueError, match="3 x 5 pixels has not 12 fits"):
        mc.plots.status_map(found, (3, 5))
    with pytest.raises(ValueError, match="positions of 12 fits"):
        mc.plots.parameter_map(found, "slope", (np.arange(3.0), np.arange(3.0)))
