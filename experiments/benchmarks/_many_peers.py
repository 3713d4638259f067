"""What ``fit_many`` is measured beside: a SciPy loop, jaxopt under vmap, a loop in C."""

import contextlib
import ctypes
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import curve_fit

#: From x, y (fits, points) and starts (fits, 4) in the order of NAMES to parameters (fits, 4).
Peer = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

NAMES = ("amplitude", "mu", "sigma", "offset")


def peers() -> dict[str, tuple[Peer, int]]:
    """Those there are here, and how many fits each is measured on."""
    found: dict[str, tuple[Peer, int]] = {"SciPy loop": (scipy_loop, 300)}
    with contextlib.suppress(ImportError):
        found["jaxopt, vmap, float64"] = (JaxoptMany(), 20_000)
    if c := c_loop():
        found["C for this model, one core"] = (c, 200_000)
    return found


def scipy_loop(x: np.ndarray, y: np.ndarray, start: np.ndarray) -> np.ndarray:
    """``curve_fit``, one after another, in double precision."""
    x, y = x.astype(float), y.astype(float)

    def peak(x: Any, amplitude: Any, mu: Any, sigma: Any, offset: Any) -> Any:
        return amplitude * np.exp(-(((x - mu) / sigma) ** 2) / 2) + offset

    return np.array([curve_fit(peak, x, row, p)[0] for row, p in zip(y, start, strict=True)])


class JaxoptMany:
    """jaxopt's Levenberg-Marquardt under ``jit`` and ``vmap``, to a like tolerance.

    In double precision: it mixes the two where that is allowed.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it is no longer maintained
            import jaxopt  # type: ignore[import-not-found, import-untyped, unused-ignore]

        def one(x: Any, y: Any, start: Any) -> Any:
            def residuals(p: Any) -> Any:
                return p[0] * jnp.exp(-(((x - p[1]) / p[2]) ** 2) / 2) + p[3] - y

            return jaxopt.LevenbergMarquardt(residuals, maxiter=30, tol=1e-3).run(start).params

        self.run = jax.jit(jax.vmap(one, (None, 0, 0)))

    def __call__(self, x: np.ndarray, y: np.ndarray, start: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(self.run(x.astype(float), y.astype(float), start.astype(float)))


def c_loop() -> Peer | None:
    """Six steps for every fit, 16 fits a vector, on one core; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    folder = Path(tempfile.mkdtemp())
    source = Path(__file__).with_name("_peak.c")
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC"]
    try:
        out = folder / "peak.so"
        subprocess.run([compiler, *flags, str(source), "-o", str(out), "-lm"], check=True)
        library = ctypes.CDLL(str(out))
    except (OSError, subprocess.CalledProcessError):
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    of_floats = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
    library.fit_peaks.argtypes = [
        of_floats, of_floats, ctypes.c_int, ctypes.c_size_t, ctypes.c_int, of_floats,
    ]  # fmt: skip

    def run(x: np.ndarray, y: np.ndarray, start: np.ndarray) -> np.ndarray:
        fits = len(y) // 16 * 16
        p = np.array(start[:fits], np.float32, order="C")
        x, y = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(y[:fits], np.float32)
        if library.fit_peaks(x, y, y.shape[1], fits, 6, p):
            raise ValueError("the C loop takes at most 512 points")
        return p

    return run


def best(go: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        go()
        times.append(time.perf_counter() - began)
    return min(times)
