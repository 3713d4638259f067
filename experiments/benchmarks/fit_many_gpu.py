"""Many small fits by the second on a GPU, with data that are there and from the host and back."""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mlcalc_jax as mc

from .._run import Config as Common
from .._run import InputError, Run, main, say
from ._many_peers import NAMES, JaxoptMany, best
from .fit_many import PEAK, SPOT, Case


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Fits per second of small Gaussian peaks and spots on a GPU.

    Compilation is apart. A spot is the workload that Gpufit publishes: 5 parameters, 5 x 5 pixels,
    at most 10 iterations, float32. Rates are also shown as bytes of y a second, which the memory
    could copy so much faster. The peer, jaxopt under vmap, has its data on the GPU as well.
    """

    fits: int = 4_000_000
    """Fits in a batch (--quick: 50,000)."""
    repeats: int = 5
    """Each is run so often; the best counts."""


def experiment(config: Config, run: Run) -> str | None:
    """Measure the workloads, batch sizes, and the way from the host and back."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        raise InputError("this needs a GPU; benchmarks.fit_many measures on CPUs")
    say(f"{device.device_kind}, JAX {jax.__version__}")
    fits = min(config.fits, 50_000) if config.quick else config.fits
    rows: list[dict[str, Any]] = []

    def note(what: str, case: "_There", count: int, go: Callable[[], Any]) -> None:
        began = time.perf_counter()
        go()
        first = time.perf_counter() - began
        rate = count / best(go, config.repeats)
        rows.append({"what": what, "points": case.points, "fits": count, "rate": rate,
                     "gigabytes": rate * case.bytes_of_a_fit / 1e9, "copied": copied,
                     "first": first})  # fmt: skip
        say(f"{what}, {case.points} points, {count:,} fits: {rate / 1e6:,.1f} million a second, "
            f"{rows[-1]['gigabytes']:,.0f} GB/s of data; first call {first:.1f} s")  # fmt: skip

    copied = _bandwidth() / 1e9
    say(f"memory: {copied:,.0f} GB/s, read and written")
    spot = {"steps": 10, "tolerance": 1e-2}
    for what, kind, points, dtype, part, options in (
        ("Gpufit's spot", SPOT, 25, np.float32, 1, spot),
        ("spot with covariance", SPOT, 25, np.float32, 1, spot | {"covariance": True}),
        ("peak", PEAK, 25, np.float32, 1, {}),
        ("peak, 1 % pathological", PEAK, 25, np.float32, 1, {}),
        ("peak of 120 points", PEAK, 120, np.float32, 4, {}),
        ("peak in float64", PEAK, 25, np.float64, 4, {}),
        ("peak in float64, tolerance 1e-4", PEAK, 25, np.float64, 4, {"tolerance": 1e-4}),
    ):
        run.doing(what)
        case = _There(config.seed, kind, fits // part, points, dtype, "patho" in what)
        note(what, case, fits // part, case.go(**options))
    for batch in (10_000, 100_000, 1_000_000, 4 * fits):
        if not config.quick:
            case = _There(config.seed, SPOT, batch, 25, np.float32)
            note("spot by batch", case, batch, case.go(**spot))
    for what, kind, options in (("spot", SPOT, spot), ("peak", PEAK, {})):
        there = _There(config.seed, kind, fits, 25, np.float32)
        note(f"{what}, from the host and back", there, fits, there.from_host(**options))
    with contextlib.suppress(ImportError):
        there, peer = _There(config.seed, PEAK, fits // 20, 25, np.float32), JaxoptMany()
        note("peak, jaxopt under vmap in float64", there, fits // 20, there.of_peer(peer.run))
    run.table("fit_many_gpu", rows)
    return None


class _There:
    """A workload whose data are on the GPU: some fits, over and over."""

    def __init__(
        self, seed: int, kind: str, fits: int, points: int, dtype: Any, is_spoilt: bool = False
    ) -> None:
        some = min(fits, 1_000_000)
        self.case = Case(seed, kind, some, points, dtype)
        if is_spoilt:
            self.case.spoil(100)
        self.is_double, self.points = dtype == np.float64, points
        self.bytes_of_a_fit = points * np.dtype(dtype).itemsize
        times = -(-fits // some)
        with jax.enable_x64(self.is_double):
            self.y = jnp.tile(jnp.asarray(self.case.y), (times, 1))[:fits]
            self.start = {
                name: jnp.tile(jnp.asarray(values), times)[:fits]
                for name, values in self.case.start.items()
            }

    def go(self, **options: Any) -> Callable[[], Any]:
        """The fits, from data on the GPU to results there."""

        def fitted() -> Any:
            with jax.enable_x64(self.is_double):
                found = mc.fit_many(self.case.model, self.start, self.case.x, self.y, **options)
                return jax.block_until_ready([found.params, found.stderr, found.status])

        return fitted

    def from_host(self, **options: Any) -> Callable[[], Any]:
        """The same, NumPy arrays in and out."""
        y = np.asarray(self.y)
        start = {name: np.asarray(values) for name, values in self.start.items()}
        return lambda: mc.fit_many(self.case.model, start, self.case.x, y, **options)

    def of_peer(self, run: Callable[..., Any]) -> Callable[[], Any]:
        """Parameters alone, by what takes x, y and starts (fits, 4)."""
        with jax.enable_x64(True):
            start = jnp.stack([self.start[name] for name in NAMES], axis=1).astype(float)
            x, y = jnp.asarray(self.case.x, float), self.y.astype(float)

        def fitted() -> Any:
            with jax.enable_x64(True):
                return jax.block_until_ready(run(x, y, start))

        return fitted


def _bandwidth() -> float:
    """Bytes a second that the GPU's memory moves in a copy, what is read and what is written."""
    array = jnp.ones(1 << 28, jnp.float32)
    copy = jax.jit(lambda array: array + 1)
    jax.block_until_ready(copy(array))
    seconds = best(lambda: jax.block_until_ready([copy(array) for _ in range(5)]), 3)
    return 5 * 2 * array.nbytes / seconds


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
