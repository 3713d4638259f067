"""Calculus as functions of functions: derivatives, Taylor polynomials with proof, roots, optima."""

from ._derivatives import (
    Derivatives,
    TotalDerivative,
    directional_derivative,
    gradient,
    hessian,
    jacobian,
    jvp,
    total_derivative,
    vjp,
)
from ._expression import Expression, expression
from ._graph import Edge, Graph, Node, computational_graph
from ._interval import Bounds, DomainError
from ._newton_raphson import RootSearch, RootStatus, newton_raphson
from ._slopes import (
    GradientCheck,
    SlopeErrors,
    check_gradient,
    derivative,
    slope,
    slope_errors,
)
from ._stationary import ConstrainedPoint, CriticalPoint, constrained, critical_points
from ._taylor import Taylor, taylor
from ._taylor_many import MultivariateTaylor

__all__ = [
    "Bounds",
    "ConstrainedPoint",
    "CriticalPoint",
    "Derivatives",
    "DomainError",
    "Edge",
    "Expression",
    "GradientCheck",
    "Graph",
    "MultivariateTaylor",
    "Node",
    "RootSearch",
    "RootStatus",
    "SlopeErrors",
    "Taylor",
    "TotalDerivative",
    "check_gradient",
    "computational_graph",
    "constrained",
    "critical_points",
    "derivative",
    "directional_derivative",
    "expression",
    "gradient",
    "hessian",
    "jacobian",
    "jvp",
    "newton_raphson",
    "slope",
    "slope_errors",
    "taylor",
    "total_derivative",
    "vjp",
]
