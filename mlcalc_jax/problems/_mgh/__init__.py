"""The nonlinear least-squares problems of Moré, Garbow and Hillstrom.

J. J. Moré, B. S. Garbow and K. E. Hillstrom, "Testing Unconstrained Optimization Software", ACM
Transactions on Mathematical Software 7 (1981) 17-41. Starts and data agree with the test drivers of
MINPACK (netlib) and with Algorithm 566 of the ACM; for what neither has, with the R package
funconstrain. Where sources disagree, the paper is followed: Brown and Dennis start at
(25, 5, -5, -1), and the helix of the helical valley jumps at a = 0, b < 0.
"""

import numpy as np

from ..._problem import LeastSquares
from .._base import Problem, sum_of_squares
from . import _fits, _lengths, _systems

_TABLE = _systems.TABLE | _fits.TABLE | _lengths.TABLE

#: The names of the problems, in the order of the paper within each kind.
MGH = tuple(_TABLE)


def more_garbow_hillstrom(name: str) -> Problem:
    """A problem of Moré, Garbow and Hillstrom (1981), one of the 35 names in ``MGH``.

    The parameters are one array of n numbers, the start is the standard one, and the cost is the
    plain sum of the squared residuals. Where a problem has several minima, ``minimum`` is the
    lowest of them. Other starts are scattered by a tenth about the standard one.

    Raises:
        ValueError: an unknown name.
    """
    if name not in _TABLE:
        raise ValueError(
            f"there is no problem {name!r} of Moré, Garbow and Hillstrom; they are {', '.join(MGH)}"
        )
    model, start, data, minimum, minimiser = _TABLE[name]
    cost = sum_of_squares(model, data) if isinstance(data, int) else LeastSquares(model, *data)
    return Problem(
        name=name,
        cost=cost,
        start=np.array(start, float),
        minimum=float(minimum),
        minimiser=None if minimiser is None else np.array(minimiser, float),
        source="Moré, Garbow and Hillstrom, ACM TOMS 7 (1981) 17-41",
    )
