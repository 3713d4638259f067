"""Taylor polynomials of a function of one variable, with an error that is proved."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, overload

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import _check
from .._types import AnyArray, ArrayLike
from . import _interval as iv
from ._interval import Bounds, DomainError, Interval, add, multiply, point, quietly, subtract
from ._taylor_arithmetic import Jet, jaxpr_of, jet_of, minus, plus, times
from ._taylor_many import MultivariateTaylor, multivariate_taylor

_HIGHEST = 40
#: Coefficients beyond the polynomial's that the remainder is computed from.
_BEYOND = 8
#: Coefficients of a piece of the domain, and how many pieces, fewer first.
_OF_A_PIECE = 5
_PIECES = (64, 1024)


@dataclass(frozen=True, eq=False)
class Taylor:
    """The polynomial ``p(x) = sum_k c_k (x - x0)^k`` of a function f around ``x0``."""

    f: Callable[[Any], Any]
    x0: float
    order: int
    coefficients: Float[np.ndarray, "order_plus_1"]  #: c_k, float64
    coefficient_errors: Float[np.ndarray, "order_plus_1"]  #: proved: at most so far from f's own
    jaxpr: Any = field(repr=False)  #: of f, in float64

    def polynomial(self, x: ArrayLike) -> Float[AnyArray, "..."]:
        """``p(x)``, by Horner's rule; under ``jit``, ``vmap`` and ``grad`` too."""
        numpy = np if _check.is_concrete(x) and not hasattr(x, "devices") else jnp
        h = numpy.asarray(x) - self.x0
        total: Any = numpy.zeros_like(h)
        for c in self.coefficients[::-1]:
            total = total * h + c
        return numpy.asarray(total)

    @quietly
    def remainder(self, radius: float) -> Bounds:
        """Bounds of ``f(x) - p(x)`` that hold for every x with ``|x - x0| <= radius``: proved.

        f is the real function its formula says, free of rounding, with its constants as they are in
        float64; p has the coefficients that are stored. Two proofs are made and what both leave is
        returned: the Taylor series of f around ``x0`` beyond p, with Lagrange's form of its own
        remainder; and the domain cut in pieces, on each of which ``f - p`` is expanded anew. All of
        it is interval arithmetic, rounded outward.

        Raises:
            ValueError: a radius that is not finite and above zero, or one so large that f is not
                known to be defined (1/x across 0, a logarithm or root of a negative number).
            NotImplementedError: f uses a primitive that has no Taylor arithmetic; it is named.
        """
        _check.positive("radius", radius)
        radius = float(radius)
        try:
            found = self._in_pieces(radius, _PIECES[0])
        except DomainError:
            found = self._in_pieces(radius, _PIECES[1])
        with suppress(DomainError):  # f may be too wide for one piece
            found = iv.intersection(found, self._beyond(radius))
        if not (np.isfinite(found.low) and np.isfinite(found.high)):
            raise DomainError(f"no finite bound within {radius} of {self.x0}")
        return Bounds(float(found.low), float(found.high))

    @quietly
    def guess(self, radius: float) -> float:
        """The size of the first term left out, ``|c_k| radius^k``: the big-O guess, no bound."""
        _check.positive("radius", radius)
        jet = jet_of(self.jaxpr, [_variable(point(self.x0))], self.order + _BEYOND)
        terms = enumerate(jet[self.order + 1 :], start=self.order + 1)
        sizes = [float(abs(c.middle)) * radius**k for k, c in terms if c.low * c.high > 0]
        return sizes[0] if sizes else 0.0

    def _beyond(self, radius: float) -> Interval:
        """The series beyond p, on the whole domain."""
        last = self.order + _BEYOND
        h = Interval(np.float64(-radius), np.float64(radius))
        here = jet_of(self.jaxpr, [_variable(point(self.x0))], last)
        there = jet_of(self.jaxpr, [_variable(add(point(self.x0), h))], last + 1)
        rest = minus(here, [point(c) for c in self.coefficients])
        return _range([*rest, *there[last + 1 :]] if len(there) > last + 1 else rest, radius)

    def _in_pieces(self, radius: float, pieces: int) -> Interval:
        """``f - p`` around the middle of each piece of the domain."""
        edges = np.linspace(-radius, radius, pieces + 1)
        edges[0], edges[-1] = -radius, radius
        middle = (edges[:-1] + edges[1:]) / 2
        half = iv.outward(middle, np.maximum(edges[1:] - middle, middle - edges[:-1]), 2).high
        around = add(point(middle), Interval(-half, half))

        def difference(h: Interval, order: int) -> Jet:
            f = jet_of(self.jaxpr, [_variable(add(point(self.x0), h))], order)
            return minus(f, self._moved(h, order))

        here = difference(point(middle), _OF_A_PIECE)
        there = difference(around, _OF_A_PIECE + 1)
        found = _range([*here, *there[_OF_A_PIECE + 1 :]], half)
        return Interval(np.min(found.low), np.max(found.high))

    def _moved(self, h: Interval, order: int) -> Jet:
        """The jet of p at ``x0 + h``."""
        total: Jet = [point(0.0)]
        for c in self.coefficients[::-1]:
            total = plus(times(total, _variable(h), order), [point(c)])
        return total


