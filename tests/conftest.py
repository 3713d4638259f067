"""What holds for every test: strict JAX, no window, annotations of shapes checked as they run."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import jaxtyping
import pytest

from . import typechecker

#: Interval by interval in Python: checking each call takes four times as long as making it.
_UNCHECKED = {"mlcalc_jax.calculus._interval", "mlcalc_jax.calculus._taylor_arithmetic"}


def _annotated() -> list[str]:
    """The modules whose annotations are checked, one by one: a package stands for all within."""
    root = Path(__file__).parent.parent
    files = (file for file in (root / "mlcalc_jax").rglob("*.py") if file.stem != "__init__")
    names = {".".join(file.relative_to(root).with_suffix("").parts) for file in files}
    return sorted(names - _UNCHECKED)


os.environ["MPLBACKEND"] = "Agg"
jax.config.update("jax_numpy_rank_promotion", "raise")
jaxtyping.install_import_hook(_annotated(), f"{typechecker.__name__}.check")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow-share",
        default="1/1",
        metavar="K/N",
        help="run the Kth of N shares of the slow tests, beside all others; 0/N runs none of them",
    )


def _slow_share(config: pytest.Config) -> tuple[int, int]:
    given = config.getoption("--slow-share")
    share, _, shares = given.partition("/")
    is_counted = share.isdecimal() and shares.isdecimal()
    if not is_counted or not 0 <= int(share) <= int(shares) != 0:
        raise pytest.UsageError(f"--slow-share must be K/N with K from 0 to N, got {given}")
    return int(share), int(shares)


def pytest_configure(config: pytest.Config) -> None:
    """Say at once what is wrong with an option."""
    _slow_share(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests of other shares."""
    share, shares = _slow_share(config)
    slow = [item for item in items if item.get_closest_marker("slow")]
    left_out = {item for k, item in enumerate(slow) if k % shares != share - 1}
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs() -> Iterator[None]:
    """Each program keeps some memory mapped; Linux grants 65,530 maps, and XLA crashes beyond."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture
def annotations_unchecked() -> Iterator[None]:
    """Let a wrong argument reach the package's own check, as it does for users."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def double() -> Iterator[None]:
    """Compute in float64 what the test itself does with JAX."""
    with jax.enable_x64(True):
        yield
