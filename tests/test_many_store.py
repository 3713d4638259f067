"""Results on disk: what is there is whole, and what is carried on with is the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import mlcalc_jax as mc
from mlcalc_jax._many import _run

from .test_many import TRUTH, X, peaks

FITS = 1000


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run, "_MOST_FITS", 128)  # windows of 512 fits


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


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    """A second run on the same output is refused while the first is there."""
    refused: list[str] = []

    def again(done: int, of: int) -> None:
        try:
            fitted(tmp_path / "a.zarr", resume=True)
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
