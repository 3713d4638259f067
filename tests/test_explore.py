"""The pictures to play with: sliders moved and a point dragged as a user would."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import MouseButton, MouseEvent
from numpy.testing import assert_allclose

import mlcalc_jax as mc
from mlcalc_jax._command_line import main


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_secant_closes_on_the_tangent() -> None:
    """Outside fact: over h the slope of x^2 at 1 is 2 + h, and the tangent's is 2."""
    shown = mc.plots.explore_slope(mc.expression("x**2"), 1.0, 1.0)
    ax = shown.figure.axes[0]
    assert "slope 3, tangent 2" in ax.get_title()
    shown.sliders["log10 h"].set_val(-2)
    assert "slope 2.01, tangent 2" in ax.get_title()
    lines: dict[Any, Any] = {line.get_label(): line for line in ax.get_lines()}
    assert_allclose(lines["secant"].get_xydata(), np.array([[1, 1], [1.01, 1.0201]]))
    shown.sliders["x"].set_val(0)
    x, y = np.asarray(lines["tangent"].get_data())
    assert_allclose(y, 0 * x, atol=1e-15)


@pytest.mark.slow
def test_taylor_band_follows_the_sliders() -> None:
    """Outside fact: e^x at order 1 around 0 is off by between 0 and e - 2 within 1."""
    shown = mc.plots.explore_taylor(mc.expression("exp(x)"), 0.0, 1, 1.0)
    ax = shown.figure.axes[0]

    def band() -> tuple[float, float]:
        low, high = ax.get_title().split("[")[1].split("]")[0].split(", ")
        return float(low), float(high)

    assert band()[1] == pytest.approx(np.e - 2, rel=2e-3)
    shown.sliders["order"].set_val(4)
    assert band()[1] == pytest.approx(np.e - 65 / 24, rel=2e-2)
    shown.sliders["radius"].set_val(0.1)
    assert band()[1] < 1e-6
    domain = mc.plots.explore_taylor(mc.expression("1/x"), 1.0, 2, 0.5)
    domain.sliders["radius"].set_val(2)
    assert "no bound" in domain.figure.axes[0].get_title()
    domain.sliders["radius"].set_val(0.5)
    assert "proved" in domain.figure.axes[0].get_title()


def test_a_point_is_dragged_over_a_surface() -> None:
    """Outside fact: the gradient of x^2 + 3 y^2 is (2x, 6y); its descent ends at the origin."""
    shown = mc.plots.explore_surface(
        mc.expression("x**2 + 3*y**2", ("x", "y")), x=("x", -2, 2), y=("y", -2, 2)
    )
    ax, canvas = shown.figure.axes[0], shown.figure.canvas
    canvas.draw()
    for name, at in (("button_press_event", (1.0, 1.0)), ("motion_notify_event", (-0.5, 1.5))):
        pixel = ax.transData.transform(at)
        event: Any = MouseEvent(name, canvas, pixel[0], pixel[1], button=MouseButton.LEFT)
        event._process()
    assert ax.get_title() == "f = 7, gradient (-1, 9)"
    path: Any = next(line for line in ax.get_lines() if line.get_label() == "steepest descent")
    assert_allclose(path.get_xydata()[0], [-0.5, 1.5])
    assert_allclose(path.get_xydata()[-1], 0, atol=1e-6)


def test_wrong_input(annotations_unchecked: None) -> None:
    """One clear line, before anything is drawn."""
    before = plt.get_fignums()
    with pytest.raises(ValueError, match="h must be"):
        mc.plots.explore_slope(mc.expression("x"), 0.0, 0.0)
    with pytest.raises(ValueError, match="holds 0"):
        mc.plots.explore_taylor(mc.expression("1/x"), 0.0)
    with pytest.raises(ValueError, match="aggression"):
        mc.plots.explore_surface(
            mc.expression("x + y", ("x", "y")), x=("x", 0, 1), y=("y", 0, 1), aggression=-1
        )
    with pytest.raises(TypeError, match=r"jax\.numpy"):
        mc.plots.explore_slope(np.sin)
    with pytest.raises(ValueError, match="x must be one number"):
        mc.plots.explore_slope(jnp.sin, np.ones(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lower to higher"):
        mc.plots.explore_surface(mc.expression("x + y", ("x", "y")), x=("x", 1, 0), y=("y", 0, 1))
    assert plt.get_fignums() == before


def test_what_was_asked_for_is_shown() -> None:
    """Also beyond where the sliders end of themselves."""
    assert "h = 10" in mc.plots.explore_slope(jnp.sin, 0.0, 10.0).figure.axes[0].get_title()
    assert mc.plots.explore_taylor(jnp.sin, 0.0, 20).sliders["order"].val == 20
    plt.close("all")


def test_without_a_window_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line."""
    assert main(["explore", "taylor", "--function", "sin(x)"]) == 2
    assert "no window can be opened" in capsys.readouterr().err


@pytest.mark.skipif(not os.environ.get("DISPLAY"), reason="needs a display to open a window on")
def test_a_window_opens(tmp_path: Path) -> None:
    """With a display the command stays until its window is closed."""
    command = [sys.executable, "-m", "mlcalc_jax", "explore", "slope", "--function", "sin(x)"]
    environment = {**os.environ, "MPLBACKEND": "TkAgg", "PYTHONPATH": str(Path.cwd())}
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, env=environment, cwd=tmp_path, timeout=15, check=True)
