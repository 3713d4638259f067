"""``fit_many`` killed, short of disk, on several devices and in several processes."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import mlcalc_jax as mc

from .many_child import FITS
from .test_many_store import files

ROOT = Path(__file__).parent.parent


def child(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.many_child", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> str:
    """What a process says on its way; it must end well."""
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return err


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process on one device writes when nobody disturbs it."""
    out = tmp_path_factory.mktemp("whole") / "fits.zarr"
    finished(child(out))
    return out


@pytest.mark.slow
def test_killed_at_random_moments(whole: Path, tmp_path: Path) -> None:
    """``kill -9`` again and again; each run carries on, and the files are the same at the end."""
    out, rng, done = tmp_path / "fits.zarr", random.Random(0), [0]
    for _ in range(4):
        process = child(out, "pause=0.02")
        assert process.stdout is not None
        wanted = done[-1] + rng.randrange(2000)
        for line in process.stdout:
            if int(line) > wanted:
                break
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.communicate()
        done.append(int(np.sum(np.asarray(mc.ManyFits.open(out).status[:]) != -1)))
    assert done == sorted(done)
    assert any(0 < d < FITS for d in done)
    finished(child(out))
    assert files(out) == files(whole)


@pytest.mark.slow
def test_interrupted(whole: Path, tmp_path: Path) -> None:
    """Ctrl-C ends it as Python does; the next run carries on."""
    out = tmp_path / "fits.zarr"
    process = child(out, "pause=0.5")
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == ["0\n", "512\n"]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err
    finished(child(out))
    assert files(out) == files(whole)


@pytest.mark.slow
def test_no_room_on_the_disk(whole: Path, tmp_path: Path) -> None:
    """No file may grow beyond 5,000 bytes: an OSError; with room again, it carries on."""
    out = tmp_path / "fits.zarr"
    process = child(out, "limit=5000")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "OSError" in err
    finished(child(out))
    assert files(out) == files(whole)


@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_any_number_of_devices(whole: Path, tmp_path: Path, devices: int) -> None:
    """A fit does not know on which device it is computed: the same files, bit for bit."""
    out = tmp_path / "fits.zarr"
    finished(child(out, f"devices={devices}"))
    assert files(out) == files(whole)


def test_two_processes(whole: Path, tmp_path: Path) -> None:
    """Each writes windows of its own; together they write what one does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "fits.zarr"
    both = [child(out, f"port={port}", f"process={k}") for k in range(2)]
    for process in both:
        finished(process)
    assert files(out) == files(whole)
    assert_array_equal(np.flatnonzero(~mc.ManyFits.open(out).success), [7, 4000])
