"""What the tables of the problems of Moré, Garbow and Hillstrom say of each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._types import Model

Numbers = Sequence[float] | np.ndarray


class Entry(NamedTuple):
    """One problem: residuals ``model(p, x) - y`` for one vector p."""

    model: Model
    start: Numbers
    data: int | tuple[Any, Any]  #: x and y, or for y = 0 and a model without x the number of them
    minimum: float  #: the lowest, of all that are known
    minimiser: Numbers | None = None  #: where it is known in closed form
