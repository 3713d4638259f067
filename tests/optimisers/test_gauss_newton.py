"""Gauss-Newton, which solves a linear model in one step."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc

from ..cases import bowl, line_problem


@pytest.mark.parametrize("sigma", [None, 0.1 + 0.02 * np.arange(8)], ids=["plain", "weighted"])
def test_one_step_solves_a_linear_model(sigma: Any) -> None:
    """Outside fact: numpy.linalg.lstsq."""
    line = line_problem()
    problem = mc.LeastSquares(mc.models.polynomial, line.x, line.y, sigma)
    final = mc.minimise(problem, {"coefficients": np.full(4, 100.0)}, mc.gauss_newton(), 1).final
    weight = np.ones(8) if sigma is None else 1 / sigma
    matrix = np.vander(line.x, 4, increasing=True) * weight[:, None]
    expected = np.linalg.lstsq(matrix, line.y * weight)[0]
    assert_allclose(final["coefficients"], expected, rtol=1e-10, atol=1e-12)


def test_ill_conditioned_columns() -> None:
    """Outside fact: the exact polynomial; its Vandermonde matrix has condition 1e8 and more.

    The normal equations would square that, and keep no digit.
    """
    x = np.linspace(100.0, 101.0, 20)
    exact = np.array([3.0, -2.0, 0.5])
    problem = mc.LeastSquares(mc.models.polynomial, x, np.polynomial.Polynomial(exact)(x))
    final = mc.minimise(problem, {"coefficients": np.zeros(3)}, mc.gauss_newton(), 2).final
    assert np.linalg.cond(np.vander(x, 3)) > 1e8
    assert_allclose(final["coefficients"], exact, rtol=1e-4)


@pytest.mark.parametrize("cost", [bowl, lambda p: jnp.sum(p["slope"])], ids=["named", "lambda"])
def test_needs_residuals(cost: Any) -> None:
    """Outside fact: the documented error names what it got."""
    message = f"gauss_newton needs the residuals of a LeastSquares.* got {cost.__name__}"
    with pytest.raises(TypeError, match=message):
        mc.minimise(cost, {"slope": 1.0, "intercept": 2.0}, mc.gauss_newton(), 1)
    with pytest.raises(TypeError, match="got nothing"):
        mc.gauss_newton().update(jnp.ones(2), mc.gauss_newton().init(jnp.ones(2)), jnp.ones(2))


def test_rank_deficient_jacobian_gives_no_plausible_answer() -> None:
    """Outside fact: two parameters that only their sum fixes have no one answer."""
    x = np.linspace(-1.0, 1.0, 8)
    problem = mc.LeastSquares(lambda p, x: (p[0] + p[1]) * x, x, 3 * x)
    path = mc.minimise(problem, np.array([5.0, 2.0]), mc.gauss_newton(), 1)
    is_huge = np.abs(path.final).max() > 1e8
    assert path.status == mc.Status.NON_FINITE or is_huge or path.cost[-1] < 1e-20
