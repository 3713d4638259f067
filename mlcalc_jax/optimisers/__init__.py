"""Optimisers in optax's protocol: a pair ``init``, ``update``, interchangeable with any of optax's.

Each is one file. The numbers of an optimiser (step sizes, noise, damping, seed) are leaves of the
transformation, which is a pytree: ``minimise`` traces them, so that another value compiles nothing
and ``vmap`` sweeps them. :func:`tunable` gives the same to the optimisers of optax.
"""

from .._trust import Trust
from ._gauss_newton import gauss_newton
from ._levenberg_marquardt import levenberg_marquardt
from ._newton import newton
from ._steepest_descent import SteepestDescentState, steepest_descent
from ._tunable import tunable

__all__ = [
    "SteepestDescentState",
    "Trust",
    "gauss_newton",
    "levenberg_marquardt",
    "newton",
    "steepest_descent",
    "tunable",
]
