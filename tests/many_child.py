"""A run of ``fit_many`` in a process of its own, for tests that kill it or give it company.

``python -m tests.many_child OUT [devices=N] [limit=BYTES] [pause=SECONDS]
[port=P process=K]`` says after every window how many fits are done, and waits if told to. Several
devices or processes are made by JAX's own runtime.
"""

import resource
import signal
import sys
import time
from pathlib import Path

import jax

import mlcalc_jax as mc
from mlcalc_jax._many import _run

from .test_many import X, peaks

FITS = 6000


def main(out: str, *options: str) -> None:
    """Fit peaks into ``out`` or, if it is an ``.npz`` file, in memory."""
    given = dict(option.split("=") for option in options)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under nohup and the like
    if devices := given.get("devices"):
        jax.config.update("jax_num_cpu_devices", int(devices))
    if port := given.get("port"):
        jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(given["process"]))
    if limit := given.get("limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    assert jax.local_device_count() == int(given.get("devices", 1))
    _run._MOST_FITS, _run._CHUNKS = 128, 4  # windows of 512 fits
    y, start = peaks(FITS)
    y[7], y[4000, 3] = 0.0, float("nan")

    def tell(done: int, of: int) -> None:
        print(done, flush=True)
        time.sleep(float(given.get("pause", 0)))

    mc.fit_many(
        mc.models.gaussian_peak, start, X, y, covariance=True, out=Path(out), resume=True,
        progress=tell,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
