"""Pictures of fits show the numbers of the fit."""

from collections.abc import Iterator

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import Ellipse
from numpy.testing import assert_allclose

import mlcalc_jax as mc

X = np.linspace(-3.0, 3.0, 40)
Y = 2 * np.exp(-(((X - 0.3) / 0.8) ** 2) / 2) + 0.5 + 0.1 * np.random.default_rng(3).normal(size=40)
START = {"amplitude": 1.5, "mu": 0.0, "sigma": 1.0, "offset": 0.3}


@pytest.fixture(scope="module")
def fitted() -> mc.Fit:
    """A peak with one masked point."""
    return mc.fit(mc.models.gaussian_peak, START, X, Y, 0.1, mask=np.arange(40) != 5)


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def test_fit(fitted: mc.Fit) -> None:
    """Outside fact: the model in NumPy, and what the data are above it."""
    ax = mc.plots.fit(fitted, x_label="position / mm", prediction=True)
    curve = next(line for line in ax.lines if line.get_label() == "fit")
    p, grid = fitted.params, np.asarray(curve.get_xdata())
    z = (grid - p["mu"]) / p["sigma"]
    assert_allclose(
        np.asarray(curve.get_ydata()), p["amplitude"] * np.exp(-(z**2) / 2) + p["offset"]
    )
    below = ax.figure.axes[1]
    assert below.get_xlabel() == "position / mm"
    assert_allclose(
        np.asarray(below.lines[0].get_ydata()),
        np.delete((Y - np.asarray(fitted.predict())) / 0.1, 5),
        atol=1e-9,
    )
    labels = ax.get_legend_handles_labels()[1]
    assert set(labels) >= {"data", "data, masked", "fit", "95% confidence", "95% prediction"}


@pytest.mark.slow
def test_global_fit_and_its_refusals() -> None:
    """Outside fact: two data sets, two curves; two predictors have no picture."""
    model = lambda p, x: p["a"] * jnp.exp(-p["k"] * x)  # noqa: E731
    t = np.linspace(0, 2, 9)
    both = mc.fit(
        model, {"a": 1.0, "k": 1.0}, [t, t[:5]], [np.exp(-t), 2 * np.exp(-t[:5])], local="a"
    )
    ax = mc.plots.fit(both, ax=plt.figure().add_subplot())
    assert [line.get_label() for line in ax.lines if "fit" in str(line.get_label())] == [
        "fit 1",
        "fit 2",
    ]
    two = mc.fit(lambda p, x: p["a"] * x[0] + p["b"] * x[1], {"a": 1.0, "b": 1.0}, (X, X**2), Y)
    with pytest.raises(ValueError, match="one predictor"):
        mc.plots.fit(two)


@pytest.mark.slow
def test_bands_of_a_global_fit() -> None:
    """Outside fact: lines that share nothing have the bands each has by itself."""
    rng = np.random.default_rng(6)
    xs, sigmas = [np.linspace(0, 2, 12), np.linspace(1, 4, 9)], [0.1, 0.3]
    ys = [1 - xs[0] + 0.1 * rng.normal(size=12), 2 - xs[1] + 0.3 * rng.normal(size=9)]
    start, both = {"slope": 0.0, "intercept": 0.0}, ("slope", "intercept")
    together = mc.fit(mc.models.line, start, xs, ys, sigmas, local=both, absolute_sigma=True)
    ax = mc.plots.fit(together, prediction=True)
    predicted = [line for line in ax.lines if line.get_linestyle() == "--"]
    for k, (x, y, sigma) in enumerate(zip(xs, ys, sigmas, strict=True)):
        alone = mc.fit(mc.models.line, start, x, y, sigma, absolute_sigma=True)
        grid = np.linspace(x.min(), x.max(), 400)
        low, high = alone.band(grid)
        name = f"95% confidence {k + 1}"
        (band,) = [c for c in ax.collections if c.get_label() == name]
        outline = np.asarray(band.get_paths()[0].vertices)
        for edge in (low, high):
            drawn = np.abs(outline[:, None] - np.stack([grid, edge], axis=1)[None]).max(axis=2)
            assert_allclose(drawn.min(axis=0), 0, atol=1e-9)
        edges = [np.asarray(line.get_ydata()) for line in predicted[2 * k : 2 * k + 2]]
        assert_allclose(edges, alone.band(grid, kind="prediction"), rtol=1e-9)
    varied = mc.fit(mc.models.line, start, xs, ys, [0.1, 0.1 + xs[1]], local=both)
    with pytest.raises(ValueError, match="sigma differs from point to point"):
        mc.plots.fit(varied, prediction=True)


@pytest.mark.slow
def test_contours(fitted: mc.Fit) -> None:
    """Outside fact: an ellipse of joint confidence reaches sqrt(2 F) standard errors."""
    ax = mc.plots.contours(fitted, "mu", "sigma", resolution=11, labels={"mu": "mu / mm"})
    assert ax.get_xlabel() == "mu / mm"
    ellipse = next(patch for patch in ax.patches if isinstance(patch, Ellipse))
    corners = ellipse.get_patch_transform().transform(
        np.stack([np.cos(np.linspace(0, 7, 4000)), np.sin(np.linspace(0, 7, 4000))], axis=1)
    )
    f68 = 1.1768  # 68 % of F with 2 and 35 degrees of freedom
    reach = np.sqrt(2 * f68) * fitted.stderr["mu"]
    assert_allclose(np.ptp(corners[:, 0]) / 2, reach, rtol=1e-3)


def test_correlation(fitted: mc.Fit) -> None:
    """Outside fact: the covariance matrix, divided by the standard errors."""
    ax = mc.plots.correlation(fitted)
    C = fitted.covariance
    expected = C / np.sqrt(np.outer(np.diag(C), np.diag(C)))
    assert [t.get_text() for t in ax.texts] == [f"{value:.2f}" for value in expected.ravel()]
    assert [t.get_text() for t in ax.get_xticklabels()] == fitted.names


def test_trace(fitted: mc.Fit) -> None:
    """Outside fact: the cost falls to chi-squared, in as many steps as were taken."""
    cost, damping, _ = mc.plots.trace(fitted)
    values = np.asarray(cost.lines[0].get_ydata())
    assert len(values) == fitted.steps + 1
    assert_allclose(values[-1], fitted.chi_squared)
    assert damping.get_yscale() == "log"
