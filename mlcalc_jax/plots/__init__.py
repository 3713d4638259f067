"""Every picture; none calls ``show()``.

Each takes ``ax=None`` and returns the Axes it drew on, but for ``trace`` (three Axes on a figure of
its own), the animations and what is explored with the mouse.
"""

from ._contour import contour
from ._cost import cost
from ._explore import Explorer, explore_slope, explore_surface, explore_taylor
from ._fit import fit
from ._graph import graph
from ._histogram import histogram
from ._landscape import landscape, spectrum
from ._learning import animate_learning, learning
from ._map import parameter_map, status_map
from ._network import factor, network
from ._race import animate_race, data_profile, performance_profile, race, sensitivity
from ._roots import basins, cobweb, tangents
from ._slopes import secants, slope_errors
from ._style import Line, figure, lines, style
from ._surface import constraint, critical_points, gradient_field, surface
from ._taylor import taylor, taylor_error
from ._trace import trace
from ._uncertainty import contours, correlation

__all__ = [
    "Explorer",
    "Line",
    "animate_learning",
    "animate_race",
    "basins",
    "cobweb",
    "constraint",
    "contour",
    "contours",
    "correlation",
    "cost",
    "critical_points",
    "data_profile",
    "explore_slope",
    "explore_surface",
    "explore_taylor",
    "factor",
    "figure",
    "fit",
    "gradient_field",
    "graph",
    "histogram",
    "landscape",
    "learning",
    "lines",
    "network",
    "parameter_map",
    "performance_profile",
    "race",
    "secants",
    "sensitivity",
    "slope_errors",
    "spectrum",
    "status_map",
    "style",
    "surface",
    "tangents",
    "taylor",
    "taylor_error",
    "trace",
]
