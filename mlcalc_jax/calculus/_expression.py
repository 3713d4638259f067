"""A formula typed by a user, as a function: parsed, never evaluated as code."""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import jax
import jax.numpy as jnp

from .._types import ArrayLike

_LONGEST = 2000  # characters
_DEEPEST = 100
_HIGHEST_POWER = 64  # that is kept as a whole number

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(jnp, name)
        for name in (
            *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
            *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "cbrt", "square"),
            *("abs", "arcsinh", "arccosh", "arctanh"),
        )
    },
    "asin": jnp.arcsin,
    "acos": jnp.arccos,
    "atan": jnp.arctan,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "erf": jax.scipy.special.erf,
}
_CONSTANTS = {"pi": jnp.pi, "e": jnp.e}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


@dataclass(frozen=True)
class Expression:
    """A function given by its formula; equal to another of the same formula and variables."""

    text: str
    variables: tuple[str, ...]
    _tree: Any = field(repr=False, compare=False)

    def __call__(self, *values: ArrayLike | Mapping[str, ArrayLike]) -> Any:
        """The value: of one number a variable, in their order, or of one mapping by name.

        Raises:
            TypeError: not as many numbers as variables.
            KeyError: a mapping without one of the variables.
        """
        if len(values) == 1 and isinstance(values[0], Mapping):
            known = {name: values[0][name] for name in self.variables}
        elif len(values) == len(self.variables):
            known = dict(zip(self.variables, cast(Any, values), strict=True))
        else:
            names = ", ".join(self.variables)
            raise TypeError(f"{self.text!r} is a function of ({names}), got {len(values)} values")
        value = _value(self._tree, known)
        if not isinstance(value, (int, float)):
            return value
        shape = jnp.broadcast_shapes(*map(jnp.shape, known.values()))
        return jnp.full(shape, float(value), jnp.result_type(float, *known.values()))


def expression(text: str, variables: Sequence[str] = ("x",)) -> Expression:
    """The function that a formula such as ``"x * sin(x)"`` describes.

    The formula may hold the variables, numbers, ``pi`` and ``e``, ``+ - * / **``, parentheses, and
    the elementary functions by their names in ``jax.numpy``, with or without ``jnp.`` or ``np.``
    before them, besides ``sigmoid``, ``softplus`` and ``erf``. Nothing else is understood, and
    nothing is ever evaluated as Python code. The function works under every transformation of JAX.

    Args:
        text: the formula.
        variables: their names, in the order in which the function takes them.

    Raises:
        TypeError: the formula or a name is no string.
        ValueError: anything outside what is understood, named; two variables of one name.
    """
    if not isinstance(text, str):
        raise TypeError(f"a formula must be a string, got {text!r}")
    names = (variables,) if isinstance(variables, str) else tuple(variables)
    if not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise TypeError(f"variables must be names, got {names}")
    if len({*names}) < len(names):
        raise ValueError(f"variables must differ, got {names}")
    if len(text) > _LONGEST:
        raise ValueError(f"the formula is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or error
        raise ValueError(f"cannot read {_short(text)} as a formula: {reason}") from None
    _check(tree, names, text, 0)
    found = Expression(text, names, tree)
    jax.eval_shape(found, *[jax.ShapeDtypeStruct((), "float32")] * len(names))  # 1/0 is found here
    return found


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _check(node: ast.AST, names: tuple[str, ...], text: str, depth: int) -> None:
    """Raise unless the tree holds only what is understood."""

    def refuse(reason: str) -> ValueError:
        return ValueError(f"in the formula {_short(text)}: {reason}")

    def no_function(called: ast.AST) -> ValueError:
        allowed = ", ".join(sorted(_FUNCTIONS))
        return refuse(f"{ast.unparse(called)} is no function it may use; these are: {allowed}")

    if depth > _DEEPEST:
        raise refuse(f"nested deeper than {_DEEPEST}")
    inner: list[ast.AST] = []
    match node:
        case ast.Constant(value=bool() | str() | bytes() | complex() | None):
            raise refuse(f"{ast.unparse(node)} is no real number")
        case ast.Constant(value=int() | float() as number):
            if abs(number) > 1e300:
                raise refuse("a number beyond 1e300")
        case ast.Name(id=name):
            if name not in names and name not in _CONSTANTS:
                known = "a function, not a number" if name in _FUNCTIONS else "unknown"
                raise refuse(f"{name} is {known}; it may use {', '.join(names)}, pi and e")
        case ast.BinOp(left=left, op=ast.BitXor(), right=right):
            raise refuse("^ is no power: write **")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            inner = [left, right]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            inner = [operand]
        case ast.Call(func=function, args=[argument], keywords=[]):
            if _function_name(function) not in _FUNCTIONS:
                raise no_function(function)
            inner = [argument]
        case ast.Call(func=function) if _function_name(function) in _FUNCTIONS:
            raise refuse(f"{ast.unparse(function)} takes one argument")
        case ast.Call(func=function):
            raise no_function(function)
        case ast.Attribute():
            if _constant_name(node) not in _CONSTANTS:
                raise refuse(f"{ast.unparse(node)} is not understood")
        case _:
            raise refuse(f"{ast.unparse(node)[:60]} is not understood")
    for child in inner:
        _check(child, names, text, depth + 1)


def _value(node: Any, known: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number if abs(number) <= _HIGHEST_POWER else float(number)
        case ast.Name(id=name):
            return known[name] if name in known else _CONSTANTS[name]
        case ast.Attribute():
            return _CONSTANTS[str(_constant_name(node))]
        case ast.UnaryOp():
            return _OPERATORS[type(node.op)](_value(node.operand, known))
        case ast.Call():
            function = _FUNCTIONS[str(_function_name(node.func))]
            return function(_as_float(_value(node.args[0], known)))
    left, right = _value(node.left, known), _value(node.right, known)
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return _of_numbers(_OPERATORS[type(node.op)], float(left), float(right))
    # x**2 keeps its whole power, which has a derivative at 0 and a value below it.
    is_power = isinstance(node.op, ast.Pow) and isinstance(right, float)
    whole = is_power and right.is_integer() and abs(right) <= _HIGHEST_POWER
    return _OPERATORS[type(node.op)](_as_float(left), int(right) if whole else right)


def _of_numbers(operation: Callable[..., Any], left: float, right: float) -> Any:
    """Constants are folded in floating point, where no power takes for ever."""
    try:
        result = operation(left, right)
    except (ArithmeticError, ValueError) as error:
        raise ValueError(f"a constant part of the formula has no value: {error}") from None
    if isinstance(result, complex):
        raise ValueError(f"a constant part of the formula is not real: {left} to the {right}")
    return result


def _as_float(value: Any) -> Any:
    """A whole constant as a float, so that JAX's promotion does not meet an integer array."""
    return float(value) if isinstance(value, int) else value


def _function_name(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="jnp" | "np" | "numpy" | "math"), attr=name):
            return name
        case ast.Attribute(
            value=ast.Attribute(value=ast.Name(id="jax"), attr="numpy" | "nn"), attr=name
        ):
            return name
    return None


_constant_name = _function_name
