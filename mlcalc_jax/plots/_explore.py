"""Pictures to play with: sliders and a point to drag, in a window or in Jupyter with ipympl.

Each keeps its widgets alive as long as the object it returns is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.widgets import Slider

from .. import _check
from .._types import Cost
from ..calculus import DomainError, derivative, slope, taylor
from ._contour import contour
from ._slopes import values
from ._style import BLACK, BLUE, GREEN, ORANGE, VERMILION, WINE, figure
from ._surface import Range

_DESCENT_STEPS = 200


@dataclass(frozen=True)
class Explorer:
    """A figure with its widgets."""

    figure: Figure
    sliders: dict[str, Slider]
    update: Callable[..., None]  #: draw anew


def explore_slope(
    f: Callable[[Any], Any], x: float = 0.0, h: float = 1.0, *, radius: float = 3.0
) -> Explorer:
    """A secant with sliders for x and for h, the tangent beside it, and the error said.

    Args:
        f: a pure function of a real number.
        x: where the secant starts.
        h: its run, above zero.
        radius: how far from x the picture and the slider reach; h at least.

    Raises:
        TypeError: f is no function of jax.numpy; x or h is no number.
        ValueError: an h or a radius that is not above zero, an x that is not finite.
    """
    _check.positive("h", h)
    _check.positive("radius", radius)
    x, h = _check.one_number("x", x), _check.one_number("h", h)
    radius = max(_check.one_number("radius", radius), h)
    across = np.linspace(x - radius, x + radius, 400)
    with _check.traceable("f"):
        height = values(f, across)
    fig, ax, places = _with_sliders(2)
    ax.plot(across, height, color=BLACK, linewidth=2, label="f")
    (secant,) = ax.plot([], [], "--o", color=BLUE, markersize=4, label="secant")
    (tangent,) = ax.plot([], [], color=WINE, label="tangent")
    _room(ax, height)
    ax.set(xlabel="x", ylabel="f(x)", xlim=(across[0], across[-1]))
    ax.legend(fontsize="small", loc="upper right")
    sliders = {
        "x": Slider(places[0], "x", x - radius, x + radius, valinit=x),
        "log10 h": Slider(places[1], "log10 h", -8.0, np.log10(radius), valinit=np.log10(h)),
    }
    rise = jax.jit(lambda x, h: slope(f, x, h))
    exact = jax.jit(lambda x: derivative(f, x))

    def update(_: object = None) -> None:
        at, run = float(sliders["x"].val), 10.0 ** float(sliders["log10 h"].val)
        with jax.enable_x64(True):
            here = float(f(jnp.asarray(at)))
            m, d = float(rise(jnp.asarray(at), jnp.asarray(run))), float(exact(jnp.asarray(at)))
        secant.set_data([at, at + run], [here, here + m * run])
        tangent.set_data(across, here + d * (across - at))
        ax.set_title(f"h = {run:.2g}: slope {m:.8g}, tangent {d:.8g}, apart {abs(m - d):.1e}")
        fig.canvas.draw_idle()

    return _started(fig, sliders, update)


def explore_taylor(
    f: Callable[[Any], Any],
    x0: float = 0.0,
    order: int = 3,
    radius: float = 1.0,
    *,
    reach: float = 4.0,
) -> Explorer:
    """A Taylor polynomial with its proved band, with sliders for centre, order and radius.

    Args:
        f: a pure function of a real number, of those :func:`mlcalc_jax.taylor` takes.
        x0, order, radius: where the sliders begin.
        reach: how far from x0 the picture and the sliders reach.

    Raises:
        TypeError, ValueError, NotImplementedError: as for :func:`mlcalc_jax.taylor`.
    """
    _check.positive("radius", radius)
    _check.positive("reach", reach)
    taylor(f, x0, order)  # what is wrong is said before anything is drawn
    across = np.linspace(x0 - reach, x0 + reach, 500)
    height = values(f, across)
    fig, ax, places = _with_sliders(3)
    ax.plot(across, height, color=BLACK, linewidth=2, label="f")
    (line,) = ax.plot([], [], "--", color=BLUE, label="polynomial")
    (centre,) = ax.plot([], [], "o", color=BLUE, markersize=6)
    ax.fill_between([], [], color=ORANGE, alpha=0.35, label="f lies in here: proved")
    _room(ax, height)
    ax.set(xlabel="x", ylabel="f(x)", xlim=(across[0], across[-1]))
    ax.legend(fontsize="small", loc="upper right")
    sliders = {
        "centre": Slider(places[0], "centre", x0 - reach, x0 + reach, valinit=x0),
        "order": Slider(places[1], "order", 0, max(12, order), valinit=order, valstep=1),
        "radius": Slider(places[2], "radius", 0.01, reach, valinit=min(radius, reach)),
    }
    bands: list[Any] = []

    def update(_: object = None) -> None:
        while bands:
            bands.pop().remove()
        at, wide = float(sliders["centre"].val), float(sliders["radius"].val)
        try:
            found = taylor(f, at, int(sliders["order"].val))
            low, high = found.remainder(wide)
        except DomainError as error:
            line.set_data([], [])
            centre.set_data([], [])
            ax.set_title(f"no bound: {error}", fontsize="small")
            fig.canvas.draw_idle()
            return
        line.set_data(across, found.polynomial(across))
        centre.set_data([at], [float(found.polynomial(at))])
        inside = np.linspace(at - wide, at + wide, 200)
        p = np.asarray(found.polynomial(inside))
        bands.append(ax.fill_between(inside, p + low, p + high, color=ORANGE, alpha=0.35))
        ax.set_title(f"f - polynomial lies within [{low:.3g}, {high:.3g}]: proved")
        fig.canvas.draw_idle()

    return _started(fig, sliders, update)


def explore_surface(
    f: Cost, *, x: Range, y: Range, aggression: float = 0.05, label: str = "f"
) -> Explorer:
    """Contours with a point to drag: its gradient, its steepest descent, and a step-size slider.

    Args:
        f: a pure function of ``{name of x: ..., name of y: ...}``.
        x, y: name, lowest and highest value along each axis.
        aggression: where the step-size slider begins (learning rate).
        label: of the height.

    Raises:
        ValueError: a range that does not rise, an aggression that is not above zero.
    """
    import matplotlib.pyplot as plt

    _check.positive("aggression", aggression)
    fig, ax, places = _with_sliders(1)
    try:
        contour(f, x=x, y=y, label=label, ax=ax)
    except Exception:
        plt.close(fig)
        raise
    (path,) = ax.plot([], [], "-", color=BLUE, linewidth=1.4, label="steepest descent")
    (dot,) = ax.plot([], [], "o", color=VERMILION, markersize=9, label="drag me")
    arrow = ax.quiver([0.0], [0.0], [0.0], [0.0], color=GREEN, angles="xy", scale_units="xy",
                      scale=1, width=0.008, zorder=4)  # fmt: skip
    ax.legend(fontsize="small", loc="upper right")
    log = float(np.log10(aggression))
    sliders = {
        "log10 aggression": Slider(places[0], "log10 aggression", log - 3, log + 3, valinit=log)
    }
    place = np.array([x[1] + 0.75 * (x[2] - x[1]), y[1] + 0.75 * (y[2] - y[1])])
    size = np.array([x[2] - x[1], y[2] - y[1]])

    def of(z: jax.Array) -> jax.Array:
        return f({x[0]: z[0], y[0]: z[1]})

    @jax.jit
    def descend(start: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(z: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            moved = z - rate * jax.grad(of)(z)
            return jnp.where(jnp.all(jnp.isfinite(moved)), moved, z), z

        return jax.lax.scan(step, start, length=_DESCENT_STEPS)[1], jax.grad(of)(start)

    def update(_: object = None) -> None:
        rate = 10.0 ** float(sliders["log10 aggression"].val)
        with jax.enable_x64(True):
            steps, uphill = descend(jnp.asarray(place), jnp.asarray(rate))
            height = float(of(jnp.asarray(place)))
        slope = np.asarray(uphill)
        path.set_data(*np.asarray(steps).T)
        dot.set_data([place[0]], [place[1]])
        arrow.set_offsets([place])
        length = float(np.linalg.norm(slope * size))
        shown = slope * size**2 / length * 0.12 if length > 0 else np.zeros(2)
        arrow.set_UVC([shown[0]], [shown[1]])
        ax.set_title(f"{label} = {height:.5g}, gradient ({slope[0]:.4g}, {slope[1]:.4g})")
        fig.canvas.draw_idle()

    def drag(event: Any) -> None:
        is_tool = getattr(fig.canvas.toolbar, "mode", "") != ""
        if event.inaxes is ax and event.button == 1 and not is_tool:
            place[:] = event.xdata, event.ydata
            update()

    fig.canvas.mpl_connect("button_press_event", drag)
    fig.canvas.mpl_connect("motion_notify_event", drag)
    return _started(fig, sliders, update)


def _with_sliders(count: int) -> tuple[Figure, Axes, list[Axes]]:
    fig = figure(6.4, 4.4 + 0.35 * count)
    rows = fig.add_gridspec(count + 1, 1, height_ratios=[12, *[1] * count])
    return fig, fig.add_subplot(rows[0]), [fig.add_subplot(rows[k + 1]) for k in range(count)]


def _room(ax: Axes, height: np.ndarray) -> None:
    finite = height[np.isfinite(height)]
    if finite.size:
        low, high = np.quantile(finite, (0.02, 0.98))
        room = 0.3 * max(float(high - low), 1e-9)
        ax.set_ylim(low - room, high + room)


def _started(fig: Figure, sliders: dict[str, Slider], update: Callable[..., None]) -> Explorer:
    for slider in sliders.values():
        slider.on_changed(update)
    update()
    return Explorer(fig, sliders, update)
