"""The command line: ``python -m mlcalc_jax fit data.csv --x ... --y ... --model ...``."""

import sys

from ._command_line import main
from ._output import exit_code

if __name__ == "__main__":
    sys.exit(exit_code(main))