@overload
def taylor(f: Callable[[Any], Any], x0: ArrayLike, order: int) -> Taylor: ...


@overload
def taylor(f: Callable[[Any], Any], x0: Any, order: int) -> MultivariateTaylor: ...


@quietly
def taylor(f: Callable[[Any], Any], x0: Any, order: int) -> Taylor | MultivariateTaylor:
    """The Taylor polynomial of a function of one or several variables around ``x0``.

    ``f`` is built of + - * /, powers, exp, log, sqrt, sin, cos, tan, tanh, sinh, cosh, atan,
    logistic and erf of ``jax.numpy`` and ``jax.nn``, jitted functions included. The coefficients
    come from recurrences on intervals, so that their errors are known.

    Args:
        f: a pure function of a real number, or of a pytree of them such as ``{"x": .., "y": ..}``.
        x0: the centre: a number, or the pytree.
        order: of the polynomial, 0 to 40; in several variables, such that it has at most 300 terms.

    Returns:
        A :class:`Taylor`, or for a pytree a :class:`MultivariateTaylor`.

    Raises:
        TypeError: ``f`` does not return one real scalar; ``x0`` or ``order`` is no number.
        ValueError: an order outside its range; an ``x0`` that is not finite, or where ``f`` is not
            defined.
        NotImplementedError: ``f`` uses a primitive that has no Taylor arithmetic; it is named.
    """
    if not callable(f):
        raise TypeError(f"f must be a function, got {f!r}")
    if isinstance(x0, (dict, list, tuple)):
        return multivariate_taylor(f, x0, order)
    order = _check.count("order", order, least=0)
    if order > _HIGHEST:
        raise ValueError(f"order must be at most {_HIGHEST}, got {order}")
    centre = np.asarray(_check.real_array("x0", x0), float)
    if centre.shape != ():
        raise ValueError(f"x0 must be one number, got shape {centre.shape}")
    _check.finite("x0", centre)
    jaxpr = jaxpr_of(f, float(centre))
    jet = jet_of(jaxpr, [_variable(point(centre))], order)
    jet = [*jet, *[point(0.0)] * (order + 1 - len(jet))]
    coefficients = np.array([float(c.middle) for c in jet])
    if not np.isfinite(coefficients).all():
        raise DomainError(f"the function has no finite Taylor coefficients at {float(centre)}")
    apart = [subtract(c, point(k)) for c, k in zip(jet, coefficients, strict=True)]
    errors = np.array([float(max(abs(a.low), abs(a.high))) for a in apart])
    return Taylor(f, float(centre), order, coefficients, errors, jaxpr)


def _variable(at: Interval) -> Jet:
    return [at, point(1.0)]


def _range(jet: Jet, radius: Any) -> Interval:
    """Of ``sum_k c_k s^k`` for ``|s| <= radius``."""
    total = point(0.0)
    size = point(1.0)
    for k, c in enumerate(jet):
        if k:
            size = multiply(size, point(radius))
        power = size if k == 0 else Interval(0 * size.high if k % 2 == 0 else -size.high, size.high)
        total = add(total, multiply(c, power))
    return total
