"""Problems to race on: each a pure cost with its start, known minimum and dimension."""

from ._base import Draw, Problem, View, anywhere, from_cost, noisy, scattered
from ._course import curve, heights
from ._mgh import MGH, more_garbow_hillstrom
from ._named import NAMES, SETS, named
from ._regressions import line, logistic_regression
from ._surfaces import beale, himmelblau, quadratic, ravine, rosenbrock, saddle

__all__ = [
    "MGH",
    "NAMES",
    "SETS",
    "Draw",
    "Problem",
    "View",
    "anywhere",
    "beale",
    "curve",
    "from_cost",
    "heights",
    "himmelblau",
    "line",
    "logistic_regression",
    "more_garbow_hillstrom",
    "named",
    "noisy",
    "quadratic",
    "ravine",
    "rosenbrock",
    "saddle",
    "scattered",
]
