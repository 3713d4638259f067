"""Many fits at once: each is what ``fit`` finds alone, and none touches another."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlcalc_jax as mc
from mlcalc_jax._many import _blocks, _memory, _rows, _run

from .cases import counting

X = np.linspace(-5, 5, 25)
TRUTH = {"amplitude": 7.0, "mu": 0.3, "sigma": 1.4, "offset": 0.5}


def peaks(fits: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Noisy Gaussian peaks, and starts 15 % off."""
    rng = np.random.default_rng(seed)
    truth = {name: value * rng.uniform(0.8, 1.2, fits) for name, value in TRUTH.items()}
    u = (X - truth["mu"][:, None]) / truth["sigma"][:, None]
    y = truth["amplitude"][:, None] * np.exp(-(u**2) / 2) + truth["offset"][:, None]
    start = {name: value * rng.uniform(0.85, 1.15, fits) for name, value in truth.items()}
    return y + rng.normal(0, 0.3, y.shape), start


def alone(start: Any, row: int) -> dict[str, float]:
    return {name: float(values[row]) for name, values in start.items()}


def normalised(p: Any, x: Any) -> Any:
    """A model that is not computed number by number: its values sum to the amplitude."""
    u = (x - p["mu"]) / p["sigma"]
    bell = jnp.exp(-(u**2) / 2)
    return 10 * p["amplitude"] * bell / jnp.sum(bell) + p["offset"]


