"""Multivariate calculus for machine learning, as pure functions on JAX.

A model is a pure function ``f(params, x) -> y``; all else is a transformation of it::

    data -> model -> residuals -> cost -> derivatives -> step -> path -> picture
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import losses, models, network, transforms
from ._curve_fit import curve_fit
from ._fit import fit
from ._minimise import minimise
from ._multistart import multistart
from ._path import Path, Status
from ._problem import LeastSquares, Minibatches
from ._regression import straight_line
from ._result import Fit
from .calculus._taylor import Taylor, taylor
from .optimisers import gauss_newton, levenberg_marquardt, newton, steepest_descent, tunable

if TYPE_CHECKING:
    from . import data, plots

__version__ = "0.1.0"

__all__ = [
    "Fit",
    "LeastSquares",
    "Minibatches",
    "Path",
    "Status",
    "Taylor",
    "curve_fit",
    "data",
    "fit",
    "gauss_newton",
    "levenberg_marquardt",
    "losses",
    "minimise",
    "models",
    "multistart",
    "network",
    "newton",
    "plots",
    "steepest_descent",
    "straight_line",
    "taylor",
    "transforms",
    "tunable",
]


def __getattr__(name: str) -> Any:
    """Load the rooms beside the maths when they are first entered: matplotlib takes its time."""
    if name in ("data", "plots"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
