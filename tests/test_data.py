"""Data sets against their sources, and readers against files good and bad."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlcalc_jax as mc


def test_heights_histogram_is_the_assignments() -> None:
    """Outside fact: the table of the course's assignment."""
    bins = mc.data.heights_histogram()
    assert_array_equal(bins.left_edge, np.arange(50, 300, 2.5))
    assert bins.width == 2.5
    filled = bins.frequency > 0
    assert_array_equal(bins.left_edge[filled], np.arange(160, 200, 2.5))
    assert_allclose(bins.frequency.sum(), 0.995, rtol=1e-12)
    assert_array_equal(bins.centre, bins.left_edge + 1.25)
    assert_allclose(bins.density, bins.frequency / (0.995 * 2.5), rtol=1e-12)
    assert_allclose(np.sum(bins.density * 2.5), 1, rtol=1e-14)


@pytest.mark.parametrize(("sex", "people"), [(None, 5185), ("F", 2685), ("M", 2500)])
def test_nhanes_heights(sex: Any, people: int) -> None:
    """Outside fact: the file of the survey, read here by the csv module alone."""
    path = Path(mc.__file__).parent / "data" / "files" / "nhanes_2017_2018_adults20plus.csv"
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if sex in (None, row["sex"])]
    heights = mc.data.nhanes_heights(sex)
    assert heights.shape == (people,)
    assert heights.dtype == np.float64
    assert_array_equal(heights, [float(row["height_cm"]) for row in rows])


@pytest.mark.usefixtures("annotations_unchecked")
def test_nhanes_heights_of_no_sex() -> None:
    """Outside fact: the documented error."""
    with pytest.raises(ValueError, match='sex must be "F", "M" or None, got \'X\''):
        mc.data.nhanes_heights("X")  # type: ignore[arg-type]


