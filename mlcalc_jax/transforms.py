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


# Functions of this module, since those of jax.numpy cannot be pickled, nor a fit that holds one.


def _log(x: Any) -> Any:
    return jnp.log(x)


def _exp(x: Any) -> Any:
    return jnp.exp(x)


def _logit(x: Any) -> Any:
    return jax.scipy.special.logit(x)


def _sigmoid(x: Any) -> Any:
    return jax.nn.sigmoid(x)


def _reciprocal(x: Any) -> Any:
    return jnp.reciprocal(x)


#: Positive parameters, by their logarithm.
log = Transform(_log, _exp)
#: Parameters between 0 and 1, by the logarithm of their odds.
logit = Transform(_logit, _sigmoid)
#: Parameters whose reciprocal the model is closer to linear in.
reciprocal = Transform(_reciprocal, _reciprocal)
