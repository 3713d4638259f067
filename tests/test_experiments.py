"""The experiments, run as a user would: numbers, folders, exit codes, wrong input."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import mlcalc_jax as mc
from experiments import _run

from .cases import arrays

Cli = Callable[..., int]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """``python -m experiments.NAME ARGUMENTS``, in this process; returns the exit code."""

    def call(name: str, *arguments: object) -> int:
        module = importlib.import_module(f"experiments.{name}")
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        spec = ModuleSpec(f"experiments.{name}", None)
        return _run.main(spec, module.experiment, module.Config)

    return call


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines, strict=True))


def assert_same_numbers(a: Path, b: Path) -> None:
    first, second = arrays(a), arrays(b)
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.slow
def test_fit_heights_gives_the_course_s_numbers(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The values of the assignment: start, rounds 10, 25, 50, and the Hessian's stability limit."""
    assert cli("fit_heights", "--out", tmp_path / "run") == 0
    path = arrays(tmp_path / "run" / "path.npz")
    mu, sigma = path["params['mu']"], path["params['sigma']"]
    assert path["cost"][0] == pytest.approx(0.0323333, abs=5e-8)
    np.testing.assert_allclose([mu[10], sigma[10]], [164.96, 19.59], atol=0.005)
    np.testing.assert_allclose([mu[25], sigma[25]], [175.13, 12.95], atol=0.005)
    np.testing.assert_allclose([mu[50], sigma[50]], [178.519824, 7.549908], atol=5e-7)
    assert path["cost"][50] == pytest.approx(4.392454e-4, abs=5e-11)
    assert "5106.5" in capsys.readouterr().out
    ends = {float(row["aggression"]): row for row in table(tmp_path / "run" / "aggressions.csv")}
    for aggression, expected in {500: (168.29, 17.75), 1000: (176.65, 10.34)}.items():
        reached = float(ends[aggression]["mu"]), float(ends[aggression]["sigma"])
        np.testing.assert_allclose(reached, expected, atol=0.005)
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        *("fit.png", "fit.svg", "stability.png", "stability.svg"),
        *("path.npz", "histogram.npz", "aggressions.csv", "config.json"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "files"),
    [
        ("fit_heights", ("--aggression", 1500, "--rounds", 7), ["path.npz", "histogram.npz"]),
        (
            "draw_curve",
            ("--quick", "--seed", 3, "--steps", 40, "--seeds", 2, "--sizes", 1, 4, 2),
            ["path.npz", "curve.npz"],
        ),
    ],
)
def test_saved_configuration_gives_the_same_numbers(
    cli: Cli, tmp_path: Path, name: str, options: tuple[object, ...], files: list[str]
) -> None:
    """A run from config.json replays the first to the last bit, and records the same options."""
    first, again = tmp_path / "first", tmp_path / "again"
    assert cli(name, *options, "--out", first) == 0
    assert cli(name, "--config", first / "config.json", "--out", again) == 0
    for file in files:
        assert_same_numbers(first / file, again / file)
    assert json.loads((first / "config.json").read_text()) == json.loads(
        (again / "config.json").read_text()
    )


