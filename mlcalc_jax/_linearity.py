"""Whether a function is linear (affine) in its argument, read off its jaxpr."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import Array


def is_linear(function: Callable[[Array], Array], at: Array) -> bool:
    """Whether the Jacobian of a function does not depend on where it is taken.

    True is certain; False may also mean that it could not be seen, inside a loop say.
    """
    jaxpr = jax.make_jaxpr(jax.jacfwd(function))(at).jaxpr
    return not any(_moved(jaxpr, [True] * len(jaxpr.invars)))


def _moved(jaxpr: Any, moved: Sequence[bool]) -> list[bool]:
    """Which results depend on the inputs that move."""
    depends = {id(v): m for v, m in zip(jaxpr.invars, moved, strict=True)}

    def of(variable: Any) -> bool:
        return depends.get(id(variable), False)

    for eqn in jaxpr.eqns:
        inputs = [of(v) for v in eqn.invars]
        inner = eqn.params.get("jaxpr") if eqn.primitive.name in ("jit", "pjit") else None
        outputs = (
            _moved(inner.jaxpr, inputs) if inner is not None else [any(inputs)] * len(eqn.outvars)
        )
        depends.update((id(v), m) for v, m in zip(eqn.outvars, outputs, strict=True))
    return [of(v) for v in jaxpr.outvars]
