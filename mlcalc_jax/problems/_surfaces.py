"""Costs whose behaviour is known in closed form, and surfaces that make descents go wrong."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from .. import _check
from ._base import Problem, View


def quadratic(condition: float = 100.0, dimension: int = 2) -> Problem:
    """``C(params) = sum(curvature * x^2) / 2``, curvatures spaced evenly in logarithm.

    They go from 1 to ``condition``, which is the condition number of the Hessian. In two dimensions
    the parameters are named x and y; in others they are one array x. The start is 1 everywhere.

    Raises:
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
        name=f"quadratic({condition:g}, {dimension})",
        cost=Partial(_quadratic, parts),
        start={name: np.ones_like(part) for name, part in parts.items()},
        minimum=0.0,
        minimiser={name: np.zeros_like(part) for name, part in parts.items()},
        view=View(("x", -1.5, 1.5), ("y", -1.5, 1.5)) if dimension == 2 else None,
        source="Nocedal and Wright, Numerical Optimization, 2nd edition, section 3.3",
    )


def _quadratic(curvatures: Any, params: Any) -> Any:
    terms = [jnp.sum(curvatures[name] * params[name] ** 2) for name in curvatures]
    return sum(terms[1:], terms[0]) / 2
