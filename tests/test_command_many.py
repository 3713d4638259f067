"""``python -m mlcalc_jax fit-many``: stacks of spectra, spots and pixels."""

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlcalc_jax as mc
from mlcalc_jax._command_line import main
from mlcalc_jax._many import _run

from .cases import arrays

TIME = np.linspace(0, 4, 30)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image of decays with a hole, and a stack of spots, to work beside."""
    rng = np.random.default_rng(0)
    amplitude = 1 + np.add.outer(np.arange(6), np.arange(8))
    image = amplitude[..., None] * np.exp(-1.2 * TIME) + 0.5 + rng.normal(0, 0.03, (6, 8, 30))
    image[2, 5, 3] = np.nan
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "time.npy", TIME)
    across, down = np.meshgrid(np.arange(9.0), np.arange(11.0))
    x0, y0 = rng.uniform(3, 5, (2, 50, 1, 1))
    light = 100 * np.exp(-((across - x0) ** 2 + (down - y0) ** 2) / (2 * 1.3**2)) + 8
    np.save(tmp_path / "spots.npy", rng.poisson(light).astype(np.uint16))
    (tmp_path / "image.png").write_text("the user's own")
    np.savez(tmp_path / "truth.npz", x0=x0.ravel(), y0=y0.ravel(), amplitude=amplitude)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PIXELS = ["fit-many", "image.npy", "--pixels", "--x", "time.npy", "--model", "exponential_decay"]
SPOTS = ["fit-many", "spots.npy", "--model", "gaussian_2d", "--loss", "poisson"]


@pytest.mark.slow
def test_pixels_of_an_image(folder: Path) -> None:
    """Outside fact: the amplitudes that were drawn; run as a user runs it."""
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "mlcalc_jax", *PIXELS], capture_output=True, text=True,
        env={"PYTHONPATH": root},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "48 fits, 47 converged" in done.stdout
    assert (folder / "fits-image.zarr.png").read_bytes().startswith(b"\x89PNG")
    found = mc.ManyFits.open(folder / "fits-image.zarr")
    truth = arrays(Path("truth.npz"))["amplitude"].ravel()
    pulls = (found.params["amplitude"][:] - truth) / found.stderr["amplitude"][:]
    assert_array_equal(np.flatnonzero(~found.success), [2 * 8 + 5])
    assert np.nanmax(np.abs(pulls)) < 4
    assert 0.6 < np.nanstd(pulls) < 1.5


@pytest.mark.slow
def test_pixels_may_have_x_sigma_and_mask_of_their_own(folder: Path) -> None:
    """The same as for all, when they are; read across the edges of the image's rows."""
    assert main(PIXELS) == 0
    image = np.load("image.npy")
    np.save("own_time.npy", np.broadcast_to(TIME, image.shape))
    np.save("sigma.npy", np.full(image.shape, 0.03))
    good = np.isfinite(image).all(axis=2).ravel()
    np.save("mask.npy", np.ones(30, bool))
    own = ["--sigma", "sigma.npy", "--mask", "mask.npy", "--out", "own.zarr"]
    own += ["--start", "amplitude=5,rate=1,offset=0"]
    assert main([*PIXELS[:4], "own_time.npy", *PIXELS[5:], *own]) == 0
    one, other = (mc.ManyFits.open(f"{name}.zarr") for name in ("fits-image", "own"))
    for name in one.params:
        assert_allclose(one.params[name][:][good], other.params[name][:][good], rtol=1e-6)
        assert_allclose(one.stderr[name][:][good], other.stderr[name][:][good], rtol=1e-5)


@pytest.mark.slow
def test_a_stack_of_spots(folder: Path) -> None:
    """Outside fact: the positions that were drawn; x runs along the columns. Also from Zarr."""
    zarr = pytest.importorskip("zarr")
    assert main([*SPOTS, "--covariance", "--out", "a.zarr"]) == 0
    found, truth = mc.ManyFits.open("a.zarr"), arrays(Path("truth.npz"))
    for name in ("x0", "y0"):
        assert np.abs(found.params[name][:] - truth[name]).max() < 0.3
    zarr.save_array("spots.zarr", np.load("spots.npy"))
    assert main(["fit-many", "spots.zarr", *SPOTS[2:], "--out", "b.zarr"]) == 0
    assert_array_equal(mc.ManyFits.open("b.zarr").params["x0"][:], found.params["x0"][:])
    assert found.covariance is not None
    assert found.covariance.shape == (50, 5, 5)


