"""The fair race of optimisers: :func:`compare`."""

from ._compare import compare
from ._comparison import Comparison, Race, Standing
from ._contenders import Contender, Range, contender, log_uniform, uniform
from ._standing import Outcome

__all__ = [
    "Comparison",
    "Contender",
    "Outcome",
    "Race",
    "Range",
    "Standing",
    "compare",
    "contender",
    "log_uniform",
    "uniform",
]
