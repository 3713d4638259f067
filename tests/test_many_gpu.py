"""Fits on a GPU: the kernel, which a CPU interprets here and compiles as far as it can."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh
from numpy.testing import assert_allclose, assert_array_equal

import mlcalc_jax as mc
from mlcalc_jax._many import _input, _kernel, _run
from mlcalc_jax._many._descent import Settings

# JAX 0.12 says so of what kernels are compiled with; once it is gone, fits go as on a CPU.
pytestmark = pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")

X = np.linspace(-5, 5, 25, dtype=np.float32)
FITS = 70
RNG = np.random.default_rng(3)


def peaks(dtype: Any = np.float32) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Noisy peaks; some are pathological, one is NaN."""
    rng = np.random.default_rng(0)
    truth = {"amplitude": 7.0, "mu": 0.3, "sigma": 1.4, "offset": 0.5}
    y = np.asarray(mc.models.gaussian_peak(truth, X)) + rng.normal(0, 0.3, (FITS, 25))
    y[10::20] = rng.normal(0, 1, y[10::20].shape)
    y[3, 4] = np.nan
    start = {k: (v * rng.uniform(0.85, 1.15, FITS)).astype(dtype) for k, v in truth.items()}
    start["mu"][10::20] = 30
    return np.asarray(y, dtype), start


def cuts(p: Any, x: Any) -> Any:
    """Number by number, with what a model may have of its own."""
    scale = jnp.float32(2.0)
    u = jnp.where(x < p["mu"], (x - p["mu"]) / scale, x - p["mu"])
    return p["amplitude"] * jnp.tanh(u) ** 2 / (1 + u**2) + p["sigma"] + p["offset"] * x


def summed(p: Any, x: Any) -> Any:
    """Not pointwise: its values sum to the amplitude."""
    bell = jnp.exp(-(((x - p["mu"]) / p["sigma"]) ** 2) / 2)
    return 10 * p["amplitude"] * bell / jnp.sum(bell) + p["offset"]


def on_gpu(fits: Callable[[], mc.ManyFits], monkeypatch: pytest.MonkeyPatch) -> mc.ManyFits:
    """As if there were a GPU; data in JAX's arrays are taken for being there."""
    with monkeypatch.context() as patch:
        patch.setattr(_run, "is_accelerated", lambda: True)
        patch.setattr(_input, "is_on_device", lambda array: isinstance(array, jax.Array))
        return fits()


def same(found: mc.ManyFits, expected: mc.ManyFits, digits: float = 5e-3) -> None:
    """Statuses, steps, and parameters within a small part of their errors.

    When a singular fit ends, rounding decides.
    """
    assert_array_equal(found.degrees_of_freedom, expected.degrees_of_freedom)
    good = expected.success
    assert good.mean() > 0.5
    assert_array_equal(np.asarray(found.iterations)[good], expected.iterations[good])
    assert_array_equal(found.success, good)
    assert_array_equal(np.asarray(found.status)[~good], expected.status[~good])
    assert_allclose(np.asarray(found.chi_squared)[good], expected.chi_squared[good], rtol=1e-4)
    for name, error in expected.stderr.items():
        assert_allclose(np.asarray(found.stderr[name])[good], error[good], rtol=1e-2)
        apart = np.asarray(found.params[name]) - expected.params[name]
        assert np.all(np.abs(apart)[good] <= digits * error[good])


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "double": {},
    "covariance": {"covariance": True, "steps": 9},
    "one sigma, masked": {"sigma": np.linspace(0.2, 0.5, 25), "mask": X > -4},
    "each its own": {
        "sigma": RNG.uniform(0.2, 0.5, (FITS, 25)),
        "mask": RNG.random((FITS, 25)) < 0.8,
        "bounds": {"sigma": (1.1, 1.65), "mu": (np.full(FITS, -40.0), None)},
        "fixed": {"offset": RNG.random(FITS) < 0.5},
    },
    "huber": {"loss": "huber", "fixed": ["amplitude"]},
    "own": {},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n != "plain")) for n in OPTIONS],
)
def test_kernel_finds_what_a_cpu_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways to sum and to go on: blocks of arrays on a CPU, and point by point."""
    y, start = peaks(np.float64 if name == "double" else np.float32)
    model = cuts if name == "own" else mc.models.gaussian_peak
    fits = partial(mc.fit_many, model, start, X, y, **OPTIONS[name])
    asked: list[bool] = []
    can_run = _kernel.can_run

    def ask(*how: Any) -> bool:
        asked.append(can_run(*how))
        return asked[-1]

    monkeypatch.setattr(_kernel, "can_run", ask)
    found, expected = on_gpu(fits, monkeypatch), fits()
    assert asked
    assert all(asked)
    same(found, expected)
    assert isinstance(found.status, np.ndarray)
    if name == "covariance":
        assert_allclose(found.covariance, expected.covariance, rtol=1e-2, atol=1e-4)


@pytest.mark.slow
def test_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poisson's likelihood of images."""
    rng = np.random.default_rng(1)
    x: Any = tuple(np.meshgrid(np.arange(5.0, dtype=np.float32), np.arange(5.0, dtype=np.float32)))
    truth: Any = {"amplitude": 100.0, "x0": 2.1, "y0": 1.9, "sigma": 1.0, "offset": 10.0}
    y = rng.poisson(mc.models.gaussian_2d(truth, x), (40, 5, 5)).astype(np.float32)
    fits = partial(mc.fit_many, mc.models.gaussian_2d, truth, x, y, loss="poisson")
    same(on_gpu(fits, monkeypatch), fits())


