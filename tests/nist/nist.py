"""Read a nonlinear-regression file of NIST's Statistical Reference Datasets."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """Data and certificate; parameters are b1, b2, ... in order."""

    x: np.ndarray
    y: np.ndarray
    starts: tuple[np.ndarray, np.ndarray]
    certified: np.ndarray
    residual_sum_of_squares: float


def read(name: str) -> Dataset:
    """The data set of that name, such as ``Misra1a``."""
    lines = (Path(__file__).parent / f"{name}.dat").read_text().splitlines()
    parameters = np.array(
        [line.split("=")[1].split() for line in lines if re.match(r"\s*b\d+\s*=", line)], float
    )
    first, last = _lines_of("Data", lines)
    y, x = np.array([line.split() for line in lines[first - 1 : last]], float).T
    rss = next(line for line in lines if line.startswith("Residual Sum of Squares"))
    start_1, start_2, certified, _ = parameters.T
    return Dataset(x, y, (start_1, start_2), certified, float(rss.split(":")[1]))


def _lines_of(part: str, lines: list[str]) -> tuple[int, int]:
    """The first and last line of a part, counted from 1, as the file's header gives them."""
    pattern = re.compile(rf".*\b{part}\s+\(lines\s+(\d+)\s+to\s+(\d+)\)")
    first, last = next(match.groups() for match in map(pattern.match, lines) if match)
    return int(first), int(last)
