"""Taylor polynomials of a function of several variables, with an error that is proved."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import product as every
from math import comb, prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import _check
from .._types import AnyArray
from . import _interval as iv
from ._derivatives import names_of, point, same_structure
from ._interval import Bounds, DomainError, Interval, add, multiply, quietly, subtract
from ._interval import point as exactly
from ._taylor_arithmetic import Jet, jaxpr_of, jet_of, minus, plus, times

#: How often each variable occurs: (2, 0, 1) is x^2 z.
Powers = tuple[int, ...]

_MOST_TERMS = 300
_PIECES = 2500  # of the domain, in all


@dataclass(frozen=True, eq=False)
class MultivariateTaylor:
    """``p(x) = sum_a c_a (x - x0)^a`` over all powers a of degree up to the order."""

    f: Callable[[Any], Any]
    x0: Any  #: a pytree of numbers
    order: int
    names: tuple[str, ...]  #: of the variables, in the order of the powers
    coefficients: dict[Powers, float]
    coefficient_errors: dict[Powers, float]  #: proved: at most so far from f's own
    jaxpr: Any = field(repr=False)

    def polynomial(self, x: Any) -> Float[AnyArray, "..."]:
        """``p(x)``, x a pytree as ``x0``, its numbers or arrays of one shape.

        Raises:
            ValueError: a pytree of another structure.
        """
        if not same_structure(x, self.x0):
            raise ValueError(f"x must have the structure of x0, {jax.tree.structure(self.x0)}")
        leaves = jax.tree.leaves(x)
        is_host = all(_check.is_concrete(v) and not isinstance(v, jax.Array) for v in leaves)
        numpy: Any = np if is_host else jnp
        h = [numpy.asarray(v) - c for v, c in zip(leaves, jax.tree.leaves(self.x0), strict=True)]
        total: Any = numpy.zeros(jnp.shape(sum(h)))
        for powers, c in self.coefficients.items():
            total = total + c * prod(s**n for s, n in zip(h, powers, strict=True))
        return numpy.asarray(total)

    @quietly
    def remainder(self, radius: Any) -> Bounds:
        """Bounds of ``f(x) - p(x)`` for every x with ``|x_i - x0_i| <= radius_i``: proved.

        Along the segment from x0 to x, f is a function of one variable, whose remainder has
        Lagrange's form; its coefficient is computed over all segments at once. That, and the mean
        value form of ``f - p`` to second order on each piece of the box, are both proofs, and what
        both leave is returned. All of it is interval arithmetic, rounded outward.

        Args:
            radius: one for all variables, or a pytree as ``x0``.

        Raises:
            ValueError: a radius that is not finite and above zero, or so large that f is not known
                to be defined.
            NotImplementedError: f uses a primitive that has no Taylor arithmetic; it is named.
        """
        _check.positive("radius", np.array(jax.tree.leaves(radius), float))
        if np.shape(radius) == () and not isinstance(radius, (dict, tuple, list)):
            radii = np.full(len(self.names), float(radius))
        elif same_structure(radius, self.x0):
            radii = np.array([float(r) for r in jax.tree.leaves(radius)])
        else:
            raise ValueError("radius must be one number, or one for each variable as in x0")
        found = self._in_pieces(radii)
        with suppress(DomainError):  # f may be too wide for one piece
            found = iv.intersection(found, self._along_segments(radii))
        if not (np.isfinite(found.low) and np.isfinite(found.high)):
            raise DomainError(f"no finite bound within {radius} of {self.x0}")
        return Bounds(float(found.low), float(found.high))

    def _centre(self) -> list[float]:
        return [float(v) for v in jax.tree.leaves(self.x0)]

    def _along_segments(self, radii: np.ndarray) -> Interval:
        """``(f's terms - p's) + f's next coefficient over all segments``."""
        h = [Interval(np.float64(-r), np.float64(r)) for r in radii]
        around = [[add(exactly(c), s), s] for c, s in zip(self._centre(), h, strict=True)]
        jet = jet_of(self.jaxpr, around, self.order + 1)
        total = jet[self.order + 1] if len(jet) > self.order + 1 else exactly(0.0)
        for powers, error in self.coefficient_errors.items():
            wide = Interval(np.float64(-error), np.float64(error))
            total = add(total, multiply(wide, _monomial(h, powers)))
        return total

    def _in_pieces(self, radii: np.ndarray) -> Interval:
        """``(f - p)(m) + grad (f - p)(m) . s + s . H s / 2`` on each piece, H over the piece."""
        n = len(radii)
        each = max(1, int(_PIECES ** (1 / n)))
        grids, halves = [], []
        for r in radii:
            edges = np.linspace(-r, r, each + 1)
            edges[0], edges[-1] = -r, r
            grids.append((edges[:-1] + edges[1:]) / 2)
            longest = np.maximum(edges[1:] - grids[-1], grids[-1] - edges[:-1]).max()
            halves.append(iv.outward(longest, longest, 2).high)
        middles = [grid.ravel() for grid in np.meshgrid(*grids, indexing="ij")]
        s = [Interval(-half, half) for half in halves]
        here = [exactly(m) for m in middles]
        over = [add(m, part) for m, part in zip(here, s, strict=True)]
        near, far = self._difference(here, 1), self._difference(over, 2)
        total = exactly(0.0)
        for powers in _all_powers(n, 2):
            of = near if sum(powers) < 2 else far
            total = add(total, multiply(of[powers], _monomial(s, powers)))
        return Interval(np.min(total.low), np.max(total.high))

    def _difference(self, h: list[Interval], order: int) -> dict[Powers, Interval]:
        """The coefficients of ``f - p`` around ``x0 + h``."""

        def of_f(jets: list[Jet]) -> Jet:
            return jet_of(self.jaxpr, jets, order)

        def of_p(jets: list[Jet]) -> Jet:
            total: Jet = [exactly(0.0)]
            for powers, c in self.coefficients.items():
                term: Jet = [exactly(c)]
                for jet, power in zip(jets, powers, strict=True):
                    for _ in range(power):
                        term = times(term, jet, order)
                total = plus(total, term)
            return total

        at = [add(exactly(c), part) for c, part in zip(self._centre(), h, strict=True)]
        mine, theirs = _coefficients(of_f, at, order), _coefficients(of_p, h, order)
        return {powers: minus([mine[powers]], [theirs[powers]])[0] for powers in mine}