def test_carries_on_only_when_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results are neither overwritten nor mixed."""
    assert main(SPOTS) == 0
    assert main(SPOTS) == 2
    assert "fits-spots.zarr exists: --resume carries on" in capsys.readouterr().err
    assert main([*SPOTS, "--resume"]) == 0
    assert main([*SPOTS, "--resume", "--steps", "7"]) == 2
    assert "made with other settings: steps: 100, and not 7" in capsys.readouterr().err


def _ending_with(error: BaseException) -> Callable[..., Iterator[Any]]:
    """Fits that end so after the first window."""
    windows = _run.windows

    def some(*given: Any) -> Iterator[Any]:
        yield from islice(windows(*given), 1)
        raise error

    return some


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device"),
    ],
)
def test_stopped(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    error: BaseException, code: int, message: str,
) -> None:  # fmt: skip
    """Ctrl-C, or a full disk: a code, and how to carry on."""
    monkeypatch.setattr(_run, "_MOST_FITS", 4)  # windows of 32 fits
    with monkeypatch.context() as patched:
        patched.setattr(_run, "windows", _ending_with(error))
        assert main(SPOTS) == code
    said = capsys.readouterr().err
    assert f"{message}; fits-spots.zarr has what is done, and --resume carries on\n" in said
    assert mc.ManyFits.open("fits-spots.zarr").success.sum() == 32
    assert main([*SPOTS, "--resume"]) == 0


def test_stopped_before_anything_was_done(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to carry on with, and nothing in the way."""

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_run, "windows", stop)
        assert main(SPOTS) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert main(SPOTS) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError("full"), 2)])
