"""What importing the package brings with it."""

import subprocess
import sys


def test_import_brings_nothing_slow() -> None:
    """SciPy and Matplotlib are imported by what needs them: each takes as long as JAX."""
    code = "import sys, mlcalc_jax; print({'scipy', 'matplotlib'} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"
