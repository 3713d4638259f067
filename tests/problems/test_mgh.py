"""The problems of Moré, Garbow and Hillstrom against the numbers that others published.

START_NORM is what MINPACK's test drivers print as the initial norm of the residuals, and SOLUTION
what they print as solutions (netlib's minpack/ex; cminpack keeps the output). START_VALUE is f(x0)
of the ACM's Algorithm 566, as its Julia interface Toms566 lists it. PAPER has the paper's minima.
"""

from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize

import mlcalc_jax as mc

pytestmark = pytest.mark.slow

MGH = mc.problems.MGH
every_problem = pytest.mark.parametrize("name", MGH)

START_NORM = {
    "rosenbrock": 4.9193496,
    "freudenstein_roth": 20.012496,
    "powell_badly_scaled": 1.0654866,
    "helical_valley": 50.0,
    "powell_singular": 14.662878,
    "jennrich_sampson": 64.585650,
    "bard": 6.4561363,
    "meyer": 41153.467,
    "box_3d": 32.111584,
    "kowalik_osborne": 0.072891510,
    "brown_dennis": 2815.4384,
    "osborne_1": 0.93756402,
    "osborne_2": 1.4468654,
    "watson": 5.4772256,
    "trigonometric": 0.084117534,
    "brown_almost_linear": 16.530216,
    "discrete_boundary_value": 0.028080582,
    "discrete_integral": 0.25182701,
    "broyden_tridiagonal": 4.5825757,
    "broyden_banded": 18.973666,
    "linear_full_rank": 5.0,
    "linear_rank_1": 291.52187,
    "linear_rank_1_zero": 126.03968,
    "chebyquad": 0.19651386,
}

#: With the number of parameters that Algorithm 566 was run with.
START_VALUE = {
    "brown_badly_scaled": (2, "1.00e+12"),
    "beale": (2, "1.42e+01"),
    "wood": (4, "1.92e+04"),
    "gaussian": (3, "3.89e-06"),
    "gulf": (3, "1.21e+01"),
    "biggs_exp6": (6, "7.79e-01"),
    "extended_rosenbrock": (40, "4.84e+02"),
    "extended_powell": (60, "3.23e+03"),
    "penalty_1": (60, "5.45e+09"),
    "penalty_2": (65, "2.87e+05"),
    "variably_dimensioned": (40, "9.39e+10"),
    "trigonometric": (40, "2.01e-03"),
    "chebyquad": (50, "1.39e-02"),
}

#: Cut off, not rounded; all others are 0.
PAPER = {
    "jennrich_sampson": "124.362",
    "bard": "8.21487e-3",
    "gaussian": "1.12793e-8",
    "meyer": "87.9458",
    "kowalik_osborne": "3.07505e-4",
    "brown_dennis": "85822.2",
    "osborne_1": "5.46489e-5",
    "osborne_2": "4.01377e-2",
    "watson": "2.28767e-3",
    "penalty_1": "7.08765e-5",
    "penalty_2": "2.93660e-4",
    "chebyquad": "3.51687e-3",
}

#: Of the linear functions, the paper has formulas: m - n, m (m - 1) / (2 (2 m + 1)) and
#: (m^2 + 3 m - 6) / (2 (2 m - 3)), here for m = 10 and n = 5.
LINEAR = {"linear_full_rank": 5.0, "linear_rank_1": 90 / 42, "linear_rank_1_zero": 124 / 34}

