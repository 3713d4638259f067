"""``python -m mlcalc_jax fit``: results, exit codes, and nothing left behind."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlcalc_jax._command_line import main

X = np.linspace(0, 4, 30)
Y = 3 * np.exp(-1.2 * X) + 0.5 + 0.02 * np.random.default_rng(0).normal(size=30)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with data and a model of the user's."""
    rows = [f"{a},{b},0.02" for a, b in zip(X, Y, strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["t,signal,error", *rows]))
    (tmp_path / "dup.csv").write_text("t,y,y\n1,2,3\n2,3,4\n")
    (tmp_path / "plain.csv").write_text("".join(f"{k},{1 + 2 * k}\n" for k in range(10)))
    (tmp_path / "mine.py").write_text("def cool(p, t):\n    return p['a'] / (1 + p['k'] * t)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


BASE = ["fit", "data.csv", "--x", "t", "--y", "signal"]


@pytest.mark.slow
def test_fit_leaves_report_figure_and_json(folder: Path) -> None:
    """Outside fact: SciPy's curve_fit of the same data; run as a user runs it."""
    from scipy.optimize import curve_fit

    command = [sys.executable, "-m", "mlcalc_jax", *BASE, "--sigma", "error"]
    command += ["--model", "exponential_decay", "--out", "out"]
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": root})
    assert done.returncode == 0, done.stderr
    assert "exponential_decay: Converged" in done.stdout
    assert {f.name for f in (folder / "out").iterdir()} == {
        "report.txt",
        "fit.json",
        "fit.png",
        "fit.svg",
    }
    found = json.loads((folder / "out" / "fit.json").read_text())
    popt, pcov = curve_fit(lambda t, a, k, c: a * np.exp(-k * t) + c, X, Y, [1, 1, 0])
    for k, name in enumerate(("amplitude", "rate", "offset")):
        assert_allclose(found["parameters"][name]["value"], popt[k], rtol=1e-6)
        assert_allclose(found["parameters"][name]["stderr"], pcov[k, k] ** 0.5, rtol=1e-4)


@pytest.mark.slow
def test_a_model_from_a_file_with_start_bounds_and_fixed(folder: Path) -> None:
    """Outside fact: the bound and the fixed value themselves."""
    options = ["--model", "mine.py:cool", "--start", "a=2,k=0.5", "--bounds", "a=:2.5"]
    assert main([*BASE, *options, "--out", "out"]) == 0
    found = json.loads((folder / "out" / "fit.json").read_text())
    assert found["parameters"]["a"]["value"] == 2.5
    assert main([*BASE, *options, "--fixed", "k", "--out", "other"]) == 0
    found = json.loads((folder / "other" / "fit.json").read_text())
    assert found["parameters"]["k"] == {
        "value": 0.5,
        "stderr": 0.0,
        "fixed": True,
        "undetermined": False,
    }


def test_a_fit_that_does_not_converge_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside fact: the documented exit code; the results are written all the same."""
    (folder / "two.py").write_text("def two(p, t):\n    return (p['a'] + p['b']) * t\n")
    code = main([*BASE, "--model", "two.py:two", "--start", "a=1,b=1", "--out", "out"])
    assert code == 1
    assert "Undetermined: a, b" in capsys.readouterr().err
    found = json.loads((folder / "out" / "fit.json").read_text())
    assert found["parameters"]["a"]["stderr"] is None
    assert not found["converged"]


@pytest.mark.slow
def test_a_file_without_a_header_loses_no_point(folder: Path) -> None:
    """Outside fact: the file has ten rows."""
    plain = ["fit", "plain.csv", "--x", "0", "--y", "1", "--model", "polynomial"]
    assert main([*plain, "--start", "coefficients=0:1:0", "--out", "out"]) == 0
    found = json.loads((folder / "out" / "fit.json").read_text())
    assert found["points"] == 10
    values = [parameter["value"] for parameter in found["parameters"].values()]
    assert_allclose(values, [1, 2, 0], atol=1e-9)


def test_names_with_commas_and_blanks(folder: Path) -> None:
    """A comma within double quotes belongs to the name; blanks beside one do not."""
    (folder / "comma.csv").write_text('"t, s",y\n0,1\n1,3\n2,5\n')
    lines = ["fit", "comma.csv", "--x", '"t, s"', "--y", "y", "--model", "gaussian_peak"]
    start = ["--start", "amplitude=0,mu=1,sigma=1,offset=2", "--fixed", "mu, sigma,offset"]
    main([*lines, *start, "--out", "out"])
    found = json.loads((folder / "out" / "fit.json").read_text())["parameters"]
    assert [name for name in found if not found[name]["fixed"]] == ["amplitude"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "none.csv", "--x", "t", "--y", "signal", "--model", "line"], "No such file"),
        (["fit", "data.csv", "--x", "u", "--y", "signal", "--model", "line"], "no column 'u'"),
        ([*BASE, "--model", "lime"], "there is no model 'lime'"),
        ([*BASE, "--model", "none.py:f"], "none.py is no Python file"),
        ([*BASE, "--model", "mine.py:f"], "has no function 'f'"),
        ([*BASE, "--model", "mine.py:cool"], "no guess of its own"),
        ([*BASE, "--model", "line", "--start", "slope"], "--start must be NAME=VALUE"),
        ([*BASE, "--model", "line", "--bounds", "slope=1"], "--bounds must be NAME=LOW:HIGH"),
        ([*BASE, "--model", "line", "--fixed", "pitch"], "fixed names 'pitch'"),
        ([*BASE, "--model", "line", "--level", "95"], "level must be between 0 and 1"),
        ([*BASE, "--model", "line", "--out", "."], "already holds something"),
        ([*BASE, "--model", "polynomial", "--start", "coefficients=1"], "params of shape"),
        ([*BASE, "--model", "line", "--start", "slope=1:b"], "VALUE:VALUE:... for a vector"),
        (["fit", "dup.csv", "--x", "t", "--y", "y", "--model", "line"], "has 2 columns 'y'"),
        (["fit", "plain.csv", "--x", "t", "--y", "y", "--model", "line"], "columns are 0, 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside fact: the documented exit code; nothing is left behind."""
    before = set(folder.iterdir())
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert {f for f in folder.iterdir() if f.name != "__pycache__"} == before


def test_help_and_models(capsys: pytest.CaptureFixture[str]) -> None:
    """Outside fact: the models that the package documents."""
    assert main([]) == 0
    assert "fit" in capsys.readouterr().out
    assert main(["models"]) == 0
    assert "gaussian_peak: Gaussian peak" in capsys.readouterr().out
