"""A Taylor polynomial, the band that surely holds the function, and its error beside its bound."""

import jax
import numpy as np
from matplotlib.axes import Axes

from .. import _check
from ..calculus._taylor import Taylor
from ._style import BLACK, BLUE, ORANGE, VERMILION, axes


def taylor(
    approximation: Taylor,
    radius: float,
    *,
    reach: float | None = None,
    resolution: int = 400,
    ax: Axes | None = None,
) -> Axes:
    """The function, its Taylor polynomial, and the band around it that is proved to hold f.

    The band is drawn for every distance h from the centre with the bounds that hold within h.

    Args:
        approximation: from :func:`mlcalc_jax.taylor`.
        radius: how far from the centre the band is drawn.
        reach: how far the function and the polynomial are drawn; the radius unless given. Beyond
            the radius nothing is proved, and nothing need be defined.
        resolution: points along the axis.
        ax: where to draw; a new figure unless given.

    Raises:
        TypeError: a Taylor polynomial of several numbers.
        ValueError: a radius within which the function is not known to be defined.
    """
    _of_one_number(approximation)
    ax = axes(ax)
    _check.positive("radius", radius)
    reach = radius if reach is None else reach
    _check.positive("reach", reach)
    x = approximation.x0 + reach * np.linspace(-1, 1, _check.count("resolution", resolution, 2))
    f, p = _values(approximation, x)
    h = radius * np.linspace(0, 1, 81)[1:]
    low, high = _bounds(approximation, h)
    apart = np.abs(x - approximation.x0)
    near = np.searchsorted(h, apart * (1 - 1e-12), side="left")
    inside = near < len(h)
    band = p[inside] + low[near[inside]], p[inside] + high[near[inside]]
    ax.fill_between(x[inside], *band, color=ORANGE, alpha=0.35, label="f lies in here: proved")
    if reach > radius:  # a pole out there must not flatten what is here, nor be drawn as a wall
        bottom, top = float(np.min(band[0])), float(np.max(band[1]))
        room = 0.4 * (top - bottom)
        ax.set_ylim(bottom - room, top + room)
        f = np.where((f > bottom - 9 * room) & (f < top + 9 * room), f, np.nan)
    ax.plot(x, f, color=BLACK, label="f")
    order = approximation.order
    ax.plot(x, p, color=BLUE, linestyle="--", label=f"polynomial of order {order}")
    ax.plot(approximation.x0, p[np.argmin(apart)], "o", color=BLUE, markersize=5)
    ax.set(xlabel="x", ylabel="f(x)")
    ax.legend(fontsize="small")
    return ax


def taylor_error(approximation: Taylor, radius: float, *, ax: Axes | None = None) -> Axes:
    """The error of a Taylor polynomial within a distance, its proved bound, and the big-O guess.

    Arguments and errors are those of :func:`taylor`.
    """
    _of_one_number(approximation)
    ax = axes(ax)
    _check.positive("radius", radius)
    h = radius * np.geomspace(1e-2, 1, 40)
    low, high = _bounds(approximation, h)
    f, p = _values(approximation, approximation.x0 + h[:, None] * np.linspace(-1, 1, 41))
    seen = np.max(np.abs(f - p), axis=1)
    guess = np.array([approximation.guess(some) for some in h])
    bound = np.maximum(-low, high)
    ax.plot(h, np.where(bound > 0, bound, np.nan), color=ORANGE, linewidth=4, label="bound: proved")
    ax.plot(
        h,
        np.where(seen > 0, seen, np.nan),
        color=BLACK,
        linestyle="-.",
        label="largest error seen (float64)",
    )
    ax.plot(
        h,
        np.where(guess > 0, guess, np.nan),
        color=VERMILION,
        linestyle=":",
        label="first term left out: a guess",
    )
    ax.set(xlabel="distance from the centre", ylabel="|f - polynomial|", xscale="log")
    if (bound > 0).any() or (seen > 0).any():  # not so for a polynomial that is f itself
        ax.set_yscale("log")
    else:
        ax.text(0.5, 0.5, "no error: f is its polynomial", transform=ax.transAxes, ha="center")
    ax.legend(fontsize="small")
    return ax


def _of_one_number(approximation: Taylor) -> None:
    if not isinstance(approximation, Taylor):
        raise TypeError("only a Taylor polynomial of one number can be drawn along an axis")


def _values(of: Taylor, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f and p, in float64."""
    with jax.enable_x64(True):
        f = np.asarray(jax.jit(jax.vmap(of.f))(x.ravel())).reshape(x.shape)
    return f, np.asarray(of.polynomial(x))


def _bounds(of: Taylor, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds within each distance."""
    bounds = np.array([of.remainder(float(some)) for some in h])
    return bounds[:, 0], bounds[:, 1]
