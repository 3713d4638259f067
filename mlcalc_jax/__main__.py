"""The command line: ``python -m mlcalc_jax fit data.csv --x ... --y ... --model ...``."""

import os
import sys

from ._command_line import main

_CLOSED = 141  # as the shell has it of a program whose output nobody reads any more


def _code() -> int:
    """Of the command; it ends quietly where its output is read in part, as by ``| head``."""
    try:
        try:
            return main()
        finally:
            print(end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python writes at its end
        return _CLOSED


if __name__ == "__main__":
    sys.exit(_code())
