"""Other scales to fit a parameter on: a pair of inverse functions, to the free scale and back.

``fit(..., transforms={"rate": transforms.log})`` steps in the logarithm of the rate; what comes
back, uncertainties included, is the rate. Any pair of monotone elementwise functions will do:
``Transform(to_free, to_full)``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Transform(NamedTuple):
    """A parameter's way to the scale it is fitted on, and back."""

    to_free: Callable[[Any], Any]
    to_full: Callable[[Any], Any]


#: Positive parameters, by their logarithm.
log = Transform(jnp.log, jnp.exp)
#: Parameters between 0 and 1, by the logarithm of their odds.
logit = Transform(jax.scipy.special.logit, jax.nn.sigmoid)
#: Parameters whose reciprocal the model is closer to linear in.
reciprocal = Transform(jnp.reciprocal, jnp.reciprocal)
