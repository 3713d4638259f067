"""The two assignments of the course that this package grew out of."""

import numpy as np
from jax.tree_util import Partial

from .. import models, network
from .._problem import LeastSquares
from ._base import Problem, View, scattered

_SOURCE = "Mathematics for Machine Learning: Multivariate Calculus, Imperial College London"


def heights() -> Problem:
    """A normal density fitted to the course's histogram of heights: ``mu`` and ``sigma`` in cm.

    The cost is the sum of the squared differences between the density and the 100 bars. Other
    starts have a relative spread of a tenth, which keeps the curve in sight of the bars.
    """
    from .. import data  # here, because the maths does not read files when it is imported

    bars = data.heights_histogram()
    start = {"mu": np.float64(155), "sigma": np.float64(6)}
    return Problem(
        name="heights",
        cost=LeastSquares(models.gaussian, bars.centre, bars.density),
        start=start,
        minimum=4.39245367132e-4,
        minimiser={"mu": np.float64(178.519824339), "sigma": np.float64(7.54990773373)},
        draw=scattered(start, 0.1),
        view=View(("mu", 145, 205), ("sigma", 1, 40)),
        source=f"{_SOURCE}, assignment on fitting a distribution",
    )


def curve(name: str = "heart", points: int = 100) -> Problem:
    """The course's network of 1, 6, 7 and 2 neurons learns to draw a curve of ``data.CURVES``.

    The cost is the mean over the points of the squared distance. Its lowest value is not known. A
    start is drawn from N(0, 1) / 2, number by number.

    Raises:
        ValueError: an unknown curve, fewer than two points.
        TypeError: ``points`` that is not a whole number.
    """
    from .. import data

    target = data.curve(name, points)
    # Residuals over the square root of N make chi-squared the course's mean over points.
    cost = LeastSquares(models.network, target.x, target.y, sigma=float(np.sqrt(points)))
    return Problem(
        name=f"curve({name})" if points == 100 else f"curve({name}, {points})",
        cost=cost,
        start=network.init_params(0, dtype=np.float64),
        draw=Partial(network.init_params),
        source=f"{_SOURCE}, assignment on backpropagation",
    )
