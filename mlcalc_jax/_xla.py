"""Options for XLA's compiler, where the version in use knows them."""

from functools import cache

import jax


def cpu_options(**wanted: str | bool) -> dict[str, str | bool]:
    """Those of the options that the compiler for a CPU knows; none where the backend is another."""
    if jax.default_backend() != "cpu":
        return {}
    return {name: value for name, value in wanted.items() if _is_known(name, value)}


@cache
def _is_known(name: str, value: str | bool) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
