"""Least squares of many independent small problems at once: :func:`fit_many`."""

from ._fit_many import fit_many
from ._fits import ManyFits

__all__ = ["ManyFits", "fit_many"]
