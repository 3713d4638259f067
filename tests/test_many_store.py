"""Results on disk: what is there is whole, and what is carried on with is the same."""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
START = {"amplitude": 10.0, "mu": 5.0, "sigma": 1.0, "offset": 0.0}


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
        ({"steps": 50}, "steps: 100, and not 50"),
        ({"loss": "poisson"}, "loss: huber, and not poisson"),  # and sigma is absolute
        ({"loss": mc.losses.huber(2.0)}, "loss numbers: [1.0], and not [2.0]"),
        ({"sigma": np.full(25, 2.0)}, "sigma: none, and not an array"),
        ({"bounds": {"mu": (None, 9.5)}}, "bounds of 'mu': [none, 9.0], and not [none, 9.5]"),
        (
            {"bounds": {"mu": (None, np.full(FITS, 9.0))}},
            "bounds of 'mu': [none, 9.0], and not [none, an array]",
        ),
        ({"fixed": ["offset"]}, "fixed of 'offset': False, and not True"),
        ({"covariance": True}, "covariance: False, and not True"),
        ({"y": peaks(FITS)[0] + 1}, "y: other values"),
        ({"y": peaks(FITS)[0].astype(np.float32)}, "dtype: float64, and not float32"),
        ({"y": peaks(FITS - 1)[0]}, f"fits: {FITS}, and not {FITS - 1}"),
        ({"model": lambda p, x: mc.models.gaussian_peak(p, x)}, "model: gaussian_peak, and"),
        ({"start": START | {"mu": 6.0}}, "start of 'mu': 5.0, and not 6.0"),
        ({"start": None}, "start: given, and not guess"),
    ],
)
@pytest.mark.usefixtures("stopped")
def test_other_settings_are_refused(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    """Results of two settings never come to lie in one group; what was changed is named."""
    first: dict[str, Any] = {
        "model": mc.models.gaussian_peak,
        "start": START,
        "y": np.abs(peaks(FITS)[0]),
        "loss": "huber",
        "bounds": {"mu": (None, 9.0)},
    }

    def run(model: Any, start: Any, y: Any, **others: Any) -> None:
        mc.fit_many(model, start, X, y, out=tmp_path / "a.zarr", resume=True, **others)

    with pytest.raises(RuntimeError, match="stopped"):
        run(**first)
    with pytest.raises(ValueError, match=re.escape(f"made with other settings: {named}")):
        run(**first | options)


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """A folder that is refused, one beside the results; only what a killed run left goes."""
    theirs = tmp_path / "Downloads" / "deep" / "film.iso.partial"
    beside = tmp_path / ".Downloads.2024" / "thesis.txt"
    half_made = tmp_path / ".a.zarr.7" / "params" / "zarr.json"
    for file in (theirs, beside, half_made):
        file.parent.mkdir(parents=True)
        file.write_text("mine")
    with pytest.raises(ValueError, match="was not written by fit_many"):
        fitted(tmp_path / "Downloads", resume=True)
    fitted(tmp_path / "a.zarr")
    whole = files(tmp_path / "a.zarr")
    assert theirs.read_text() == beside.read_text() == "mine"
    assert not half_made.parent.parent.exists()
    (tmp_path / "a.zarr" / "status" / "c" / "1.7f.partial").write_text("half")
    fitted(tmp_path / "a.zarr", resume=True)
    assert files(tmp_path / "a.zarr") == whole


def test_a_path_by_way_of_nowhere(tmp_path: Path) -> None:
    """It is where the results are written, and read again."""
    found = fitted(tmp_path / "nowhere" / ".." / "a.zarr")
    assert len(found.status[:]) == FITS
    assert (tmp_path / "a.zarr").is_dir()


def test_another_guess_is_refused(tmp_path: Path) -> None:
    """The same model from other starts: its group would hold two kinds of fits."""

    def guessing(frequency: float) -> Any:
        @mc.models.starts_from(lambda x, y: {"amplitude": 1.0, "frequency": frequency})
        def wave(params: Any, x: Any) -> Any:
            return params["amplitude"] * jnp.sin(params["frequency"] * x)

        return wave

    y = np.random.default_rng(0).normal(size=(20, 25)) + np.sin(3 * X)
    mc.fit_many(guessing(3.1), None, X, y, out=tmp_path / "a.zarr")
    mc.fit_many(guessing(3.1), None, X, y, out=tmp_path / "a.zarr", resume=True)
    with pytest.raises(ValueError, match=r"guess of 'frequency': \[3.1, .*\], and not \[9, "):
        mc.fit_many(guessing(9.0), None, X, y, out=tmp_path / "a.zarr", resume=True)


def test_products_of_large_matrices_carried_on_with(tmp_path: Path) -> None:
    """Their last bits depend on where in a block a fit lies; still the same, bit for bit."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(0, 0.05, (37, 37)) + np.eye(37)
    x = np.linspace(0, 4, 37)
    rates, heights = rng.uniform(0.3, 3, (2000, 1)), rng.uniform(1, 3, (2000, 1))
    y = heights * np.exp(-rates * x) + rng.normal(0, 0.05, (2000, 37))

    def blurred(params: Any, x: Any) -> Any:
        decay = params["a"] * jnp.exp(-params["k"] * x)
        return jnp.asarray(mixing, x.dtype) @ decay + params["c"]

    def stop(done: int, of: int) -> None:
        if done:
            raise KeyboardInterrupt

    go = partial(mc.fit_many, blurred, {"a": 2.0, "k": 1.0, "c": 0.1}, x, y)
    go(out=tmp_path / "whole.zarr")
    with pytest.raises(KeyboardInterrupt):
        go(out=tmp_path / "cut.zarr", progress=stop)
    go(out=tmp_path / "cut.zarr", resume=True)
    assert files(tmp_path / "cut.zarr") == files(tmp_path / "whole.zarr")
    within, on_disk = go(), mc.ManyFits.open(tmp_path / "whole.zarr")
    for name in ("a", "k", "c"):
        assert_array_equal(on_disk.params[name][:], within.params[name])


def test_numbers_that_json_has_not(tmp_path: Path) -> None:
    """A start that is not finite, and a bound that is none, are themselves the next time."""
    for _ in range(2):
        found = mc.fit_many(
            mc.models.line, {"slope": np.nan, "intercept": np.float32(0.1)}, X,
            np.ones((3, 25), np.float32), bounds={"slope": (0.0, np.inf)},
            out=tmp_path / "a.zarr", resume=True,
        )  # fmt: skip
        assert (found.status[:] == mc.Status.NON_FINITE).all()


def test_what_another_program_needs(tmp_path: Path) -> None:
    """Names of axes and parameters, and the meaning of each status, read by Zarr alone."""
    zarr = pytest.importorskip("zarr")
    found = fitted(tmp_path / "a.zarr", covariance=True, fixed=["offset"])
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["covariance"].metadata.dimension_names == ("fit", "parameter", "parameter")
    assert group["params/mu"].metadata.dimension_names == ("fit",)
    assert group.attrs["parameters"] == ["amplitude", "mu", "offset", "sigma"]
    assert group.attrs["covariance_of"] == ["amplitude", "mu", "sigma"]
    assert group.attrs["mlcalc_jax"] == mc.__version__
    row = int(np.flatnonzero(found.success)[0])
    variances = np.diag(group["covariance"][row])
    for name, variance in zip(group.attrs["covariance_of"], variances, strict=True):
        assert group[f"stderr/{name}"][row] ** 2 == pytest.approx(variance)
    meanings = group.attrs["status_meanings"]
    assert set(meanings) >= {str(status) for status in np.unique(found.status[:])} | {"-1"}
    assert meanings["9"] == mc.Status.SINGULAR.message


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (("a", "a/b"), "'a' beside 'a/b'"),
        (("a", ".."), r"'\.\.'"),
        (("a", "b/zarr.json"), r"'b/zarr\.json'"),
        (("a", 300 * "b"), "'bbb"),
        (("a", "b\0c"), "a parameter of the name"),
        (("a", "b\ud800"), "a parameter of the name"),
    ],
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


def test_a_name_like_that_of_an_unfinished_chunk(tmp_path: Path) -> None:
    """What lies in folders of that name stays there."""
    for _ in range(2):
        found = mc.fit_many(
            lambda p, x: p["a.partial"] * x, {"a.partial": 1.0}, X, 2 * np.ones((3, 1)) * X,
            out=tmp_path / "a.zarr", resume=True,
        )  # fmt: skip
        np.testing.assert_allclose(found.params["a.partial"][:], 2, rtol=1e-6)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_fails_at_once_is_in_nobodys_way(tmp_path: Path, resume: bool) -> None:
    """Its group held nothing; one that was there before stays."""
    y, start = peaks(FITS)
    y[3] = -1.0

    def run(**options: Any) -> None:
        mc.fit_many(mc.models.gaussian_peak, start, X, y, out=tmp_path / "a.zarr", **options)

    with pytest.raises(ValueError, match=r"counts for a Poisson loss.*the first in fit 3$"):
        run(loss="poisson", resume=resume)
    assert not (tmp_path / "a.zarr").exists()
    run()
    before = files(tmp_path / "a.zarr")

    def fail(done: int, of: int) -> None:
        raise RuntimeError("a callback that fails")

    with pytest.raises(RuntimeError, match="callback"):
        run(resume=True, progress=fail)
    assert files(tmp_path / "a.zarr") == before


def test_the_first_impossible_value_is_named(tmp_path: Path) -> None:
    """By the number of its fit, in whatever window it comes; one of all fits has none."""
    y, start = peaks(FITS)
    sigma = np.ones(y.shape)
    sigma[[700, 900], 3] = 0.0
    with pytest.raises(ValueError, match=r"got 2 that are not: the first in fit 700$"):
        fitted(tmp_path / "a.zarr", sigma=sigma)
    with pytest.raises(ValueError, match=r"got 25 that are not$"):
        mc.fit_many(mc.models.gaussian_peak, start, X, y, np.full(25, np.inf))
    y, mask = np.abs(y), np.ones(y.shape, bool)
    y[[500, 600]], mask[500] = -2.0, False
    with pytest.raises(ValueError, match=r"got -2\.0: the first in fit 600$"):
        mc.fit_many(mc.models.gaussian_peak, start, X, y, mask=mask, loss="poisson")


@pytest.mark.parametrize("on_disk", [False, True])
def test_no_threads_are_left_behind(tmp_path: Path, on_disk: bool) -> None:
    """By runs that a callback ended, while its errors are kept."""
    kept, counts = list[Any](), list[int]()

    def fail(done: int, of: int) -> None:
        if done:
            raise RuntimeError("a callback that fails")

    for k in range(4):
        out = tmp_path / f"{k}.zarr" if on_disk else None
        data, start = peaks(FITS)
        with pytest.raises(RuntimeError, match="callback") as raised:
            mc.fit_many(mc.models.gaussian_peak, start, X, data, progress=fail, out=out)
        kept.append(raised)
        counts.append(threading.active_count())
    assert counts[0] == counts[-1]


def test_a_bar_is_closed_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said afterwards begins on a line of its own, and the bar does not come again."""
    pytest.importorskip("tqdm")

    def broken(*args: Any) -> Iterator[Any]:
        yield from list(windows(*args))[:1]
        raise KeyboardInterrupt

    windows = _run.windows
    monkeypatch.setattr(_run, "windows", broken)
    for out in (None, tmp_path / "a.zarr"):
        data, start = peaks(FITS)
        with pytest.raises(KeyboardInterrupt) as raised:
            mc.fit_many(mc.models.gaussian_peak, start, X, data, progress=True, out=out)
        assert raised  # while it is kept, with all that it came through
        assert capsys.readouterr().err.endswith("\n")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no file system that takes no files")
def test_where_nothing_can_be_written() -> None:
    """It is not said that another process writes there."""
    with pytest.raises(OSError, match=r"nothing can be written where a\.zarr should be"):
        fitted(Path("/proc/a.zarr"))


def stopping(
    data: Any, settings: Any, parts: list[tuple[int, int]], options: Any, place: Any, *others: Any
) -> Iterator[tuple[int, int, Any]]:
    """The first window, of zeros, and then trouble."""
    for part in parts[:1]:
        arrays = place(*part)
        for array in arrays.values():
            array[...] = 0
        yield *part, arrays
    raise RuntimeError("stopped")


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that stop before they have fitted anything: what they were made with is there."""
    monkeypatch.setattr(_run, "windows", stopping)


def compared(run: Callable[..., Any], first: Sequence[Any], *others: Sequence[Any]) -> None:
    """Carried on with when nothing has changed, and otherwise refused."""
    for _ in range(2):
        with pytest.raises(RuntimeError, match="stopped"):
            run(*first)
    for options in others:
        with pytest.raises(ValueError, match="was made with other settings"):
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


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [FITS + 1]),
        ("data_type", "float32"),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [100]}}),
    ],
)
def test_an_altered_array_is_not_carried_on_with(tmp_path: Path, key: str, value: Any) -> None:
    """Windows would come to lie elsewhere in it."""
    out = tmp_path / "a.zarr"
    with pytest.raises(RuntimeError, match="stopped"):
        fitted(out)
    description = out / "params" / "mu" / "zarr.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=r"a\.zarr was not .* damaged: move it away"):
        fitted(out, resume=True)


def test_another_format(tmp_path: Path) -> None:
    """It is said what is old, and what to do."""
    out = tmp_path / "a.zarr"
    fitted(out)
    text = (out / "zarr.json").read_text()
    (out / "zarr.json").write_text(re.sub(r'"format": \d+', '"format": 2', text))
    with pytest.raises(ValueError, match="another version of mlcalc_jax, in its format 2, and not"):
        fitted(out, resume=True)
    assert mc.ManyFits.open(out).success.all()


@pytest.mark.parametrize("name", ["params/mu", "covariance"])
def test_a_lost_chunk_is_noticed(tmp_path: Path, name: str) -> None:
    """Zarr reads it as NaN, beside a status that says converged."""
    out = tmp_path / "a.zarr"
    fitted(out, covariance=True)
    before = files(out)
    (chunk,) = (p for p in (out / name / "c" / "1", out / name / "c/1/0/0") if p.is_file())
    chunk.unlink()
    with pytest.raises(ValueError, match=f"has lost {name} of 1 of 2 windows .* resume=True"):
        mc.ManyFits.open(out)
    fitted(out, covariance=True, resume=True)
    assert files(out) == before
    mc.ManyFits.open(out)


def test_fits_without_an_answer_are_not_fitted_again(tmp_path: Path) -> None:
    """A chunk of nothing but NaN is as good as any."""
    told: list[int] = []
    for _ in range(2):
        fitted(
            tmp_path / "a.zarr", np.full((FITS, 25), np.nan), resume=True,
            progress=lambda done, of: told.append(done),
        )  # fmt: skip
    assert told == [0, 512, FITS, FITS]
    assert not mc.ManyFits.open(tmp_path / "a.zarr").success.any()


def test_what_killed_runs_left_is_removed(tmp_path: Path) -> None:
    """Groups that were half made; what only looks like one stays."""
    for name in (".a.zarr.123", ".a.zarr.old", ".b.zarr.123"):
        (tmp_path / name / "params").mkdir(parents=True)
    fitted(tmp_path / "a.zarr")
    left = {".a.zarr.lock", ".a.zarr.old", ".b.zarr.123", "a.zarr"}
    assert set(os.listdir(tmp_path)) == left


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` is the same for both."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    fitted(Path("~/a.zarr"))
    assert mc.ManyFits.open("~/a.zarr").success.all()


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no folder ``s3:`` here."""
    monkeypatch.chdir(tmp_path)
    data, start = peaks(8)
    with pytest.raises(ValueError, match="a folder on this machine, got an address of s3://"):
        mc.fit_many(mc.models.gaussian_peak, start, X, data, out="s3://bucket/a.zarr")
    with pytest.raises(ValueError, match="got an address of gs://"):
        mc.ManyFits.open("gs://bucket/a.zarr")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["loop", "loop/a.zarr"])
def test_a_link_to_itself(tmp_path: Path, name: str) -> None:
    """An error of the file system, whatever the version of Python."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="is, or lies in, a link to itself"):
        fitted(tmp_path / name)


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
