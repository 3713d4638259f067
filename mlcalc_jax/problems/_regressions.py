"""Convex problems of statistics, on fixed data that a formula makes: the same on every machine."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from .. import models
from .._problem import LeastSquares
from ._base import Problem, View


def line() -> Problem:
    """A straight line through 50 points about ``2 x - 1`` for x from 0 to 10.

    The cost is the sum of the squared residuals, whose lowest value and place are the closed form
    of linear regression. Slope and intercept are correlated (-0.86), which makes the bowl oblong.
    """
    x = np.linspace(0, 10, 50)
    y = 2 * x - 1 + 0.5 * np.sin(7 * x**2)
    far = x - x.mean()
    slope = (far @ y) / (far @ far)
    intercept = y.mean() - slope * x.mean()
    return Problem(
        name="line",
        cost=LeastSquares(models.line, x, y),
        start={"slope": np.float64(0), "intercept": np.float64(0)},
        minimum=float(np.sum((slope * x + intercept - y) ** 2)),
        minimiser={"slope": slope, "intercept": intercept},
        view=View(("slope", -0.5, 4), ("intercept", -8, 6)),
        source="made for this package",
    )


def logistic_regression() -> Problem:
    """Two overlapping classes of 100 points on a plane, told apart by a straight border.

    The cost is the mean of ``log(1 + exp(z)) - label z`` with ``z = weights . point + bias``, plus
    ``0.005 |weights|^2``: convex, with one lowest place. The second coordinate spreads ten times as
    far as the first, as unscaled data do. The points are a low-discrepancy sequence.
    """
    points, labels = _two_classes(100)
    return Problem(
        name="logistic_regression",
        cost=Partial(_cross_entropy, points, labels),
        start={"weights": np.zeros(2), "bias": np.float64(0)},
        minimum=0.380802386410,
        minimiser={
            "weights": np.array([1.89903551719, -0.354659177588]),
            "bias": np.float64(0.271446861329),
        },
        source="made for this package",
    )


def _two_classes(
    number: int,
) -> tuple[Float[np.ndarray, "2 points"], Float[np.ndarray, "points"]]:
    """Points in [-1, 1] x [-10, 10], and the class of each, 0 or 1."""
    # Kronecker's sequence, whose multiples of these three irrationals fill a cube evenly.
    irrational = np.sqrt(np.array([2.0, 3.0, 5.0]))[:, None]
    across, up, chance = (irrational * np.arange(1, number + 1)) % 1
    points = np.stack([2 * across - 1, 20 * up - 10])
    probability = 1 / (1 + np.exp(-(3 * points[0] - 0.4 * points[1] + 0.5)))
    return points, (chance < probability).astype(float)


def _cross_entropy(points: Any, labels: Any, params: Any) -> Float[Array, ""]:
    z = params["weights"] @ points + params["bias"]
    return jnp.mean(jax.nn.softplus(z) - labels * z) + 0.005 * jnp.sum(params["weights"] ** 2)
