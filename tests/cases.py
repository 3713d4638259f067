"""Problems that several test files share, so that shapes and compilations are shared too."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mlcalc_jax as mc

#: The start of the course's assignment on heights.
HEIGHTS_START = {"mu": 155.0, "sigma": 6.0}


def heights() -> mc.LeastSquares:
    """The course's heights histogram under a normal density, in float64."""
    bins = mc.data.heights_histogram()
    return mc.LeastSquares(mc.models.gaussian, bins.centre, bins.density)


def line_problem() -> mc.LeastSquares:
    """Eight points about the line 2 x - 1, in float64."""
    x = np.linspace(-1.0, 1.0, 8)
    return mc.LeastSquares(mc.models.line, x, 2 * x - 1 + 0.1 * np.sin(9 * x))


def bowl(params: Any) -> jax.Array:
    """The sum of the squares of all parameters."""
    return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), jnp.zeros(()))


def counting(model: Any) -> tuple[Any, list[int]]:
    """A model and a list that grows as it is traced: JAX runs its Python code only then."""
    traces: list[int] = []

    def counted(params: Any, x: Any) -> Any:
        traces.append(1)
        return model(params, x)

    return counted, traces


def arrays(file: Path) -> dict[str, np.ndarray]:
    """What an NPZ file holds, and the file closed again."""
    with np.load(file) as held:
        return dict(held)