SOLUTION = {
    "powell_badly_scaled": [1.0981593e-05, 9.1061467],
    "jennrich_sampson": [2.5781993e-01, 2.5782998e-01],
    "bard": [8.2410577e-02, 1.1330367, 2.3436946],
    "meyer": [5.6096365e-03, 6.1813463e03, 3.4522363e02],
    "kowalik_osborne": [1.9280781e-01, 1.9126265e-01, 1.2305280e-01, 1.3605322e-01],
    "brown_dennis": [-11.591245, 13.202486, -4.0357490e-01, 2.3673619e-01],
    "osborne_1": [3.7541005e-01, 1.9358465, -1.4646868, 1.2867534e-02, 2.2122701e-02],
    "osborne_2": [
        *(1.3099766, 4.3155248e-01, 6.3366126e-01, 5.9942856e-01, 7.5417977e-01, 9.0430008e-01),
        *(1.3657995, 4.8237320, 2.3986848, 4.5688755, 5.6753421),
    ],
    "watson": [-1.5724962e-02, 1.0124349, -2.3299172e-01, 1.2604310, -1.5137303, 9.9299727e-01],
    "trigonometric": [
        *(3.4396289e-02, 3.5032316e-02, 3.5719196e-02, 3.6465224e-02, 3.7280912e-02),
        *(3.8179863e-02, 3.9180141e-02, 4.0306503e-02, 1.7972019e-01, 1.5624088e-01),
    ],
    "discrete_boundary_value": [
        *(-4.3164983e-02, -8.1577157e-02, -1.1448571e-01, -1.4097358e-01, -1.5990870e-01),
        *(-1.6987720e-01, -1.6908998e-01, -1.5524954e-01, -1.2535589e-01, -7.5416534e-02),
    ],
    "broyden_tridiagonal": [
        *(-5.7072213e-01, -6.8180695e-01, -7.0221008e-01, -7.0551063e-01, -7.0490616e-01),
        *(-7.0149661e-01, -6.9188932e-01, -6.6579651e-01, -5.9603511e-01, -4.1641226e-01),
    ],
    "broyden_banded": [
        *(-4.2830286e-01, -4.7659642e-01, -5.1965246e-01, -5.5809932e-01, -5.9250616e-01),
        *(-6.2450368e-01, -6.2323947e-01, -6.2139384e-01, -6.2045360e-01, -5.8646927e-01),
    ],
    "chebyquad": [
        *(4.3153665e-02, 1.9309164e-01, 2.6632859e-01, 4.9999933e-01),
        *(5.0000067e-01, 7.3367141e-01, 8.0690836e-01, 9.5684634e-01),
    ],
}
SOLUTION["discrete_integral"] = SOLUTION["discrete_boundary_value"]

#: Where a descent from the standard start ends in a higher minimum.
ELSEWHERE = {"freudenstein_roth": [4.5, 3.5], "trigonometric": SOLUTION["trigonometric"]}


def problem(name: str) -> Any:
    return mc.problems.more_garbow_hillstrom(name)


def value(name: str, at: Any) -> float:
    with jax.enable_x64(True):
        return float(jax.jit(problem(name).cost)(np.array(at, float)))


@every_problem
def test_start_is_where_published_codes_start(name: str) -> None:
    """Outside facts: START_NORM in eight digits, START_VALUE in three."""
    given = problem(name)
    assert name in START_NORM or name in START_VALUE
    if name in START_NORM:
        assert_allclose(np.sqrt(value(name, given.start)), START_NORM[name], rtol=1e-7)
    if name in START_VALUE:
        number, published = START_VALUE[name]
        at_start = number == given.dimension
        found = value(name, given.start) if at_start else _at(name, number)
        unit = 10.0 ** (int(published[-3:]) - 2)
        assert abs(found - float(published)) < 0.501 * unit


