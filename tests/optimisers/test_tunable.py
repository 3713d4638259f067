"""Optax's optimisers with their numbers as data."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from numpy.testing import assert_array_equal

import mlcalc_jax as mc

from ..cases import heights

NEAR = {"mu": 177.0, "sigma": 8.0}


@pytest.mark.parametrize(
    ("factory", "numbers"),
    [
        (optax.adam, {"learning_rate": 0.05, "b1": 0.8}),
        (optax.sgd, {"learning_rate": 300.0, "momentum": 0.5, "nesterov": True}),
    ],
    ids=["adam", "sgd"],
)
def test_is_the_optimiser_itself(factory: Any, numbers: dict[str, Any]) -> None:
    """Outside fact: optax's own object, whose path is the same to rounding."""
    own = mc.minimise(heights(), NEAR, factory(**numbers), 6)
    tuned = mc.minimise(heights(), NEAR, mc.tunable(factory, **numbers), 6)
    np.testing.assert_allclose(tuned.params["mu"], own.params["mu"], rtol=1e-12)
    np.testing.assert_allclose(tuned.cost, own.cost, rtol=1e-9)
    assert own.cost[-1] < own.cost[0]


def test_numbers_are_leaves_and_the_rest_is_structure() -> None:
    """Outside fact: what a pytree is to JAX; equal structure is what spares a compilation."""
    one, two = (
        mc.tunable(optax.sgd, learning_rate=rate, momentum=0.9, nesterov=True)
        for rate in (0.1, 0.2)
    )
    other = mc.tunable(optax.sgd, learning_rate=0.1, momentum=0.9, nesterov=False)
    assert_array_equal(sorted(set(jax.tree.leaves(one))), [0.1, 0.9])
    structure: Any = jax.tree.structure(one)
    same, different = jax.tree.structure(two), jax.tree.structure(other)
    assert structure == same
    assert structure != different


@pytest.mark.parametrize(
    ("factory", "numbers", "message"),
    [
        (optax.adam, {"pace": 0.1}, "pace"),
        (optax.adam, {}, "learning_rate"),
        (dict, {"learning_rate": 0.1}, "does not return an optax.GradientTransformation"),
    ],
)
def test_refuses(factory: Any, numbers: dict[str, Any], message: str) -> None:
    """Outside fact: the documented error, at once and not in the descent."""
    with pytest.raises(TypeError, match=message):
        mc.tunable(factory, **numbers)