RNG = np.random.default_rng(5)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one sigma": {"sigma": np.linspace(0.2, 0.5, 25)},
    "a sigma each": {"sigma": RNG.uniform(0.2, 0.5, (12, 25)), "absolute_sigma": True},
    "masked": {"mask": RNG.random((12, 25)) < 0.8},
    "fixed": {"fixed": ["offset"]},
    "bounded": {"bounds": {"sigma": (1.0, 1.35), "amplitude": (None, 50.0)}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("model", [mc.models.gaussian_peak, normalised], ids=["peak", "summed"])
def test_every_lane_is_a_fit(model: Any, name: str) -> None:
    """Outside fact: ``fit``, which uses QR, a trust region and no lanes, row by row."""
    y, start = peaks(12)
    if name == "bounded":
        start["sigma"] = np.clip(start["sigma"], 1.05, 1.3)
    options = OPTIONS[name]
    found = mc.fit_many(model, start, X, y, **options, covariance=True)
    assert found.success.all(), found.report()
    assert found.params["mu"].dtype == np.float64
    for row in range(0, 12, 3):
        own = {k: v[row] if np.ndim(v) == 2 else v for k, v in options.items()}
        single = mc.fit(model, alone(start, row), X, y[row], **own)
        free = [k for k in TRUTH if k not in options.get("fixed", ())]
        at_bound = name == "bounded" and float(single.params["sigma"]) >= 1.35 - 1e-9
        for k in free:
            scale = max(float(single.stderr[k]) if not at_bound else 0, 1e-3)
            assert abs(found.params[k][row] - float(single.params[k])) < 1e-5 * scale
            if not at_bound:
                assert_allclose(found.stderr[k][row], single.stderr[k], rtol=1e-5)
        assert_allclose(found.chi_squared[row], single.chi_squared, rtol=1e-9)
        assert found.degrees_of_freedom[row] == single.degrees_of_freedom
        assert found.covariance is not None
        if not at_bound:
            assert_allclose(
                np.sqrt(np.diag(found.covariance[row])),
                [found.stderr[k][row] for k in sorted(free)],
            )


@jax.custom_jvp
def sine(x: Any) -> Any:
    return jnp.sin(x)


@sine.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return sine(*primals), jnp.cos(primals[0]) * tangents[0]


@pytest.mark.parametrize(
    ("model", "plain"),
    [
        (
            lambda p, x: jnp.abs(p["a"] + 1 / (1j * p["b"] * x)),
            lambda p, x: jnp.sqrt(p["a"] ** 2 + (p["b"] * x) ** -2),
        ),
        (
            lambda p, x: p["a"] * sine(x) + jnp.imag(1j * p["b"]),
            lambda p, x: p["a"] * jnp.sin(x) + p["b"],
        ),
        (
            lambda p, x: p["a"] * jnp.fft.irfft(jnp.fft.rfft(jnp.sin(x)), 25) + p["b"],
            lambda p, x: p["a"] * jnp.sin(x) + p["b"],
        ),
        (lambda p, x: p["a"] * jnp.sort(-x) + p["b"], lambda p, x: -p["a"] * x[::-1] + p["b"]),
    ],
    ids=["complex", "custom derivative, imaginary part", "transform of x", "sort of x"],
)
def test_steps_of_models(model: Any, plain: Any) -> None:
    """Outside fact: the same model without complex numbers, or without a derivative of its own."""
    x = np.linspace(0.1, 3, 25)
    noise = np.random.default_rng(0).normal(0, 0.1, (3, 25))
    y = np.asarray(plain({"a": 1.2, "b": 0.8}, x), float) + noise
    found, other = (mc.fit_many(m, {"a": 1.0, "b": 0.7}, x, y) for m in (model, plain))
    assert found.success.all()
    for name in ("a", "b"):
        assert_allclose(found.params[name], other.params[name], rtol=1e-6)
        assert_allclose(found.stderr[name], other.stderr[name], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["huber", "soft_l1", "cauchy", "poisson"])
def test_every_lane_is_a_fit_under_a_loss(loss: str) -> None:
    """Outside fact: ``fit``, row by row, with an outlier, or counts."""
    y, start = peaks(12)
    y[3, 5] += 4
    if loss == "poisson":
        y = np.random.default_rng(0).poisson(20 * np.abs(y)).astype(float)
        start = {k: v * (20 if k in ("amplitude", "offset") else 1) for k, v in start.items()}
    found = mc.fit_many(mc.models.gaussian_peak, start, X, y, loss=loss)
    assert found.success.all(), found.report()
    for row in range(12):
        single = mc.fit(mc.models.gaussian_peak, alone(start, row), X, y[row], loss=loss)
        for k in TRUTH:
            assert abs(found.params[k][row] - single.params[k]) < 1e-5 * single.stderr[k]
            assert_allclose(found.stderr[k][row], single.stderr[k], rtol=1e-5)
        assert_allclose(found.cost[row], single.cost, rtol=1e-9)
        assert_allclose(found.chi_squared[row], single.chi_squared, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["huber", "cauchy"])
def test_a_start_in_the_tail_of_a_loss(loss: str) -> None:
    """Outside fact: ``fit``, from where no residual counts as in least squares."""
    y = 2 * X + 1 + np.random.default_rng(0).normal(0, 0.3, (2, 25))
    y[:, 4] += 8
    start = {"slope": 2.0, "intercept": 50.0}
    found = mc.fit_many(mc.models.line, start, X, y, loss=loss)
    assert found.success.all()
    for row in range(2):
        single = mc.fit(mc.models.line, start, X, y[row], loss=loss)
        for k in start:
            assert abs(found.params[k][row] - single.params[k]) < 1e-5 * single.stderr[k]


@pytest.mark.slow
def test_fixed_and_bounded_fit_by_fit() -> None:
    """Outside fact: ``fit`` with what belongs to the row."""
    y, start = peaks(12)
    is_fixed = np.arange(12) % 2 == 0
    high = np.where(is_fixed, 1.2, 9.0) * start["sigma"]
    found = mc.fit_many(
        mc.models.gaussian_peak,
        start,
        X,
        y,
        fixed={"offset": is_fixed},
        bounds={"sigma": (0.1, high)},
        covariance=True,
    )
    for row in range(12):
        single = mc.fit(
            mc.models.gaussian_peak,
            alone(start, row),
            X,
            y[row],
            fixed=["offset"] if is_fixed[row] else (),
            bounds={"sigma": (0.1, float(high[row]))},
        )
        assert found.degrees_of_freedom[row] == single.degrees_of_freedom
        for k in TRUTH:
            assert abs(found.params[k][row] - single.params[k]) <= 1e-5 * single.stderr[k]
            assert_allclose(found.stderr[k][row], single.stderr[k], rtol=1e-5)
        assert (found.covariance[row][2] == 0).all() == is_fixed[row]


@pytest.mark.slow
def test_polished_in_double_precision() -> None:
    """What float32 has not finished is what float64 finds; the rest stays as it is."""
    y, start = peaks(50)
    single = {k: v.astype(np.float32) for k, v in start.items()}
    y = y.astype(np.float32)
    plain = mc.fit_many(mc.models.gaussian_peak, single, X, y, steps=3)
    found = mc.fit_many(mc.models.gaussian_peak, single, X, y, steps=3, polish=True)
    double = mc.fit_many(mc.models.gaussian_peak, single, X, y.astype(float), steps=3)
    again = ~plain.success
    assert again.any()
    assert_array_equal(found.status[again], double.status[again])
    for k in TRUTH:
        assert found.params[k].dtype == np.float32
        assert_array_equal(found.params[k][again], double.params[k][again].astype(np.float32))
        assert_array_equal(found.params[k][~again], plain.params[k][~again])


@pytest.mark.slow
def test_images_and_guesses() -> None:
    """Rows may be images, and the model guesses its own starts; integers are counted too."""
    rng = np.random.default_rng(2)
    across, down = np.meshgrid(np.arange(9.0), np.arange(7.0))
    truth = {"amplitude": 90.0, "x0": 4.2, "y0": 2.8, "sigma": 1.3, "offset": 10.0}
    bright = np.asarray(mc.models.gaussian_2d(truth, (across, down)))
    stack = rng.poisson(bright, (6, *bright.shape)).astype(np.uint16)
    found = mc.fit_many(mc.models.gaussian_2d, None, (across, down), stack, loss="poisson")
    assert found.params["x0"].dtype == np.float32
    assert found.success.all()
    assert (np.abs(found.params["x0"] - 4.2) < 5 * found.stderr["x0"]).all()
    flat = mc.fit_many(
        mc.models.gaussian_2d, found.params, (across.ravel(), down.ravel()),
        stack.reshape(6, -1).astype(np.float32), loss="poisson",
    )  # fmt: skip
    assert_allclose(flat.params["x0"], found.params["x0"], atol=1e-3)


def test_an_x_that_means_two_things_is_refused() -> None:
    """Two fits, and a model of two predictors in two rows."""

    def plane(p: Any, x: Any) -> Any:
        return p["a"] * x[0] + p["b"] * x[-1]

    with pytest.raises(ValueError, match="that of each fit or that of one"):
        mc.fit_many(plane, {"a": 1.0, "b": 2.0}, np.ones((2, 5)), np.ones((2, 5)))


@pytest.mark.slow
def test_one_x_for_each_fit() -> None:
    """Outside fact: rows whose x is shifted have their mean shifted by as much."""
    y, start = peaks(30)
    shift = np.linspace(-2, 2, 30)
    moved = start | {"mu": start["mu"] + shift}
    still = mc.fit_many(mc.models.gaussian_peak, start, X, y)
    for model in (mc.models.gaussian_peak, normalised):
        found = mc.fit_many(model, moved, X + shift[:, None], y)
        same = still if model is not normalised else mc.fit_many(model, start, X, y)
        assert_allclose(found.params["mu"] - shift, same.params["mu"], atol=1e-8)


#: Dtype, every which point, and whether sums over points are taken a few at a time or together.
SIZES = [(np.float64, 1, True), (np.float64, 2, False), (np.float32, 1, True)]


@pytest.fixture
def apart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is for few points, or as for many."""
    if not request.param:
        monkeypatch.setattr(_blocks, "_APART", 0)


def sized(fits: int, dtype: Any, every: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Peaks at some of the points, in a precision."""
    y, start = peaks(fits)
    few = {name: values.astype(dtype) for name, values in start.items()}
    return X[::every].astype(dtype), y[:, ::every].astype(dtype), few


@pytest.mark.parametrize(("dtype", "every", "apart"), SIZES, indirect=["apart"])
@pytest.mark.usefixtures("apart")
def test_a_bad_fit_harms_nobody(dtype: Any, every: int) -> None:
    """NaN data, a start far away, a start that is not finite: the neighbours' bits are the same."""
    x, y, start = sized(300, dtype, every)
    good = mc.fit_many(mc.models.gaussian_peak, start, x, y)
    bad_y, bad_start = y.copy(), {k: v.copy() for k, v in start.items()}
    bad_y[7, 3] = np.nan
    bad_y[150] = np.inf
    bad_start["mu"][20] = 1e6
    bad_start["sigma"][299] = np.nan
    found = mc.fit_many(mc.models.gaussian_peak, bad_start, x, bad_y)
    rest = np.setdiff1d(np.arange(300), [7, 20, 150, 299])
    for name in TRUTH:
        assert_array_equal(found.params[name][rest], good.params[name][rest])
        assert_array_equal(found.stderr[name][rest], good.stderr[name][rest])
    assert_array_equal(found.status[rest], good.status[rest])
    assert [mc.Status(int(found.status[k])) for k in (7, 150, 299)] == [mc.Status.NON_FINITE] * 3
    assert not found.success[20]
    assert np.isnan(found.stderr["mu"][[7, 150, 299]]).all()


@pytest.mark.parametrize("chunk", [128, 256, 512])
@pytest.mark.parametrize(("dtype", "every", "apart"), SIZES, indirect=["apart"])
@pytest.mark.usefixtures("apart")
def test_chunks_do_not_show(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, every: int, chunk: int
) -> None:
    """Another size of the chunks, another number of first steps: the same bits."""
    x, y, start = sized(700, dtype, every)
    whole = mc.fit_many(mc.models.gaussian_peak, start, x, y)
    monkeypatch.setattr(_run, "_MOST_FITS", chunk)
    monkeypatch.setattr(_run, "_CHUNKS", 2)
    monkeypatch.setattr(_run, "_FIRST_STEPS", 4)
    told: list[tuple[int, int]] = []
    cut = mc.fit_many(
        mc.models.gaussian_peak, start, x, y, progress=lambda done, of: told.append((done, of))
    )
    for name in TRUTH:
        assert_array_equal(cut.params[name], whole.params[name])
    assert_array_equal(cut.iterations, whole.iterations)
    assert told[-1] == (700, 700)
    assert told == sorted(told)


def test_gathering_does_not_show_at_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding may leave a fit next to its bound: carried on with, it stays where it was."""
    rng = np.random.default_rng(5)
    x, y, _ = sized(1000, np.float32, 1)
    high = np.float32(rng.uniform(-0.1, 0.1, 1000))
    start = {"amplitude": 4.0, "mu": -1.37, "sigma": 1.0, "offset": 0.0}
    bounds = {"mu": (None, high)}
    whole = mc.fit_many(mc.models.gaussian_peak, start, x, y, bounds=bounds)
    monkeypatch.setattr(_run, "_FIRST_STEPS", 3)
    monkeypatch.setattr(_run, "_MORE", 2)
    cut = mc.fit_many(mc.models.gaussian_peak, start, x, y, bounds=bounds)
    assert np.isclose(whole.params["mu"], high).sum() > 100
    for name in TRUTH:
        assert_array_equal(cut.params[name], whole.params[name])
    assert_array_equal(cut.iterations, whole.iterations)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_last_step_goes_where_it_may_be_trusted(dtype: Any) -> None:
    """It is taken unevaluated: of what the data do not determine, it could be of any length.

    Outside fact: chi-squared computed with NumPy, of peaks fitted to nothing but noise.
    """
    rng, fits = np.random.default_rng(0), 2000
    y = rng.normal(0, 1, (fits, 25)).astype(dtype)
    start = {
        "amplitude": rng.uniform(-0.2, 0.2, fits),
        "mu": rng.uniform(-5, 5, fits),
        "sigma": rng.uniform(0.2, 3, fits),
        "offset": rng.normal(0, 0.3, fits),
    }
    start = {name: values.astype(dtype) for name, values in start.items()}
    found = mc.fit_many(mc.models.gaussian_peak, start, X.astype(dtype), y, tolerance=1e-2)
    p = {name: values.astype(float)[found.success, None] for name, values in found.params.items()}
    bell = np.exp(-(((X - p["mu"]) / p["sigma"]) ** 2) / 2)
    chi_squared = ((p["amplitude"] * bell + p["offset"] - y[found.success]) ** 2).sum(axis=1)
    assert found.success.sum() > 500
    assert_allclose(found.chi_squared[found.success], chi_squared, rtol=1e-3)


@pytest.mark.slow
def test_padding_does_not_leak() -> None:
    """Masked points may be anything, and count in nothing: not even in the degrees of freedom.

    Outside fact: whatever they are, the results are the same bit for bit; and those without them.
    """
    y, start = peaks(20)
    plain = mc.fit_many(mc.models.gaussian_peak, start, X, y)
    x, mask = np.concatenate([X, np.full(7, 3.0)]), np.arange(32) < 25
    padded = [np.concatenate([y, np.full((20, 7), value)], axis=1) for value in (np.nan, 1e30)]
    found, again = (mc.fit_many(mc.models.gaussian_peak, start, x, p, mask=mask) for p in padded)
    assert_array_equal(found.degrees_of_freedom, plain.degrees_of_freedom)
    for name in TRUTH:
        assert_array_equal(found.params[name], again.params[name])
        assert_array_equal(found.stderr[name], again.stderr[name])
        # Sums of another length are rounded differently, and the default tolerance is 1e-8.
        assert_allclose(found.params[name], plain.params[name], rtol=1e-8)
        assert_allclose(found.stderr[name], plain.stderr[name], rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", mc.data.NIST)
def test_nist_from_a_thousand_starts(name: str) -> None:
    """Outside fact: NIST's certified values, from starts within 2 % of the second; all get there.

    The certified errors of Lanczos1, whose residuals are rounding, have three digits.
    """
    problem, fits = mc.data.nist(name), 1000
    rng = np.random.default_rng(0)
    start = {
        f"b{k}": b * rng.uniform(0.98, 1.02, fits) for k, b in enumerate(problem.starts[1], start=1)
    }

    def model(p: Any, x: Any) -> Any:
        return problem.model(jnp.stack([p[f"b{k}"] for k in range(1, len(p) + 1)]), x)

    found = mc.fit_many(model, start, problem.x, np.tile(problem.y, (fits, 1)), steps=500)
    assert found.success.all(), found.report()
    for k, (value, error) in enumerate(
        zip(problem.certified, problem.certified_stderr, strict=True), start=1
    ):
        assert_allclose(found.params[f"b{k}"], value, rtol=1e-6)
        assert_allclose(found.stderr[f"b{k}"], error, rtol=2e-3 if name == "Lanczos1" else 2e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_in_front_of_a_cliff_is_stalled(dtype: Any) -> None:
    """Closed form: the least squares without the cliff at 1 lie behind it, at the mean of y, 2.

    At the cliff every step, up or down, raises the cost, and yet it has a slope; one fit of
    three lies on the near side, and converges.
    """

    def cliff(p: Any, x: Any) -> Any:
        return p["a"] + jnp.where(p["a"] > 1, 100, 0) + 0 * x

    y = np.array([1.9, 2.1])[:, None] * np.array([1.0, 0.25, 1.0])
    found = mc.fit_many(cliff, {"a": 0.2}, np.zeros(2, dtype), y.T.astype(dtype), steps=1000)
    ends = [mc.Status(int(status)) for status in found.status]
    assert [ends[0], ends[2]] == [mc.Status.STALLED] * 2
    assert ends[1].has_converged
    assert_allclose(found.params["a"], [1, 0.5, 1], rtol=1e-3)


SINGLE: dict[str, dict[str, Any]] = {
    "plain": {},
    "masked, weighted": {"mask": np.arange(25) % 6 != 0, "sigma": 0.2 + 0.1 * np.cos(X) ** 2},
    "huber": {"loss": "huber"},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", SINGLE.values(), ids=SINGLE)
def test_single_precision_is_as_exact_as_it_says(options: dict[str, Any]) -> None:
    """Outside fact: the same fits in float64; float32 is off by little of a standard error."""
    y, start = peaks(500)
    exact = mc.fit_many(mc.models.gaussian_peak, start, X, y, **options)
    single = mc.fit_many(
        mc.models.gaussian_peak,
        {k: v.astype(np.float32) for k, v in start.items()},
        X,
        y.astype(np.float32),
        **options,
    )
    assert single.params["mu"].dtype == np.float32
    assert single.success.all()
    for name in TRUTH:
        apart = np.abs(single.params[name] - exact.params[name]) / exact.stderr[name]
        assert apart.max() < 0.02
        assert_allclose(single.stderr[name], exact.stderr[name], rtol=5e-3)


def test_each_has_its_own_end() -> None:
    """All masked, fewer points than parameters, a parameter the data do not determine."""
    y, start = peaks(4)
    mask = np.ones((4, 25), bool)
    mask[0] = False
    mask[1, 3:] = False
    found = mc.fit_many(mc.models.gaussian_peak, start, X, y, mask=mask)
    ends = [mc.Status(int(s)) for s in found.status]
    assert ends[:2] == [mc.Status.SINGULAR] * 2
    assert all(end.has_converged for end in ends[2:])
    twins = mc.fit_many(
        lambda p, x: (p["a"] + p["b"]) * x, {"a": 1.0, "b": 2.0}, X, np.tile(X, (3, 1))
    )
    assert (twins.status == mc.Status.SINGULAR).all()
    assert np.isnan(twins.stderr["a"]).all()
    assert "3 fits, 0 converged" in twins.report()
    without_error = replace(twins, status=np.full(3, mc.Status.COST_CONVERGED))
    assert "median standard error nan" in without_error.report()


class Sliced:
    """No more than a shape, a dtype and slices."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, where: slice) -> np.ndarray:
        return self.array[where]


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2"])
def test_data_of_any_kind(dtype: str) -> None:
    """In the order of bytes of another machine, and read by slices: the same bits."""
    y = (100 * peaks(3)[0]).astype(dtype)
    own = y.astype(np.dtype(dtype).newbyteorder("="))
    start, x, mask = {"slope": 1.0, "intercept": 0.0}, X.astype(dtype), own > 50
    plain = mc.fit_many(mc.models.line, start, x.astype(own.dtype), own, mask=mask)
    assert plain.cost.dtype == (np.float64 if dtype == ">f8" else np.float32)
    for data in ((x, y, mask), (Sliced(x), Sliced(y), Sliced(mask))):
        found = mc.fit_many(mc.models.line, start, *data[:2], mask=data[2])
        assert found.cost.dtype == plain.cost.dtype
        assert_array_equal(found.cost, plain.cost)


def test_extended_precision_is_refused(tmp_path: Path) -> None:
    """From the disk as from memory: it would be rounded without a word."""
    y = np.ones((3, 25), np.longdouble)
    np.save(tmp_path / "y.npy", y)
    for data in (y, np.load(tmp_path / "y.npy", mmap_mode="r")):
        with pytest.raises(TypeError, match="double precision at most"):
            mc.fit_many(mc.models.line, {"slope": 1.0, "intercept": 0.0}, X, data)


def test_x_that_can_be_read_in_two_ways() -> None:
    """Two fits and two predictors: refused with a start, and without."""

    @mc.models.starts_from(lambda x, y: {"a": 1.0})
    def plane(params: Any, x: Any) -> Any:
        return params["a"] * (x if x.ndim == 1 else x[0] + x[1])

    for start in ({"a": 1.0}, None):
        with pytest.raises(ValueError, match="can be that of each fit or that of one"):
            mc.fit_many(plane, start, np.ones((2, 30)), np.ones((2, 30)))


def test_masked_arrays_are_refused() -> None:
    """What they mask would be fitted with the rest: a mask is given as one."""
    y = np.ma.masked_greater(100 * peaks(3)[0], 50)
    start = {"slope": 1.0, "intercept": 0.0}
    with pytest.raises(ValueError, match="y is a masked array"):
        mc.fit_many(mc.models.line, start, X, y)
    held = np.ma.array([True, False, False], mask=[True, False, False])
    with pytest.raises(ValueError, match=r"fixed\['slope'\] is a masked array"):
        mc.fit_many(mc.models.line, start, X, y.data, fixed={"slope": held})
    with pytest.raises(ValueError, match="mask is a masked array"):
        mc.fit_many(mc.models.line, start, X, y.data, mask=y < 40)
    mask = ~np.ma.getmaskarray(y)
    left_out = mc.fit_many(mc.models.line, start, X, y.data, mask=mask)
    assert_array_equal(left_out.degrees_of_freedom, mask.sum(axis=1) - 2)


def test_threads_are_kept_and_never_shared() -> None:
    """Calls at once, and a call while another traces its model, neither wait nor leave threads."""

    def steeper(p: Any, x: Any) -> Any:
        inner = mc.fit_many(mc.models.line, {"slope": 1.0, "intercept": 0.0}, X, X[None] * 2)
        return float(inner.params["slope"][0]) * mc.models.line(p, x)

    def fitted(slope: float) -> Any:
        y = slope * X[None] + np.arange(40.0)[:, None]
        found = mc.fit_many(steeper, {"slope": 1.0, "intercept": 0.0}, X, y)
        return np.stack([found.params["slope"], found.params["intercept"]])

    with ThreadPoolExecutor(4) as users:
        results = [users.submit(fitted, float(k)) for k in range(8)]
        at_once = [result.result(timeout=300) for result in results]
    before = threading.active_count()
    for k, result in enumerate(at_once):
        assert_array_equal(result, fitted(float(k)))
        assert_allclose(result[0], k / 2, atol=1e-12)
    assert threading.active_count() <= before


def test_nothing_runs_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on beside a call that fails would write into memory that the next one uses."""
    monkeypatch.setattr(_run, "_cores_of_a_device", lambda: 2)
    begun, ended = threading.Event(), threading.Event()
    calls = iter(range(2))

    def failing(self: Any, fits: Any, rows: Any, **options: Any) -> Any:
        if next(calls) == 0:
            begun.wait(60)
            raise FloatingPointError
        begun.set()
        time.sleep(0.3)
        ended.set()
        return np.arange(0)

    monkeypatch.setattr(_run._Machine, "_run", failing)
    y, start = peaks(600)
    with pytest.raises(FloatingPointError):
        mc.fit_many(mc.models.gaussian_peak, start, X, y)
    assert ended.is_set()


def test_other_data_compile_nothing() -> None:
    """The model is traced for the first call of a shape only."""
    model, traces = counting(mc.models.gaussian_peak)
    y, start = peaks(100)
    mc.fit_many(model, start, X, y)
    before = len(traces)
    other, begin = peaks(90, seed=3)
    mc.fit_many(model, begin, X, other, tolerance=1e-6, steps=50)
    assert before > 0
    assert len(traces) == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": np.ones(25)}, ValueError, "fits, points"),
        ({"y": np.ones((0, 25))}, ValueError, "fits, points"),
        ({"x": np.ones(24)}, ValueError, "points of one fit"),
        ({"x": {"a": X, "b": np.ones((3, 25))}}, ValueError, "one way"),
        ({"params": {"mu": np.ones(2)}}, ValueError, "one number or 3"),
        ({"params": {"mu": "a"}}, TypeError, "must be a number"),
        ({"params": {}}, ValueError, "no parameter"),
        ({"sigma": np.zeros(25)}, ValueError, "above zero"),
        ({"sigma": np.ones(24)}, ValueError, "sigma must have"),
        ({"mask": np.ones(25)}, TypeError, "True or False"),
        ({"mask": np.ones((2, 25), bool)}, ValueError, "mask must have"),
        ({"fixed": ["nothing"]}, ValueError, "nothing"),
        ({"fixed": list(TRUTH)}, ValueError, "nothing to fit"),
        ({"bounds": {"mu": (2.0, 1.0)}}, ValueError, "low, high"),
        ({"bounds": {"mu": (2.0, 3.0)}}, ValueError, "outside"),
        ({"model": 3}, TypeError, "function"),
        ({"model": lambda p, x: np.sin(x * p["mu"])}, ValueError, r"jax\.numpy"),
        ({"model": lambda p, x: p["mu"]}, ValueError, "returned shape"),
        ({"steps": 0}, ValueError, "at least 1"),
        ({"loss": "other"}, ValueError, "loss must be"),
        ({"loss": "poisson", "y": np.full((3, 25), -1.0)}, ValueError, "counts"),
        ({"loss": "poisson", "sigma": np.ones(25)}, ValueError, "takes no sigma"),
        ({"fixed": {"mu": [True]}}, ValueError, "3 of them"),
        ({"bounds": {"mu": (np.zeros(2), None)}}, ValueError, "3 of each"),
        ({"bounds": {"mu": 2.0}}, ValueError, "low, high"),
        ({"params": None, "model": lambda p, x: p * x}, ValueError, "no guess"),
        ({"tolerance": 0.0}, ValueError, "above zero"),
        ({"tolerance": np.full(3, 1e-4)}, ValueError, "one number"),
        ({"loss": mc.losses.huber(np.ones(25))}, ValueError, "for all fits"),
        (
            {"params": {"a.b": 1.0, "a": {"b": 0.0}}},
            ValueError,
            r"\['a'\]\['b'\] and .*\['a.b'\] have one name",
        ),
    ],
)
def test_wrong_input(
    change: dict[str, Any], error: type[Exception], message: str, annotations_unchecked: None
) -> None:
    """One clear line that names the argument."""
    y, _ = peaks(3)
    given: dict[str, Any] = {
        "model": mc.models.gaussian_peak,
        "params": dict(TRUTH),
        "x": X,
        "y": y,
    }
    with pytest.raises(error, match=message):
        mc.fit_many(**(given | change))


@pytest.mark.parametrize(
    "traced",
    [
        lambda t: {"y": t * np.ones((2, 25))},
        lambda t: {"bounds": {"slope": (t, None)}},
        lambda t: {"fixed": {"slope": t > 0}},
        lambda t: {"loss": mc.losses.huber(t)},
        lambda t: {"loss": mc.losses.Loss(lambda z: t * z)},
        lambda t: {"tolerance": t},
        lambda t: {"model": lambda p, x: p["slope"] * x + t * p["intercept"]},
    ],
    ids=["y", "bounds", "fixed", "loss", "rho", "tolerance", "model"],
)
def test_not_inside_jit(traced: Any, annotations_unchecked: None) -> None:
    """A TypeError that says what to use."""
    given = {"model": mc.models.line, "params": {"slope": 1.0, "intercept": 0.0}, "x": X}
    with pytest.raises(TypeError, match="use fit"):
        jax.jit(lambda t: mc.fit_many(**({"y": np.ones((2, 25)), **given} | traced(t))))(1.0)


def test_outliers_of_any_size() -> None:
    """Outside fact: the fits without those points, whose pull is C^2 / r."""
    x = np.linspace(-1, 1, 40)
    y = 2 * x + 1 + 0.1 * np.random.default_rng(4).normal(size=(8, 40))
    start, loss = {"slope": 1.0, "intercept": 0.5}, mc.losses.cauchy(0.1)
    counts = np.ones(y.shape, bool)
    counts[np.arange(8), 3 * np.arange(8)] = False
    without = mc.fit_many(mc.models.line, start, x, y, mask=counts, loss=loss)
    y[~counts] = 10.0 ** np.arange(12, 36, 3)
    fits = mc.fit_many(mc.models.line, start, x, y, loss=loss)
    assert fits.success.all()
    for name in start:
        assert_allclose(fits.params[name], without.params[name], rtol=1e-6)


@pytest.mark.parametrize("is_of_each", [False, True])
def test_fixed_in_all(is_of_each: bool) -> None:
    """Outside fact: the slope of a line through a known intercept, in closed form."""
    rng = np.random.default_rng(3)
    x, fixed = np.linspace(-1, 2, 12), np.full(9, 0.5)
    if is_of_each:
        fixed = rng.normal(size=9)
    y = fixed[:, None] + 2 * x + rng.normal(0, 0.1, (9, 12))
    start = {"slope": 1.0, "intercept": fixed if is_of_each else 0.5}
    fits = mc.fit_many(mc.models.line, start, x, y, fixed=["intercept"], covariance=True)
    assert_array_equal(fits.params["intercept"], fixed)
    assert_array_equal(fits.stderr["intercept"], np.zeros(9))
    slope = (y - fixed[:, None]) @ x / (x @ x)
    assert_allclose(fits.params["slope"], slope, rtol=1e-12)
    variance = ((y - fixed[:, None] - slope[:, None] * x) ** 2).sum(axis=1) / 11 / (x @ x)
    assert_allclose(fits.stderr["slope"] ** 2, variance, rtol=1e-9)
    assert_allclose(fits.covariance[:, 0, 0], variance, rtol=1e-9)
    assert fits.covariance.shape == (9, 1, 1)


@pytest.mark.parametrize("fits", [700, 4 * 128])
def test_where_data_lie_does_not_show(monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    """Computed from where they lie or copied, whole rows or not: the same bits, and data stay."""
    x, y, start = sized(fits, np.float32, 1)
    whole = mc.fit_many(mc.models.gaussian_peak, start, x, y)
    monkeypatch.setattr(_run, "_MOST_FITS", 128)
    monkeypatch.setattr(_run, "_FIRST_STEPS", 3)
    monkeypatch.setattr(_run, "_cores_of_a_device", lambda: 2)  # so that there are full chunks
    taken = dict[tuple[int, ...], set[bool]]()

    def is_taken(array: np.ndarray) -> bool:
        found = _memory.is_taken_as_it_is(array)
        taken.setdefault(array.shape, set()).add(found)
        return found

    monkeypatch.setattr(_rows, "is_taken_as_it_is", is_taken)
    memory = _memory.Room(y.nbytes + 64).empty((y.size + 1,), y.dtype)
    lain = [memory[:-1].reshape(y.shape), memory[1:].reshape(y.shape), np.empty_like(y, order="F")]
    lain.append(np.empty((fits, 2 * len(x)), y.dtype)[:, ::2])
    assert [_memory.is_taken_as_it_is(some) for some in lain] == [True, False, False, False]
    for some in lain:
        some[...] = y
        found = mc.fit_many(mc.models.gaussian_peak, start, x, some)
        assert_array_equal(some, y)
        for name in TRUTH:
            assert_array_equal(found.params[name], whole.params[name])
            assert_array_equal(found.stderr[name], whole.stderr[name])
        assert_array_equal(found.iterations, whole.iterations)
    assert taken[128, len(x)] == {True, False}


def test_memory_is_used_again() -> None:
    """What fits lies in one piece, aligned; what does not, apart, until there is room for it."""
    rooms, places = _memory.Rooms(), []
    for _ in range(3):
        with rooms.one() as room:
            some = [room.empty((3, 5), np.float32), room.empty((7,), bool), room.empty((2,), float)]
            for value, array in enumerate(some):
                assert _memory.is_taken_as_it_is(array)
                array[...] = value
            assert [int(array.min()) for array in some] == [0, 1, 2]
            assert [int(array.max()) for array in some] == [0, 1, 2]
            places.append([array.ctypes.data for array in some])
    assert places[1] == places[2]
    rooms.give_back(room.size - 1)
    with rooms.one() as another:
        assert another is not room


@pytest.mark.parametrize("fits", [3, 1_000, 1_048_576])
def test_results_have_memory_of_their_own(fits: int) -> None:
    """Side by side or apart: each array is whole, aligned, and no part of another."""
    wanted = {"a": ((), np.float32), "b": ((2, 2), np.float64), "c": ((), np.int32)}
    found = _memory.side_by_side(wanted, fits)
    for k, (name, (shape, dtype)) in enumerate(wanted.items()):
        array = found[name]
        assert array.shape == (fits, *shape)
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert array.flags.aligned
        array[...] = k
    for k, name in enumerate(wanted):
        assert (found[name] == k).all()


def test_a_start_at_a_bound_is_polished() -> None:
    """0.1 in float32 is more than 0.1."""
    y, start = peaks(4)
    y = y.astype(np.float32)
    y[1] = np.nan
    found = mc.fit_many(
        mc.models.gaussian_peak, start | {"offset": 0.1}, X, y, bounds={"offset": (-1, 0.1)},
        polish=True,
    )  # fmt: skip
    assert_array_equal(found.success, [True, False, True, True])


def test_x_may_be_a_list() -> None:
    y, start = peaks(3)
    found = mc.fit_many(mc.models.gaussian_peak, start, X.tolist(), y)
    expected = mc.fit_many(mc.models.gaussian_peak, start, X, y)
    assert_array_equal(found.params["mu"], expected.params["mu"])
