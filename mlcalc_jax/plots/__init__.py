"""Every picture. Each takes ``ax=None`` and returns the Axes it drew on; none calls ``show()``."""

from ._contour import contour
from ._cost import cost
from ._histogram import histogram
from ._learning import animate_learning, learning
from ._style import Line, figure, lines, style

__all__ = [
    "Line",
    "animate_learning",
    "contour",
    "cost",
    "figure",
    "histogram",
    "learning",
    "lines",
    "style",
]
