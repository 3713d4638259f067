"""JAX's operations that work number by number, for whoever goes through a traced program."""

ELEMENTWISE = {
    *("add", "sub", "mul", "div", "neg", "sign", "abs", "max", "min", "rem", "floor", "ceil"),
    *("exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "pow", "integer_pow"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh"),
    *("acosh", "atanh", "logistic", "erf", "erfc", "erf_inv", "lgamma", "digamma", "square"),
    *("gt", "lt", "ge", "le", "eq", "ne", "and", "or", "not", "is_finite", "select_n", "clamp"),
    *("convert_element_type", "copy", "stop_gradient", "add_any"),
}
