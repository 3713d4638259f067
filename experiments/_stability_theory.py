"""What theory says of steps on quadratics, with heavy-ball momentum and without."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

Row: TypeAlias = dict[str, Any]


def limit(largest: float, momentum: float = 0.0) -> float:
    """The largest stable step for the largest curvature, where momentum is between -1 and 1.

    Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """
    return 2 * (1 + momentum) / largest


def factor(step: Any, curvatures: Any, momentum: Any = 0.0) -> np.ndarray:
    """What a step multiplies the error by in the long run; above 1 the descent diverges.

    The heavy ball's ``x_{k+1} = x_k - a lambda x_k + beta (x_k - x_{k-1})`` has the companion
    matrix ``[[1 + beta - a lambda, -beta], [1, 0]]``: its spectral radius, the largest over the
    curvatures lambda. Without momentum it is ``max |1 - a lambda|``. Goh, Why momentum really
    works, Distill 2017.
    """
    step, momentum = np.asarray(step)[..., None], np.asarray(momentum)[..., None]
    trace = 1 + momentum - step * np.asarray(curvatures)
    root = np.sqrt(trace**2 - 4 * momentum + 0j)
    return np.max(np.maximum(abs(trace + root), abs(trace - root)), axis=-1) / 2


class Best(NamedTuple):
    """The step and the momentum of the lowest factor for curvatures from 1 to kappa."""

    step: float
    momentum: float
    factor: float
    power: int
    """The error falls as k**power factor**k: 1 where two factors of a curvature coincide."""


def best_step(kappa: float) -> Best:
    """Nocedal and Wright, Numerical Optimization, 2nd edition, section 3.3."""
    return Best(2 / (1 + kappa), 0.0, (kappa - 1) / (kappa + 1), 0)


def best_heavy_ball(kappa: float) -> Best:
    """Polyak 1964; the momentum is the square of the factor."""
    root = kappa**0.5
    lowest = (root - 1) / (root + 1)
    return Best((2 / (root + 1)) ** 2, lowest**2, lowest, 1)


METHODS = {"steepest descent": best_step, "heavy ball": best_heavy_ball}


class Map(NamedTuple):
    """Factors over a grid of steps (times the largest curvature, columns) and momenta (rows)."""

    step: np.ndarray
    momentum: np.ndarray
    theory: np.ndarray
    measured: np.ndarray

    @property
    def error(self) -> float:
        """The largest difference, relative where the descent diverges."""
        return float(np.max(abs(self.measured - self.theory) / np.maximum(1, self.theory)))