@pytest.mark.slow
def test_config_can_be_overridden_and_must_fit(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option beside --config wins; a file of another experiment, or none, is an error."""
    assert cli("fit_heights", "--rounds", 5, "--out", tmp_path / "a") == 0
    saved = tmp_path / "a" / "config.json"
    assert cli("fit_heights", "--config", saved, "--rounds", 6, "--out", tmp_path / "b") == 0
    assert len(arrays(tmp_path / "b" / "path.npz")["cost"]) == 7
    capsys.readouterr()
    assert cli("draw_curve", "--config", saved) == 2
    assert cli("fit_heights", "--config", tmp_path / "none.json") == 2
    assert cli("fit_heights", "--config", __file__) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.slow
def test_both_jacobians_give_the_same_path(cli: Cli, tmp_path: Path) -> None:
    """The chain rule by hand against JAX's own, over a stochastic descent of 300 steps."""
    paths = {}
    for jacobian in ("backprop", "grad"):
        out = tmp_path / jacobian
        options = ("--steps", 300, "--seeds", 0, "--animation", "none", "--jacobian", jacobian)
        assert cli("draw_curve", *options, "--out", out) == 0
        paths[jacobian] = arrays(out / "path.npz")
    np.testing.assert_allclose(paths["backprop"]["cost"], paths["grad"]["cost"], rtol=1e-9)


@pytest.mark.slow
def test_draw_curve_learns_the_user_s_points(cli: Cli, tmp_path: Path) -> None:
    """Points from a CSV file, an animation as HTML, and a cost that has fallen."""
    points = tmp_path / "points.csv"
    points.write_text("x,y\n0,0\n1,0.5\n2,2\n3,3\n5,3\n")
    out = tmp_path / "run"
    options = ("--curve", points, "--steps", 300, "--seeds", 2, "--animation", "html")
    assert cli("draw_curve", *options, "--noise", 0.1, "--out", out) == 0
    cost = arrays(out / "path.npz")["cost"]
    assert cost[-1] < 0.5 * cost[0]
    assert (out / "learning.html").stat().st_size > 10_000
    assert arrays(out / "curve.npz")["drawn"].shape == (2, 5)
    assert [row["step"] for row in table(out / "seeds.csv")][-1] == "300"


@pytest.mark.slow
def test_fit_heights_fits_the_user_s_heights(cli: Cli, tmp_path: Path) -> None:
    """2,000 draws from N(1.7, 0.1) in metres: the fit is within four standard errors."""
    file = tmp_path / "heights.csv"
    values = np.random.default_rng(0).normal(1.7, 0.1, 2000)
    file.write_text("name,tall\n" + "".join(f"somebody,{value!r}\n" for value in values.tolist()))
    out = tmp_path / "run"
    options = ("--data", file, "--column", "tall", "--unit", "m", "--rounds", 100)
    assert cli("fit_heights", *options, "--out", out) == 0
    path = arrays(out / "path.npz")
    # A least-squares fit to bins has about 1.5 times the standard error of the sample moments.
    assert path["params['mu']"][-1] == pytest.approx(1.7, abs=4 * 1.5 * 0.1 / 2000**0.5)
    assert path["params['sigma']"][-1] == pytest.approx(0.1, abs=4 * 1.5 * 0.1 / 4000**0.5)


@pytest.mark.slow
@pytest.mark.parametrize("sex", ["F", "M"])
def test_fit_heights_fits_measured_adults(cli: Cli, tmp_path: Path, sex: Any) -> None:
    """The Gaussian fitted to the NHANES adults is near their mean and standard deviation."""
    heights = mc.data.nhanes_heights(sex)
    assert cli("fit_heights", "--data", "nhanes", "--sex", sex, "--out", tmp_path / "run") == 0
    path = arrays(tmp_path / "run" / "path.npz")
    assert path["params['mu']"][-1] == pytest.approx(heights.mean(), abs=0.5)
    assert path["params['sigma']"][-1] == pytest.approx(heights.std(), abs=0.5)


@pytest.mark.slow
def test_compare_optimisers_tells_them_apart(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Least-squares methods find the known optimum of the heights; Newton mostly does not."""
    out = tmp_path / "run"
    options = ("--quick", "--problems", "heights", "rosenbrock", "--trials", 6, "--out", out)
    assert cli("compare_optimisers", *options) == 0
    rows = {(row["problem"], row["optimiser"]): row for row in table(out / "medians.csv")}
    assert len(rows) == 16
    for name in ("Levenberg-Marquardt", "L-BFGS"):
        row = rows["heights", name]
        assert float(row["lowest_cost"]) == pytest.approx(4.392454e-4, rel=1e-6)
        assert float(row["share"]) == 1
    assert float(rows["heights", "Newton"]["share"]) < 0.5
    assert float(rows["rosenbrock", "Gauss-Newton"]["steps_to_target"]) == 2  # from anywhere
    assert "Levenberg-Marquardt" in capsys.readouterr().out
    assert "fresh seeds; those count" in (out / "report.txt").read_text()
    race = mc.Comparison.load(out / "comparison.npz")
    assert len(table(out / "runs.csv")) == len(race.records())
    figures = ("heights_race", "heights_sensitivity", "heights_paths", "rosenbrock_race")
    for name in (*figures, "profiles"):
        assert (out / f"{name}.svg").stat().st_size > 10_000


@pytest.mark.slow
def test_tournament_on_three_problems(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All twelve and one of optax.contrib; who solves most comes first, and it can be resumed."""
    options = ("--problems", "line", "rosenbrock", "--seeds", 3, "--tuning-seeds", 2, "--quick")
    kept = ("--contrib", "prodigy", "--resume", tmp_path / "kept")
    assert cli("tournament", *options, *kept, "--out", tmp_path / "run") == 0
    rows = table(tmp_path / "run" / "summary.csv")
    assert len(rows) == 13
    shares = {row["optimiser"]: float(row["share"]) for row in rows}
    assert shares["Gauss-Newton"] == shares["Levenberg-Marquardt"] == 1
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert "prodigy" in capsys.readouterr().out
    assert len(list((tmp_path / "kept").glob("*.npz"))) == 26
    assert cli("tournament", *options, *kept, "--out", tmp_path / "again") == 0
    assert table(tmp_path / "again" / "summary.csv") == rows


@pytest.mark.slow
def test_divergence_is_said_and_the_path_kept(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An enormous step exits with 1, names the cause in one line and leaves the whole folder."""
    for name, options in (("fit_heights", ()), ("draw_curve", ("--quick", "--seeds", 0))):
        out = tmp_path / name
        assert cli(name, "--aggression", 1e9, *options, "--out", out) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "the descent" in line
        assert len(arrays(out / "path.npz")["cost"]) > 50
        assert json.loads((out / "config.json").read_text())["failure"] == line.removeprefix(
            "error: "
        )


BAD_FILES = {
    "text.csv": "height\n170\ntall\n",
    "row.csv": "height\n170\n",
    "far.csv": "height\n1e308\n-1e308\n",
    "equal.csv": "height\n170\n170\n170\n",
    "point.csv": "0.5,0.5\n",
    "nan.csv": "0,0\n1,nan\n2,2\n",
    "wide.csv": "1e308,0\n-1e308,1\n0,2\n",
    "huge.csv": "x,y\n1,1e160\n2,2e160\n3,4e160\n",
}


@pytest.mark.parametrize(
    ("name", "arguments", "cause"),
    [
        ("fit_heights", "--data nowhere.csv --column height", "nowhere.csv: No such file"),
        ("fit_heights", "--data text.csv --column weight", "no column 'weight'"),
        ("fit_heights", "--data text.csv --column height", "line 3: 'tall' is not a finite"),
        ("fit_heights", "--data row.csv", "at least two values, got 1"),
        ("fit_heights", "--data equal.csv", "all 3 values are equal"),
        ("fit_heights", "--data .", "directory"),
        ("fit_heights", "--sex F", "--sex chooses among"),
        ("fit_heights", "--column height", "--column names a column"),
        ("fit_heights", "--bins 9", "--bins is for raw heights"),
        ("fit_heights", "--data nhanes --bins 0", "bins must be at least 1, got 0"),
        ("fit_heights", "--data nhanes --bins 1000000000", "bins must be at most 100,000"),
        ("fit_heights", "--sigma 0", "sigma must be finite and above zero"),
        ("fit_heights", "--mu nan", "params['mu'] must be finite"),
        ("fit_heights", "--rounds 0", "rounds must be at least 1"),
        *(
            (name, f"--aggression {value}", "aggression must be finite and above zero")
            for name in ("fit_heights", "draw_curve")
            for value in (0, -3, "nan", "inf")
        ),
        ("draw_curve", "--curve point.csv", "1 point(s), a curve needs at least two"),
        ("draw_curve", "--curve nan.csv", "line 2: 'nan' is not a finite number"),
        ("draw_curve", "--curve hart", "there is no curve 'hart'"),
        ("draw_curve", "--points 1", "points must be at least 2"),
        ("draw_curve", "--seed 99999999999999999999", "seed must lie from 0 to 2^63"),
        ("coverage", "--seed -1", "seed must lie from 0"),
        ("coverage", "--samples 0", "samples must be at least 1, got 0"),
        ("nist", "--starts -1", "starts must not be negative, got -1"),
        ("fit_heights", "--data nhanes --bins 1", "all heights lie in one bin"),
        ("draw_curve", "--curve wide.csv", "farther apart than a float64 can hold"),
        ("regression", "--data huge.csv", "the squares are beyond a float64"),
        ("sandpit_arena", "--levels bowl bowl", "levels must differ, got bowl, bowl"),
        ("draw_curve", "--out ~nobody_lives_here/run", "~nobody_lives_here/run: "),
        ("fit_heights", "--data far.csv", "more than a float64 can hold"),
        ("draw_curve", "--noise -1", "noise must be finite and not negative"),
        ("draw_curve", "--sizes 1 6 7", "sizes must begin with 1 and end with 2"),
        ("draw_curve", "--sizes 1 0 2", "sizes[1] must be at least 1"),
        ("draw_curve", "--steps 0", "steps must be at least 1"),
        ("compare_optimisers", "--steps 0", "steps must be at least 1"),
        ("compare_optimisers", "--problems heigths", "there is no problem 'heigths'"),
        ("compare_optimisers", "--problems", "name at least one problem"),
        ("compare_optimisers", "--problems heights --target 1e-9", "below the known minimum"),
        ("tournament", "--contrib nobody", "optax.contrib has no optimiser 'nobody'"),
        ("draw_curve", "--out row.csv", "row.csv already holds something"),
        ("draw_curve", "--out row.csv/below", "row.csv"),
        ("draw_curve", "--out .", "already holds something"),
        ("draw_curve", "--out /proc/nowhere", "/proc"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    arguments: str,
    cause: str,
) -> None:
    """A one-line error that names the cause, no traceback, and nothing written."""
    monkeypatch.chdir(tmp_path)
    for file, text in BAD_FILES.items():
        (tmp_path / file).write_text(text)
    out = [] if "--out" in arguments else ["--out", "out"]
    assert cli(name, *arguments.split(), *out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert cause in line
    assert {file.name for file in tmp_path.iterdir()} == set(BAD_FILES)


def test_interruption_keeps_what_was_done(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C while the figures are made: exit code 130, and the path is in the folder."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mc.plots, "learning", interrupt)
    out = tmp_path / "run"
    assert cli("draw_curve", "--quick", "--steps", 20, "--out", out) == 130
    assert {file.name for file in out.iterdir()} == {"path.npz", "curve.npz", "config.json"}
    assert "interrupted" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_scheduler_s_end_keeps_what_was_done(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM is as Ctrl-C; after the run it means again what it meant before."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(mc.plots, "learning", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    out = tmp_path / "run"
    assert cli("draw_curve", "--quick", "--steps", 20, "--out", out) == 130
    assert {file.name for file in out.iterdir()} == {"path.npz", "curve.npz", "config.json"}
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end in another way")
def test_a_run_goes_on_where_nobody_reads(tmp_path: Path) -> None:
    """As with ``| head``: the results are whole."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.fit_heights", "--quick", "--out", tmp_path / "run"],
            stdout=write, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1],
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.stderr, done.returncode) == (b"", 0)
    assert (tmp_path / "run" / "stability.png").exists()


