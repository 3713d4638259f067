"""Interval arithmetic on NumPy arrays, rounded outward: what is computed holds what is true.

Sums, products and quotients are off by at most half a unit in the last place (IEEE 754) and are
widened by one. Elementary functions of NumPy are trusted to 4 units in the last place, which is the
most NumPy allows itself, and are widened by as much.
"""

from collections.abc import Callable
from math import erf as _erf_of_one
from typing import Any, NamedTuple

import numpy as np

_TRUSTED = 4
#: Around what computes with intervals: where one has no finite end, it is found out by its ends.
quietly = np.errstate(all="ignore")


class Interval(NamedTuple):
    """All real numbers from ``low`` to ``high``, elementwise."""

    low: Any
    high: Any

    @property
    def width(self) -> Any:
        """``high - low``."""
        return self.high - self.low

    @property
    def middle(self) -> Any:
        """A point inside."""
        return self.low + (self.high - self.low) / 2


class Bounds(NamedTuple):
    """What a number surely lies between."""

    low: float
    high: float


class DomainError(ValueError):
    """A function was asked for a value where it has none."""


def point(value: Any) -> Interval:
    """The interval that holds one number."""
    array = np.asarray(value, float)
    return Interval(array, array)


def outward(low: Any, high: Any, steps: int = 1) -> Interval:
    """Both ends moved outward by so many floating-point numbers."""
    for _ in range(steps):
        low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    return Interval(low, high)


def add(a: Interval, b: Interval) -> Interval:
    """``a + b``, widened only where it had to be rounded."""
    return Interval(_sum(a.low, b.low, -np.inf), _sum(a.high, b.high, np.inf))


def _sum(a: Any, b: Any, towards: float) -> Any:
    """``a + b`` rounded towards an infinity, by the rounding error of the sum (Knuth)."""
    total = a + b
    of_b = total - a
    error = (a - (total - of_b)) + (b - of_b)
    is_short = error > 0 if towards > 0 else error < 0
    return np.where(is_short | ~np.isfinite(error), np.nextafter(total, towards), total)


def negative(a: Interval) -> Interval:
    """``-a``."""
    return Interval(-a.high, -a.low)


def subtract(a: Interval, b: Interval) -> Interval:
    """``a - b``."""
    return add(a, negative(b))


