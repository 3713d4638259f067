"""Columns of numbers from a CSV file, with errors that name the line."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Row(NamedTuple):
    """A row of a file, and the line it ends on."""

    line: int
    cells: list[str]


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a CSV file that are not blank (UTF-8, a byte-order mark allowed).

    Raises:
        OSError: the file cannot be read.
        ValueError: it is empty, not UTF-8 text, or a row is longer or shorter than the first.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file of UTF-8 text: {error}") from error
    rows = [row for row in rows if any(row.cells)]
    if not rows:
        raise ValueError(f"{path} is empty")
    for row in rows:
        if len(row.cells) != len(rows[0].cells):
            raise ValueError(
                f"{path}, line {row.line}: {len(row.cells)} cell(s), expected "
                f"{len(rows[0].cells)} as in the first row"
            )
    return rows


def read_columns(path: str | Path, columns: Sequence[str]) -> list[Float[np.ndarray, "rows"]]:
    """Columns of finite numbers, by the names in the header of a CSV file.

    A first row whose cells are all numbers is no header: the columns are then called 0, 1, ...

    Raises:
        OSError: the file cannot be read.
        ValueError: a column is missing, or there are two of its name; it has no rows, or holds a
            cell that is no finite number.
    """
    names, rows = _named(read_rows(path))
    for name in columns:
        if name not in names:
            known = ", ".join(names)
            raise ValueError(f"{path} has no column {name!r}; its columns are {known}")
        if names.count(name) > 1:
            raise ValueError(f"{path} has {names.count(name)} columns {name!r}")
    if not rows:
        raise ValueError(f"{path} has a header but no rows")
    return [numbers(path, rows, names.index(name)) for name in columns]


def only_column(path: str | Path) -> str:
    """The name of the column of a CSV file that has just one, 0 where there is no header.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has several columns.
    """
    names, _ = _named(read_rows(path))
    if len(names) != 1:
        raise ValueError(f"{path} has the columns {', '.join(names)}: say which")
    return names[0]


def _named(rows: list[Row]) -> tuple[list[str], list[Row]]:
    """The names of the columns, and the rows of data."""
    first = rows[0].cells
    if None in map(parse_number, first):
        return first, rows[1:]
    return [str(place) for place in range(len(first))], rows


def numbers(path: str | Path, rows: Sequence[Row], column: int) -> Float[np.ndarray, "rows"]:
    """One column of rows as finite numbers.

    Raises:
        ValueError: a cell that is not a finite number.
    """
    values = np.array([parse_number(row.cells[column]) for row in rows], float)
    for row, is_good in zip(rows, np.isfinite(values), strict=True):
        if not is_good:
            raise ValueError(
                f"{path}, line {row.line}: {row.cells[column]!r} is not a finite number"
            )
    return values


def parse_number(cell: str) -> float | None:
    """The number in a cell (NaN and infinities included), or None if it holds none."""
    try:
        return float(cell)
    except ValueError:
        return None