def _at(name: str, n: int) -> float:
    """The value at the standard start of n parameters, by the model that is tested."""
    j = np.arange(1.0, n + 1)
    starts: dict[str, np.ndarray] = {
        "extended_rosenbrock": np.tile([-1.2, 1], n // 2),
        "extended_powell": np.tile([3.0, -1, 0, 1], n // 4),
        "penalty_1": j,
        "penalty_2": np.full(n, 0.5),
        "variably_dimensioned": 1 - j / n,
        "trigonometric": np.full(n, 1 / n),
        "chebyquad": j / (n + 1),
    }
    cost = problem(name).cost
    with jax.enable_x64(True):
        return float(np.sum(np.asarray(cost.model(starts[name], None)) ** 2))


def test_minima_are_those_of_the_paper() -> None:
    """Outside facts: PAPER, to its digits, and the formulas of LINEAR."""
    for name in MGH:
        minimum = problem(name).minimum
        if name in PAPER:
            digits = PAPER[name].split("e")[0]
            unit = float(PAPER[name]) / float(digits) * 10.0 ** -len(digits.split(".")[1])
            assert 0 <= minimum - float(PAPER[name]) < unit, name
        else:
            assert_allclose(minimum, LINEAR.get(name, 0.0), rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "set_name"),
    [
        ("kowalik_osborne", "MGH09"),
        ("meyer", "MGH10"),
        ("osborne_1", "MGH17"),
    ],
)
def test_minima_are_those_that_nist_certifies(name: str, set_name: str) -> None:
    """Outside fact: the certified residual sums of squares, in 11 digits."""
    certified = mc.data.nist(set_name)
    assert_allclose(problem(name).minimum, certified.residual_sum_of_squares, rtol=2e-10)


@every_problem
@pytest.mark.usefixtures("double")
def test_minimum_is_reached_by_derivatives_and_nothing_is_lower(name: str) -> None:
    """Outside facts: SciPy's Levenberg-Marquardt and trust region, and MINPACK's solutions."""
    given = problem(name)
    minimum, cost = given.minimum, given.cost
    if given.minimiser is not None:
        assert_allclose(float(cost(given.minimiser)), minimum, rtol=1e-14, atol=1e-28)
    residuals = jax.jit(cost.residuals)
    jacobian = jax.jit(jax.jacfwd(cost.residuals))

    def descend(start: Any) -> Any:
        return optimize.least_squares(
            lambda p: np.asarray(residuals(p)),
            start,
            lambda p: np.asarray(jacobian(p)),
            method="lm",
            x_scale="jac",
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=5000,
        )

    _check_derivatives(residuals, jacobian, given.start)
    found = descend(np.array(ELSEWHERE.get(name, given.start), float))
    assert_allclose(2 * found.cost, minimum, rtol=2e-11, atol=1e-20)
    for seed in range(4):
        lower = 2 * descend(given.draw_start(seed)).cost
        assert lower >= minimum * (1 - 1e-14), seed


def _check_derivatives(residuals: Any, jacobian: Any, start: np.ndarray) -> None:
    """Outside fact: central differences in NumPy, at a step that leaves them five digits."""
    J = np.asarray(jacobian(start))
    assert np.isfinite(J).all()
    for column, step in zip(J.T, np.diag(1e-5 * np.maximum(np.abs(start), 1e-2)), strict=True):
        slope = (np.asarray(residuals(start + step)) - residuals(start - step)) / (2 * step.sum())
        assert_allclose(column, slope, rtol=1e-5, atol=1e-6 * float(np.linalg.norm(J)))


@pytest.mark.parametrize("name", SOLUTION)
def test_published_solutions_are_near_the_minimum(name: str) -> None:
    """Outside fact: SOLUTION. They were found with a tolerance of 1e-8."""
    assert_allclose(value(name, SOLUTION[name]), problem(name).minimum, rtol=2e-6, atol=2e-12)


@pytest.mark.parametrize(
    ("name", "at", "minimum"),
    [
        ("freudenstein_roth", [11.412779, -0.89680525], 48.984254),
        ("bard", [8.4066667e-01, -1.5884803e08, -1.6437867e08], 4.1747687**2),
        (
            "kowalik_osborne",
            [7.2867547e05, -1.4075880e01, -3.2977798e07, -2.0571594e07],
            3.2052193e-2**2,
        ),
        ("brown_almost_linear", [0, 0, 0, 0, 0, 0, 0, 0, 0, 11], 1.0),
        ("brown_almost_linear", [9.7943030e-01] * 9 + [1.2056970], 0.0),
        ("box_3d", [10, 1, -1], 0.0),
        ("box_3d", [3, 3, 0], 0.0),
        ("biggs_exp6", [4, 10, 3, 5, 1, 1], 0.0),
    ],
)
def test_other_minima_are_where_they_are_published(
    name: str, at: list[float], minimum: float
) -> None:
    """Outside facts: the paper and MINPACK's output; the last in funconstrain's manual."""
    assert_allclose(value(name, at), minimum, rtol=2e-7, atol=1e-14)


def test_helix_turns_as_the_paper_has_it() -> None:
    """Outside fact: the angle of the paper, in two pieces, written out in NumPy."""
    cost = problem("helical_valley").cost
    for a in (-2.0, -1e-9, 1e-9, 0.5):
        for b in (-1.5, -1e-9, 0.0, 1e-9, 3.0):
            theta = np.arctan(b / a) / (2 * np.pi) + (0.5 if a < 0 else 0)
            expected = [10 * (0.25 - 10 * theta), 10 * (np.hypot(a, b) - 1), 0.25]
            assert_allclose(cost.residuals(np.array([a, b, 0.25])), expected, rtol=1e-9, atol=1e-9)


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no problem 'brad' of Moré.*bard, .*chebyquad"):
        problem("brad")
