"""What a descent leaves behind: every kept step, and how it ended."""

import enum
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from ._types import AnyArray, Params


class Status(enum.IntEnum):
    """How a descent ended."""

    STEPS_USED = 0
    GRADIENT_BELOW_TOLERANCE = 1
    TARGET_REACHED = 2
    DIVERGED = 3
    NON_FINITE = 4
    INTERRUPTED = 5
    COST_CONVERGED = 6
    STEP_CONVERGED = 7
    STALLED = 8
    SINGULAR = 9

    @property
    def message(self) -> str:
        """A sentence for it, with what to do where something went wrong."""
        return _MESSAGES[self]

    @property
    def is_failure(self) -> bool:
        """Whether the last row is not an answer."""
        return self in (Status.DIVERGED, Status.NON_FINITE)

    @property
    def has_converged(self) -> bool:
        """Whether a further step would change nothing that counts."""
        return self in (
            Status.GRADIENT_BELOW_TOLERANCE,
            Status.COST_CONVERGED,
            Status.STEP_CONVERGED,
        )


_MESSAGES = {
    Status.STEPS_USED: "All steps were taken.",
    Status.GRADIENT_BELOW_TOLERANCE: "The gradient norm fell to the tolerance.",
    Status.TARGET_REACHED: "The cost fell to the target.",
    Status.DIVERGED: "The cost rose above where it began and stayed there: take smaller steps.",
    Status.NON_FINITE: (
        "The next step would have made the cost or a parameter NaN or infinite; the last row is "
        "the last finite point: take smaller steps, or start elsewhere."
    ),
    Status.COST_CONVERGED: "Converged: no step can lower the cost by more than rounding does.",
    Status.STEP_CONVERGED: "Converged: the step is below the rounding of the parameters.",
    Status.STALLED: (
        "Stalled: no step lowers the cost, however short, though it has a slope: the model may "
        "have a cliff here; start elsewhere or bound the parameters."
    ),
    Status.SINGULAR: (
        "Singular: the data do not determine every parameter; fix one of those named, or change "
        "the model."
    ),
    Status.INTERRUPTED: "Interrupted: the path holds the steps taken until then.",
}


class Path(NamedTuple):
    """The path of a descent, row by row; row k was kept before step ``step[k]`` was taken.

    The last row is the result. A path that stopped early is padded by repeating its last row, so
    that paths of one length stack; :meth:`trimmed` takes the padding off. Under ``vmap`` every
    field has a leading batch axis, and ``jax.tree.map(lambda leaf: leaf[i], paths)`` is one path.
    """

    params: Params  #: the pytree of parameters, each leaf with a leading axis of rows
    cost: Float[AnyArray, "rows"]
    gradient_norm: Float[AnyArray, "rows"]  #: Euclidean norm of the gradient over all parameters
    step: Int[AnyArray, "rows"]  #: steps taken before the row
    status: Int[AnyArray, ""]  #: a :class:`Status`

    @property
    def final(self) -> Params:
        """The parameters of the last row, of each path if there is a batch of them."""
        axis = np.ndim(self.step) - 1
        is_of_jax = all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(self.params))
        return (_last_compiled if is_of_jax else _last)(self.params, axis)

    @property
    def steps_taken(self) -> Any:
        """How many steps were taken, by each path if there is a batch of them."""
        return self.step[..., -1]

    @property
    def message(self) -> str:
        """How the descent ended, as a sentence (on the host, one path at a time)."""
        alone(self.status, "paths", "path")
        return Status(int(self.status)).message

    def trimmed(self) -> "Path":
        """The path without its padding (on the host, one path at a time)."""
        alone(self.status, "paths", "path")
        rows = int(np.searchsorted(np.asarray(self.step), int(self.steps_taken))) + 1
        params, cost, gradient_norm, step = jax.tree.map(lambda leaf: leaf[:rows], self[:4])
        return Path(params, cost, gradient_norm, step, self.status)


def alone(status: Any, several: str, name: str) -> None:
    """Raise if a result is a batch of ``several``, of which one has to be taken."""
    if np.ndim(status):
        raise ValueError(
            f"a batch of {several}; take one with `jax.tree.map(lambda a: a[i], {name})`"
        )


def _last(rows: Params, axis: int) -> Params:
    return jax.tree.map(lambda leaf: leaf[(*[slice(None)] * axis, -1)], rows)


_last_compiled = jax.jit(_last, static_argnums=1)
