"""Taylor coefficients of any function, as intervals that surely hold them (Moore; Griewank).

A function is a jaxpr. Every number in it becomes a :data:`Jet`, its Taylor coefficients along one
variable; each primitive has a recurrence that gives the jet of its result. Run on a point, this
gives the coefficients; run on an interval, it gives a coefficient that holds the remainder of
Lagrange's form.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from .. import _check
from .._primitives import CALLS, OWN_DERIVATIVE, called
from . import _interval as iv
from ._interval import DomainError, Interval, add, divide, multiply, point, subtract

#: Taylor coefficients from the 0th up; those beyond the end are exactly zero.
Jet: TypeAlias = list[Interval]


class UnsupportedError(NotImplementedError):
    """The function uses a primitive that has no Taylor arithmetic."""


def jaxpr_of(f: Callable[[Any], Any], x: Any) -> Any:
    """The jaxpr of a scalar function at a float64 ``x``.

    Raises:
        TypeError: the result is no real scalar.
    """
    with _check.traceable("the function"), jax.enable_x64(True):
        closed = jax.make_jaxpr(f)(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), x))
    out = closed.out_avals
    if len(out) != 1 or out[0].shape != () or not jnp.issubdtype(out[0].dtype, jnp.floating):
        got = ", ".join(str(o) for o in out)
        raise TypeError(f"the function must return one real scalar, got {got}")
    return closed


def jet_of(closed: Any, inputs: Sequence[Jet], order: int) -> Jet:
    """The jet of the function's value, to ``order``; inputs have any shape in common.

    Raises:
        UnsupportedError: a primitive without an arithmetic, by name.
        DomainError: 1/x across 0, a logarithm or root of a negative number.
    """
    # At least to order 1: a jet of one term is that of a constant.
    return _run(closed.jaxpr, closed.consts, list(inputs), max(order, 1))[0][: order + 1]


def _run(jaxpr: Any, consts: Sequence[Any], inputs: list[Jet], order: int) -> list[Jet]:
    known: dict[Any, Jet] = {}

    def read(atom: Any) -> Jet:
        return [_constant(atom.val)] if hasattr(atom, "val") else known[atom]

    known |= dict(zip(jaxpr.constvars, ([_constant(c)] for c in consts), strict=True))
    known |= dict(zip(jaxpr.invars, inputs, strict=True))
    for eqn in jaxpr.eqns:
        name, given = eqn.primitive.name, [read(atom) for atom in eqn.invars]
        if name in CALLS | OWN_DERIVATIVE:
            inner = called(eqn)
            results = _run(inner.jaxpr, inner.consts, given, order)
        elif name in _RULES:
            try:
                results = [_RULES[name](order, eqn.params, *given)]
            except DomainError as error:
                raise DomainError(f"{error} (in {name})") from None
        else:
            raise UnsupportedError(f"no Taylor arithmetic for the primitive {name!r}")
        known |= dict(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _constant(value: Any) -> Interval:
    if np.ndim(value):
        raise UnsupportedError("no Taylor arithmetic for arrays: write the function with scalars")
    return point(float(value))


def plus(a: Jet, b: Jet) -> Jet:
    """``a + b``."""
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    both = [add(x, y) for x, y in zip(longer, shorter, strict=False)]
    return both + longer[len(shorter) :]


def minus(a: Jet, b: Jet) -> Jet:
    """``a - b``."""
    return plus(a, [iv.negative(x) for x in b])


def times(a: Jet, b: Jet, order: int) -> Jet:
    """``a b``, to ``order``."""
    return [_term(a, b, k) for k in range(min(order + 1, len(a) + len(b) - 1))]


def over(a: Jet, b: Jet, order: int) -> Jet:
    """``a / b``, to ``order``."""
    result: Jet = []
    for k in range(order + 1 if len(b) > 1 else len(a)):
        rest = subtract(_at(a, k), _term(result, b, k))  # without its own term, which is not there
        result.append(divide(rest, b[0]))
    return result


def _at(a: Jet, k: int) -> Interval:
    return a[k] if k < len(a) else point(0.0)


def _term(a: Jet, b: Jet, k: int) -> Interval:
    """The k-th coefficient of the product."""
    total = point(0.0)
    for i in range(max(0, k - len(b) + 1), min(k + 1, len(a))):
        total = add(total, multiply(a[i], b[k - i]))
    return total


def _square(a: Jet, order: int) -> Jet:
    result = times(a, a, order)
    result[0] = iv.integer_power(a[0], 2)
    return result


def _whole_power(a: Jet, n: int, order: int) -> Jet:
    if n < 0:
        return over([point(1.0)], _whole_power(a, -n, order), order)
    if n == 0:
        return [point(np.ones_like(a[0].low))]
    result = iv.by_squaring(a, n, lambda b, c: times(b, c, order), lambda b: _square(b, order))
    return [iv.integer_power(a[0], n), *result[1:]]


def _real_power(a: Jet, exponent: float, order: int) -> Jet:
    """``v = u^c`` from ``u v' = c u' v``."""
    if np.any(a[0].low <= 0):
        raise DomainError("a power that is no whole number, of an interval that reaches 0 or below")
    first = iv.exp(multiply(point(exponent), iv.log(a[0])))
    result: Jet = [first]
    for k in range(1, order + 1 if len(a) > 1 else 1):
        total = point(0.0)
        for i in range(1, min(k + 1, len(a))):
            weight = subtract(multiply(point(exponent), point(float(i))), point(float(k - i)))
            total = add(total, multiply(weight, multiply(a[i], result[k - i])))
        result.append(divide(divide(total, point(float(k))), a[0]))
    return result


def _from_slope(first: Interval, u: Jet, order: int, slope: Callable[[Jet, int], Interval]) -> Jet:
    """``v`` with ``v' = s u'``; ``slope(v, k)`` is the k-th coefficient of s."""
    result, s = [first], []
    for k in range(1, order + 1 if len(u) > 1 else 1):
        s.append(slope(result, k - 1))
        total = point(0.0)
        for i in range(1, min(k + 1, len(u))):
            total = add(total, multiply(multiply(point(float(i)), u[i]), s[k - i]))
        result.append(divide(total, point(float(k))))
    return result


def _exp(order: int, params: Any, u: Jet) -> Jet:
    return _from_slope(iv.exp(u[0]), u, order, lambda v, k: v[k])


def _log(order: int, params: Any, u: Jet) -> Jet:
    reciprocal = over([point(1.0)], u, order)
    return _from_slope(iv.log(u[0]), u, order, lambda v, k: _at(reciprocal, k))


def _tanh(order: int, params: Any, u: Jet) -> Jet:
    return _from_slope(
        iv.tanh(u[0]), u, order, lambda v, k: subtract(point(float(k == 0)), _squared(v, k))
    )


def _squared(v: Jet, k: int) -> Interval:
    return iv.integer_power(v[0], 2) if k == 0 else _term(v, v, k)


def _logistic(order: int, params: Any, u: Jet) -> Jet:
    def slope(v: Jet, k: int) -> Interval:
        if k == 0:  # v (1 - v) = 1/4 - (v - 1/2)^2, which names v once
            apart = iv.integer_power(subtract(v[0], point(0.5)), 2)
            return subtract(point(0.25), apart)
        return subtract(v[k], _term(v, v, k))

    return _from_slope(iv.logistic(u[0]), u, order, slope)


def _tan(order: int, params: Any, u: Jet) -> Jet:
    cosine = iv.cos(u[0])
    if np.any((cosine.low <= 0) & (cosine.high >= 0)):
        raise DomainError("a tangent across its pole")
    first = iv.rising(np.tan, u[0], -np.inf, np.inf)  # between its poles
    return _from_slope(first, u, order, lambda v, k: add(point(float(k == 0)), _squared(v, k)))


def _atan(order: int, params: Any, u: Jet) -> Jet:
    slope = over([point(1.0)], plus([point(1.0)], _square(u, order)), order)
    return _from_slope(iv.atan(u[0]), u, order, lambda v, k: _at(slope, k))


def _erf(order: int, params: Any, u: Jet) -> Jet:
    bell = _exp(order, params, [iv.negative(c) for c in _square(u, order)])
    factor = divide(point(2.0), iv.sqrt(iv.outward(point(np.pi).low, point(np.pi).high)))
    return _from_slope(iv.erf(u[0]), u, order, lambda v, k: multiply(factor, _at(bell, k)))


def _pair(u: Jet, order: int, s: Interval, c: Interval, sign: float) -> tuple[Jet, Jet]:
    """Sine and cosine (sign -1) or hyperbolic (sign 1): ``s' = c u'``, ``c' = sign s u'``."""
    sines, cosines = [s], [c]
    for k in range(1, order + 1 if len(u) > 1 else 1):
        of_s, of_c = point(0.0), point(0.0)
        for i in range(1, min(k + 1, len(u))):
            weight = multiply(point(float(i)), u[i])
            of_s = add(of_s, multiply(weight, cosines[k - i]))
            of_c = add(of_c, multiply(weight, sines[k - i]))
        sines.append(divide(of_s, point(float(k))))
        cosines.append(divide(multiply(point(sign), of_c), point(float(k))))
    return sines, cosines


def _wave(u: Jet, order: int) -> tuple[Jet, Jet]:
    return _pair(u, order, iv.sin(u[0]), iv.cos(u[0]), -1.0)


def _hyperbolic(u: Jet, order: int) -> tuple[Jet, Jet]:
    return _pair(u, order, iv.sinh(u[0]), iv.cosh(u[0]), 1.0)


def _sqrt(order: int, params: Any, u: Jet) -> Jet:
    root = _real_power(u, 0.5, order)
    return [iv.sqrt(u[0]), *root[1:]]


def _pow(order: int, params: Any, base: Jet, exponent: Jet) -> Jet:
    if len(exponent) > 1:
        return _exp(order, params, times(exponent, _log(order, params, base), order))
    power = float(exponent[0].middle)
    if exponent[0].low != exponent[0].high:
        raise UnsupportedError("no Taylor arithmetic for a power that is no exact number")
    if power.is_integer():
        return _whole_power(base, int(power), order)
    return _real_power(base, power, order)


def _converted(order: int, params: Any, u: Jet) -> Jet:
    if not jnp.issubdtype(params["new_dtype"], jnp.floating) and len(u) > 1:
        raise UnsupportedError(f"no Taylor arithmetic for a conversion to {params['new_dtype']}")
    return u


_LN2 = iv.log(point(2.0))

_RULES: dict[str, Callable[..., Jet]] = {
    "add": lambda order, params, a, b: plus(a, b),
    "add_any": lambda order, params, a, b: plus(a, b),
    "sub": lambda order, params, a, b: minus(a, b),
    "mul": lambda order, params, a, b: _square(a, order) if a is b else times(a, b, order),
    "div": lambda order, params, a, b: over(a, b, order),
    "neg": lambda order, params, a: [iv.negative(c) for c in a],
    "integer_pow": lambda order, params, a: _whole_power(a, params["y"], order),
    "square": lambda order, params, a: _square(a, order),
    "pow": _pow,
    "sqrt": _sqrt,
    "rsqrt": lambda order, params, a: _real_power(a, -0.5, order),
    "exp": _exp,
    "exp2": lambda order, params, a: _exp(order, params, times([_LN2], a, order)),
    "log": _log,
    "log1p": lambda order, params, a: _log(order, params, plus([point(1.0)], a)),
    "expm1": lambda order, params, a: minus(_exp(order, params, a), [point(1.0)]),
    "sin": lambda order, params, a: _wave(a, order)[0],
    "cos": lambda order, params, a: _wave(a, order)[1],
    "tan": _tan,
    "tanh": _tanh,
    "sinh": lambda order, params, a: _hyperbolic(a, order)[0],
    "cosh": lambda order, params, a: _hyperbolic(a, order)[1],
    "atan": _atan,
    "logistic": _logistic,
    "erf": _erf,
    "convert_element_type": _converted,
    "copy": lambda order, params, a: a,
}