def test_stopped_while_maps_are_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    error: BaseException, code: int,
) -> None:  # fmt: skip
    """The fits are there; the maps are drawn the next time, and are whole or not there."""

    def stop(*args: object, **options: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(mc.plots, "status_map", stop)
        assert main(PIXELS) == code
    said = capsys.readouterr().err
    assert "; fits-image.zarr has every fit, and --resume draws the maps\n" in said
    assert not list(folder.glob("*fits-image.zarr.png*"))
    assert main([*PIXELS, "--resume"]) == 0
    assert (folder / "fits-image.zarr.png").exists()


def test_stopped_elsewhere(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback."""

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mc.data, "read_columns", stop)
    assert main(["fit", "a.csv", "--x", "a", "--y", "b", "--model", "line"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_run_that_failed_is_in_nobodys_way(folder: Path) -> None:
    """Its data are no counts; by least squares they are fitted with no further word."""
    np.save("image.npy", np.load("image.npy") - 1)
    assert main([*PIXELS, "--loss", "poisson", "--start", "amplitude=5,rate=1,offset=0"]) == 2
    assert main(PIXELS) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end in another way")
@pytest.mark.parametrize("arguments", [["models"], ["fit-many", "--help"]])
def test_nobody_reads_on(arguments: list[str]) -> None:
    """As with ``| head``: no complaint."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mlcalc_jax", *arguments], stdout=write, stderr=subprocess.PIPE,
            env={"PYTHONPATH": str(Path(__file__).parent.parent)},
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.stderr == b""
    assert done.returncode == 141


def test_exit_codes_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """All four of them."""
    with pytest.raises(SystemExit):
        main(["fit-many", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for code in ("returns 0,", "1 if no fit converged", "2 for input", "130 if it was stopped"):
        assert code in said


def test_without_tqdm_there_is_no_bar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, and the run goes on."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(SPOTS) == 0


@pytest.fixture
def wrong_files(folder: Path) -> None:
    """Files that are no arrays of numbers, and a link to itself."""
    (folder / "empty.npy").touch()
    (folder / "cut.npy").write_bytes((folder / "spots.npy").read_bytes()[:300])
    (folder / "pickled.npy").write_bytes(pickle.dumps([1.0]))
    (folder / "several.npy").write_bytes((folder / "truth.npz").read_bytes())
    (folder / "loop").symlink_to("loop")
    (folder / "ends.py").write_text("raise SystemExit(3)")
    (folder / "fails.py").write_text("def model(params, x):\n    return unknown(params, x)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit-many", "nothing.npy", *SPOTS[2:]], "there is no nothing.npy"),
        (["fit-many", "truth.npz", *SPOTS[2:]], "neither a .npy file nor a Zarr array"),
        (["fit-many", "time.npy", "--model", "line"], "y must be (fits, points)"),
        (["fit-many", "time.npy", "--model", "line", "--pixels"], "(rows, columns, points)"),
        (["fit-many", "spots.npy", "--model", "nonsense"], "no model 'nonsense'"),
        (["fit-many", "spots.npy", "--model", "line"], "one predictor of 99 points, got 2"),
        ([*PIXELS[:3], "--model", "gaussian_2d"], "takes two predictors"),
        ([*SPOTS, "--x", "time.npy"], "x must have the points of one fit"),
        ([*SPOTS, "--start", "x0=4"], "asks for a parameter 'y0'; params has ['x0']"),
        ([*SPOTS, "--fixed", "mu"], "fixed names 'mu'"),
        ([*SPOTS, "--bounds", "sigma=2"], "--bounds must be NAME=LOW:HIGH"),
        ([*SPOTS, "--bounds", "sigma=1:,sigma=:2"], "--bounds names 'sigma' twice"),
        ([*SPOTS, "--start", "x0=4,x0=5"], "--start names 'x0' twice"),
        ([*SPOTS[:3], "ends.py:model"], "ends.py fails: SystemExit: 3"),
        ([*SPOTS[:3], "fails.py:model", "--start", "a=1"], "name 'unknown' is not defined"),
        (["fit-many", ".", *SPOTS[2:]], ". is neither a .npy file nor a Zarr array"),
        ([*SPOTS, "--steps", "0"], "steps"),
        ([*SPOTS, "--sigma", "time.npy"], "takes no sigma"),
        ([*SPOTS, "--out", "time.npy/a.zarr"], "time.npy is a file"),
        ([*SPOTS, "--out", "loop"], "loop is, or lies in, a link to itself"),
        ([*SPOTS, "--out", "s3://bucket/a.zarr"], "got an address of s3://"),
        (["fit-many", "empty.npy", *SPOTS[2:]], "empty.npy is cut short, or no .npy file"),
        (["fit-many", "cut.npy", *SPOTS[2:]], "cut.npy is cut short, or no .npy file"),
        (["fit-many", "pickled.npy", *SPOTS[2:]], "pickled.npy is cut short, or no .npy file"),
        (["fit-many", "several.npy", *SPOTS[2:]], "several.npy holds several arrays"),
        ([*SPOTS[:3], "polynomial"], "no guess of its own: give the start with --start"),
        ([*SPOTS, "--fixed", "x0, y0, sigma,amplitude,offset"], "every parameter is fixed"),
        ([*PIXELS, "--out", "image"], "image.png exists: choose another --out"),
        (
            ["fit-many", "image.npy", "--model", "polynomial", "--start", "coefficients=1"],
            "polynomial fails at params of shape {'coefficients': ()}",
        ),
    ],
)
@pytest.mark.usefixtures("wrong_files")
def test_wrong_input(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """One line that says what is wrong, and nothing written."""
    before = set(folder.iterdir())
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    python_s = folder / "__pycache__"  # of the files with models
    assert {f for f in folder.iterdir() if f.suffix != ".lock"} - {python_s} == before


def test_none_converged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; the statuses are there."""
    np.save("nans.npy", np.full((5, 30), np.nan))
    assert main(["fit-many", "nans.npy", "--model", "line", "--start", "slope=1,intercept=0"]) == 1
    captured = capsys.readouterr()
    assert "5 fits, 0 converged" in captured.out
    assert "no fit has converged" in captured.err
