"""JAX's operations by what they do, for whoever goes through a traced program."""

from typing import Any

from jax.extend.core import ClosedJaxpr

#: Those that work number by number.
ELEMENTWISE = {
    *("add", "sub", "mul", "div", "neg", "sign", "abs", "max", "min", "rem", "floor", "ceil"),
    *("exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "pow", "integer_pow"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh"),
    *("acosh", "atanh", "logistic", "erf", "erfc", "erf_inv", "lgamma", "digamma", "square"),
    *("gt", "lt", "ge", "le", "eq", "ne", "and", "or", "not", "is_finite", "select_n", "clamp"),
    *("convert_element_type", "copy", "stop_gradient", "add_any"),
}

#: Those that call a program, and nothing more.
CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"}

#: Those that call a program that has a derivative of its own.
OWN_DERIVATIVE = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}


def called(eqn: Any) -> Any:
    """The program that a step calls, or repeats."""
    inner = next(eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params)
    return inner if hasattr(inner, "consts") else ClosedJaxpr(inner, ())


def loop_of(scan: Any) -> tuple[int, int]:
    """How many operands of a ``scan`` stay, and how many it carries on; the rest are its turns'.

    Those of the turns have an axis more without than within, and so have results.
    """

    def alike(without: Any, within: Any) -> int:
        pairs = zip(without, within, strict=True)
        return sum(a.aval.shape == b.aval.shape for a, b in pairs)

    body = called(scan).jaxpr
    carried = alike(scan.outvars, body.outvars)
    return alike(scan.invars, body.invars) - carried, carried