def multivariate_taylor(f: Callable[[Any], Any], x0: Any, order: int) -> MultivariateTaylor:
    """The Taylor polynomial of a function of several variables; see :func:`taylor`."""
    order = _check.count("order", order, least=0)
    x0 = jax.tree.map(lambda leaf: np.asarray(leaf, float), point(x0))
    leaves = jax.tree.leaves(x0)
    if any(leaf.shape != () for leaf in leaves):
        shapes = ", ".join(str(leaf.shape) for leaf in leaves)
        raise ValueError(f"x0 must be a number or a pytree of numbers, got shapes {shapes}")
    terms = comb(len(leaves) + order, order)
    if terms > _MOST_TERMS:
        raise ValueError(
            f"order {order} in {len(leaves)} variables has {terms} terms, the most is {_MOST_TERMS}"
        )
    jaxpr = jaxpr_of(f, x0)
    at = [exactly(leaf) for leaf in leaves]
    found = _coefficients(lambda jets: jet_of(jaxpr, jets, order), at, order)
    coefficients = {powers: float(c.middle) for powers, c in found.items()}
    if not np.isfinite(list(coefficients.values())).all():
        raise DomainError("the function has no finite Taylor coefficients there")
    errors = {}
    for powers, c in found.items():
        apart = subtract(c, exactly(coefficients[powers]))
        errors[powers] = float(max(abs(apart.low), abs(apart.high)))
    return MultivariateTaylor(f, x0, order, names_of(x0, "x"), coefficients, errors, jaxpr)


def _coefficients(
    f: Callable[[list[Jet]], Jet], at: Sequence[Interval], order: int
) -> dict[Powers, Interval]:
    """All coefficients up to a degree, from jets along whole-numbered directions.

    Along d the coefficient of degree k is ``sum_a c_a d^a`` over the powers of that degree: as many
    directions as powers, and a system with whole numbers, give each c_a (Griewank, Utke and
    Walther, Mathematics of Computation 69 (2000) 1117).
    """
    n = len(at)
    shape = np.shape(at[0].low)
    found: dict[Powers, Interval] = {}
    for degree in range(order + 1):
        powers = _powers(n, degree)
        directions = np.array(powers, float)
        jets = [
            [Interval(np.asarray(x.low)[None], np.asarray(x.high)[None]), exactly(d)]
            for x, d in zip(at, directions.T.reshape(n, -1, *[1] * len(shape)), strict=True)
        ]
        jet = f(jets)
        along = jet[degree] if len(jet) > degree else exactly(0.0)
        rows = (len(powers), *shape)
        low, high = (np.broadcast_to(end, rows) for end in along)
        for row, power in zip(_inverse(n, degree), powers, strict=True):
            total = exactly(np.zeros(shape))
            for k, weight in enumerate(row):
                if weight:
                    total = add(total, multiply(_of_fraction(weight), Interval(low[k], high[k])))
            found[power] = total
    return found


@cache
def _powers(n: int, degree: int) -> tuple[Powers, ...]:
    """All powers of n variables of one degree."""
    return tuple(p for p in every(range(degree + 1), repeat=n) if sum(p) == degree)[::-1]


def _all_powers(n: int, order: int) -> list[Powers]:
    return [powers for degree in range(order + 1) for powers in _powers(n, degree)]


@cache
def _inverse(n: int, degree: int) -> tuple[tuple[Fraction, ...], ...]:
    """The inverse of the matrix ``d^a`` of the directions and powers of one degree, exact."""
    powers = _powers(n, degree)
    size = len(powers)
    rows = [
        [Fraction(prod(d**a for d, a in zip(direction, power, strict=True))) for power in powers]
        + [Fraction(int(i == j)) for j in range(size)]
        for i, direction in enumerate(powers)
    ]
    for k in range(size):
        pivot = next(i for i in range(k, size) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in range(size):
            if i != k and rows[i][k]:
                factor = rows[i][k]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return tuple(tuple(row[size:]) for row in rows)


def _of_fraction(value: Fraction) -> Interval:
    nearest = float(value)
    return exactly(nearest) if Fraction(nearest) == value else iv.outward(nearest, nearest)


def _monomial(h: Sequence[Interval], powers: Powers) -> Interval:
    total = exactly(1.0)
    for part, power in zip(h, powers, strict=True):
        if power:
            total = multiply(total, iv.integer_power(part, power))
    return total
