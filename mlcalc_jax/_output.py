"""What is printed where nobody may read it to the end, as by ``| head``."""

import os
from collections.abc import Callable

_CLOSED = 141  # as the shell has it of a program whose output nobody reads any more


def exit_code(main: Callable[[], int]) -> int:
    """Of a command; it ends quietly where its output is read in part."""
    try:
        try:
            return main()
        finally:
            print(end="", flush=True)
    except BrokenPipeError:
        to_nobody()
        return _CLOSED


def to_nobody() -> None:
    """From here on what is printed goes nowhere; Python, too, writes something at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
