"""The game on a terminal, in plain sentences: for screen readers and pipes."""

import io
import sys
from collections.abc import Iterable
from typing import Any

from ._session import Session

_HELP = """\
x y       dip the stick at x, y, in m from 0 to 6
? x y     the depth to expect at x, y, where the level predicts it
undo      take the last dip back (in practice)
reveal    give up and learn where the phone lies
next      the next pit
help      this list
quit      leave"""


def play_text(session: Session, into: Iterable[str] | None = None, out: Any = None) -> int:
    """Play until the input ends or says quit; returns 0 if the last game was won, else 1."""
    if into is None:
        into = sys.stdin
        if isinstance(into, io.TextIOWrapper):
            into.reconfigure(errors="replace")  # what is no text is not understood, and no end
    out = out or sys.stdout

    def say(text: str) -> None:
        print(text, file=out, flush=True)

    say(f"Pit {session.name}: {session.story}. A phone lies at its lowest point.")
    say(f"Type two numbers to dip, help for more. {session.score()}.")
    for line in into:
        words = line.replace(",", " ").lower().split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("quit", "q", "exit"):
            break
        say(_answer(session, words))
    if not session.is_over:
        say("left before the end")
    return 0 if session.state.outcome == 1 else 1


def _answer(session: Session, words: list[str]) -> str:
    was_over = session.is_over
    command = words[0]
    if command in ("help", "h"):
        return _HELP
    if command in ("undo", "u"):
        return session.undo()
    if command in ("next", "n"):
        session.next()
        return f"Pit {session.name}: {session.message}. {session.score()}."
    if command in ("reveal", "r"):
        text = session.reveal()
        return text if was_over else f"{text}\n{_end(session)}"
    try:
        x, y = map(float, words[1:] if command == "?" else words)
    except ValueError:
        return f"not understood: {' '.join(words)}; help lists what is"
    if command == "?":
        return session.expect(x, y)
    text = session.dip(x, y)
    return f"{text}\n{_end(session)}" if session.is_over and not was_over else text


def _end(session: Session) -> str:
    lines = [session.score()]
    for name, games in session.rivals().items():
        what = f"finds it with dip {games.dips[0]}" if games.won[0] else "does not find it"
        lines.append(f"from the same first dip {name} {what}")
    return "\n".join(lines)
