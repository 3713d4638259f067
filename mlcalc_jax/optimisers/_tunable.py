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
        hyperparameters: its arguments by name. Numbers and arrays are traced, all else is constant.

    Raises:
        TypeError: the factory does not take these arguments, or does not return an optimiser.
    """
    if not isinstance(factory(**hyperparameters), optax.GradientTransformation):
        raise TypeError(f"{factory!r} does not return an optax.GradientTransformation")
    traced = {k: v for k, v in hyperparameters.items() if _is_data(v)}
    constant = tuple((k, v) for k, v in hyperparameters.items() if not _is_data(v))
    built = _Built(factory, constant)
    return optax.GradientTransformationExtraArgs(
        Partial(built.init, traced), Partial(built.update, traced)
    )


@dataclass(frozen=True)
class _Built:
    """Compares by value, so that two calls with the same factory share one compilation."""

    factory: Callable[..., optax.GradientTransformation]
    constant: tuple[tuple[str, Any], ...]

    def build(self, traced: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
        return optax.with_extra_args_support(self.factory(**traced, **dict(self.constant)))

    def init(self, traced: dict[str, Any], params: Any) -> Any:
        return self.build(traced).init(params)

    def update(self, traced: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return self.build(traced).update(*args, **kwargs)


def _is_data(value: Any) -> bool:
    return isinstance(value, (jax.Array, float)) or hasattr(value, "dtype")
