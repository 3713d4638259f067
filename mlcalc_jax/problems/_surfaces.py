"""Costs of few parameters whose behaviour is known in closed form, each with its own trap.

All but the quadratic are sums of squares of residuals, so that methods that need residuals can take
part. The value is the plain sum of squares, without a factor 1/2.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from .. import _check
from ._base import Problem, View, anywhere, sum_of_squares


def quadratic(condition: float = 100.0, dimension: int = 2) -> Problem:
    """``C(params) = sum(curvature * x^2) / 2``, curvatures spaced evenly in logarithm.

    They go from 1 to ``condition``, which is the condition number of the Hessian. In two dimensions
    the parameters are named x and y; in others they are one array x. The start is 1 everywhere.

    Raises:
        TypeError: a ``dimension`` that is not a whole number.
        ValueError: ``condition`` below 1 or not finite, ``dimension`` below 1, or 1 with a
            condition other than 1.
    """
    dimension = _check.count("dimension", dimension)
    _check.positive("condition", condition)
    if condition < 1 or (dimension == 1 and condition != 1):
        raise ValueError(
            f"condition must be at least 1, and 1 in one dimension, got {condition} in {dimension}"
        )
    curvatures = np.geomspace(1, condition, dimension)
    names = ("x", "y") if dimension == 2 else ("x",)
    parts = dict(zip(names, np.split(curvatures, len(names)), strict=True))
    if dimension == 2:
        parts = {name: part[0] for name, part in parts.items()}
    return Problem(
        name=f"quadratic({condition:.12g}, {dimension})",
        cost=Partial(_quadratic, parts),
        start={name: np.ones_like(part) for name, part in parts.items()},
        minimum=0.0,
        minimiser={name: np.zeros_like(part) for name, part in parts.items()},
        view=View(("x", -1.5, 1.5), ("y", -1.5, 1.5)) if dimension == 2 else None,
        source="Nocedal and Wright, Numerical Optimization, 2nd edition, section 3.3",
    )


def rosenbrock() -> Problem:
    """Rosenbrock's curved valley, ``(10 (y - x^2))^2 + (1 - x)^2``, from (-1.2, 1).

    The valley is quickly reached and slowly followed. Lowest at (1, 1), with the value 0.
    """
    return Problem(
        name="rosenbrock",
        cost=sum_of_squares(_rosenbrock, 2),
        start=_point(-1.2, 1),
        minimum=0.0,
        minimiser=_point(1, 1),
        draw=anywhere(_ROSENBROCK_VIEW),
        view=_ROSENBROCK_VIEW,
        source="Rosenbrock, The Computer Journal 3 (1960) 175",
    )


def beale() -> Problem:
    """Beale's function, from (1, 1): a plateau with steep walls around it.

    ``(1.5 - x (1 - y))^2 + (2.25 - x (1 - y^2))^2 + (2.625 - x (1 - y^3))^2``, lowest at (3, 1/2),
    with the value 0. There is no other minimum, but a descent may run off to x -> -infinity and
    y -> 1, where the cost tends to 0.45.
    """
    return Problem(
        name="beale",
        cost=sum_of_squares(_beale, 3),
        start=_point(1, 1),
        minimum=0.0,
        minimiser=_point(3, 0.5),
        view=View(("x", -4.5, 4.5), ("y", -4.5, 4.5)),
        source="Beale, On an iterative method for finding a local minimum (1958)",
    )


def himmelblau() -> Problem:
    """Himmelblau's function of four equal minima, ``(x^2 + y - 11)^2 + (x + y^2 - 7)^2``.

    All four have the value 0; (3, 2) is the one in whole numbers. The start, (0, 0), is near the
    hilltop between them, and other starts are anywhere in the view.
    """
    view = View(("x", -5, 5), ("y", -5, 5))
    return Problem(
        name="himmelblau",
        cost=sum_of_squares(_himmelblau, 2),
        start=_point(0, 0),
        minimum=0.0,
        minimiser=_point(3, 2),
        draw=anywhere(view),
        view=view,
        source="Himmelblau, Applied Nonlinear Programming (1972), problem 29",
    )


def saddle() -> Problem:
    """A saddle that draws descents in, ``(x^2 - 1)^2 / 4 + y^2 / 2``, from (0.001, 1).

    The start is a thousandth beside the ridge x = 0, along which the slope leads to the saddle at
    (0, 0), of value 1/4; its Hessian there is diag(-1, 1). Lowest at (1, 0) and (-1, 0), with the
    value 0. Other starts are as near to the ridge.
    """
    return Problem(
        name="saddle",
        cost=sum_of_squares(_saddle, 2),
        start=_point(1e-3, 1),
        minimum=0.0,
        minimiser=_point(1, 0),
        view=View(("x", -1.75, 1.75), ("y", -1.5, 1.5)),
        source="the double well of bifurcation theory, with a parabola across it",
    )


def ravine() -> Problem:
    """A winding ravine, ``(x / 10)^2 + (5 (y - sin x))^2``, from (8, 2).

    Its floor y = sin x falls towards (0, 0), the only place without a slope, with the value 0. The
    Hessian there has the condition number 10,002; the floor bends all the way.
    """
    view = View(("x", -10, 10), ("y", -3, 3))
    return Problem(
        name="ravine",
        cost=sum_of_squares(_ravine, 2),
        start=_point(8, 2),
        minimum=0.0,
        minimiser=_point(0, 0),
        draw=anywhere(view),
        view=view,
        source="made for this package",
    )


_ROSENBROCK_VIEW = View(("x", -2, 2), ("y", -1, 3))


def _point(x: float, y: float) -> dict[str, np.float64]:
    return {"x": np.float64(x), "y": np.float64(y)}


def _quadratic(curvatures: Any, params: Any) -> Any:
    terms = [jnp.sum(curvatures[name] * params[name] ** 2) for name in curvatures]
    return sum(terms[1:], terms[0]) / 2


def _rosenbrock(params: Any, _: Any) -> Float[Array, "2"]:
    x, y = params["x"], params["y"]
    return jnp.stack([10 * (y - x**2), 1 - x])


def _beale(params: Any, _: Any) -> Float[Array, "3"]:
    x, y = params["x"], params["y"]
    return jnp.stack([1.5 - x * (1 - y), 2.25 - x * (1 - y**2), 2.625 - x * (1 - y**3)])


def _himmelblau(params: Any, _: Any) -> Float[Array, "2"]:
    x, y = params["x"], params["y"]
    return jnp.stack([x**2 + y - 11, x + y**2 - 7])


def _saddle(params: Any, _: Any) -> Float[Array, "2"]:
    x, y = params["x"], params["y"]
    return jnp.stack([(x**2 - 1) / 2, y / jnp.sqrt(2)])


def _ravine(params: Any, _: Any) -> Float[Array, "2"]:
    x, y = params["x"], params["y"]
    return jnp.stack([x / 10, 5 * (y - jnp.sin(x))])