def test_heart_is_the_formula() -> None:
    """Outside fact: the course's formula, in complex exponentials instead of cosines."""
    curve = mc.data.curve("heart", 50)
    x = np.arange(50) / 50
    turn = np.exp(2j * np.pi * x)
    across = 4 * (3 * turn.imag - (turn**3).imag)  # 16 sin^3 t
    up = (13 * turn - 5 * turn**2 - 2 * turn**3 - turn**4).real
    assert_array_equal(curve.x, x)
    assert_allclose(curve.y, (np.stack([across, up]) / 20 + 1) / 2, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", mc.data.CURVES)
def test_curves_lie_in_the_unit_square(name: str) -> None:
    """Outside fact: where a sigmoid can go, strictly between 0 and 1."""
    curve = mc.data.curve(name, 64)
    assert curve.y.shape == (2, 64)
    assert curve.y.dtype == curve.x.dtype == np.float64
    assert (curve.y > 0).all()
    assert (curve.y < 1).all()
    assert (np.ptp(curve.y, axis=1) > 0.5).all()


def _cos_6s_squared(sin_2s: np.ndarray) -> np.ndarray:
    cos_squared = 1 - sin_2s**2
    return cos_squared * (4 * cos_squared - 3) ** 2


@pytest.mark.parametrize(
    ("name", "equation"),
    [
        ("circle", lambda u, v: u**2 + v**2 - 0.8**2),
        ("figure_eight", lambda u, v: v**2 - 4 * u**2 * (1 - (u / 0.8) ** 2)),
        # cos 3s and sin 2s: T_2(cos 3s) = cos 6s = T_3(cos 2s), and (cos 2s)^2 = 1 - (sin 2s)^2
        ("lissajous", lambda u, v: (2 * (u / 0.8) ** 2 - 1) ** 2 - _cos_6s_squared(v / 0.8)),
        ("spiral", lambda u, v: np.hypot(u, v) - (0.1 + 0.7 * np.arange(64) / 64)),
    ],
)
def test_curves_satisfy_their_equations(name: str, equation: Callable[..., Any]) -> None:
    """Outside fact: the implicit equation of the curve in the plane."""
    u, v = 2 * mc.data.curve(name, 64).y - 1
    assert_allclose(equation(u, v), 0, atol=1e-12)


def test_letter_m_is_four_strokes_at_one_speed() -> None:
    """Its corners, and equal steps from each point to the next along a stroke."""
    u, v = 2 * mc.data.curve("letter_m", 6400).y - 1
    for corner in ((-0.8, -0.8), (-0.8, 0.8), (0, -0.2), (0.8, 0.8), (0.8, -0.8)):
        assert np.hypot(u - corner[0], v - corner[1]).min() < 2e-3
    steps = np.hypot(np.diff(u), np.diff(v))
    assert np.median(np.abs(steps / np.median(steps) - 1)) < 1e-9


def test_anscombe_s_sets_are_in_his_order() -> None:
    """Outside facts: I is scattered, II a parabola, III a line but for one, IV of one x but one."""
    one, two, three, four = mc.data.anscombe()
    left = [float(np.std(y - np.polyval(np.polyfit(x, y, 2), x))) for x, y in (one, two)]
    assert left[1] < 0.01 < 1 < left[0]
    most = np.argmax(three[1])
    rest = [np.delete(values, most) for values in three]
    assert np.std(rest[1] - np.polyval(np.polyfit(rest[0], rest[1], 1), rest[0])) < 0.01
    assert sorted(four[0].tolist()) == [8.0] * 10 + [19.0]


@pytest.mark.parametrize(
    ("name", "points", "error", "message"),
    [
        ("banana", 10, ValueError, "there is no curve 'banana'; the curves are heart, circle"),
        ("heart", 1, ValueError, "points must be at least 2, got 1"),
        ("heart", 10.0, TypeError, "points must be a whole number, got 10.0"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_curve_refuses(name: str, points: Any, error: Any, message: str) -> None:
    """Outside fact: the documented errors."""
    with pytest.raises(error, match=message):
        mc.data.curve(name, points)


@pytest.mark.parametrize("bins", [None, 5], ids=["fd", "five"])
def test_histogram_is_numpys_with_empty_neighbours(bins: int | None) -> None:
    """Outside fact: numpy.histogram."""
    values = np.random.default_rng(0).normal(170, 8, 200)
    counts, edges = np.histogram(values, "fd" if bins is None else bins)
    found = mc.data.histogram(values, bins)
    n = len(counts)
    assert found.frequency.shape == (3 * n,)
    assert_allclose(found.frequency[n : 2 * n], counts / 200, rtol=1e-14)
    assert not found.frequency[:n].any()
    assert not found.frequency[2 * n :].any()
    assert_allclose(found.left_edge[n : 2 * n], edges[:-1], rtol=1e-12)
    assert_allclose(np.diff(found.left_edge), found.width, rtol=1e-9)
    assert_allclose(np.sum(found.density * found.width), 1, rtol=1e-13)


@pytest.mark.parametrize(
    ("values", "bins", "error", "message"),
    [
        ([1.0], None, ValueError, "at least two values, got 1"),
        ([], None, ValueError, "at least two values, got 0"),
        ([1.0, np.nan, 2.0], None, ValueError, "values must be finite, got 1"),
        ([1.0, np.inf], None, ValueError, "values must be finite"),
        ([3.0, 3.0, 3.0], None, ValueError, r"all 3 values are equal \(3.0\)"),
        (["a", "b"], None, TypeError, "values must be real numbers"),
        ([1.0, 2.0], 0, ValueError, "bins must be at least 1, got 0"),
        ([1.0, 2.0], 100_001, ValueError, "bins must be at most 100,000, got 100,001"),
        ([1.0, 2.0], 2.5, TypeError, "bins must be a whole number, got 2.5"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_histogram_refuses(values: Any, bins: Any, error: Any, message: str) -> None:
    """Outside fact: the documented errors."""
    with pytest.raises(error, match=message):
        mc.data.histogram(np.array(values), bins)


@pytest.mark.parametrize("values", [[1.0, *[2.0] * 50, 3.0], [*np.linspace(0, 1, 50), 1e9]])
def test_histogram_of_values_without_a_sensible_width(values: list[float]) -> None:
    """Outside fact: every value is counted, and a far outlier does not fill the memory."""
    found = mc.data.histogram(np.array(values))
    assert found.frequency.size <= 3000
    assert_allclose(found.frequency.sum(), 1, rtol=1e-12)


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "some.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n3,-4.5e1\n",
        "b,a\n2,1\n-45,3\n",
        '"a", b\r\n1 ,"2"\r\n\r\n3,-45',
        "\ufeffa,b\n1,2\n3,-45\n",
        "note,a,b\nx y,1,2\n,3,-45\n",
    ],
    ids=["plain", "swapped", "windows", "byte-order mark", "text beside"],
)
def test_read_columns(tmp_path: Path, text: str) -> None:
    """Outside fact: the numbers as written in the file above."""
    a, b = mc.data.read_columns(_write(tmp_path, text), ["a", "b"])
    assert_array_equal(a, [1, 3])
    assert_array_equal(b, [2, -45])
    assert a.dtype == np.float64


BAD_COLUMNS = [
    ("c,b\n1,2\n", r"has no column 'a'; its columns are c, b"),
    ("a,b\n1,2\nx,3\n", r"some.csv, line 3: 'x' is not a finite number"),
    ("a,b\n1,2\nnan,3\n", r"line 3: 'nan' is not a finite number"),
    ("a,b\n-inf,3\n", r"line 2: '-inf' is not a finite number"),
    ("a,b\n,3\n", r"line 2: '' is not a finite number"),
    ("a,b\n1,2\n3\n", r"line 3: 1 cell\(s\), expected 2 as in the first row"),
    ("a,b\n1,2,3\n", r"line 2: 3 cell\(s\), expected 2"),
    ("a,b\n", "has a header but no rows"),
    ("a,a\n1,2\n", "has 2 columns 'a'"),
    ("1,2\n3,4\n", "has no column 'a'; its columns are 0, 1"),
    ("", "is empty"),
    ("\n\n", "is empty"),
    (b"a,b\n1,\xff\xfe\n", "is not a CSV file of UTF-8 text"),
    (b"\x89PNG\r\n\x1a\n\x00", "is not a CSV file of UTF-8 text"),
]


@pytest.mark.parametrize(("text", "message"), BAD_COLUMNS)
def test_read_columns_refuses(tmp_path: Path, text: str | bytes, message: str) -> None:
    """Outside fact: the documented errors, with the line as an editor counts it."""
    with pytest.raises(ValueError, match=message):
        mc.data.read_columns(_write(tmp_path, text), ["a"])


@pytest.mark.parametrize("read", [lambda p: mc.data.read_columns(p, ["a"]), mc.data.read_curve])
def test_missing_file(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    """Outside fact: the error of open()."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read(tmp_path / "nowhere.csv")


def test_only_column(tmp_path: Path) -> None:
    """Outside fact: the header as written."""
    assert mc.data.only_column(_write(tmp_path, "height\n170\n")) == "height"
    path = _write(tmp_path, "170\n171\n")
    assert mc.data.only_column(path) == "0"
    assert_array_equal(mc.data.read_columns(path, ["0"]), [[170, 171]])
    with pytest.raises(ValueError, match="has the columns a, b: say which"):
        mc.data.only_column(_write(tmp_path, "a,b\n1,2\n"))


@pytest.mark.parametrize("header", ["", "across,up\n"], ids=["headerless", "header"])
def test_read_curve_scales_into_the_unit_square(tmp_path: Path, header: str) -> None:
    """Outside fact: the documented scale, worked by hand: 20 wide fills 0.1 to 0.9."""
    curve = mc.data.read_curve(_write(tmp_path, header + "10,5\n30,5\n30,15\n10,15\n"))
    assert_allclose(curve.x, [0, 0.25, 0.5, 0.75])
    assert_allclose(curve.y, [[0.1, 0.9, 0.9, 0.1], [0.3, 0.3, 0.7, 0.7]], rtol=1e-14)


BAD_CURVES = [
    ("1,2,3\n4,5,6\n", r"has 3 column\(s\), expected the two coordinates"),
    ("1\n2\n", r"has 1 column\(s\), expected the two coordinates"),
    ("1,2\n", r"has 1 point\(s\), a curve needs at least two"),
    ("a,b\n1,2\n", r"has 1 point\(s\), a curve needs at least two"),
    ("a,b\n", r"has 0 point\(s\)"),
    ("1,2\n1,2\n1,2\n", "all points are the same"),
    ("a,b\n1,2\nx,4\n5,6\n", r"line 3: 'x' is not a finite number"),
    ("1,a\n1,2\n3,4\n", r"line 1: 'a' is not a finite number"),
    ("nan,1\n1,2\n3,4\n", r"line 1: 'nan' is not a finite number"),
    ("1,2\n3\n", r"line 2: 1 cell\(s\), expected 2"),
    ("", "is empty"),
    (b"1,\xff\n", "is not a CSV file of UTF-8 text"),
]


@pytest.mark.parametrize(("text", "message"), BAD_CURVES)
def test_read_curve_refuses(tmp_path: Path, text: str | bytes, message: str) -> None:
    """Outside fact: the documented errors, with the line as an editor counts it."""
    with pytest.raises(ValueError, match=message):
        mc.data.read_curve(_write(tmp_path, text))
