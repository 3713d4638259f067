"""Multivariate calculus for machine learning, as pure functions on JAX.

A model is a pure function ``f(params, x) -> y``; all else is a transformation of it::

    data -> model -> residuals -> cost -> derivatives -> step -> path -> picture
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import calculus, losses, models, network, problems, transforms
from ._curve_fit import curve_fit
from ._explain import Explanation, explain_backprop
from ._fit import fit
from ._landscape import Landscape, filter_normalised, hessian_spectrum, landscape, path_directions
from ._many import ManyFits, fit_many
from ._minimise import minimise
from ._multistart import multistart
from ._noisy import Noisy
from ._path import Path, Status
from ._problem import LeastSquares, Minibatches
from ._race import Comparison, Outcome, compare, contender, log_uniform, replay, uniform
from ._regression import straight_line
from ._result import Fit
from .calculus import (
    Taylor,
    check_gradient,
    computational_graph,
    constrained,
    critical_points,
    derivative,
    directional_derivative,
    expression,
    gradient,
    hessian,
    jacobian,
    jvp,
    newton_raphson,
    slope,
    slope_errors,
    taylor,
    total_derivative,
    vjp,
)
from .optimisers import gauss_newton, levenberg_marquardt, newton, steepest_descent, tunable

if TYPE_CHECKING:
    from . import data, plots, sandpit

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Explanation",
    "Fit",
    "Landscape",
    "LeastSquares",
    "ManyFits",
    "Minibatches",
    "Noisy",
    "Outcome",
    "Path",
    "Status",
    "Taylor",
    "calculus",
    "check_gradient",
    "compare",
    "computational_graph",
    "constrained",
    "contender",
    "critical_points",
    "curve_fit",
    "data",
    "derivative",
    "directional_derivative",
    "explain_backprop",
    "expression",
    "filter_normalised",
    "fit",
    "fit_many",
    "gauss_newton",
    "gradient",
    "hessian",
    "hessian_spectrum",
    "jacobian",
    "jvp",
    "landscape",
    "levenberg_marquardt",
    "log_uniform",
    "losses",
    "minimise",
    "models",
    "multistart",
    "network",
    "newton",
    "newton_raphson",
    "path_directions",
    "plots",
    "problems",
    "replay",
    "sandpit",
    "slope",
    "slope_errors",
    "steepest_descent",
    "straight_line",
    "taylor",
    "total_derivative",
    "transforms",
    "tunable",
    "uniform",
    "vjp",
]


def __getattr__(name: str) -> Any:
    """Load the rooms beside the maths when they are first entered: matplotlib takes its time."""
    if name in ("data", "plots", "sandpit"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
