"""Make the numbers of an optax optimiser data instead of constants."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jax.tree_util import Partial


def tunable(
    factory: Callable[..., optax.GradientTransformation], **hyperparameters: Any
) -> optax.GradientTransformationExtraArgs:
    """``factory(**hyperparameters)``, rebuilt from traced numbers wherever it is used.

    ``optax.adam(0.1)`` holds its learning rate as a constant, so ``minimise`` compiles once for
    each new object. ``tunable(optax.adam, learning_rate=0.1)`` holds it as data: another rate
    compiles nothing, and ``vmap`` over the transformation sweeps it.

    Args:
        factory: returns an optimiser, as ``optax.adam`` does.
        hyperparameters: its arguments by name. Floats and arrays are traced; all else, whole
            numbers too, is constant.

    Raises:
        TypeError: the factory does not take these arguments, or does not return an optimiser.
    """
    if not isinstance(factory(**hyperparameters), optax.GradientTransformation):
        raise TypeError(f"{factory!r} does not return an optax.GradientTransformation")
    traced = {k: v for k, v in hyperparameters.items() if _is_data(v)}
    constant = tuple((k, v) for k, v in hyperparameters.items() if not _is_data(v))
    return optax.GradientTransformationExtraArgs(
        Partial(_Rebuilt(factory, constant, "init"), traced),
        Partial(_Rebuilt(factory, constant, "update"), traced),
    )


@dataclass(frozen=True)
class _Rebuilt:
    """One function of the optimiser; equal by value, so that two tunables share a compilation."""

    factory: Callable[..., optax.GradientTransformation]
    constant: tuple[tuple[str, Any], ...]
    function: str

    def __call__(self, traced: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        optimiser = optax.with_extra_args_support(self.factory(**traced, **dict(self.constant)))
        return getattr(optimiser, self.function)(*args, **kwargs)


def _is_data(value: Any) -> bool:
    return isinstance(value, (jax.Array, float)) or hasattr(value, "dtype")
