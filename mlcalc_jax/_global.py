"""Several data sets with one model: parameters that are shared, and parameters of each set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._precision import holds_tracer
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


def by_set(
    params: Params, x: Any, y: Any, sigma: Any, mask: Any, local: tuple[str, ...]
) -> tuple[Params, list[tuple[Any, ...]]]:
    """The start with local parameters of every set, and the x, y, sigma and mask of each.

    Raises:
        TypeError: ``params`` is no mapping, or the data are no sequences.
        ValueError: no start, an unknown local name, sequences of different lengths.
    """
    if params is None:
        raise ValueError("a global fit needs a start: with local, a model cannot guess its own")
    if not isinstance(params, Mapping):
        raise TypeError("a global fit needs params as a mapping of names")
    unknown = [name for name in local if name not in params]
    if unknown:
        raise ValueError(f"local names {unknown[0]!r}, but the parameters are {', '.join(params)}")
    for name, data in (("x", x), ("y", y)):
        if not isinstance(data, (list, tuple)) or not data:
            raise TypeError(f"{name} must be a list of data sets for a global fit, got {data!r}")
    sets = len(y)
    start = {
        name: _one_each(name, leaf, sets) if name in local else leaf
        for name, leaf in params.items()
    }
    columns = [
        values if isinstance(values, (list, tuple)) else [values] * sets
        for values in (x, y, sigma, mask)
    ]
    for name, values in zip(("x", "y", "sigma", "mask"), columns, strict=True):
        if len(values) != sets:
            raise ValueError(f"{name} has {len(values)} data sets, y has {sets}")
    return start, list(zip(*columns, strict=True))


def end_to_end(sets: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The x of every set, and the y, sigma and mask of all as those of one long set."""
    x, y, sigma, mask = zip(*sets, strict=True)
    return x, _joined(y, y), _joined(sigma, y), _joined(mask, y)


def _joined(each: Sequence[Any], y: Sequence[Any]) -> Any:
    if all(values is None for values in each):
        return None
    numpy: Any = jnp if holds_tracer((each, y)) else np
    pairs = zip(each, y, strict=True)
    full = [numpy.broadcast_to(numpy.asarray(values), np.shape(one)) for values, one in pairs]
    return numpy.concatenate([numpy.ravel(one) for one in full])


def _one_each(name: str, start: Any, sets: int) -> Any:
    numpy: Any = jnp if holds_tracer(start) else np
    start = jax.tree.map(numpy.asarray, start)
    if jnp.ndim(start) == 0:
        return numpy.full(sets, start)
    if jnp.shape(start)[0] != sets:
        raise ValueError(
            f"params[{name!r}] is local: expected one start, or one for each of the {sets} data "
            f"sets, got shape {jnp.shape(start)}"
        )
    return start
