"""Every picture. Each takes ``ax=None`` and returns the Axes it drew on; none calls ``show()``."""

from ._contour import contour
from ._cost import cost
from ._fit import fit
from ._histogram import histogram
from ._learning import animate_learning, learning
from ._style import Line, figure, lines, style
from ._taylor import taylor, taylor_error
from ._trace import trace
from ._uncertainty import contours, correlation

__all__ = [
    "Line",
    "animate_learning",
    "contour",
    "contours",
    "correlation",
    "cost",
    "figure",
    "fit",
    "histogram",
    "learning",
    "lines",
    "style",
    "taylor",
    "taylor_error",
    "trace",
]
