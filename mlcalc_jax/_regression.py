"""The straight line in closed form."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import _check
from ._precision import in_precision_of
from ._problem import LeastSquares
from ._types import AnyArray
from .models import line


class StraightLine(NamedTuple):
    """Slope and intercept with their standard errors."""

    slope: Float[AnyArray, ""]  #: [y]/[x]
    intercept: Float[AnyArray, ""]  #: [y]
    slope_stderr: Float[AnyArray, ""]
    intercept_stderr: Float[AnyArray, ""]
    covariance: Float[AnyArray, ""]  #: of slope and intercept
    chi_squared: Float[AnyArray, ""]


def straight_line(
    x: Any, y: Any, sigma: Any = None, *, absolute_sigma: bool = False
) -> StraightLine:
    """Weighted least squares of ``y = slope * x + intercept``, by the formula.

    With weights ``w = 1 / sigma^2``, weighted means, and ``Sxx = sum w (x - mean x)^2``::

        slope = sum w (x - mean x) (y - mean y) / Sxx        var(slope) = s^2 / Sxx
        intercept = mean y - slope * mean x                  var(intercept) = s^2 (1 / sum w
                                                                   + (mean x)^2 / Sxx)

    s^2 is chi-squared over the degrees of freedom, n - 2, or 1 if sigma is absolute. An outlier
    pulls this line; ``fit(models.line, None, x, y, loss="cauchy")`` resists it.

    Args:
        x, y: points, 1-D, at least 2 different ``x``.
        sigma: standard deviations of ``y``; 1 unless given.
        absolute_sigma: whether ``sigma`` is in the unit of ``y``; if not, only ratios count.

    Raises:
        TypeError: data that are not real numbers.
        ValueError: no data, NaN or infinity in them, shapes that do not match, ``sigma <= 0``, all
            ``x`` equal.

    Source: any textbook; Bevington and Robinson, Data Reduction and Error Analysis, chapter 6.
    """
    data = LeastSquares(line, _check.arrays_of_lists(x, y), y, sigma)
    if jnp.ndim(data.y) != 1 or jnp.shape(data.x) != jnp.shape(data.y):
        raise ValueError(
            f"x and y must be 1-D and of one length, got {jnp.shape(data.x)}, {jnp.shape(data.y)}"
        )
    if _check.is_concrete(data.x) and np.ptp(data.x) == 0:
        raise ValueError("x must hold at least 2 different values")
    return in_precision_of(data, _straight_line, data, bool(absolute_sigma))


@partial(jax.jit, static_argnums=1)
def _straight_line(data: LeastSquares, absolute_sigma: bool) -> StraightLine:
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)
    w = jnp.broadcast_to(1.0 if data.sigma is None else 1 / jnp.asarray(data.sigma) ** 2, y.shape)
    total = jnp.sum(w)
    mean_x, mean_y = _mean(w, x, total), _mean(w, y, total)
    Sxx = jnp.sum(w * (x - mean_x) ** 2)
    slope = jnp.sum(w * (x - mean_x) * (y - mean_y)) / Sxx
    intercept = mean_y - slope * mean_x
    # From the centred data: free of the rounding of a large mean.
    chi_squared = jnp.sum(w * (y - mean_y - slope * (x - mean_x)) ** 2)
    s2 = jnp.ones_like(slope) if absolute_sigma else chi_squared / (y.size - 2)
    return StraightLine(
        slope,
        intercept,
        jnp.sqrt(s2 / Sxx),
        jnp.sqrt(s2 * (1 / total + mean_x**2 / Sxx)),
        -s2 * mean_x / Sxx,
        chi_squared,
    )


def _mean(w: Array, values: Array, total: Array) -> Array:
    return jnp.sum(w * values) / total
