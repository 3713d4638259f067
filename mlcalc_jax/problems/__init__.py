"""Problems to race on: each a pure cost with its start, known minimum and dimension."""

from ._base import Draw, Problem, View, from_cost, scattered
from ._surfaces import quadratic

__all__ = ["Draw", "Problem", "View", "from_cost", "quadratic", "scattered"]
