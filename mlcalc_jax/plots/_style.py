"""The house style of figures: colours that survive colour-blindness, and grey by line and hatch."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle, product
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette, without its yellow, which is too faint for a line on white.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY, WINE = "#999999", "#882255"

_RC: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "axes.titlelocation": "left",
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 150,
    "svg.hashsalt": "mlcalc_jax",  # the same figure gives the same file
}


class Line(NamedTuple):
    """How one of several lines is told from the others, in colour and in grey."""

    color: str
    linestyle: Any
    marker: str


def lines(names: Iterable[str]) -> dict[str, Line]:
    """A style for each name, by its place: no two alike before the 33rd.

    Hand the same styles to several figures, and a name looks the same in all of them.
    """
    colours = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, WINE)
    dashes = ("-", "--", "-.", (0, (1, 1.2)))
    styles = zip(cycle(product(dashes, colours)), cycle("os^Dv<>P"), strict=False)
    return {
        name: Line(colour, dash, marker)
        for name, ((dash, colour), marker) in zip(names, styles, strict=False)
    }


@contextmanager
def style() -> Iterator[None]:
    """The house style, for the figures made inside the ``with`` block."""
    with mpl.rc_context(_RC):
        yield


def axes(ax: Axes | None, width: float = 6.0, height: float = 4.2) -> Axes:
    """``ax``, or new axes on a new figure in the house style."""
    if ax is not None:
        return ax
    with style():
        return figure(width, height).add_subplot()


def figure(width: float = 6.0, height: float = 4.2) -> Figure:
    """A new figure in the house style, known to pyplot if pyplot is in use; sizes in inches."""
    import matplotlib.pyplot as plt

    with style():
        return plt.figure(figsize=(width, height))
