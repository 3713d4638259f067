"""Heights: the course's histogram, measured adults, and a histogram of your own data."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from .. import _check
from ._table import numbers, read_columns, read_rows

_FILES = Path(__file__).parent / "files"
_MOST_BINS = 100_000


class Histogram(NamedTuple):
    """Relative frequencies in bins of one width."""

    left_edge: Float[np.ndarray, "bins"]
    width: float
    frequency: Float[np.ndarray, "bins"]

    @property
    def centre(self) -> Float[np.ndarray, "bins"]:
        """Bin centres, in the unit of the edges."""
        return self.left_edge + self.width / 2

    @property
    def density(self) -> Float[np.ndarray, "bins"]:
        """Frequency per unit, normalised so that the bars have an area of 1."""
        return self.frequency / (self.frequency.sum() * self.width)


def heights_histogram() -> Histogram:
    """The 100 bins of 2.5 cm from 50 to 300 cm of the course's heights assignment."""
    left_edge, frequency = read_columns(
        _FILES / "course_histogram.csv", ["left_edge_cm", "frequency"]
    )
    return Histogram(left_edge, 2.5, frequency)


def nhanes_heights(sex: Literal["F", "M"] | None = None) -> Float[np.ndarray, "people"]:
    """Standing heights in cm of the 5,185 adults measured in NHANES 2017-2018, or those of one sex.

    Raises:
        ValueError: a sex other than "F", "M" and None.
    """
    if sex not in (None, "F", "M"):
        raise ValueError(f'sex must be "F", "M" or None, got {sex!r}')
    path = _FILES / "nhanes_2017_2018_adults20plus.csv"
    header, *rows = read_rows(path)
    of = header.cells.index("sex")
    rows = [row for row in rows if sex in (None, row.cells[of])]
    return numbers(path, rows, header.cells.index("height_cm"))


def histogram(values: Float[np.ndarray, "values"], bins: int | None = None) -> Histogram:
    """Relative frequencies of raw values, with as many empty bins on either side as filled ones.

    The empty bins tell a fit that there is nothing there.

    Args:
        values: at least two, not all equal.
        bins: how many bins the values fall into; the rule of Freedman and Diaconis unless given.

    Raises:
        ValueError: fewer than two values, values that are not finite or all equal, ``bins`` below 1
            or above 100,000.
        TypeError: values that are not real numbers, ``bins`` that is not a whole number.
    """
    values = np.ravel(_check.real_array("values", values))
    if values.size < 2:
        raise ValueError(f"a histogram needs at least two values, got {values.size}")
    _check.finite("values", values)
    with np.errstate(over="ignore"):
        spread = np.ptp(values)
    if not np.isfinite(spread):
        raise ValueError("values are spread over more than a float64 can hold")
    if spread == 0:
        raise ValueError(f"all {values.size} values are equal ({values[0]}): they have no spread")
    number = _freedman_diaconis(values) if bins is None else _check.count("bins", bins)
    if number > _MOST_BINS:
        raise ValueError(f"bins must be at most {_MOST_BINS:,}, got {number:,}")
    edges = np.histogram_bin_edges(values, number)
    width = float(edges[1] - edges[0])
    counts, _ = np.histogram(values, edges)
    left_edge = edges[0] + width * np.arange(-number, 2 * number)
    return Histogram(left_edge, width, np.pad(counts, number) / values.size)


def _freedman_diaconis(values: Float[np.ndarray, "values"]) -> int:
    """Bins of width 2 IQR / n^(1/3), at most a thousand: a far outlier would ask for millions."""
    low, high = np.quantile(values, (0.25, 0.75))
    width = 2 * (high - low) / np.cbrt(values.size)
    return min(1000, int(np.ceil(np.ptp(values) / width))) if width > 0 else 10
