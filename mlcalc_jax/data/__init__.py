"""The data sets that ship with the package, readers for your own, and curves to draw.

Where each file comes from stands beside it, in ``files/README.md``.
"""

from ._anscombe import Points, anscombe
from ._curves import CURVES, Curve, curve, read_curve
from ._heights import Histogram, heights_histogram, histogram, nhanes_heights
from ._nist import NIST, NistProblem, nist
from ._table import only_column, read_columns

__all__ = [
    "CURVES",
    "NIST",
    "Curve",
    "Histogram",
    "NistProblem",
    "Points",
    "anscombe",
    "curve",
    "heights_histogram",
    "histogram",
    "nhanes_heights",
    "nist",
    "only_column",
    "read_columns",
    "read_curve",
]
