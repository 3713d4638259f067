"""Anscombe's quartet."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ._table import read_columns

_FILE = Path(__file__).parent / "files" / "anscombe.csv"


class Points(NamedTuple):
    """Points of a plane, pure numbers."""

    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]


def anscombe() -> tuple[Points, Points, Points, Points]:
    """Four sets of eleven points with the same line, means and variances, and four stories.

    Source: Anscombe, Graphs in Statistical Analysis, The American Statistician 27 (1973) 17.
    """
    x, y1, y2, y3, x4, y4 = read_columns(_FILE, ["x123", "y1", "y2", "y3", "x4", "y4"])
    return Points(x, y1), Points(x, y2), Points(x, y3), Points(x4, y4)
