"""Many small fits by the second: workloads, peers, cores, batch sizes and memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import mlcalc_jax as mc

from .._run import Config as Common
from .._run import Run, main, say
from ._many_peers import NAMES, best, peers

PEAK, SPOT, CUBIC, CUBIC_BY_HAND = "peak", "spot", "cubic", "cubic by hand"


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Fits per second of small Gaussian peaks and spots, NumPy arrays in and out.

    Compilation is apart. A spot is the workload that Gpufit publishes: 5 parameters, 5 x 5 pixels,
    at most 10 iterations, float32, starts some 15 % off; its tolerance of 1e-4 is relative to
    chi-squared, which is 1e-2 of ours. Peers run on the same data, each by its own rule to stop.
    All of it needs Linux; --quick does not.
    """

    fits: int = 1_000_000
    """Fits in a batch (--quick: 50,000)."""
    repeats: int = 3
    """Each is run so often, small batches up to 20 times as often; the best counts."""
    turns: int = 7
    """Ratios are measured so often, by turns."""
    only: str = ""
    """What a process of its own measures; for the benchmark's own use."""


def experiment(config: Config, run: Run) -> str | None:
    """Measure the workloads, the peers, and what the rate depends on."""
    if config.only:
        say(json.dumps(_apart(config.only, config)))
        return None
    fits = min(config.fits, 50_000) if config.quick else config.fits
    rows: list[dict[str, Any]] = []

    def note(what: str, way: str, points: int, batch: int, rate: float, **more: Any) -> None:
        row = {"what": what, "way": way, "points": points, "fits": batch, "rate": rate}
        rows.append({**row, "evaluations": None, "megabytes": None, **more})
        memory = f", {more['megabytes']:,.0f} MB" if "megabytes" in more else ""
        say(f"{what}, {points} points, {batch:,} fits, {way}: {rate:,.0f} a second{memory}")

    for what, kind, points, dtype, options in (
        ("Gpufit's spot", SPOT, 25, np.float32, {"steps": 10, "tolerance": 1e-2}),
        ("spot with covariance", SPOT, 25, np.float32,
         {"steps": 10, "tolerance": 1e-2, "covariance": True}),
        ("peak", PEAK, 25, np.float32, {}),
        ("peak in float64", PEAK, 25, np.float64, {}),
        ("peak in float64, tolerance of float32", PEAK, 25, np.float64, {"tolerance": 1e-4}),
        ("cubic, models.polynomial", CUBIC, 25, np.float32, {}),
        ("cubic, by hand", CUBIC_BY_HAND, 25, np.float32, {}),
    ):  # fmt: skip
        run.doing(what)
        case = Case(config.seed, kind, fits, points, dtype)
        go = case.go(**options)
        rate, evaluations = fits / best(go, config.repeats), float(go().iterations.mean())
        note(what, "fit_many", points, fits, rate, evaluations=evaluations)
    for points in (25,) if config.quick else (8, 16, 25, 50, 120, 250, 500):
        few = max(fits * 25 // max(points, 25), 1)
        case = Case(config.seed, PEAK, few, points, np.float32)
        run.doing(f"{points} points")
        note("peak by points", "fit_many", points, few, few / best(case.go(), config.repeats))
        for way, (peer, most) in peers().items():
            some = min(few, most) // 16 * 16
            x, y, start = case.x, case.y[:some], case.flat_start()[:some]
            peer(x, y, start)
            seconds = best(partial(peer, x, y, start), config.repeats)
            note("peak by points", way, points, some, some / seconds)
    if not config.quick:
        for batch in (10_000, 100_000, 1_000_000, 10_000_000):
            run.doing(f"a batch of {batch:,} from disk to disk")
            found = _in_a_process(f"batch {batch}", config)
            note("peak by batch", "fit_many", 25, batch, found["rate"])
            found = _in_a_process(f"stream {batch}", config)
            note("peak by batch, disk to disk", "fit_many", 25, batch, **found)
        run.figure(_figure(rows), "fit_many")
    times = _ratios(fits, config, run)
    if not config.quick:
        alone, times["one core"] = _on_one_core(config, run)
        note("peak on one core", "fit_many", 25, fits, alone)
    ratios = []
    for way, each in times.items():
        low, middle, high = (float(q) for q in np.quantile(each, (0, 0.5, 1)))
        ratios.append({"what": way, "median": middle, "least": low, "most": high})
        say(f"{way}: {middle:.2f}, {low:.2f} to {high:.2f}")
    run.table("fit_many", rows)
    run.table("fit_many_ratios", ratios)
    return None


def _ratios(fits: int, config: Config, run: Run) -> dict[str, list[float]]:
    """What as many fits take in other ways, in units of one plain batch of peaks in float32.

    By turns, since a machine is not equally fast from one second to the next: a ratio is of two
    neighbours in time.
    """
    plain, spoilt, double = (
        Case(config.seed, PEAK, fits, 25, dtype) for dtype in (np.float32, np.float32, np.float64)
    )
    spoilt.spoil(100)
    plainly = plain.go()
    ways: dict[str, Callable[[], Any]] = {
        "every hundredth pathological": spoilt.go(),
        "float64, tolerance of float32": double.go(tolerance=1e-4),
        "float64": double.go(),
    }
    for size in (100_000, 30_000, 10_000):
        if size < fits:
            ways[f"{size:,} a call"] = plain.in_batches(size)
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(config.turns):
        run.doing(f"ratios, turn {turn + 1} of {config.turns}")
        for way, go in ways.items():
            unit = best(plainly, 1)
            found[way].append(best(go, 1) / unit)
    return found


def _on_one_core(config: Config, run: Run) -> tuple[float, list[float]]:
    """The rate on one core, and how many times the time it takes there, by turns."""
    alone, ratios = 0.0, []
    for turn in range(config.turns):
        run.doing(f"one core and two, turn {turn + 1} of {config.turns}")
        one, two = (_in_a_process(f"cores {cores}", config)["rate"] for cores in (1, 2))
        alone = max(alone, one)
        ratios.append(two / one)
    return alone, ratios


class Case:
    """Simulated data of one workload, and the fits of it."""

    def __init__(self, seed: int, kind: str, fits: int, points: int, dtype: Any) -> None:
        rng = np.random.default_rng(seed)
        make = {SPOT: _spots, PEAK: _peaks}.get(kind, _cubics)
        x, y, start = make(rng, fits, int(points**0.5) if kind == SPOT else points)
        self.x = jax.tree.map(lambda axis: axis.astype(dtype), x)
        self.y = y.astype(dtype)
        self.start = jax.tree.map(lambda values: values.astype(dtype), start)
        models: dict[str, Callable[[Any, Any], Any]] = {
            PEAK: mc.models.gaussian_peak,
            SPOT: mc.models.gaussian_2d,
            CUBIC: mc.models.polynomial,
            CUBIC_BY_HAND: _cubic,
        }
        self.model = models[kind]

    def spoil(self, every: int) -> None:
        """Nothing but noise in some of the rows, with starts far away."""
        rng = np.random.default_rng(1)
        shape = self.y[::every].shape
        self.y[::every] = rng.normal(0, 1, shape)
        self.start["mu"][::every] = rng.uniform(-50, 50, shape[0])

    def go(self, **options: Any) -> Callable[[], mc.ManyFits]:
        """The fits, compiled."""
        fitted = partial(mc.fit_many, self.model, self.start, self.x, self.y, **options)
        fitted()
        return fitted

    def in_batches(self, size: int) -> Callable[[], None]:
        """The same fits, some at a time, compiled."""
        parts = [slice(k, k + size) for k in range(0, len(self.y), size)]
        calls = [
            partial(
                mc.fit_many,
                self.model,
                {name: values[part] for name, values in self.start.items()},
                self.x,
                self.y[part],
            )
            for part in parts
        ]

        def go() -> None:
            for call in calls:
                call()

        go()
        return go

    def flat_start(self) -> np.ndarray:
        """(fits, 4)."""
        return np.stack([self.start[name] for name in NAMES], axis=1)


def _in_a_process(what: str, config: Config) -> dict[str, float]:
    """What a process of its own measures, of which nothing is compiled or in memory yet."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments.benchmarks.fit_many", "--only", what]
        command += ["--out", str(Path(folder) / "out"), "--fits", str(config.fits)]
        command += ["--repeats", str(config.repeats), "--seed", str(config.seed)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(next(line for line in done.stdout.splitlines() if line[:1] == "{"))


def _apart(what: str, config: Config) -> dict[str, float]:
    kind, _, number = what.partition(" ")
    if kind == "cores":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(number)])
        fits = config.fits
    else:
        fits = int(number)
    if kind == "stream":
        return _streamed(fits, config.seed)
    case = Case(config.seed, PEAK, fits, 25, np.float32)
    often = 5 if kind == "cores" else max(1, min(20, config.fits // fits))
    return {"rate": fits / best(case.go(), often * config.repeats)}


def _streamed(fits: int, seed: int) -> dict[str, float]:
    """From a memory map to a Zarr group: the rate, and memory beside what is mapped."""
    with tempfile.TemporaryDirectory() as folder:
        step, file = min(fits, 100_000), Path(folder) / "y.npy"
        shape = (fits, 25)
        on_disk = np.lib.format.open_memmap(file, "w+", np.float32, shape)
        for first in range(0, fits, step):
            on_disk[first : first + step] = Case(seed, PEAK, step, 25, np.float32).y
        on_disk.flush()
        case = Case(seed, PEAK, step, 25, np.float32)
        y = np.load(file, mmap_mode="r")
        start = {"amplitude": 7.0, "mu": 0.2, "sigma": 1.4, "offset": 0.4}
        mc.fit_many(case.model, start, case.x, y, out=Path(folder) / "first.zarr")
        before, most = _resident(), 0.0

        def tell(done: int, of: int) -> None:
            nonlocal most
            most = max(most, _resident() - before)

        began = time.perf_counter()
        out = Path(folder) / "fits.zarr"
        mc.fit_many(case.model, start, case.x, y, out=out, progress=tell)
        return {"rate": fits / (time.perf_counter() - began), "megabytes": most}


def _resident() -> float:
    """Megabytes of memory in use, files that are mapped left out."""
    status = Path("/proc/self/status").read_text()
    return int(next(s for s in status.splitlines() if s.startswith("RssAnon")).split()[1]) / 1024


def _figure(rows: list[dict[str, Any]]) -> Any:
    figure = mc.plots.figure(10, 4.4)
    by_points, by_batch = figure.subplots(1, 2)
    ways = list(dict.fromkeys(row["way"] for row in rows if row["what"] == "peak by points"))
    style = mc.plots.lines(ways)
    for way in ways:
        some = [row for row in rows if row["what"] == "peak by points" and row["way"] == way]
        by_points.plot([row["points"] for row in some], [row["rate"] for row in some],
                       color=style[way].color, marker=style[way].marker,
                       label=f"{way}, all cores" if way == "fit_many" else way)  # fmt: skip
    by_points.set(xlabel="points of a Gaussian peak, float32", ylabel="fits a second")
    batches = ("peak by batch", "peak by batch, disk to disk")
    style = mc.plots.lines(batches)
    for what, label in zip(batches, ("in memory", "from a memory map to Zarr"), strict=True):
        some = [row for row in rows if row["what"] == what]
        by_batch.plot([row["fits"] for row in some], [row["rate"] for row in some],
                      color=style[what].color, marker=style[what].marker, label=label)  # fmt: skip
    by_batch.set(xlabel="fits in a batch, 25 points each", ylabel="fits a second")
    for ax in (by_points, by_batch):
        ax.set(xscale="log", yscale="log")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    low, high = by_batch.get_ylim()
    by_batch.set_ylim(min(low, high / 100), 2 * high)
    return figure


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


def _cubic(params: Any, x: Any) -> Any:
    a, b, c, d = params["coefficients"]
    return a + x * (b + x * (c + x * d))


def _cubics(rng: Any, fits: int, points: int) -> tuple[Any, np.ndarray, dict[str, Any]]:
    x = np.linspace(-1, 1, points)
    truth = rng.normal(0, 1, (4, fits))
    y = np.einsum("kp,kf->fp", x ** np.arange(4)[:, None], truth)
    y += rng.normal(0, 0.1, y.shape)
    return x, y, {"coefficients": list(truth + rng.normal(0, 0.5, truth.shape))}


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


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
