"""Fits of all 27 NIST problems from both starts, with default settings."""

from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc

RUNS = [(name, start) for name in mc.data.NIST for start in (1, 2)]


def correct_digits(found: Any, certified: Any) -> float:
    """The number of correct digits of the worst entry, at most the 11 that are certified."""
    error = np.abs(np.asarray(found) - certified) / np.abs(certified)
    return float(np.min(-np.log10(np.maximum(error, 1e-11))))


@pytest.mark.parametrize("name", mc.data.NIST)
def test_models_meet_the_certificate(name: str) -> None:
    """Outside fact: the residual sum of squares NIST certifies at its parameters."""
    data = mc.data.nist(name)
    found = mc.LeastSquares(data.model, data.x, data.y)(data.certified)
    if name == "Lanczos1":
        assert found < 1e-20  # the certified 1.4e-25 needs more digits than are printed
    else:
        assert_allclose(found, data.residual_sum_of_squares, rtol=1e-9)


@pytest.mark.parametrize(("name", "start"), RUNS)
def test_certified_digits(name: str, start: int) -> None:
    """Outside fact: NIST's certified parameters, standard deviations and sum of squares."""
    data = mc.data.nist(name)
    fit = mc.fit(data.model, data.starts[start - 1], data.x, data.y)
    assert fit.success, fit.message
    assert correct_digits(fit.params, data.certified) >= 8
    assert fit.degrees_of_freedom == data.degrees_of_freedom
    if name != "Lanczos1":
        assert correct_digits(fit.stderr, data.certified_stderr) >= 7
        assert correct_digits(fit.chi_squared, data.residual_sum_of_squares) >= 8


def test_unknown_problem() -> None:
    """Outside fact: the documented error names what there is."""
    with pytest.raises(ValueError, match=r"no NIST problem 'Misra9'; there are Bennett5, BoxBOD"):
        mc.data.nist("Misra9")


def test_a_second_attempt_where_the_first_ends_undetermined() -> None:
    """Outside fact: NIST's certificate, from a start whose first descent merges two exponentials.

    From the same start SciPy's "trf" and "lm" end elsewhere.
    """
    data = mc.data.nist("MGH17")
    start = data.starts[0] * [1.1, 1.4, 0.7, 1.5, 1.3]
    fit = mc.fit(data.model, start, data.x, data.y)
    assert fit.success
    assert correct_digits(fit.params, data.certified) >= 8
    begun = np.flatnonzero((fit.trace.at == fit.trace.at[0]).all(1)[: int(fit.steps) + 1])
    assert np.max(np.diff(begun)) > 50  # back at the start after the first attempt
    assert np.all(fit.trace.cost[: int(fit.steps) + 1] >= fit.cost * (1 - 1e-9))


@pytest.mark.parametrize(
    "steps", [1000, 60, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (300, 120))]
)
def test_a_second_attempt_under_jit_is_the_same(steps: int) -> None:
    """In one program or in two, and when the steps are used up in either attempt."""
    data = mc.data.nist("MGH17")
    start = data.starts[0] * [1.1, 1.4, 0.7, 1.5, 1.3]
    fit = mc.fit(data.model, start, data.x, data.y, steps=steps)
    with jax.enable_x64(True):
        compiled = jax.jit(lambda start: mc.fit(data.model, start, data.x, data.y, steps=steps))
        traced = compiled(start)
    for name in ("steps", "evaluations", "bends", "status"):
        assert getattr(traced, name) == getattr(fit, name)
    for one, other in zip(traced.trace, fit.trace, strict=True):
        assert_allclose(one, other, rtol=1e-6)
    assert_allclose(traced.params, fit.params, rtol=1e-6)
    assert_allclose(traced.cost, fit.cost, rtol=1e-6)
