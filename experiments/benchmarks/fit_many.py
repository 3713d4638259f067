"""Many small fits: this package against a loop of SciPy's curve_fit, by the second."""

import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import curve_fit

import mlcalc_jax as mc

from .._run import Config as Common
from .._run import Run, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Fits per second of small Gaussian peaks and spots, NumPy arrays in and out, all cores.

    Compilation is apart. The spot is the workload that Gpufit publishes: 5 parameters, 5 x 5
    pixels, tolerance 1e-4, at most 10 iterations, float32, starts some 15 % off.
    """

    fits: int = 1_000_000
    """Fits in a batch (--quick: 50,000)."""
    repeats: int = 3
    """Each is run so often; the best counts."""


def experiment(config: Config, run: Run) -> str | None:
    """Measure each workload, and SciPy on the first of its rows."""
    fits = min(config.fits, 50_000) if config.quick else config.fits
    rng = np.random.default_rng(config.seed)
    rows: list[dict[str, Any]] = []
    for name, dtype, points in (
        ("spot of 5x5 pixels", np.float32, 5),
        ("peak of 25 points", np.float32, 25),
        ("peak of 25 points", np.float64, 25),
        ("peak of 120 points", np.float32, 120),
    ):
        run.doing(f"{name}, {dtype.__name__}")
        is_spot = name.startswith("spot")
        x, y, start = (_spots if is_spot else _peaks)(rng, fits, points)
        x = (x[0].astype(dtype), x[1].astype(dtype)) if is_spot else x.astype(dtype)
        data = y.astype(dtype)
        begin = {key: value.astype(dtype) for key, value in start.items()}
        model = mc.models.gaussian_2d if is_spot else mc.models.gaussian_peak
        options: dict[str, Any] = {"steps": 10, "tolerance": 1e-4} if is_spot else {}
        go = partial(mc.fit_many, model, begin, x, data, **options)
        found = go()
        rate = fits / _best(go, config.repeats)
        scipy = None if is_spot else _scipy_rate(x, y, start)
        rows.append(
            {
                "workload": name,
                "dtype": dtype.__name__,
                "converged": float(found.success.mean()),
                "fits_per_second": rate,
                "scipy_fits_per_second": scipy,
            }
        )
        beside = "" if scipy is None else f"; SciPy {scipy:,.0f}, {rate / scipy:,.0f} times"
        say(f"{name}, {dtype.__name__}: {rate:,.0f} fits a second, "
            f"{found.success.mean():.2%} converged{beside}")  # fmt: skip
    run.table("fit_many", rows)
    return None


def _peaks(rng: Any, fits: int, points: int) -> tuple[Any, np.ndarray, dict[str, np.ndarray]]:
    x = np.linspace(-5, 5, points)
    truth = {
        "amplitude": rng.uniform(5, 10, fits),
        "mu": rng.uniform(-1, 1, fits),
        "sigma": rng.uniform(1, 2, fits),
        "offset": rng.uniform(0, 1, fits),
    }
    u = (x - truth["mu"][:, None]) / truth["sigma"][:, None]
    y = truth["amplitude"][:, None] * np.exp(-(u**2) / 2) + truth["offset"][:, None]
    y += rng.normal(0, 0.3, y.shape)
    return x, y, {k: v * rng.uniform(0.85, 1.15, fits) for k, v in truth.items()}


def _spots(rng: Any, fits: int, side: int) -> tuple[Any, np.ndarray, dict[str, np.ndarray]]:
    across, down = (axis.ravel() for axis in np.meshgrid(*[np.arange(float(side))] * 2))
    truth = {
        "amplitude": rng.uniform(80, 120, fits),
        "x0": rng.uniform(1.7, 2.3, fits),
        "y0": rng.uniform(1.7, 2.3, fits),
        "sigma": rng.uniform(0.9, 1.2, fits),
        "offset": rng.uniform(8, 12, fits),
    }
    r2 = (across - truth["x0"][:, None]) ** 2 + (down - truth["y0"][:, None]) ** 2
    y = truth["amplitude"][:, None] * np.exp(-r2 / (2 * truth["sigma"][:, None] ** 2))
    y = rng.poisson(y + truth["offset"][:, None]).astype(float)
    return (across, down), y, {k: v * rng.uniform(0.85, 1.15, fits) for k, v in truth.items()}


def _best(go: Any, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        go()
        times.append(time.perf_counter() - began)
    return min(times)


def _scipy_rate(x: Any, y: np.ndarray, start: dict[str, np.ndarray], fits: int = 300) -> float:
    def peak(x: Any, amplitude: Any, mu: Any, sigma: Any, offset: Any) -> Any:
        return amplitude * np.exp(-(((x - mu) / sigma) ** 2) / 2) + offset

    x = np.asarray(x, float)
    began = time.perf_counter()
    for row in range(fits):
        curve_fit(peak, x, y[row], [values[row] for values in start.values()])
    return fits / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
