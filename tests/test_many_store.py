"""Results on disk: what is there is whole, and what is carried on with is the same."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import mlcalc_jax as mc
from mlcalc_jax._many import _run

from .test_many import TRUTH, X, peaks

FITS = 1000


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run, "_MOST_FITS", 128)
    monkeypatch.setattr(_run, "_CHUNKS", 4)  # windows of 512 fits


def fitted(out: Path, y: Any = None, **options: Any) -> mc.ManyFits:
    data, start = peaks(FITS)
    y = data if y is None else y
    return mc.fit_many(mc.models.gaussian_peak, start, X, y, out=out, **options)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_what_is_returned(tmp_path: Path) -> None:
    """On disk as in memory; data from a memory map as from memory."""
    y, start = peaks(FITS)
    np.save(tmp_path / "y.npy", y)
    within = mc.fit_many(mc.models.gaussian_peak, start, X, y, covariance=True)
    on_disk = fitted(tmp_path / "a.zarr", np.load(tmp_path / "y.npy", mmap_mode="r"),
                     covariance=True)  # fmt: skip
    opened = mc.ManyFits.open(tmp_path / "a.zarr")
    for found in (on_disk, opened):
        for name in TRUTH:
            assert_array_equal(found.params[name][:], within.params[name])
            assert_array_equal(found.stderr[name][:], within.stderr[name])
        assert_array_equal(found.covariance[:], within.covariance)
        assert_array_equal(found.status[:], within.status)
        assert found.report() == within.report()


def test_carried_on_with_after_a_stop(tmp_path: Path) -> None:
    """Stopped after a window, and with a chunk cut short: the same files, bit for bit."""
    fitted(tmp_path / "whole.zarr")

    def stop(done: int, of: int) -> None:
        if done:
            raise KeyboardInterrupt

    out = tmp_path / "cut.zarr"
    with pytest.raises(KeyboardInterrupt):
        fitted(out, progress=stop)
    assert "Still to come" in mc.ManyFits.open(out).report()
    with pytest.raises(FileExistsError, match="resume=True"):
        fitted(out)
    told: list[int] = []
    fitted(out, resume=True, progress=lambda done, of: told.append(done))
    assert told == [512, FITS]
    assert files(out) == files(tmp_path / "whole.zarr")
    for size in (0, 100):
        chunk = out / "params" / "mu" / "c" / "1"
        chunk.write_bytes(chunk.read_bytes()[:size])
        fitted(out, resume=True)
        assert files(out) == files(tmp_path / "whole.zarr")
    for name in ("params/mu", "iterations"):
        (out / name / "c" / "1").unlink()
        fitted(out, resume=True)
        assert files(out) == files(tmp_path / "whole.zarr")
    altered = bytearray(chunk.read_bytes())
    altered[9] ^= 1
    chunk.write_bytes(bytes(altered))
    fitted(out, resume=True)
    assert files(out) == files(tmp_path / "whole.zarr")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"steps": 50}, "steps"),
        ({"loss": "huber"}, "loss"),
        ({"sigma": np.full(25, 2.0)}, "sigma"),
        ({"bounds": {"mu": (None, 9.0)}}, "bounds"),
        ({"fixed": ["offset"]}, "fixed"),
        ({"covariance": True}, "covariance"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    """Results of two settings never come to lie in one group."""
    fitted(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match=f"another {named}"):
        fitted(tmp_path / "a.zarr", resume=True, **options)


@pytest.mark.parametrize(
    ("names", "named"), [(("a", "a/b"), "'a' beside 'a/b'"), (("a", ".."), r"'\.\.'")]
)
def test_names_that_cannot_be_stored(tmp_path: Path, names: Any, named: str) -> None:
    """A line that names them, and nothing is written."""
    with pytest.raises(ValueError, match=f"out cannot store .*{named}"):
        mc.fit_many(
            lambda p, x: p[names[0]] * x + p[names[1]],
            dict.fromkeys(names, 1.0),
            X,
            np.ones((2, 25)),
            out=tmp_path / "a.zarr",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no file system that takes no files")
def test_where_nothing_can_be_written() -> None:
    """It is not said that another process writes there."""
    with pytest.raises(OSError, match=r"nothing can be written where a\.zarr should be"):
        fitted(Path("/proc/a.zarr"))


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that stop before their first fit: what they were made with is there."""

    def stop(*args: object) -> None:
        raise RuntimeError("stopped")

    monkeypatch.setattr(_run, "windows", stop)


def compared(run: Callable[..., Any], first: Sequence[Any], *others: Sequence[Any]) -> None:
    """Carried on with when nothing has changed, and otherwise refused."""
    for _ in range(2):
        with pytest.raises(RuntimeError, match="stopped"):
            run(*first)
    for options in others:
        with pytest.raises(ValueError, match="was made with another"):
            run(*options)


