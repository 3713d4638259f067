"""Seconds that ``import mlcalc_jax`` adds to ``import jax, optax``."""

import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

from .._run import Config as Common
from .._run import Run, main, say

_TIMED = """
import time
import jax, optax
began = time.perf_counter()
import mlcalc_jax
print(time.perf_counter() - began)
"""


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Time the import of the package in fresh interpreters, after JAX and optax are there."""

    repeats: int = 15
    """Fresh interpreters (--quick: 5)."""


def experiment(config: Config, run: Run) -> str | None:
    """Measure, and print the median and the extremes."""
    seconds = []
    whole = []
    run.doing("importing")
    for _ in range(5 if config.quick else config.repeats):
        began = time.perf_counter()
        out = subprocess.run(
            [sys.executable, "-c", _TIMED], check=True, capture_output=True, text=True
        ).stdout
        whole.append(time.perf_counter() - began)
        seconds.append(float(out))
    run.table(
        "import_time",
        [{"seconds_added": s, "whole": w} for s, w in zip(seconds, whole, strict=True)],
    )
    say(
        f"import mlcalc_jax adds {np.median(seconds):.3f} s ({min(seconds):.3f} to "
        f"{max(seconds):.3f}) to import jax, optax; the whole interpreter takes "
        f"{np.median(whole):.2f} s"
    )
    return None


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
