"""The README's code and the notebooks run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.py"))


@pytest.mark.slow
def test_readme_s_python_runs(tmp_path: Path) -> None:
    """Every Python block, one after another, in an interpreter where a warning is an error."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 4
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks))
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "178.519824" in done.stdout
    assert (tmp_path / "fit.png").exists()


def test_readme_s_links_lead_somewhere() -> None:
    """Every relative link and picture is a file of the project."""
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs without an error, and the pictures come out."""
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel shows figures by its own backend
    notebook = jupytext.read(file)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2


def test_there_are_notebooks() -> None:
    """An empty folder would pass every test above."""
    assert {file.stem for file in NOTEBOOKS} >= {
        *("backpropagation", "fitting_heights", "your_own_model"),
        *("slopes", "derivatives", "surface", "approximations", "chain_rule"),
        *("newton_raphson", "lagrange", "regression", "landscape", "sandpit", "race"),
    }
