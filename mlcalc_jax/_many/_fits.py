"""What many fits found: an array a quantity, a row a fit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from .._path import Status
from .._types import Params
from ._descent import RUNNING

_CONVERGED = [status for status in Status if status.has_converged]
_TO_COME = "Still to come."
_MESSAGES = {
    Status.NON_FINITE: (
        "NaN, infinite or beyond the range of the precision: the data, or the model at the start."
    )
}


@dataclass(frozen=True, eq=False)
class ManyFits:
    """Parameters, uncertainties and fate of each of many fits, along a leading axis.

    The arrays are NumPy's, or JAX's where the data were in the memory of a GPU, or with ``out``
    those of a Zarr group, which are read when indexed.
    """

    params: Params  #: each leaf with a leading axis of fits
    stderr: Params  #: the same; NaN where a fit has none, 0 where a parameter is fixed
    covariance: Any  #: (fits, free, free), or None unless asked for
    cost: Any  #: what was minimised: chi-squared unless there is a loss
    chi_squared: Any  #: the weighted sum of squares
    degrees_of_freedom: Any  #: points that count, less free parameters
    status: Any  #: a :class:`Status` each; -1 in a Zarr group for a fit that is still to come
    iterations: Any  #: evaluations of the model and its derivatives

    @property
    def success(self) -> Bool[np.ndarray, "fits"]:
        """Which fits have converged."""
        return np.isin(np.asarray(self.status[:]), _CONVERGED)

    def report(self) -> str:
        """How many fits ended how, and the median of each parameter."""
        all_status = np.asarray(self.status[:])
        good = np.isin(all_status, _CONVERGED)
        lines = [f"{len(all_status):,} fits, {good.sum():,} converged"]
        for status in Status:
            if number := int(np.sum(all_status == status)):
                lines.append(f"{number:>12,}  {_MESSAGES.get(status, status.message)}")
        if number := int(np.sum(all_status == RUNNING)):
            lines.append(f"{number:>12,}  {_TO_COME}")
        some = np.flatnonzero(good)
        leaves = jax.tree_util.tree_leaves_with_path(self.params)
        for (path, leaf), error in zip(leaves, jax.tree.leaves(self.stderr), strict=True):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            if some.size:
                values, errors = np.asarray(leaf[:])[some], np.asarray(error[:])[some]
                errors = errors[np.isfinite(errors)]
                spread = np.median(errors) if errors.size else np.nan
                middle = np.median(values)
                lines.append(f"{name:>12}  median {middle:.6g}, median standard error {spread:.2g}")
        return "\n".join(lines)

    @classmethod
    def open(cls, path: str | Path) -> "ManyFits":
        """The fits that ``fit_many(..., out=path)`` wrote, or has written so far.

        Parameters come as a dictionary by name.

        Raises:
            FileNotFoundError: there is nothing at ``path``.
            ValueError: what is there was not written by ``fit_many``, or a part of it is lost.
        """
        from ._store import local, opened

        return opened(local(path), check=True)


def meanings() -> dict[str, str]:
    """What each number in ``status`` says."""
    texts = {str(int(status)): _MESSAGES.get(status, status.message) for status in Status}
    return {str(RUNNING): _TO_COME} | texts
