"""The game in a real browser and in a real window, played with mouse and keyboard from outside."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlcalc_jax import sandpit

pytestmark = pytest.mark.slow

_COMMAND = [sys.executable, "-m", "mlcalc_jax.sandpit"]
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_WINDOW = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]

needs_browser = pytest.mark.skipif(
    _CHROMIUM is None, reason="no Chromium here: install Debian's package chromium"
)
needs_window = pytest.mark.skipif(
    bool(_WINDOW), reason=f"not installed here: {', '.join(_WINDOW)} (Debian: xvfb, xdotool)"
)


@contextmanager
def game(*options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The game as a user starts it, ended when the test is."""
    environment = {**os.environ, **variables}
    if "MPLBACKEND" not in variables:
        environment.pop("MPLBACKEND", None)
    process = subprocess.Popen(
        [*_COMMAND, *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/\d+", line)
    assert found, line + (process.stderr.read() if process.stderr and not line else "")
    return found[0]


def until(holds: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "nothing came of it in time"
        time.sleep(0.1)
    return found


def moves(file: Path) -> list[Any]:
    return json.loads(file.read_text())["moves"] if file.exists() else []


@needs_browser
def test_a_game_in_chromium(tmp_path: Path) -> None:
    """A page from the server: a click is a dip, a key one more, and a click on the phone wins."""
    from playwright.sync_api import sync_playwright

    file = tmp_path / "game.json"
    x, y = map(float, sandpit.pit("bowl", 3).phone)
    options = ("--browser", "--no-open", "--level", "bowl", "--seed", "3", "--save", str(file))
    with game(*options, XDG_DATA_HOME=str(tmp_path)) as process, sync_playwright() as driver:
        url = address(process)
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.goto(url)
        canvas = page.locator("canvas.mpl-canvas")
        canvas.wait_for()
        until(lambda: _is_painted(page))

        def click(x: float, y: float) -> None:
            box = canvas.bounding_box()
            assert box is not None
            # The map's place on the figure, as the window shows it.
            across = 0.07 + 0.5 * x / 6
            down = 1 - (0.15 + 0.757 * y / 6)
            page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])

        before = page.screenshot()
        click(3.0, 1.5)
        until(lambda: len(moves(file)) == 1)
        assert moves(file)[0] == pytest.approx((3.0, 1.5), abs=0.05)
        until(lambda: page.screenshot() != before)  # the dip is drawn
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        until(lambda: len(moves(file)) == 2)
        assert moves(file)[1] == pytest.approx((2.9, 1.5), abs=0.05)
        click(6.8, 3.0)  # beside the map: no dip
        click(x, y)
        until(lambda: len(moves(file)) == 3)
        assert sandpit.load(file).outcome == "FOUND"
        assert int(sandpit.replay(sandpit.load(file)).dips) == 3
        time.sleep(0.5)
        page.screenshot(path=os.environ.get("SANDPIT_SCREENSHOT", str(tmp_path / "won.png")))
        browser.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def _is_painted(page: Any) -> bool:
    return page.evaluate(
        """() => {
            const canvas = document.querySelector('canvas.mpl-canvas')
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
            return pixels.data.some((value, k) => k % 4 == 3 && value > 0)
        }"""
    )


def test_the_server_listens_on_loopback_alone() -> None:
    """The port answers on 127.0.0.1 and on no other address of this machine."""
    with game("--browser", "--no-open") as process:
        port = int(address(process).rsplit(":", 1)[1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        with pytest.raises(OSError, match=r"refused|unreachable"):
            socket.create_connection(("127.0.0.2", port), timeout=10)


def test_a_port_in_use() -> None:
    """Says so and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with game("--browser", "--no-open", "--port", str(port)) as process:
            _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"port {port} cannot be used" in errors
    assert "free one" in errors


@pytest.mark.parametrize("variables", [{"MPLBACKEND": "Agg"}, {"DISPLAY": ""}])
def test_no_display(variables: dict[str, str]) -> None:
    """Says so, and what works without one."""
    with game(**variables) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "--browser or --text" in errors
    assert "Traceback" not in errors


@pytest.fixture
def display() -> Iterator[str]:
    """A screen of its own."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x1000x24"],
        pass_fds=[write],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    number = b""
    while not number.endswith(b"\n"):  # the digits come apart from the end of the line
        number += os.read(read, 16)
    os.close(read)
    yield f":{number.decode().strip()}"
    server.terminate()
    server.wait()


@needs_window
def test_a_game_in_a_window(display: str, tmp_path: Path) -> None:
    """A Tk window under Xvfb, driven by xdotool: a click, keys, and a click on the phone."""
    pytest.importorskip("tkinter")
    file = tmp_path / "game.json"
    x, y = map(float, sandpit.pit("dunes", 4).phone)
    options = ("--level", "dunes", "--seed", "4", "--save", str(file))
    variables = {"DISPLAY": display, "MPLBACKEND": "TkAgg", "XDG_DATA_HOME": str(tmp_path)}
    with game(*options, **variables) as process:

        def do(*words: str) -> str:
            done = subprocess.run(
                ["xdotool", *words],
                env={**os.environ, "DISPLAY": display},
                capture_output=True,
                text=True,
            )
            return done.stdout.strip()

        def shown() -> str:
            assert process.poll() is None, process.communicate()[1]
            return do("search", "--onlyvisible", "--name", "^Sandpit$")

        window = until(shown)
        sizes = [""]

        def is_settled() -> bool:
            time.sleep(1)
            sizes.append(do("getwindowgeometry", "--shell", window))
            return sizes[-1] == sizes[-2]

        until(is_settled)
        shape = dict(re.findall(r"(\w+)=(\d+)", sizes[-1]))
        width, height = int(shape["WIDTH"]), int(shape["HEIGHT"])

        def click(x: float, y: float) -> None:
            across = width * (0.07 + 0.5 * x / 6)
            down = height * (1 - (0.15 + 0.757 * y / 6))
            do("mousemove", "--window", window, str(round(across)), str(round(down)), "click", "1")

        click(1.0, 1.0)
        until(lambda: len(moves(file)) == 1)
        assert moves(file)[0] == pytest.approx((1.0, 1.0), abs=0.05)
        do("windowfocus", "--sync", window)
        do("key", "--window", window, "Up")
        do("key", "--window", window, "Return")
        until(lambda: len(moves(file)) == 2)
        assert moves(file)[1] == pytest.approx((1.0, 1.1), abs=0.05)
        click(x, y)
        until(lambda: len(moves(file)) == 3)
        assert sandpit.load(file).outcome == "FOUND"
        assert process.poll() is None
