"""Newton's method on quadratics, where it needs one step, and near a minimum."""

from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc

from ..cases import heights


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["minimum", "maximum"])
def test_one_step_to_the_stationary_point_of_a_quadratic(sign: float) -> None:
    """Outside fact: numpy.linalg.solve; a maximum draws Newton as a minimum does."""
    A = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 2.0]])
    c = np.array([1.0, -2.0, 0.5])

    def quadratic(params: Any) -> Any:
        p = jnp.concatenate([params["u"], params["v"][None]])
        return sign * (p @ A @ p / 2 - c @ p)

    start = {"u": np.array([7.0, -3.0]), "v": np.float64(11)}
    final = mc.minimise(quadratic, start, mc.newton(), 1).final
    assert_allclose([*final["u"], final["v"]], np.linalg.solve(A, c), rtol=1e-12)


def test_converges_quadratically_on_heights() -> None:
    """Outside facts: the reference answer; the error of a step is of the order of its square."""
    path = mc.minimise(heights(), {"mu": 178.0, "sigma": 7.8}, mc.newton(), 6)
    assert f"{path.final['mu']:.4f}" == "178.5198"
    assert f"{path.final['sigma']:.4f}" == "7.5499"
    assert f"{path.cost[-1]:.6e}" == "4.392454e-04"
    errors = np.hypot(
        path.params["mu"] - path.final["mu"], path.params["sigma"] - path.final["sigma"]
    )
    assert errors[0] > 0.3
    for before, after in pairwise(errors[:4]):
        assert after < 0.5 * before**2 + 1e-12


def test_needs_the_cost() -> None:
    """Outside fact: the documented error."""
    params = {"p": jnp.ones(2)}
    with pytest.raises(TypeError, match="newton needs the cost as value_fn, got nothing"):
        mc.newton().update(params, mc.newton().init(params), params)


def test_singular_hessian_ends_the_descent() -> None:
    """Outside fact: a cost without curvature has a Hessian of 0, and no Newton step."""
    path = mc.minimise(lambda p: jnp.sum(p), np.ones(2), mc.newton(), 3)
    assert path.status == mc.Status.NON_FINITE
    assert_allclose(path.final, 1)
