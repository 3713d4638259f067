"""The game as it is played: the window's events, the terminal, transcripts and scores."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import KeyEvent, MouseEvent
from matplotlib.quiver import Quiver

from mlcalc_jax import sandpit
from mlcalc_jax.sandpit import _scores
from mlcalc_jax.sandpit.__main__ import main
from mlcalc_jax.sandpit._text import play_text


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scores of the test's own."""
    file = tmp_path / "data" / "sandpit.json"
    monkeypatch.setattr(_scores, "score_file", lambda: file)
    return file


class Player:
    """Mouse and keyboard on a view."""

    def __init__(self, level: str, seed: int, practice: bool = False) -> None:
        self.view = sandpit.show(level, seed, practice=practice)
        self.session = self.view.session
        self.canvas = self.view.figure.canvas

    def click(self, x: float, y: float, button: int = 1) -> None:
        where = self.view.map.transData.transform((x, y))
        self._mouse("button_press_event", where, button)

    def point(self, x: float, y: float) -> None:
        self._mouse("motion_notify_event", self.view.map.transData.transform((x, y)), None)

    def _mouse(self, name: str, where: Any, button: Any) -> None:
        x, y = where
        self.canvas.callbacks.process(name, MouseEvent(name, self.canvas, x, y, button))

    def press(self, *keys: str) -> None:
        for key in keys:
            event = KeyEvent("key_press_event", self.canvas, key)
            self.canvas.callbacks.process("key_press_event", event)


@pytest.mark.slow
def test_a_whole_game_by_events(home: Path) -> None:
    """Clicks beside the map do nothing; the phone is found; the floor appears; then the next."""
    player = Player("holes", 3)
    x, y = player.session.pit.phone
    player.click(6.5, 3.0)
    player.click(3.0, 3.0, button=3)
    assert player.session.dips == 0
    player.click(1.0, 1.0)
    assert player.session.state.places[0] == pytest.approx((1.0, 1.0))
    assert "depth -8.12 m" in player.view.line.get_text()
    arrows = [artist for artist in player.view.map.collections if isinstance(artist, Quiver)]
    tip = np.ravel([arrows[0].U, arrows[0].V])
    np.testing.assert_allclose(tip, 0.15 * player.session.pit.gradient(np.array([1.0, 1.0])))
    player.point(2.0, 2.0)
    assert "quadratic prediction" in player.view.expected.get_text()
    assert not player.view.bar.get_visible()
    player.click(x, y)
    assert player.session.state.outcome == sandpit.Outcome.FOUND
    assert "found in 2 dips, the fewest ever here" in player.view.line.get_text()
    assert player.view.bar.get_visible()
    legend = player.view.map.get_legend()
    assert legend is not None
    assert [t.get_text().split(":")[0] for t in legend.get_texts()] == [
        "steepest descent",
        "Newton",
        "hybrid",
        "the phone",
    ]
    assert json.loads(home.read_text()) == {"holes 3": 2}
    player.click(1.0, 1.0)
    assert player.session.dips == 2
    player.press("n")
    assert (player.session.seed, player.session.dips) == (4, 0)
    plt.close(player.view.figure)


@pytest.mark.slow
def test_keys() -> None:
    """Arrows and Enter dip, u takes back, h helps, r reveals, others are left alone."""
    player = Player("dunes", 2, practice=True)
    player.press("left", "shift+up", "enter", "x")
    assert player.session.state.places[0] == pytest.approx((2.9, 3.5))
    player.press("h")
    assert player.view.help.get_visible()
    player.click(1.0, 1.0)  # puts the help away, and is no dip
    assert not player.view.help.get_visible()
    assert player.session.dips == 1
    player.press("u", "u")
    assert player.session.dips == 0
    player.press("r")
    assert player.session.is_over
    assert "given up" in player.view.line.get_text()
    player.press(*["left"] * 80)
    assert player.view.cursor[0] == 0
    plt.close(player.view.figure)