def multiply(a: Interval, b: Interval) -> Interval:
    """``a b``; a factor that is exactly 0 or 1 is exact."""
    if a.low is a.high and np.ndim(a.low) == 0 and a.low in (0.0, 1.0):
        return b if a.low else point(0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        products = [x * y for x in a for y in b]
    low, high = np.minimum.reduce(products), np.maximum.reduce(products)
    wide = outward(low, high)
    is_exact = _is(a, 0) | _is(b, 0) | _is(a, 1) | _is(b, 1)
    return Interval(np.where(is_exact, low, wide.low), np.where(is_exact, high, wide.high))


def _is(a: Interval, value: float) -> Any:
    return (a.low == value) & (a.high == value)


def divide(a: Interval, b: Interval) -> Interval:
    """``a / b``.

    Raises:
        DomainError: ``b`` holds 0.
    """
    if np.any((b.low <= 0) & (b.high >= 0)):
        raise DomainError("a division by an interval that holds 0")
    quotients = [x / y for x in a for y in b]
    return outward(np.minimum.reduce(quotients), np.maximum.reduce(quotients))


def integer_power(a: Interval, n: int) -> Interval:
    """``a**n`` for a whole number n."""
    if n < 0:
        return divide(point(1.0), integer_power(a, -n))
    if n == 0:
        return point(np.ones_like(a.low))
    size = Interval(np.where((a.low <= 0) & (a.high >= 0), 0, np.minimum(abs(a.low), abs(a.high))),
                    np.maximum(abs(a.low), abs(a.high)))  # fmt: skip
    base = size if n % 2 == 0 else a
    low, high = _power(base.low, n), _power(base.high, n)
    return Interval(low.low, high.high)


def _power(value: Any, n: int) -> Interval:
    """The power of single numbers."""
    return by_squaring(point(value), n, multiply, lambda a: multiply(a, a))


def by_squaring(
    a: Any, n: int, times: Callable[[Any, Any], Any], square: Callable[[Any], Any]
) -> Any:
    """``a`` to the n, at least 1, by log2(n) squares and at most as many products."""
    power = None
    while True:
        if n % 2:
            power = a if power is None else times(power, a)
        n //= 2
        if not n:
            return power
        a = square(a)


def rising(function: Callable[[Any], Any], a: Interval, low: float, high: float) -> Interval:
    """A function that rises everywhere, with its least and largest value."""
    wide = outward(function(a.low), function(a.high), _TRUSTED)
    return Interval(np.maximum(wide.low, low), np.minimum(wide.high, high))


def exp(a: Interval) -> Interval:
    """``e^a``."""
    return rising(np.exp, a, 0, np.inf)


def log(a: Interval) -> Interval:
    """The natural logarithm.

    Raises:
        DomainError: ``a`` holds 0 or a negative number.
    """
    if np.any(a.low <= 0):
        raise DomainError("a logarithm of an interval that reaches 0 or below")
    return rising(np.log, a, -np.inf, np.inf)


def sqrt(a: Interval) -> Interval:
    """The square root.

    Raises:
        DomainError: ``a`` holds a negative number.
    """
    if np.any(a.low < 0):
        raise DomainError("a square root of an interval that reaches below 0")
    return rising(np.sqrt, a, 0, np.inf)


def tanh(a: Interval) -> Interval:
    """The hyperbolic tangent."""
    return rising(np.tanh, a, -1, 1)


def atan(a: Interval) -> Interval:
    """The inverse tangent."""
    return rising(np.arctan, a, -np.inf, np.inf)


def erf(a: Interval) -> Interval:
    """The error function."""
    return rising(np.vectorize(_erf_of_one, otypes=[float]), a, -1, 1)


def logistic(a: Interval) -> Interval:
    """``1 / (1 + e^-a)``."""
    one = point(1.0)
    return divide(one, add(one, exp(negative(a))))


def sinh(a: Interval) -> Interval:
    """The hyperbolic sine."""
    return rising(np.sinh, a, -np.inf, np.inf)


def cosh(a: Interval) -> Interval:
    """The hyperbolic cosine."""
    low = np.where((a.low <= 0) & (a.high >= 0), 0, np.minimum(abs(a.low), abs(a.high)))
    return rising(np.cosh, Interval(low, np.maximum(abs(a.low), abs(a.high))), 1, np.inf)


def cos(a: Interval) -> Interval:
    """The cosine."""
    return _wave(np.cos, a, 0.0)


def sin(a: Interval) -> Interval:
    """The sine."""
    return _wave(np.sin, a, 0.5)


def _wave(function: Callable[[Any], Any], a: Interval, crest: float) -> Interval:
    """Sine or cosine: 1 where the interval may hold a crest (a multiple of pi later), -1 likewise.

    A crest is looked for in an interval wider by far more than the rounding of its place.
    """
    ends = [function(a.low), function(a.high)]
    wide = outward(np.minimum.reduce(ends), np.maximum.reduce(ends), _TRUSTED)
    margin = 1e-14 * (1 + np.maximum(abs(a.low), abs(a.high)))
    first, last = (a.low - margin) / np.pi - crest, (a.high + margin) / np.pi - crest

    def holds(parity: int) -> Any:
        """Whether a whole number of this parity lies between."""
        return 2 * np.ceil((first - parity) / 2) + parity <= last

    return Interval(
        np.where(holds(1), -1, np.maximum(wide.low, -1)),
        np.where(holds(0), 1, np.minimum(wide.high, 1)),
    )


def intersection(a: Interval, b: Interval) -> Interval:
    """What both hold."""
    return Interval(np.maximum(a.low, b.low), np.minimum(a.high, b.high))
