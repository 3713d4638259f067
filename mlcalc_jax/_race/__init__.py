"""The fair race of optimisers: :func:`compare`."""

from ._compare import compare
from ._comparison import Comparison, Race, Standing
from ._contenders import Contender, Range, contender, log_uniform, uniform
from ._profiles import Profile, data_profiles, performance_profiles
from ._replay import replay
from ._standing import Outcome

__all__ = [
    "Comparison",
    "Contender",
    "Outcome",
    "Profile",
    "Race",
    "Range",
    "Standing",
    "compare",
    "contender",
    "data_profiles",
    "log_uniform",
    "performance_profiles",
    "replay",
    "uniform",
]