@pytest.mark.slow
def test_practice_keeps_no_score(home: Path) -> None:
    """And undo is for practice alone."""
    player = Player("dunes", 2, practice=True)
    player.click(*player.session.pit.phone)
    assert player.session.is_over
    assert not home.exists()
    session = sandpit.Session("dunes", 2)
    session.dip(1, 1)
    assert session.undo() == "only practice has undo"
    assert session.dips == 1
    plt.close(player.view.figure)


@pytest.mark.slow
def test_a_lost_game_hurries_and_reveals() -> None:
    """From dip 22 on it says hurry; with 26 the floor is revealed."""
    session = sandpit.Session("bowl", 0)
    told = [session.dip(5.0, 1.0 + 0.1 * (k % 2)) for k in range(27)]
    assert "hurry" not in told[20]
    assert "hurry: 4 left" in told[21]
    assert "lost: 26 dips" in told[25]
    assert "(1.21, 4.01)" in told[25]
    assert "over" in told[26]


@pytest.mark.slow
def test_the_blind_level_shows_no_arrow() -> None:
    """Depth alone, in words and on the map."""
    player = Player("blind", 2)
    player.click(2.0, 2.0)
    assert "uphill" not in player.view.line.get_text() + player.view.table.get_text()
    assert [artist for artist in player.view.map.collections if isinstance(artist, Quiver)] == []
    plt.close(player.view.figure)


@pytest.mark.slow
def test_the_terminal(home: Path) -> None:
    """Numbers, commands, nonsense and an end, each answered in words."""
    session = sandpit.Session("holes", 3)
    x, y = session.pit.phone
    lines = f"# a comment\n1 1\n? 2 3\n9 9\nnan 1\nfoo\nhelp\nundo\n{x},{y}\nquit\n"
    out = io.StringIO()
    assert play_text(session, io.StringIO(lines), out) == 0
    said = out.getvalue()
    for words in (
        "dip 1: depth -8.12 m",
        "no phone in this hole",
        "quadratic prediction at (2.00, 3.00)",
        "the pit goes from 0 to 6 m",
        "not understood: foo",
        "reveal",
        "only practice",
        "found in 2 dips",
        "from the same first dip Newton",
    ):
        assert words in said
    assert play_text(sandpit.Session("bowl"), io.StringIO("3 3\n"), io.StringIO()) == 1


@pytest.mark.slow
def test_transcripts_replay_bit_for_bit(tmp_path: Path) -> None:
    """Undo and reveal included; written after every move."""
    file = tmp_path / "game.json"
    session = sandpit.Session("rocks", 9, practice=True, save_to=file)
    session.dip(1, 1)
    session.dip(2.5, 3.25)
    session.undo()
    session.dip(4, 0.1)
    assert sandpit.load(file) == session.transcript()
    for one, two in zip(sandpit.replay(sandpit.load(file)), session.state, strict=True):
        np.testing.assert_array_equal(one, two)
    session.reveal()
    assert sandpit.replay(sandpit.load(file)).outcome == sandpit.Outcome.GAVE_UP
    assert list(tmp_path.glob(".*")) == []