def changed(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays that differ in the middle alone."""
    one = np.linspace(1, 2, size)
    return one, np.where(np.arange(size) == size // 2, 1.4, one)


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("what", ["x", "sigma", "mask", "start", "bounds", "fixed"])
def test_what_is_in_memory_is_compared_whole(tmp_path: Path, what: str) -> None:
    """Also what differs far from both ends."""
    points, each = changed(300), changed(FITS)
    y = np.ones((FITS, 300))

    def run(k: int) -> None:
        start: dict[str, Any] = {"slope": each[k if what == "start" else 0], "intercept": 0.0}
        options: dict[str, Any] = {
            "sigma": {"sigma": points[k]},
            "mask": {"mask": points[k] != 1.4},
            "bounds": {"bounds": {"slope": (-each[k], None)}},
            "fixed": {"fixed": {"slope": each[k] > 1.45}},
        }.get(what, {})
        x = points[k if what == "x" else 0]
        mc.fit_many(mc.models.line, start, x, y, out=tmp_path / "a", resume=True, **options)

    compared(run, [0], [1])


@pytest.mark.usefixtures("stopped")
def test_constants_of_inner_functions_are_compared(tmp_path: Path) -> None:
    """An array that a jitted part of the model closes over, and a rule for a derivative."""

    def model_with(constant: np.ndarray, slope: float) -> Any:
        twice = jax.custom_jvp(lambda a: 2 * a)
        twice.defjvp(lambda a, da: (twice(*a), slope * da[0]))
        scaled = jax.jit(lambda x: jnp.asarray(constant) * x)

        def model(p: Any, x: Any) -> Any:
            return twice(p["a"]) * scaled(x)

        return model

    def run(constant: np.ndarray, slope: float) -> None:
        model = model_with(constant, slope)
        mc.fit_many(model, {"a": 1.0}, X, peaks(8)[0], out=tmp_path / "a", resume=True)

    one, other = changed(25)
    compared(run, (one, 2.0), (other, 2.0), (one, 2.1))


@pytest.mark.usefixtures("stopped")
def test_losses_are_told_apart_by_what_they_compute(tmp_path: Path) -> None:
    """Not by where in memory their function lies."""

    def run(power: float, scale: float = 1.0) -> None:
        loss = mc.losses.Loss(lambda z: ((1 + z) ** power - 1) / power, scale)
        fitted(tmp_path / "a.zarr", resume=True, loss=loss)

    compared(run, (0.5, 1.0), (0.25, 1.0), (0.5, 2.0))


@pytest.mark.usefixtures("stopped", "annotations_unchecked")
def test_options_may_be_numpy_scalars(tmp_path: Path) -> None:
    """They are what they are in Python."""
    options = {"absolute_sigma": True, "covariance": True, "polish": False, "tolerance": 1e-6}
    given = {name: np.asarray(value)[()] for name, value in options.items()}

    def run(options: dict[str, Any]) -> None:
        fitted(tmp_path / "a.zarr", resume=True, **options)

    compared(run, [given])
    compared(run, [options])


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("name", ["zarr.json", "params/mu/zarr.json"])
@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_damaged_descriptions(tmp_path: Path, name: str, text: str | None) -> None:
    """One line that says which output and what to do."""
    out = tmp_path / "a.zarr"
    with pytest.raises(RuntimeError, match="stopped"):
        fitted(out)
    (out / name).unlink()
    if text is not None:
        (out / name).write_text(text)
    for again in (lambda: fitted(out, resume=True), lambda: mc.ManyFits.open(out)):
        with pytest.raises(ValueError, match=r"a\.zarr was not .* damaged: move it away"):
            again()


def test_a_file_holds_no_output(tmp_path: Path) -> None:
    """What is in the way is named."""
    (tmp_path / "file.txt").touch()
    with pytest.raises(NotADirectoryError, match=r"file\.txt is a file"):
        fitted(tmp_path / "file.txt" / "a.zarr")


@pytest.mark.parametrize("name", ["a.zarr", "link.zarr"])
def test_one_writes_at_a_time(tmp_path: Path, name: str) -> None:
    """A second run on the same output, or on a link to it, is refused while the first is there."""
    refused: list[str] = []
    (tmp_path / "link.zarr").symlink_to("a.zarr")

    def again(done: int, of: int) -> None:
        try:
            fitted(tmp_path / name, resume=True)
        except BlockingIOError as error:
            refused.append(str(error))

    fitted(tmp_path / "a.zarr", progress=again)
    assert refused[0] == "another process is writing to a.zarr"


def test_what_is_no_result(tmp_path: Path) -> None:
    """One clear line."""
    with pytest.raises(FileNotFoundError, match="no nothing"):
        mc.ManyFits.open(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="not written by fit_many"):
        mc.ManyFits.open(tmp_path / "folder")
    with pytest.raises(ValueError, match="needs out"):
        fitted(None, resume=True)  # type: ignore[arg-type]