@pytest.mark.parametrize(
    ("name", "option", "cause"),
    [
        ("fit_heights", "--mu=1e6", "did not move from mu = 1e+06 cm"),
        ("backprop", "--aggression=1e300", "diverged at aggression 1e+300"),
    ],
)
def test_a_descent_that_is_none_is_said(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, option: str, cause: str
) -> None:
    """Exit code 1, and the folder is whole."""
    assert cli(name, "--quick", option, "--out", tmp_path / "run") == 1
    assert cause in capsys.readouterr().err
    assert (tmp_path / "run" / "config.json").exists()


def test_a_circle_of_solutions_is_not_all_printed(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each point is stationary: the table has all, the terminal a page."""
    own = ("--function", "x**2 + y**2", "--constraint", "x**2 + y**2 - 1")
    assert cli("lagrange", *own, "--out", tmp_path / "run") == 0
    rows = table(tmp_path / "run" / "stationary_points.csv")
    said = capsys.readouterr().out
    assert said.count("degenerate") == 40
    assert f"and {len(rows) - 40} more" in said


def test_nist_keeps_what_it_has_solved(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Outside fact: two problems solved to the certified digits; stopped, the first is kept."""
    monkeypatch.setattr(mc.data, "NIST", ("Misra1a", "Chwirut2"))
    options = ("--alone", "--starts", 2)
    assert cli("nist", *options, "--out", tmp_path / "run") == 0
    rows = [row for row in table(tmp_path / "run" / "runs.csv") if "float32" not in row["solver"]]
    assert len(rows) == 4
    assert min(float(row["digits"]) for row in rows) > 8
    assert len(table(tmp_path / "run" / "perturbed.csv")) == 2
    certified = mc.data.nist

    def stopped(name: str) -> Any:
        if name == "Chwirut2":
            raise KeyboardInterrupt
        return certified(name)

    monkeypatch.setattr(mc.data, "nist", stopped)
    assert cli("nist", *options, "--out", tmp_path / "cut") == 130
    assert {row["problem"] for row in table(tmp_path / "cut" / "runs.csv")} == {"Misra1a"}
    assert "what was done by then is kept" in capsys.readouterr().err


def test_an_empty_folder_is_filled_wherever_it_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind a link, or the one where we are; options that begin with a minus come back."""
    real, here = tmp_path / "real", tmp_path / "here"
    real.mkdir()
    here.mkdir()
    (tmp_path / "link").symlink_to(real)
    options = ("--function=-x**2", "--variables", "x", "--at", 1)
    assert cli("derivatives", *options, "--out", tmp_path / "link") == 0
    monkeypatch.chdir(here)
    assert cli("derivatives", "--config", real / "config.json", "--out", ".") == 0
    assert {file.name for file in here.iterdir()} == {file.name for file in real.iterdir()}
    assert (here / "gradient.csv").read_text() == (real / "gradient.csv").read_text()
    assert {file.name for file in tmp_path.iterdir()} == {"real", "here", "link"}

    def filled_meanwhile(*_: Any) -> None:
        (tmp_path / "late" / "other").touch()

    (tmp_path / "late").mkdir()
    monkeypatch.setattr(
        importlib.import_module("experiments.derivatives"), "_by_hand", filled_meanwhile
    )
    capsys.readouterr()
    assert cli("derivatives", *options, "--out", tmp_path / "late") == 2
    (line,) = capsys.readouterr().err.splitlines()
    kept = Path(line.rpartition("the results are in ")[2])
    assert (kept / "gradient.csv").exists()


@pytest.mark.slow
def test_regression_of_points_on_a_line(cli: Cli, tmp_path: Path) -> None:
    """Outside fact: y = 2 x + 1; there is no ellipse to draw."""
    (tmp_path / "line.csv").write_text("x,y\n" + "".join(f"{x},{2 * x + 1}\n" for x in range(5)))
    assert cli("regression", "--data", tmp_path / "line.csv", "--out", tmp_path / "run") == 0
    assert float(table(tmp_path / "run" / "line.csv")[0]["slope"]) == pytest.approx(2)
    assert not (tmp_path / "run" / "ellipse.png").exists()


def test_a_full_disk_leaves_nothing_half_written(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An OSError while saving is the user's to know, in one line, with no folder left behind."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    assert cli("fit_heights", "--out", tmp_path / "run") == 2
    assert capsys.readouterr().err == "error: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_the_list_names_every_experiment() -> None:
    """``python -m experiments --list`` in an interpreter of its own."""
    listed = subprocess.run(
        [sys.executable, "-m", "experiments", "--list"], check=True, capture_output=True, text=True
    ).stdout
    for name in ("draw_curve", "fit_heights", "compare_optimisers"):
        assert f"  {name} " in listed


def test_main_job_runs_the_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The main job hands its options on and reports the worst exit code."""
    main_module = importlib.import_module("experiments.__main__")
    calls: list[tuple[str, int, bool, Path]] = []

    def pretend(name: str, _: object, config: Any) -> int:
        calls.append((name, config.seed, config.quick, config.out))
        return int(name == "fit_heights")

    monkeypatch.setattr(main_module, "run", pretend)
    monkeypatch.setattr(
        sys, "argv", ["experiments", "--seed", "4", "--quick", "--out", str(tmp_path)]
    )
    assert main_module.main() == 1
    assert calls == [
        (name, 4, True, tmp_path / name)
        for name in ("draw_curve", "fit_heights", "compare_optimisers")
    ]
    calls.clear()
    monkeypatch.setattr(main_module, "run", lambda *given: pretend(*given) or 130)
    assert main_module.main() == 130
    assert len(calls) == 1
    capsys.readouterr()


@pytest.mark.slow
def test_benchmarks_run(cli: Cli, tmp_path: Path) -> None:
    """The peers of the benchmark compute the Jacobian that ``backprop`` computes."""
    peers = importlib.import_module("experiments.benchmarks._peers")
    rng = np.random.default_rng(1)
    layers = [
        (rng.normal(size=(m, n)), rng.normal(size=(m, 1))) for n, m in ((1, 6), (6, 7), (7, 2))
    ]
    target = mc.data.curve()
    params = tuple(mc.network.Layer(W, b[:, 0]) for W, b in layers)
    # Without the global flag JAX computes in float32 here; hence the tolerance.
    by_hand = mc.network.backprop(params, target.x, target.y).jacobian
    for step in (peers.course_step, peers.fused_step):
        stepped = step(layers, target.x[None], target.y, 1.0, lambda: 0.0)
        for (W, b), (W_new, b_new), J in zip(layers, stepped, by_hand, strict=True):
            np.testing.assert_allclose(W - W_new, J.W, atol=1e-6)
            np.testing.assert_allclose((b - b_new)[:, 0], J.b, atol=1e-6)
    assert cli("benchmarks.import_time", "--quick", "--repeats", 1, "--out", tmp_path / "t") == 0
    small = ("--fits", 300, "--repeats", 1, "--turns", 1)
    assert cli("benchmarks.fit_many", "--quick", *small, "--out", tmp_path / "many") == 0
    rows = table(tmp_path / "many" / "fit_many.csv")
    assert {"fit_many", "SciPy loop"} <= {row["way"] for row in rows}
    assert all(float(row["rate"]) > 0 for row in rows)
    ratios = table(tmp_path / "many" / "fit_many_ratios.csv")
    assert "float64" in {row["what"] for row in ratios}
    assert all(float(row["median"]) > 0 for row in ratios)


@pytest.mark.slow
def test_peers_of_many_fits_find_the_same() -> None:
    """A benchmark of different answers would be none."""
    peers = importlib.import_module("experiments.benchmarks._many_peers")
    bench = importlib.import_module("experiments.benchmarks.fit_many")
    case = bench.Case(0, bench.PEAK, 64, 25, np.float32)
    ours = np.stack([case.go()().params[name] for name in peers.NAMES], axis=1)
    for peer, _ in peers.peers().values():
        np.testing.assert_allclose(peer(case.x, case.y, case.flat_start()), ours, atol=2e-3)


@pytest.mark.slow
def test_approximations_tells_the_proved_bounds(cli: Cli, tmp_path: Path) -> None:
    """e^x + x + sin x = 1 + 3x + x^2/2 + x^4/24 + ...; the bound of 1/x is its error at 0.1."""
    assert cli("approximations", "--out", tmp_path / "run", "--orders", 4) == 0
    rows = {row["function"]: row for row in table(tmp_path / "run" / "bounds.csv")}
    coefficients = [float(c) for c in rows["sum"]["coefficients"].split()]
    np.testing.assert_allclose(coefficients, [1, 3, 1 / 2, 0, 1 / 24], rtol=1e-14, atol=1e-16)
    at_end = 10 - sum(0.9**k for k in range(5))
    assert float(rows["reciprocal"]["high"]) == pytest.approx(at_end, rel=1e-2)
    assert float(rows["reciprocal"]["high"]) >= at_end
    assert (tmp_path / "run" / "reciprocal.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--function", "nonsense"), "function must be one of cos"),
        (("--function", "reciprocal", "--radius", 2), "holds 0"),
        (("--function", "cos", "--orders", -1), "order must be at least 0"),
        (("--function", "cos", "--radius", 0), "radius must be finite and above zero"),
    ],
)
def test_approximations_with_wrong_input(
    cli: Cli,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    message: str,
) -> None:
    """One line that says what is wrong, and no folder."""
    assert cli("approximations", "--out", tmp_path / "run", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_localise_reaches_the_cramer_rao_bound(cli: Cli, tmp_path: Path) -> None:
    """Outside fact: no unbiased estimate scatters less than the Fisher information allows."""
    assert cli("localise", "--frames", 600, "--out", tmp_path / "run") == 0
    found = arrays(tmp_path / "run" / "localisations.npz")
    used = found["used"]
    assert used.mean() > 0.97
    for name in ("x", "y"):
        pulls = (found[name] - found[f"true_{name}"])[used] / found[f"stderr_{name}0"][used]
        assert 0.93 < np.sqrt(np.mean(pulls**2)) < 1.07  # 1,200 of them: 1 +- 0.02
        assert abs(np.mean(pulls)) < 0.12
    rows = table(tmp_path / "run" / "precision.csv")
    assert {row["fit"] for row in rows} == {"maximum likelihood", "least squares"}
    for kind in ("localise", "precision", "maps"):
        assert (tmp_path / "run" / f"{kind}.png").exists()


def test_localise_draws_what_was_fitted_where_it_was_found() -> None:
    """Fits that can be used at their positions, the others where they were cut out."""
    from experiments.localise import NAMES, _maps

    count = 6
    ones = {name: np.linspace(1, 2, count) for name in NAMES}
    rest = np.ones(count)
    status = np.full(count, mc.Status.COST_CONVERGED)
    found = mc.ManyFits(ones, ones, None, rest, rest, rest, status, rest)
    used = np.arange(count) < 4
    place, pixel = (rest * 0.25, rest * 0.75), (rest * 7, rest * 8)
    for ax in (axes := _maps(found, used, place, pixel).axes)[:3]:
        assert_array_equal(ax.collections[0].get_offsets(), [[0.25, 0.75]] * 4)
    assert_array_equal(axes[3].collections[0].get_offsets(), [[0.25, 0.75]] * 4 + [[7.0, 8.0]] * 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--frames", 0), "frames and molecules must be at least 1"),
        (("--side", 10), "side at least 4 half + 2"),
        (("--sigma", 0), "sigma must be above zero"),
        (("--faintest", 500), "must be above zero and rise"),
        (("--brightest", 200_000), "a pixel holds at most 50,000 photons"),
        (("--brightest", "inf"), "a pixel holds at most 50,000 photons"),
    ],
)
def test_localise_with_wrong_input(
    cli: Cli,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    message: str,
) -> None:
    """One line that says what is wrong, and no folder."""
    assert cli("localise", "--out", tmp_path / "run", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--frames", 1, "--molecules", 1), "of 1 spots could be used, too few to compare"),
        (("--frames", 150, "--background", 0), "% of the spots could be used"),
    ],
)
def test_localise_without_enough_spots(
    cli: Cli,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    message: str,
) -> None:
    """It fails, and says why; what was found is there."""
    assert cli("localise", "--out", tmp_path / "run", *arguments) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "run" / "localisations.npz").exists()


@pytest.mark.slow
def test_sandpit_arena_counts_what_play_counts(cli: Cli, tmp_path: Path) -> None:
    """The table's win rates are those of the package; wrong input is said in a sentence."""
    options = ("--quick", "--levels", "bowl", "--sweep", "bowl")
    assert cli("sandpit_arena", *options, "--out", tmp_path / "run") == 0
    rows = {row["strategy"]: row for row in table(tmp_path / "run" / "strategies.csv")}
    assert set(rows) == set(mc.sandpit.strategies())
    games = mc.sandpit.play(mc.sandpit.newton(), mc.sandpit.pits("bowl", 60))
    assert float(rows["Newton"]["win_rate"]) == games.win_rate
    for name in ("strategies", "step_size", "starts"):
        assert (tmp_path / "run" / f"{name}.png").stat().st_size > 10_000
    assert cli("sandpit_arena", "--pits", "0", "--out", tmp_path / "none") == 2
    assert cli("sandpit_arena", "--sweep", "moon", "--out", tmp_path / "moon") == 2
