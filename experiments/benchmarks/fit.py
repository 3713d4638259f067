"""One fit: warm, first, and of ten million points, this package beside SciPy."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy.optimize import curve_fit

import mlcalc_jax as mc

from .._run import Config as Common
from .._run import Run, main, say

START = {"amplitude": 1.0, "mu": 0.0, "sigma": 1.0, "offset": 0.0}
P0 = [1.0, 0.0, 1.0, 0.0]


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Time fits of a Gaussian peak (4 parameters) beside SciPy's curve_fit with analytic Jacobian.

    Times are medians, of several processes where the fits are warm; there "one thread" means that
    JAX computes on the thread that calls. "first" includes compilation, in a fresh process after
    import. Memory is what the process grew by at its peak, in a process of its own.
    """

    points: int = 10_000_000
    """Points of the large fit (--quick: 1,000,000)."""
    only: str = ""
    """What a process of its own measures; for the benchmark's own use."""


def experiment(config: Config, run: Run) -> str | None:
    """Measure all, and print ratios."""
    points = min(config.points, 1_000_000) if config.quick else config.points
    if config.only:
        here = {"warm": _warm, "warm, one thread": _warm, "first": _first}
        if config.only == "warm, one thread":
            jax.config.update("jax_cpu_enable_async_dispatch", False)
        say(here[config.only]() if config.only in here else _large(config.only, points))
        return None
    rows: list[dict[str, Any]] = []
    for what in ("warm", "warm, one thread"):
        run.doing(what)
        times = np.array([_apart(what, points) for _ in range(2 if config.quick else 7)])
        ratios = times[:, 1] / times[:, 0]
        say(
            f"{what}: {np.median(ratios):.2f} of SciPy's time, {ratios.min():.2f} to "
            f"{ratios.max():.2f} in {len(ratios)} processes"
        )
        for way, seconds in zip(("SciPy", "mlcalc_jax"), np.median(times, axis=0), strict=True):
            rows.append({"what": f"{what}, 100 points", "way": way, "seconds": seconds})
    first, _ = _apart("first", points)
    rows.append({"what": "first, with compilation", "way": "mlcalc_jax", "seconds": first})
    for way in ("SciPy", "mlcalc_jax"):
        run.doing(f"{points} points, {way}")
        seconds, megabytes = _apart(way, points)
        rows.append({"what": f"{points} points", "way": way, "seconds": seconds})
        rows.append({"what": f"{points} points, MB", "way": way, "seconds": megabytes})
    run.table("fit", rows)
    for row in rows:
        unit = "MB" if row["what"].endswith("MB") else "s"
        say(f"{row['what']:<30}{row['way']:<14}{row['seconds']:>12.6g} {unit}")
    say(f"the data themselves: {16 * points / 1e6:.0f} MB")
    return None


def _data(points: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(-3, 3, points)
    return x, _peak(x, 2.0, 0.3, 0.8, 0.5) + 0.1 * np.random.default_rng(0).normal(size=points)


def _peak(x: Any, amplitude: Any, mu: Any, sigma: Any, offset: Any) -> Any:
    return amplitude * np.exp(-(((x - mu) / sigma) ** 2) / 2) + offset


def _jacobian(x: Any, amplitude: Any, mu: Any, sigma: Any, offset: Any) -> Any:
    z = (x - mu) / sigma
    e = np.exp(-(z**2) / 2)
    return np.stack([e, amplitude * e * z / sigma, amplitude * e * z**2 / sigma, 0 * x + 1], 1)


def _medians(
    ways: dict[str, Callable[[], object]], rounds: int = 20, repeats: int = 50
) -> dict[str, float]:
    """The median time of each, in turn: what slows the machine for a while slows them all."""
    times = np.empty((len(ways), rounds, repeats))
    for go in ways.values():
        go()
    for k in range(rounds):
        for way, go in enumerate(ways.values()):
            for n in range(repeats):
                began = time.perf_counter()
                go()
                times[way, k, n] = time.perf_counter() - began
    return dict(zip(ways, np.median(times, axis=(1, 2)).tolist(), strict=True))


def _warm() -> str:
    """Seconds of a compiled fit, SciPy's and ours."""
    x, y = _data(100)
    ways = {
        "SciPy": lambda: curve_fit(_peak, x, y, P0, jac=_jacobian),
        "mlcalc_jax": lambda: mc.fit(mc.models.gaussian_peak, START, x, y),
    }
    return " ".join(map(str, _medians(ways).values()))


def _first() -> str:
    """Seconds of the first fit."""
    x, y = _data(100)
    began = time.perf_counter()
    mc.fit(mc.models.gaussian_peak, START, x, y)
    return f"{time.perf_counter() - began:.3f} 0"


def _large(way: str, points: int) -> str:
    """Seconds and megabytes of one large fit, compiled before at another size of data."""
    x, y = _data(points)

    def go() -> object:
        if way == "SciPy":
            return curve_fit(_peak, x, y, P0, jac=_jacobian)
        return mc.fit(mc.models.gaussian_peak, START, x, y)

    few = slice(None, None, points // 20_000)
    mc.fit(mc.models.gaussian_peak, START, x[few], y[few])  # the compiler's own memory is no data
    before = _peak_megabytes()
    go()
    began = time.perf_counter()
    go()
    return f"{time.perf_counter() - began:.3f} {_peak_megabytes() - before:.0f}"


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _apart(what: str, points: int) -> tuple[float, float]:
    """Two numbers, measured in a process of its own."""
    command = [sys.executable, "-m", "experiments.benchmarks.fit", "--only", what]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--points", str(points), "--out", f"{folder}/out"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes = done.stdout.splitlines()[0].split()
    return float(seconds), float(megabytes)


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
