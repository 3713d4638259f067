"""What a residual costs: robust losses that outliers do not dominate, and Poisson counts.

A loss belongs to a least-squares problem: ``LeastSquares(..., loss=losses.huber(1.5))``. Without
one, the cost of a residual r is r^2. A robust loss makes it ``C^2 rho((r / C)^2)``, with
``rho(z) = z`` for small z and slower growth beyond z = 1: residuals well below the scale C count as
in least squares. Any function ``rho`` will do: ``losses.Loss(rho, scale)``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import _check
from ._types import ArrayLike

Points = Float[Array, "*points"]


class Cost(Protocol):
    """What a least-squares problem asks of a loss, term by term.

    r are the residuals (model - y) / sigma. ``terms`` gives what each one costs. ``weights`` gives
    a and b of the local least-squares model: with ``a r`` as residuals and ``b dr`` as their
    differential, it has the gradient of the cost (half of it), and a curvature that descents can go
    by. ``information`` gives the b of the cost's own curvature, of which the covariance is made.
    """

    def check(self, y: Any) -> None:
        """Raise a ValueError if the loss makes no sense for these ``y``."""

    def terms(self, r: Points, y: Points) -> Points: ...

    def weights(self, r: Points, y: Points) -> tuple[Points, Points]: ...

    def information(self, r: Points, y: Points) -> Points: ...


#: Of the curvature with constant weights, the least that a descent goes by. Far from the data the
#: cost itself may have none at all, and a step by so little of it would lead anywhere.
_LEAST_CURVATURE = 0.3


@partial(jax.tree_util.register_dataclass, data_fields=["scale"], meta_fields=["rho"])
@dataclass(frozen=True)
class Loss:
    """Robust loss ``C^2 rho((r / C)^2)`` of a residual r.

    Args:
        rho: an elementwise function of z = (r / C)^2 >= 0, with rho(0) = 0 and rho'(0) = 1.
        scale: C, in units of sigma (of y, if no sigma is given): where a residual begins to count
            as an outlier.

    Raises:
        TypeError: ``rho`` cannot be called, or ``scale`` is not a number.
        ValueError: ``scale`` is not finite and above zero.
    """

    rho: Callable[[Points], Points]
    scale: Any = 1.0

    def __post_init__(self) -> None:
        if not callable(self.rho):
            raise TypeError(f"rho must be a function of z, got {self.rho!r}")
        if _check.is_numeric(self.scale) or isinstance(self.scale, str):
            _check.positive("scale", self.scale)

    def check(self, y: Any) -> None:
        """Any ``y`` will do."""

    def terms(self, r: Points, y: Points) -> Points:
        """``C^2 rho((r / C)^2)``."""
        C = jnp.asarray(self.scale, r.dtype)
        return C**2 * self.rho((r / C) ** 2)

    def weights(self, r: Points, y: Points) -> tuple[Points, Points]:
        """Triggs' correction ``b^2 = rho' + 2 z rho''``, not far below rho'; ``a = rho' / b``.

        With ``b^2 = rho'`` it would be least squares reweighted, whose steps are safe and slow.
        """
        first, curvature = self._curved(r)
        least = jnp.maximum(_LEAST_CURVATURE * first, jnp.finfo(r.dtype).tiny)
        b = jnp.sqrt(jnp.maximum(curvature, least))
        return first / b, b

    def information(self, r: Points, y: Points) -> Points:
        """``b^2 = rho' + 2 z rho''``, kept above zero."""
        return jnp.sqrt(jnp.maximum(self._curved(r)[1], jnp.finfo(r.dtype).eps))

    def _curved(self, r: Points) -> tuple[Points, Points]:
        """``rho'`` and ``rho' + 2 z rho''``."""
        z = (r / jnp.asarray(self.scale, r.dtype)) ** 2

        def slope(z: Points) -> Points:
            return jax.jvp(self.rho, (z,), (jnp.ones_like(z),))[1]

        first, second = jax.jvp(slope, (z,), (jnp.ones_like(z),))
        return first, first + 2 * z * second


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=[])
@dataclass(frozen=True)
class Poisson:
    """Poisson likelihood of counts y for a model f > 0: the deviance.

    ``2 (f - y + y log(y / f))`` a point, twice the log-likelihood below that of a perfect model.
    The local model is Fisher scoring: residuals ``(f - y) / sqrt(f)``, information ``1 / f``. A
    point where f is not above zero costs infinity, so that no descent goes there.
    """

    def check(self, y: Any) -> None:
        """Counts are not negative."""
        if _check.is_concrete(y) and (np.asarray(y) < 0).any():
            raise ValueError(f"y must be counts for a Poisson loss, got {np.asarray(y).min()}")

    def terms(self, r: Points, y: Points) -> Points:
        """The deviance, point by point.

        As ``2 (r - y log1p(r / y))``, which loses no more of its digits than r has lost.
        """
        is_up = r + y > 0
        some = jnp.where(is_up & (y > 0), y, 1)
        logs = jnp.where(y > 0, y * jnp.log1p(jnp.where(is_up, r, 0) / some), 0)
        return jnp.where(is_up, 2 * (r - logs), jnp.where(r == 0, 0, jnp.inf))

    def weights(self, r: Points, y: Points) -> tuple[Points, Points]:
        """``1 / sqrt(f)`` for residual and differential."""
        f = r + y
        weight = 1 / jnp.sqrt(jnp.where(f > 0, f, 1))
        return weight, weight

    def information(self, r: Points, y: Points) -> Points:
        """Fisher's, the same."""
        return self.weights(r, y)[1]


def soft_l1(scale: ArrayLike = 1.0) -> Loss:
    """``rho(z) = 2 (sqrt(1 + z) - 1)``, a smooth absolute value."""
    return _scaled(_soft_l1, scale)


def huber(scale: ArrayLike = 1.0) -> Loss:
    """``rho(z) = z`` up to 1, then ``2 sqrt(z) - 1``: squares inside, absolute values outside."""
    return _scaled(_huber, scale)


def cauchy(scale: ArrayLike = 1.0) -> Loss:
    """``rho(z) = log(1 + z)``: the likelihood of Cauchy errors; may have several minima."""
    return _scaled(_cauchy, scale)


def arctan(scale: ArrayLike = 1.0) -> Loss:
    """``rho(z) = arctan(z)``: no point costs more than ``pi C^2 / 2``; may have several minima."""
    return _scaled(_arctan, scale)


def poisson() -> Poisson:
    """Poisson likelihood for counts; the model gives the expected count."""
    return Poisson()


def _scaled(rho: Callable[[Points], Points], scale: ArrayLike) -> Loss:
    """The loss, of a scale that is one for sure: as a pytree it may hold anything."""
    _check.positive("scale", scale)
    return Loss(rho, scale)


def _soft_l1(z: Points) -> Points:
    return 2 * z / (jnp.sqrt(1 + z) + 1)


def _huber(z: Points) -> Points:
    return jnp.where(z <= 1, z, 2 * jnp.sqrt(jnp.maximum(z, 1)) - 1)


def _cauchy(z: Points) -> Points:
    return jnp.log1p(z)


def _arctan(z: Points) -> Points:
    return jnp.arctan(z)


NAMED: dict[str, Callable[[], Cost]] = {
    "soft_l1": soft_l1,
    "huber": huber,
    "cauchy": cauchy,
    "arctan": arctan,
    "poisson": poisson,
}
