"""Who races: optimisers by the names that people know them by."""

from functools import partial
from typing import Any

import optax

import mlcalc_jax as mc

FIRST_ORDER: dict[str, Any] = {
    "steepest descent": mc.steepest_descent,
    "momentum 0.9": partial(optax.sgd, momentum=0.9),
    "Nesterov 0.9": partial(optax.sgd, momentum=0.9, nesterov=True),
    "RMSProp": optax.rmsprop,
    "Adam": optax.adam,
    "AdamW": optax.adamw,
    "Lion": optax.lion,
    "Adagrad": optax.adagrad,
}
SECOND_ORDER: dict[str, Any] = {
    "L-BFGS": optax.lbfgs,
    "Newton": mc.newton,
    "Gauss-Newton": mc.gauss_newton,
    "Levenberg-Marquardt": mc.levenberg_marquardt,
}
ALL = FIRST_ORDER | SECOND_ORDER
#: The eight that are shown where twelve would be too many.
FEWER = {
    name: ALL[name]
    for name in ("steepest descent", "momentum 0.9", "RMSProp", "Adam", *SECOND_ORDER)
}


def from_contrib(name: str) -> Any:
    """An optimiser of ``optax.contrib`` by the name of its function.

    Raises:
        ValueError: there is none.
    """
    factory = getattr(optax.contrib, name, None)
    if name.startswith(("_", "scale_by_")) or not callable(factory):
        raise ValueError(f"optax.contrib has no optimiser {name!r}")
    return factory
