"""Several data sets with one model: parameters that are shared, and parameters of each set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._problem import model_name
from ._types import Model, Params


@dataclass(frozen=True)
class Together:
    """A model of all data sets at once, end to end in one vector."""

    model: Model
    local: tuple[str, ...]

    @property
    def __name__(self) -> str:
        return model_name(self.model)

    def __call__(self, params: Params, x: Sequence[Any]) -> Array:
        """The model on every set, with that set's entry of the local parameters."""
        return jnp.concatenate(
            [jnp.ravel(self.model(self.of_set(params, k), one)) for k, one in enumerate(x)]
        )

    def of_set(self, params: Params, k: int) -> Params:
        """The parameters of one set."""
        return {name: leaf[k] if name in self.local else leaf for name, leaf in params.items()}


def gathered(
    model: Model, params: Params, x: Any, y: Any, sigma: Any, mask: Any, local: tuple[str, ...]
) -> tuple[Any, ...]:
    """The arguments of a fit of one long data set that holds them all.

    Raises:
        TypeError: ``params`` is no mapping, or the data are no sequences.
        ValueError: an unknown local name, sequences of different lengths.
    """
    if not isinstance(params, Mapping):
        raise TypeError("a global fit needs params as a mapping of names")
    unknown = [name for name in local if name not in params]
    if unknown:
        raise ValueError(f"local names {unknown[0]!r}, but the parameters are {', '.join(params)}")
    for name, data in (("x", x), ("y", y)):
        if not isinstance(data, (list, tuple)) or not data:
            raise TypeError(f"{name} must be a list of data sets for a global fit, got {data!r}")
    sets = len(y)
    if len(x) != sets:
        raise ValueError(f"x has {len(x)} data sets, y has {sets}")
    start = {
        name: _one_each(name, leaf, sets) if name in local else leaf
        for name, leaf in params.items()
    }
    return (
        Together(model, local),
        start,
        tuple(x),
        np.concatenate([np.ravel(one) for one in y]),
        _end_to_end("sigma", sigma, y),
        _end_to_end("mask", mask, y),
    )


def _one_each(name: str, start: Any, sets: int) -> Any:
    start = jax.tree.map(jnp.asarray if isinstance(start, jax.core.Tracer) else np.asarray, start)
    if jnp.ndim(start) == 0:
        return np.full(sets, start)
    if jnp.shape(start)[0] != sets:
        raise ValueError(
            f"params[{name!r}] is local: expected one start, or one for each of the {sets} data "
            f"sets, got shape {jnp.shape(start)}"
        )
    return start


def _end_to_end(name: str, values: Any, y: Sequence[Any]) -> Any:
    if values is None:
        return None
    if not isinstance(values, (list, tuple)):
        values = [values] * len(y)
    if len(values) != len(y):
        raise ValueError(f"{name} has {len(values)} data sets, y has {len(y)}")
    each = [np.broadcast_to(value, np.shape(one)) for value, one in zip(values, y, strict=True)]
    return np.concatenate([np.ravel(one) for one in each])