@pytest.mark.slow
def test_an_x_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(0.1, 2, (50, 12)).astype(np.float32)
    y = (2 * np.exp(-1.5 * x) + rng.normal(0, 0.05, x.shape)).astype(np.float32)
    model = mc.models.exponential_decay
    start = {"amplitude": 1.5, "rate": 1.0, "offset": 0.1}
    fits = partial(mc.fit_many, model, start, x, y)
    same(on_gpu(fits, monkeypatch), fits())


@pytest.mark.slow
def test_other_models_go_as_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    y, start = peaks()
    fits = partial(mc.fit_many, summed, start, X, y)
    same(on_gpu(fits, monkeypatch), fits())
    there = partial(mc.fit_many, summed, start, X, jnp.asarray(y))
    found = on_gpu(there, monkeypatch)
    assert isinstance(found.params["mu"], jax.Array)
    same(found, fits())


@pytest.mark.slow
def test_data_on_a_gpu_stay_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Arrays that are there, in several windows; a number that is fixed; a polish; a group."""
    y, start = peaks()
    there = {name: jnp.asarray(values) for name, values in start.items()}
    options: dict[str, Any] = {"fixed": ["offset"], "mask": X > -4}
    expected = mc.fit_many(mc.models.gaussian_peak, start, X, y, **options)
    mask = jnp.asarray(np.broadcast_to(X > -4, y.shape))
    fits = partial(
        mc.fit_many, mc.models.gaussian_peak, there, X, jnp.asarray(y), **options | {"mask": mask}
    )
    monkeypatch.setattr(_run, "part_size", lambda data: 64)
    found = on_gpu(fits, monkeypatch)
    same(found, expected)
    leaves = [found.params, found.stderr, found.status, found.cost, found.iterations]
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(leaves))
    assert_array_equal(found.params["offset"], start["offset"])
    assert_array_equal(found.stderr["offset"], 0)
    assert found.report().splitlines()[0] == expected.report().splitlines()[0]
    stored = on_gpu(partial(fits, out=tmp_path / "fits.zarr"), monkeypatch)
    assert_array_equal(stored.params["mu"][:], found.params["mu"])
    polished = on_gpu(partial(fits, polish=True), monkeypatch)
    assert isinstance(polished.params["mu"], jax.Array)
    better = mc.fit_many(mc.models.gaussian_peak, start, X, y, **options, polish=True)
    assert_array_equal(np.asarray(polished.success), better.success)


def test_wrong_data_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    y, start = peaks()
    model = mc.models.gaussian_peak
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("sigma must be finite and above zero", {"sigma": jnp.zeros(y.shape)}),
        ("counts for a Poisson loss", {"loss": "poisson"}),
        ("outside its bounds", {"bounds": {"mu": (5, 6)}}),
    ]
    for message, options in wrong:
        fits = partial(mc.fit_many, model, start, X, jnp.asarray(y), **options)
        with pytest.raises(ValueError, match=message):
            on_gpu(fits, monkeypatch)
    with pytest.raises(TypeError, match="real numbers"):
        on_gpu(lambda: mc.fit_many(model, start, X, jnp.asarray(y) > 0), monkeypatch)


MODELS: dict[str, Any] = {
    "gaussian_peak": {"amplitude": 7.0, "mu": 0.3, "sigma": 1.4, "offset": 0.5},
    "lorentzian": {"amplitude": 7.0, "x0": 0.3, "gamma": 1.4, "offset": 0.5},
    "sine": {"amplitude": 7.0, "frequency": 0.3, "phase": 1.4, "offset": 0.5},
    "logistic": {"capacity": 7.0, "midpoint": 0.3, "rate": 1.4},
    "exponential_decay": {"amplitude": 7.0, "rate": 0.3, "offset": 0.5},
}


@pytest.mark.parametrize("loss", [None, "soft_l1", "huber", "cauchy", "arctan", "poisson"])
def test_losses_compile_for_a_gpu(loss: str | None) -> None:
    assert _compiles("gaussian_peak", loss)


@pytest.mark.parametrize("name", MODELS)
def test_models_compile_for_a_gpu(name: str) -> None:
    assert _compiles(name, None)


def test_doubles_compile_for_a_gpu() -> None:
    assert _compiles("gaussian_peak", None, np.float64)


def _compiles(name: str, loss: str | None, dtype: Any = np.float32) -> bool:
    """As far as can be without a GPU: to what its driver compiles."""
    data = _input.checked(
        getattr(mc.models, name), MODELS[name], X.astype(dtype), np.ones((64, 25), dtype),
        None, None, loss, None, (),
    )  # fmt: skip
    settings = Settings(
        data.model, data.treedef, data.free, True, False, True, _kernel.LANES, in_kernel=True
    )
    device = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=None, platform="gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        return _kernel.can_run(settings, data.window(0, 64), platform="cuda")