def test_transcripts_that_are_none(tmp_path: Path) -> None:
    """Truncated, tampered with, of another version, of something else."""
    file = tmp_path / "game.json"
    session = sandpit.Session("bowl", 1, save_to=file)
    session.dip(1, 1)
    whole = file.read_text()
    record = json.loads(whole)
    for text, message in (
        (whole[:-20], "no whole transcript"),
        ("[]", "no transcript"),
        ("{}", "no transcript"),
        (json.dumps({**record, "version": 99}), "version 99"),
        (json.dumps({**record, "seed": 2}), "changed"),
        (json.dumps({**record, "extra": 2}), "changed"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            sandpit.load(file)
    game = session.transcript()
    for field, value, message in (
        ("depths", (-5.0,), "depths are not"),
        ("outcome", "FOUND", "ends PLAYING"),
        ("level", "moon", "no level"),
    ):
        with pytest.raises(ValueError, match=message):
            sandpit.replay(game.__class__(**{**game.__dict__, field: value}))


def test_scores_survive_damage(home: Path) -> None:
    """A damaged file is as none; only a better score is kept; a folder that cannot be written."""
    home.parent.mkdir()
    home.write_text("not json")
    assert _scores.best("bowl", 0) is None
    assert _scores.record("bowl", 0, 7)
    assert not _scores.record("bowl", 0, 8)
    assert _scores.best("bowl", 0) == 7
    home.unlink()
    home.mkdir()  # nothing can be written here
    session = sandpit.Session("bowl", 0)
    assert "found in 1 dips" in session.dip(*session.pit.phone)


def test_a_second_dip_at_one_place_costs_nothing() -> None:
    """Of a double click; in a browser its second click comes as a click like any other."""
    player = Player("bowl", 0)
    player.click(1.0, 1.0)
    player.click(1.0, 1.0)
    assert player.session.dips == 1
    assert player.view.line.get_text() == "dip 1 was here"
    player.click(2.0, 1.0)
    player.press("h")
    player.press("enter")  # puts the help away, as a click does
    assert not player.view.shows_help
    assert player.session.dips == 2
    player.view.dip(np.nan, 1.0)
    assert np.isfinite(player.view.cursor).all()
    plt.close(player.view.figure)


def test_every_game_is_saved_in_a_file_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next pit does not replace the game before, and no file is replaced that was there."""
    folder = tmp_path / "games"
    folder.mkdir()
    file = folder / "won.json"
    session = sandpit.Session("bowl", 0, save_to=file)
    session.dip(*session.pit.phone)
    session.next()
    session.dip(1, 1)
    session.next()
    session.dip(1, 1)
    assert sandpit.load(file).outcome == "FOUND"
    again = sandpit.Session("bowl", 0, save_to=file)  # as if it was another day
    again.next()
    again.dip(2, 2)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["won-bowl-1-2.json", "won-bowl-1.json", "won-bowl-2.json", "won.json"]
    assert sandpit.load(folder / "won-bowl-1.json").moves == ((1, 1),)
    assert main(["--text", "--save", str(file)]) == 2
    assert "there already" in capsys.readouterr().err
    assert sandpit.load(file).outcome == "FOUND"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"bowl 0": true}', '{"bowl 0": -5}', "{"])
def test_damaged_scores_are_none(text: str, home: Path) -> None:
    """And no game fails for them."""
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text(text)
    assert _scores.best("bowl", 0) is None


def test_a_game_that_cannot_be_saved_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and nothing is lost; the key s saves, too, or says why not."""
    session = sandpit.Session("bowl", 0, save_to=tmp_path)  # a folder
    assert "depth -3.00 m" in session.dip(1, 1)
    assert "not saved: Is a directory" in session.message
    assert session.dips == 1
    monkeypatch.chdir(tmp_path)
    player = Player("bowl", 0)
    player.click(1.0, 1.0)
    player.press("s")
    assert player.view.line.get_text() == "saved as sandpit-bowl-0.json"
    assert sandpit.load("sandpit-bowl-0.json") == player.session.transcript()
    player.click(2.0, 2.0)
    player.press("s")
    assert player.view.line.get_text() == "saved as sandpit-bowl-0.json"
    another = sandpit.Session("bowl", 0)
    assert another.save() == "saved as sandpit-bowl-0-2.json"
    assert sandpit.load("sandpit-bowl-0.json") == player.session.transcript()
    player.session.save_to = tmp_path
    player.press("s")
    assert "not saved" in player.view.line.get_text()
    plt.close(player.view.figure)


def test_all_that_a_dip_tells_is_on_the_figure(tmp_path: Path) -> None:
    """Also beside a game that cannot be saved; and of two dips close by only one number is."""
    player = Player("rocks", 0)
    player.session.save_to = tmp_path / "nowhere" / ("x" * 40)
    for x in (3.0, 3.05, 4.0):
        player.click(x, 3.0)
    player.session.message = "not saved: Permission denied; " + "uphill (+12.34, -10.12) m/m; " * 5
    player.view.draw()
    player.canvas.draw()
    assert player.view.line.get_window_extent().x1 < player.view.figure.bbox.x1
    assert player.view.line.get_window_extent().y0 > 0
    below = player.view.map.xaxis.label.get_window_extent().y0
    assert player.view.line.get_window_extent().y1 < below
    numbers = {text.get_text() for text in player.view.map.texts if text is not player.view.help}
    assert numbers == {"2", "3"}
    plt.close(player.view.figure)


def test_on_the_terminal_it_says_why_nothing_is_predicted() -> None:
    """Each reason by its name; bytes that are no text do not end the game."""
    out = io.StringIO()
    bytes_in = io.TextIOWrapper(
        io.BytesIO(b"? 1 1\n3 3\n? 9 9\n? nan 1\n\xff\xfe\n? 3.1 3\nreveal\n? 1 1\n"), "utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", bytes_in)
        play_text(sandpit.Session("rocks", 0), None, out)
    said = out.getvalue().splitlines()[2:]
    assert said[0] == "there is no dip yet to predict from"
    assert said[2] == said[3] == "the pit goes from 0 to 6 m along x and y"
    assert said[4].startswith("not understood")
    assert "prediction at (3.10, 3.00)" in said[5]
    assert said[-1] == "the game is over: n for the next pit"
    lines = io.StringIO("? 1 1\n")
    play_text(sandpit.Session("blind", 0), lines, out := io.StringIO())
    assert "this level predicts nothing" in out.getvalue()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end in another way")
def test_nobody_reads_on() -> None:
    """As with ``| head``: no complaint."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mlcalc_jax.sandpit", "--levels"],
            stdout=write, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.stderr, done.returncode) == (b"", 141)


@pytest.mark.slow
def test_in_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A click as ipympl's canvas sends it from the page is a dip."""
    import nbformat
    from nbclient import NotebookClient

    code = """
%matplotlib widget
import mlcalc_jax as mc
game = mc.sandpit.show("bowl", 0, practice=True)
canvas = game.figure.canvas
x, y = game.map.transData.transform((1.0, 1.0))
ratio = canvas.device_pixel_ratio
place = {"x": x / ratio, "y": (canvas.figure.bbox.height - y) / ratio}
click = {"type": "button_press", "button": 0, "buttons": 1, "modifiers": [], "guiEvent": {}}
canvas.manager.handle_json({**click, **place})
print(type(canvas).__module__, game.session.message)
"""
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    root = Path(__file__).parents[2]
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(root)}}
    ).execute()
    said = "".join(output.get("text", "") for output in notebook.cells[0].outputs)
    assert "ipympl" in said
    assert "dip 1: depth -3.0" in said


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lists the levels, replays a file, and refuses what it cannot use in one line."""
    assert main(["--levels"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in sandpit.LEVELS)
    file = tmp_path / "game.json"
    session = sandpit.Session("bowl", 0, save_to=file)
    session.dip(1, 1)
    assert main(["--replay", str(file)]) == 0
    assert "dip 1: (1.00, 1.00), depth -3.00 m" in capsys.readouterr().out
    for arguments, message in (
        (["--text", "--level", "moon"], "no level 'moon'"),
        (["--text", "--seed", "-3"], "seeds must lie"),
        (["--replay", str(tmp_path / "none.json")], "No such file"),
        (["--text", "--save", str(tmp_path / "no" / "game.json")], "no folder"),
        (["--browser", "--port", "70000"], "port must lie"),
        ([], "--browser or --text"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.slow
def test_the_core_does_not_import_matplotlib() -> None:
    """The arena runs where nothing is drawn."""
    code = "import sys, mlcalc_jax as mc; mc.sandpit.pit(); print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
