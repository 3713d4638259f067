"""fit against SciPy, lmfit, iminuit and closed forms."""

import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import iminuit
import jax
import jax.numpy as jnp
import lmfit
import numpy as np
import optax
import pytest
from iminuit.cost import LeastSquares as MinuitCost
from numpy.testing import assert_allclose
from scipy import optimize, stats

import mlcalc_jax as mc

from .cases import counting

NAMES = ("amplitude", "mu", "offset", "sigma")
X = np.linspace(-3.0, 3.0, 60)
NOISE = np.random.default_rng(5).normal(size=60)
SIGMA = 0.1 + 0.05 * np.cos(X) ** 2
START = {"amplitude": 1.5, "mu": 0.1, "sigma": 1.1, "offset": 0.3}


def peak(x: Any, amplitude: Any, mu: Any, offset: Any, sigma: Any) -> Any:
    return amplitude * np.exp(-(((x - mu) / sigma) ** 2) / 2) + offset


Y = peak(X, 2.0, 0.3, 0.5, 0.8) + SIGMA * NOISE
P0 = [START[name] for name in NAMES]


def flat(params: Any) -> np.ndarray:
    """The peak's parameters as a vector."""
    return np.array([params[name] for name in NAMES])


def scipys(**options: Any) -> Any:
    """SciPy's curve_fit, driven to the end."""
    return optimize.curve_fit(peak, X, Y, P0, xtol=1e-15, ftol=1e-15, gtol=1e-15, **options)


@pytest.mark.slow
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("sigma", [None, 0.2, SIGMA], ids=["none", "number", "array"])
def test_agrees_with_scipy(sigma: Any, absolute: bool) -> None:
    """Outside fact: scipy.optimize.curve_fit, parameters and covariance."""
    fit = mc.fit(mc.models.gaussian_peak, START, X, Y, sigma, absolute_sigma=absolute)
    spread = None if sigma is None else np.broadcast_to(sigma, X.shape)
    popt, pcov = scipys(sigma=spread, absolute_sigma=absolute)
    assert fit.success
    assert_allclose(flat(fit.params), popt, rtol=1e-7)
    assert_allclose(fit.covariance, pcov, rtol=2e-5, atol=1e-10)
    assert_allclose(flat(fit.stderr), np.sqrt(np.diag(pcov)), rtol=1e-5)


@pytest.mark.slow
def test_agrees_with_scipy_on_correlated_data() -> None:
    """Outside fact: curve_fit with a covariance matrix; masked points are as if removed."""
    C = 0.01 * np.exp(-np.abs(X[:, None] - X) / 0.4)
    fit = mc.fit(mc.models.gaussian_peak, START, X, Y, y_covariance=C, absolute_sigma=True)
    popt, pcov = scipys(sigma=C, absolute_sigma=True)
    assert_allclose(flat(fit.params), popt, rtol=1e-6)
    assert_allclose(fit.covariance, pcov, rtol=1e-4, atol=1e-9)
    keep = np.arange(60) % 7 != 0
    masked = mc.fit(mc.models.gaussian_peak, START, X, Y, y_covariance=C, mask=keep)
    removed = mc.fit(
        mc.models.gaussian_peak, START, X[keep], Y[keep], y_covariance=C[np.ix_(keep, keep)]
    )
    assert_allclose(flat(masked.params), flat(removed.params), rtol=1e-9)
    assert_allclose(masked.covariance, removed.covariance, rtol=1e-7)


@pytest.mark.parametrize("low", [-np.inf, 0.55], ids=["inside", "at a bound"])
def test_agrees_with_scipy_under_bounds(low: float) -> None:
    """Outside fact: curve_fit's trust region."""
    bounds = ([0, -1, low, 0.1], [5, 1, 2, 3])
    start = [1.5, 0.1, 0.7, 1.1]
    popt, pcov = optimize.curve_fit(
        peak, X, Y, start, SIGMA, bounds=bounds, xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    named = {n: (a, b) for n, a, b in zip(NAMES, *bounds, strict=True)}
    begin = START | {"offset": 0.7}
    fit = mc.fit(mc.models.gaussian_peak, begin, X, Y, SIGMA, bounds=named)
    assert fit.success
    assert fit.at_bound == (["offset"] if low > 0 else [])
    assert_allclose(flat(fit.params), popt, rtol=2e-6)
    assert_allclose(fit.covariance, pcov, rtol=2e-4, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["soft_l1", "huber", "cauchy", "arctan"])
def test_agrees_with_scipy_on_robust_losses(name: str) -> None:
    """Outside fact: scipy.optimize.least_squares with its loss and f_scale."""
    y = Y + np.where(np.arange(60) % 9 == 4, 1.5, 0)
    found = optimize.least_squares(
        lambda p: (peak(X, *p) - y) / SIGMA, P0, loss=name, f_scale=1.3, xtol=1e-15, ftol=1e-15
    )
    fit = mc.fit(mc.models.gaussian_peak, START, X, y, SIGMA, loss=getattr(mc.losses, name)(1.3))
    assert fit.success
    assert_allclose(fit.cost, 2 * found.cost, rtol=1e-10)
    assert_allclose(flat(fit.params), found.x, rtol=2e-5)
    expected = np.linalg.inv(found.jac.T @ found.jac) * 2 * found.cost / 56
    assert_allclose(fit.covariance, expected, rtol=2e-3, atol=1e-7)


def test_poisson_is_the_likelihood() -> None:
    """Outside fact: the minimum SciPy finds of the log-likelihood, and the inverse information."""
    counts = np.random.default_rng(2).poisson(20 * peak(X, 2.0, 0.3, 0.5, 0.8))
    start = {"amplitude": 30.0, "mu": 0.0, "sigma": 1.0, "offset": 8.0}
    fit = mc.fit(mc.models.gaussian_peak, start, X, counts, loss="poisson")

    def negative_log_likelihood(p: Any) -> Any:
        f = peak(X, *p)
        return np.sum(f - counts * np.log(f))

    found = optimize.minimize(
        negative_log_likelihood,
        [30.0, 0.0, 8.0, 1.0],
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 10_000},
    )
    assert fit.success
    assert_allclose(flat(fit.params), found.x, rtol=1e-5)
    f = peak(X, *flat(fit.params))
    J = optimize.approx_fprime(flat(fit.params), lambda p: peak(X, *p), 1e-7)
    assert_allclose(fit.covariance, np.linalg.inv(J.T / f @ J), rtol=1e-4, atol=1e-8)


def test_counts_that_a_model_meets_exactly_converge() -> None:
    """Closed form: the line the counts lie on. Rounding may leave the deviance below zero."""
    x = np.linspace(0, 3, 12)
    for intercept, slope in np.random.default_rng(0).uniform((1, 0.1), (50, 2), (100, 2)):
        start = {"slope": slope * 0.8, "intercept": intercept * 1.3}
        fit = mc.fit(mc.models.line, start, x, intercept + slope * x, loss="poisson")
        assert fit.success, fit.report()
        assert_allclose(fit.params["slope"], slope, rtol=1e-9)
        assert_allclose(fit.params["intercept"], intercept, rtol=1e-9)


@pytest.mark.slow
def test_agrees_with_lmfit() -> None:
    """Outside fact: lmfit with a fixed parameter, an expression, its statistics."""
    model = lmfit.Model(peak)
    start = model.make_params(amplitude=1.5, mu=0.1, offset=0.5, sigma=1.1)
    start["offset"].vary = False
    theirs = model.fit(Y, start, x=X, weights=1 / SIGMA, fit_kws={"xtol": 1e-15, "ftol": 1e-15})
    ours = mc.fit(mc.models.gaussian_peak, START | {"offset": 0.5}, X, Y, SIGMA, fixed={"offset"})
    assert_allclose(flat(ours.params), [theirs.params[n].value for n in NAMES], rtol=1e-6)
    assert_allclose(flat(ours.stderr), [theirs.params[n].stderr for n in NAMES], rtol=1e-4)
    assert ours.stderr["offset"] == 0
    for name in ("aic", "bic"):
        assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9)
    assert_allclose(ours.reduced_chi_squared, theirs.redchi, rtol=1e-9)
    low, high = ours.profile("mu", 0.95)
    table = lmfit.conf_interval(theirs, theirs, p_names=["mu"], sigmas=[0.95])["mu"]
    assert_allclose([low, high], [table[0][1], table[2][1]], rtol=1e-4)

    start["offset"].set(vary=True, expr="amplitude / 4")
    theirs = model.fit(Y, start, x=X, weights=1 / SIGMA, fit_kws={"xtol": 1e-15, "ftol": 1e-15})
    free = {name: START[name] for name in ("amplitude", "mu", "sigma")}
    ours = mc.fit(
        mc.models.gaussian_peak, free, X, Y, SIGMA, tie=lambda p: p | {"offset": p["amplitude"] / 4}
    )
    assert_allclose(flat(ours.params), [theirs.params[n].value for n in NAMES], rtol=1e-6)
    assert_allclose(flat(ours.stderr), [theirs.params[n].stderr for n in NAMES], rtol=1e-4)


@pytest.mark.slow
def test_agrees_with_minuit() -> None:
    """Outside fact: MIGRAD's minimum and MINOS intervals."""
    minuit = iminuit.Minuit(MinuitCost(X, Y, SIGMA, peak), *P0)
    minuit.strategy = 2
    minuit.tol = 1e-6
    minuit.migrad()
    minuit.minos()
    fit = mc.fit(mc.models.gaussian_peak, START, X, Y, SIGMA, absolute_sigma=True)
    assert_allclose(fit.chi_squared, minuit.fval, rtol=1e-9)
    assert_allclose(flat(fit.params), minuit.values, rtol=1e-4)
    for name in NAMES:
        low, high = fit.profile(name, 0.6826894921)
        errors, value = minuit.merrors[name], fit.params[name]
        assert_allclose([low - value, high - value], [errors.lower, errors.upper], rtol=2e-2)


@pytest.mark.slow
def test_profile_of_a_linear_model_is_the_exact_interval() -> None:
    """Outside fact: for a linear model chi-squared is a parabola: value +- t stderr."""
    fit = mc.fit(mc.models.line, {"slope": 0.0, "intercept": 0.0}, X, Y)
    for name in ("slope", "intercept"):
        assert_allclose(fit.profile(name, 0.9), fit.interval(name, 0.9), rtol=1e-7)
    grid = fit.profile_map("slope", "intercept", resolution=5)
    d = np.stack(np.meshgrid(grid.x, grid.y), axis=-1) - [fit.params[n] for n in grid.names]
    C = fit.covariance[::-1, ::-1] / fit.reduced_chi_squared
    assert_allclose(grid.rise, np.einsum("abi,ij,abj->ab", d, np.linalg.inv(C), d), atol=1e-9)


def by_area(p: Any) -> Any:
    """The peak's parameters from its area, and its offset from its place."""
    height = p["area"] / (p["sigma"] * np.sqrt(2 * np.pi))
    offset = p["shift"] + p["mu"]
    return {"amplitude": height, "mu": p["mu"], "sigma": p["sigma"], "offset": offset}


@pytest.mark.slow
def test_profiles_do_not_depend_on_what_is_tied() -> None:
    """Outside fact: a likelihood does not change with what its parameters are computed from."""
    plain = mc.fit(mc.models.gaussian_peak, START, X, Y, SIGMA)
    start = {"area": 4.0, "mu": 0.3, "sigma": 0.8, "shift": 0.2}
    tied = mc.fit(mc.models.gaussian_peak, start, X, Y, SIGMA, tie=by_area)
    for name in ("amplitude", "offset"):
        assert_allclose(tied.profile(name), plain.profile(name), rtol=1e-7)
    grids = [fit.profile_map("amplitude", "offset", resolution=5) for fit in (plain, tied)]
    assert_allclose(grids[1].rise, grids[0].rise, atol=1e-6 * np.max(grids[0].rise))


@pytest.mark.parametrize("bounds", [{"rate": (None, 1.0)}, {"rate": (3.0, None)}])
def test_a_guess_is_moved_within_bounds(bounds: Any) -> None:
    """Outside fact: SciPy's minimum within the same bounds, from a start that is inside them."""
    x = np.linspace(0, 4, 40)
    y = 2 * np.exp(-1.2 * x) + 0.3
    found = mc.fit(mc.models.exponential_decay, None, x, y, bounds=bounds)
    low, high = bounds["rate"]
    ends = [-np.inf, -np.inf, -np.inf if low is None else low], [
        np.inf, np.inf, np.inf if high is None else high
    ]  # fmt: skip
    known = optimize.curve_fit(
        lambda x, a, c, k: a * np.exp(-k * x) + c, x, y, [1, 0, low or high], bounds=ends
    )[0]
    assert_allclose([found.params[name] for name in ("amplitude", "offset", "rate")], known,
                    rtol=1e-5)  # fmt: skip
    start = {"amplitude": 1.0, "offset": 0.0, "rate": 2.0}
    with pytest.raises(ValueError, match=r"rate starts at 2.0, outside its bounds"):
        mc.fit(mc.models.exponential_decay, start, x, y, bounds=bounds)


@pytest.mark.parametrize("pair", [(None, 0.1), (None, 0.7), (3.1, None), (3.3, 3.4)])
def test_a_guess_at_a_bound_that_float32_rounds(pair: Any) -> None:
    """Outward, some of them; the guess stays inside."""
    x = np.linspace(0, 4, 40, dtype=np.float32)
    y = (2 * np.exp(-1.2 * x) + 0.3).astype(np.float32)
    found = mc.fit(mc.models.exponential_decay, None, x, y, bounds={"rate": pair})
    low, high = (-np.inf if pair[0] is None else pair[0]), (np.inf if pair[1] is None else pair[1])
    assert low - 1e-6 <= float(found.params["rate"]) <= high + 1e-6
    assert found.params["rate"].dtype == np.float32


@pytest.mark.slow
def test_profile_of_a_tied_parameter_within_bounds() -> None:
    """Outside fact: SciPy's SLSQP, under the same constraint, finds the rise that is wanted."""
    start = {"area": 2.0, "mu": 0.3, "sigma": 0.8, "shift": 0.2}
    free = mc.fit(mc.models.gaussian_peak, START, X, Y, SIGMA).params
    area = float(free["amplitude"] * free["sigma"] * np.sqrt(2 * np.pi)) * 0.97
    bounds = {"area": (0, area)}
    fit = mc.fit(mc.models.gaussian_peak, start, X, Y, SIGMA, tie=by_area, bounds=bounds)
    assert fit.is_at_bound.any()
    wanted = fit.cost / fit.degrees_of_freedom * stats.f.ppf(0.95, 1, fit.degrees_of_freedom)
    for height in fit.profile("amplitude"):

        def cost(q: Any, height: float = height) -> Any:
            return np.sum(((peak(X, height, *q) - Y) / SIGMA) ** 2)

        def room(q: Any, height: float = height) -> Any:
            return area - height * q[2] * np.sqrt(2 * np.pi)

        begin = [fit.params[name] for name in ("mu", "offset", "sigma")]
        found = optimize.minimize(
            cost,
            begin,
            method="SLSQP",
            constraints={"type": "ineq", "fun": room},
            options={"ftol": 1e-13, "maxiter": 1000},
        )
        assert_allclose(found.fun - fit.cost, wanted, rtol=1e-5)


@pytest.mark.slow
def test_profiles_that_cannot_be() -> None:
    line = {"slope": 1.0}
    fit = mc.fit(mc.models.line, line, X, Y, tie=lambda p: {**p, "intercept": 2 * p["slope"]})
    with pytest.raises(ValueError, match="cannot move slope and intercept one by one"):
        fit.profile_map("slope", "intercept")
    fit = mc.fit(mc.models.line, line, X, Y, tie=lambda p: {**p, "intercept": np.float64(0.2)})
    with pytest.raises(ValueError, match="the standard error of intercept is 0"):
        fit.profile("intercept")
    fit = mc.fit(
        mc.models.line,
        line,
        X,
        Y,
        tie=lambda p: {**p, "intercept": 2 * p["slope"]},
        bounds={"slope": (-10, 10)},
    )
    with pytest.raises(ValueError, match="free numbers without bounds cannot move intercept"):
        fit.profile("intercept")
    fit = mc.fit(mc.models.line, {"slope": 1.0, "intercept": 0.0}, X, Y, fixed={"slope"})
    with pytest.raises(ValueError, match="slope is fixed"):
        fit.profile("slope")
    fit = mc.fit(lambda p, x: p["a"] * x, {"a": 1.0}, X[1:2], Y[1:2])
    with pytest.raises(ValueError, match="no degrees of freedom are left"):
        fit.profile("a")


def test_linear_models_take_one_step() -> None:
    """Outside fact: numpy.linalg.lstsq, and the textbook's standard errors of a line."""
    fit = mc.fit(mc.models.polynomial, {"coefficients": np.zeros(4)}, X, Y)
    expected, rss, *_ = np.linalg.lstsq(np.vander(X, 4, increasing=True), Y)
    assert_allclose(fit.params["coefficients"], expected, rtol=1e-9)
    assert_allclose(fit.chi_squared, rss[0], rtol=1e-12)
    assert fit.steps <= 2
    line = mc.fit(mc.models.line, {"slope": 0.0, "intercept": 0.0}, X, Y, SIGMA)
    assert line.steps == 1
    formula = mc.straight_line(X, Y, SIGMA)
    assert_allclose(line.params["slope"], formula.slope, rtol=1e-11)
    assert_allclose(line.stderr["slope"], formula.slope_stderr, rtol=1e-11)
    assert_allclose(line.stderr["intercept"], formula.intercept_stderr, rtol=1e-11)
    _, C = np.polyfit(X, Y, 1, w=1 / SIGMA, cov=True)
    assert_allclose(formula.slope_stderr**2, C[0, 0], rtol=1e-9)
    assert_allclose(formula.intercept_stderr**2, C[1, 1], rtol=1e-9)
    assert_allclose(formula.covariance, C[0, 1], rtol=1e-6, atol=1e-12)


def test_a_robust_line_resists_an_outlier() -> None:
    """Outside fact: the line the other points lie on."""
    y = 2 * X - 1 + 0.01 * NOISE
    y[7] = 40.0
    fit = mc.fit(mc.models.line, None, X, y, 0.01, loss="cauchy")
    assert_allclose([fit.params["slope"], fit.params["intercept"]], [2, -1], atol=0.01)
    assert abs(float(mc.straight_line(X, y).slope) - 2) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [mc.gauss_newton(), mc.newton(), mc.levenberg_marquardt(1.0), optax.lbfgs()],
    ids=["gauss_newton", "newton", "levenberg_marquardt", "lbfgs"],
)
def test_any_method_finds_the_optimum(method: Any) -> None:
    """Outside fact: the default method, itself held to SciPy above."""
    expected = mc.fit(mc.models.gaussian_peak, START, X, Y, SIGMA)
    start = {"amplitude": 1.9, "mu": 0.25, "sigma": 0.85, "offset": 0.45}
    fit = mc.fit(mc.models.gaussian_peak, start, X, Y, SIGMA, method=method, fixed=("offset",))
    again = mc.fit(mc.models.gaussian_peak, start, X, Y, SIGMA, fixed=("offset",))
    assert fit.success
    assert_allclose(flat(fit.params), flat(again.params), rtol=1e-8)
    assert_allclose(flat(fit.stderr), flat(again.stderr), rtol=1e-8)
    assert fit.cost > expected.cost
    assert_allclose(fit.path.cost[-1], fit.cost, rtol=1e-12)


def test_undetermined_parameters_are_named() -> None:
    """Outside fact: only a + b is determined; c's error is that of the model without b."""
    fit = mc.fit(lambda p, x: (p["a"] + p["b"]) * x + p["c"], {"a": 1.0, "b": 2.0, "c": 0.0}, X, Y)
    line = mc.straight_line(X, Y)
    assert fit.status == mc.Status.SINGULAR
    assert not fit.success
    assert "Undetermined: a, b." in fit.message
    assert np.isnan([fit.stderr["a"], fit.stderr["b"]]).all()
    assert_allclose(fit.params["a"] + fit.params["b"], line.slope, rtol=1e-9)
    assert_allclose(fit.stderr["c"] * np.sqrt(57 / 58), line.intercept_stderr, rtol=1e-9)


@pytest.mark.slow
def test_transforms_and_units_change_nothing() -> None:
    """Outside fact: the optimum and its errors do not depend on the scale a parameter moves on."""
    plain = mc.fit(mc.models.gaussian_peak, START, X, Y, SIGMA)
    log = mc.transforms.log
    other = mc.fit(
        mc.models.gaussian_peak, START, X, Y, SIGMA, transforms={"sigma": log, "amplitude": log}
    )
    assert_allclose(flat(other.params), flat(plain.params), rtol=1e-9)
    assert_allclose(other.covariance, plain.covariance, rtol=1e-7)
    start = START | {"mu": 0.1e-10, "sigma": 1.1e-10, "amplitude": 1.5e10, "offset": 0.3e10}
    tiny = mc.fit(mc.models.gaussian_peak, start, X * 1e-10, Y * 1e10, SIGMA * 1e10)
    unit = np.array([1e10, 1e-10, 1e10, 1e-10])
    assert_allclose(flat(tiny.params), unit * flat(plain.params), rtol=1e-9)
    assert_allclose(tiny.covariance, np.outer(unit, unit) * plain.covariance, rtol=1e-7)


def test_global_fit() -> None:
    """Outside fact: SciPy on both data sets end to end, with one rate and two amplitudes."""
    t, u = np.linspace(0, 3, 20), np.linspace(0, 2, 15)
    a = 2 * np.exp(-1.3 * t) + 0.02 * NOISE[:20]
    b = 5 * np.exp(-1.3 * u) + 0.02 * NOISE[20:35]
    fit = mc.fit(
        lambda p, x: p["amplitude"] * jnp.exp(-p["rate"] * x),
        {"amplitude": 1.0, "rate": 1.0},
        [t, u],
        [a, b],
        local="amplitude",
    )

    def both(_: Any, first: Any, second: Any, rate: Any) -> Any:
        return np.concatenate([first * np.exp(-rate * t), second * np.exp(-rate * u)])

    popt, pcov = optimize.curve_fit(both, t, np.concatenate([a, b]), [1, 1, 1], xtol=1e-15)
    assert fit.names == ["amplitude[0]", "amplitude[1]", "rate"]
    assert_allclose([*fit.params["amplitude"], fit.params["rate"]], popt, rtol=1e-7)
    assert_allclose(fit.covariance, pcov, rtol=1e-5)


def test_global_fit_without_its_nans() -> None:
    """Outside fact: the same sets with those points cut out."""
    bad = np.arange(20) == 3
    t, u = X[:20], X[:24]
    y, z, sigma = Y[:20], Y[:24], [SIGMA[:20], 0.2]
    start = {"slope": 1.0, "intercept": 0.0}
    cut = [t[~bad], u], [y[~bad], z], [SIGMA[:20][~bad], 0.2]
    expected = mc.fit(mc.models.line, start, *cut, local="intercept")
    lost, covariance = np.where(bad, np.nan, y), np.diag(np.r_[SIGMA[:20] ** 2, np.full(24, 0.04)])
    for x, values, deviations, matrix in (
        ([t, u], [lost, z], sigma, None),
        ([np.where(bad, np.nan, t), u], [y, z], sigma, None),
        ([t, u], [y, z], [np.where(bad, np.nan, SIGMA[:20]), 0.2], None),
        ([t, u], [lost, z], None, covariance),
    ):
        fit = mc.fit(
            mc.models.line,
            start,
            x,
            values,
            deviations,
            y_covariance=matrix,
            local="intercept",
            nan_policy="omit",
        )
        assert_allclose(fit.params["intercept"], expected.params["intercept"], rtol=1e-9)
        assert fit.points == 43


def test_lists_of_numbers_are_arrays() -> None:
    """Outside fact: the fit of the arrays, whether the model guesses its start or not."""
    x, y = [0.0, 1, 2, 4], [1.0, 2.0, 4.0, 5.0]
    expected = np.polyfit(x, y, 1)
    start = {"a": np.ones(2, np.float32)}
    for fit in (
        mc.fit(mc.models.line, None, x, y),
        mc.fit(mc.models.line, None, list(np.array(x)), tuple(y)),
        mc.fit(mc.models.line, None, [*x, 9.0], [*y, np.nan], nan_policy="omit"),
    ):
        assert_allclose([fit.params["slope"], fit.params["intercept"]], expected, rtol=1e-9)
    single = mc.fit(lambda p, x: p["a"][0] * x + p["a"][1], start, x, np.array(y, np.float32))
    assert_allclose(single.params["a"], expected, rtol=1e-5)
    assert single.params["a"].dtype == np.float32


@pytest.mark.slow
def test_r_squared_of_weights_and_batches() -> None:
    """Outside fact: numpy.corrcoef squared of a line; a diagonal covariance is sigma; a loop."""
    start = {"slope": 1.0, "intercept": 0.0}
    masks = np.arange(60) % 7 != np.array([[3], [5]])
    data = [(Y, 0.1, masks[0]), (Y + X, 0.2, masks[1])]
    loop = [mc.fit(mc.models.line, start, X, y, s, mask=m).r_squared for y, s, m in data]
    cut = np.corrcoef(X[masks[0]], Y[masks[0]])[0, 1] ** 2
    assert_allclose(loop[0], cut, rtol=1e-9)
    with jax.enable_x64(True):
        batch = jax.vmap(lambda y, s, m: mc.fit(mc.models.line, start, X, y, s, mask=m))(
            *map(np.stack, zip(*data, strict=True))
        )
        assert_allclose(batch.r_squared, loop, rtol=1e-9)
        assert batch.predict().shape == (2, 60)
        assert batch.predict(X[:5]).shape == (2, 5)
    weighted = mc.fit(mc.models.line, start, X, Y, SIGMA, mask=masks[0])
    correlated = mc.fit(mc.models.line, start, X, Y, y_covariance=np.diag(SIGMA**2), mask=masks[0])
    assert_allclose(correlated.r_squared, weighted.r_squared, rtol=1e-9)


def test_a_line_needs_two_different_x() -> None:
    """Outside fact: the documented error."""
    with pytest.raises(ValueError, match="x must hold at least 2 different values"):
        mc.straight_line(np.ones(5), np.arange(5.0))


@pytest.mark.slow
def test_bands() -> None:
    """Outside fact: f +- t sqrt(x C x) of a straight line, and s^2 more for an observation."""
    fit = mc.fit(mc.models.line, {"slope": 0.0, "intercept": 0.0}, X, Y)
    at = np.array([-5.0, 0.0, 4.0])
    line = mc.straight_line(X, Y)
    variance = line.intercept_stderr**2 + 2 * at * line.covariance + at**2 * line.slope_stderr**2
    s2 = line.chi_squared / 58
    t = 2.0017174830120923  # 97.5 % of Student's t with 58 degrees of freedom
    kinds: dict[Literal["confidence", "prediction"], Any] = {"confidence": 0.0, "prediction": s2}
    for kind, extra in kinds.items():
        low, high = fit.band(at, kind=kind)
        assert_allclose((high - low) / 2, t * np.sqrt(variance + extra), rtol=1e-9)
        assert_allclose((high + low) / 2, line.slope * at + line.intercept, rtol=1e-9)
    correlated = mc.fit(mc.models.line, None, X, Y, y_covariance=np.eye(60))
    with pytest.raises(ValueError, match="no one sigma"):
        correlated.band(at, kind="prediction")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["residual", "case"])
def test_bootstrap_of_a_line(kind: Any) -> None:
    """Outside fact: the standard errors of the formula, to what 2,000 samples can tell."""
    y = 2 * X - 1 + 0.1 * NOISE
    fit = mc.fit(mc.models.line, {"slope": 0.0, "intercept": 0.0}, X, y)
    samples = fit.bootstrap(2000, kind=kind)
    line = mc.straight_line(X, y)
    assert samples.converged.all()
    assert_allclose(samples.stderr["slope"], line.slope_stderr, rtol=0.12)
    assert_allclose(samples.stderr["intercept"], line.intercept_stderr, rtol=0.12)
    low, high = samples.interval(0.68)
    assert low["slope"] < line.slope < high["slope"]


@pytest.mark.slow
def test_bootstrap_of_correlated_data() -> None:
    """Outside fact: the standard errors of generalised least squares, (A^T C^-1 A)^-1, in NumPy."""
    C = 0.01 * np.exp(-np.abs(X[:, None] - X) / 0.4)
    y = 2 * X - 1 + np.linalg.cholesky(C) @ NOISE
    keep = np.arange(60) % 7 != 0
    fit = mc.fit(mc.models.line, None, X, y, y_covariance=C, mask=keep)
    samples = fit.bootstrap(2000)
    A = np.stack([np.ones(60), X])[:, keep]
    generalised = np.linalg.inv(A @ np.linalg.solve(C[np.ix_(keep, keep)], A.T))
    stderr = np.sqrt(np.diag(generalised) * fit.reduced_chi_squared)
    found = [samples.stderr[name] for name in ("intercept", "slope")]
    assert_allclose(found, stderr, rtol=0.07)
    ordinary = np.linalg.inv(A @ A.T) * C[0, 0]
    assert np.all(np.abs(np.sqrt(np.diag(ordinary)) / stderr - 1) > 0.2)
    with pytest.raises(ValueError, match="cannot be drawn by themselves"):
        fit.bootstrap(10, kind="case")


#: What waited for ever, once in a few calls, with JAX 0.10 on two cores.
OFTEN = """
import numpy as np, mlcalc_jax as mc
x = np.linspace(-3.0, 3.0, 60)
C = 0.01 * np.exp(-np.abs(x[:, None] - x) / 0.4)
fit = mc.fit(mc.models.line, None, x, 2 * x - 1 + np.sin(9 * x), y_covariance=C)
for key in range(40):
    fit.bootstrap(2000, key=key)
"""


@pytest.mark.slow
def test_a_bootstrap_ends() -> None:
    """Forty take some seconds; a process that is still at it after two minutes is stuck."""
    subprocess.run([sys.executable, "-c", OFTEN], check=True, timeout=120)


@pytest.mark.slow
def test_derivative_of_a_fit_by_its_data() -> None:
    """Outside fact: the line's closed form; a nonlinear fit's central differences."""
    with jax.enable_x64(True):

        def fitted(model: Any, start: Any, name: str) -> Any:
            return lambda y: mc.fit(model, start, X, y).params[name]

        slope = jax.grad(fitted(mc.models.line, {"slope": 1.0, "intercept": 0.0}, "slope"))(Y)
        centred = X - X.mean()
        assert_allclose(slope, centred / np.sum(centred**2), rtol=1e-9)
        mu = fitted(mc.models.gaussian_peak, START, "mu")
        forward, reverse = jax.jacfwd(mu)(Y), jax.grad(mu)(Y)
        h = 1e-5 * np.eye(60)
        refits = jax.vmap(mu)(np.concatenate([Y + h, Y - h]))
        assert_allclose(forward, (refits[:60] - refits[60:]) / 2e-5, rtol=1e-5, atol=1e-9)
        assert_allclose(reverse, forward, rtol=1e-9)


def test_other_numbers_compile_nothing() -> None:
    """Outside fact: JAX runs a model's Python code only when it compiles."""
    model, traces = counting(mc.models.gaussian_peak)
    bounds = {"sigma": (0.1, 5.0)}
    mc.fit(model, START, X, Y, SIGMA, bounds=bounds)
    known = len(traces)
    other = mc.fit(model, START | {"mu": 0.2}, X, Y + 0.1, 2 * SIGMA, bounds={"sigma": (0.2, 4.0)})
    assert other.success
    assert len(traces) == known


def test_a_first_fit_compiles_one_program() -> None:
    """Outside fact: JAX tells of every program that it compiles.

    Beside the fit itself there may be a few without a computation: what asks XLA for its options.
    """
    programs: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            programs.append(str(kwargs.get("fun_name")))

    model, _ = counting(mc.models.gaussian_peak)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        mc.fit(model, START, X, Y, SIGMA)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert sum("_fitted" in name for name in programs) == 1
    assert len(programs) <= 5


def test_a_model_defined_anew_is_another() -> None:
    """Outside fact: two closures of one name and different values have different answers."""

    def times(factor: float) -> Any:
        def model(p: Any, x: Any) -> Any:
            return p["a"] * factor * x

        return model

    found = [float(mc.fit(times(k), {"a": 1.0}, X, 6 * X).params["a"]) for k in (1.0, 2.0, 3.0)]
    assert_allclose(found, [6, 3, 2], rtol=1e-12)


def test_vmap_is_a_loop() -> None:
    """Outside fact: the fits one by one."""
    many = np.stack([Y, Y + 0.2 * np.cos(X), 1.1 * Y])
    with jax.enable_x64(True):
        fits = jax.vmap(lambda y: mc.fit(mc.models.gaussian_peak, START, X, y, SIGMA))(many)
    for k, y in enumerate(many):
        one = mc.fit(mc.models.gaussian_peak, START, X, y, SIGMA)
        assert_allclose([fits.params[n][k] for n in NAMES], flat(one.params), rtol=1e-9)
        assert_allclose(fits.covariance[k], one.covariance, rtol=1e-7)
    assert fits.success.all()


@pytest.mark.slow
@pytest.mark.parametrize("method", [None, optax.adam(0.1)], ids=["default", "adam"])
def test_constants_inside_a_users_jit(method: Any) -> None:
    """Outside fact: the same fit outside it."""

    def slope() -> Any:
        return mc.fit(mc.models.line, {"slope": 1.0, "intercept": 0.0}, X, Y, method=method).params

    assert_allclose(jax.jit(slope)()["slope"], slope()["slope"], rtol=1e-6)


def test_single_precision_stays_single() -> None:
    """Outside fact: the answer in float64, to the digits float32 has."""
    single = [np.float32(values) for values in (X, Y, SIGMA)]
    fit = mc.fit(mc.models.gaussian_peak, START, *single)
    double = mc.fit(mc.models.gaussian_peak, START, X, Y, SIGMA)
    assert fit.covariance.dtype == np.float32
    assert fit.success
    assert_allclose(flat(fit.params), flat(double.params), rtol=1e-4)
    assert_allclose(flat(fit.stderr), flat(double.stderr), rtol=1e-3)


@pytest.mark.slow
def test_many_points_go_piece_by_piece() -> None:
    """Outside fact: the same problem in one piece, by SciPy."""
    x = np.linspace(-3, 3, 40_001)
    y = peak(x, 2.0, 0.3, 0.5, 0.8) + 0.1 * np.random.default_rng(1).normal(size=x.size)
    mask = np.arange(x.size) % 11 != 3
    fit = mc.fit(mc.models.gaussian_peak, START, x, y, 0.1, mask=mask, absolute_sigma=True)
    popt, pcov = optimize.curve_fit(
        peak, x[mask], y[mask], P0, np.full(mask.sum(), 0.1), True, xtol=1e-15, ftol=1e-15
    )
    assert_allclose(flat(fit.params), popt, rtol=1e-7)
    assert_allclose(fit.covariance, pcov, rtol=1e-5, atol=1e-12)


@pytest.mark.slow
def test_multistart_finds_every_optimum() -> None:
    """Outside fact: cos has the value 0.5 at pi/3, 5 pi/3 and 7 pi/3 between 0 and 8."""
    fits = mc.multistart(
        lambda p, x: jnp.cos(p["angle"]) * x,
        {"angle": 3.0},
        X,
        0.5 * X,
        bounds={"angle": (0.0, 8.0)},
        starts=60,
    )
    roots = [f.params["angle"] for f in fits if f.cost < 1e-12]
    assert_allclose(np.sort(roots), np.pi * np.array([1, 5, 7]) / 3, rtol=1e-6)
    with pytest.raises(ValueError, match="give spread, or bounds on both sides of slope"):
        mc.multistart(mc.models.line, None, X, Y, bounds={"intercept": (0, 1)})
    with pytest.raises(TypeError, match="multistart runs on the host"):
        jax.jit(lambda y: mc.multistart(mc.models.line, None, X, y, spread=2.0)[0].cost)(Y)


def test_curve_fit_is_scipys() -> None:
    """Outside fact: scipy.optimize.curve_fit on the same call."""

    def model(x: Any, amplitude: Any, mu: Any, offset: Any, sigma: Any) -> Any:
        return amplitude * jnp.exp(-(((x - mu) / sigma) ** 2) / 2) + offset

    for options in (
        {},
        {"sigma": SIGMA, "absolute_sigma": True},
        {"bounds": ([0, -1, 0, 0.1], [5, 1, 2, 3])},
        {"sigma": np.diag(SIGMA**2)},
    ):
        popt, pcov = mc.curve_fit(model, X, Y, P0, **options)
        expected, covariance = scipys(**options)
        assert_allclose(popt, expected, rtol=1e-6)
        assert_allclose(pcov, covariance, rtol=1e-4, atol=1e-9)
    popt, _, info, message, flag = mc.curve_fit(model, X, Y, full_output=True)
    assert flag in (1, 2, 3, 4)
    assert message
    assert_allclose(info["fvec"], peak(X, *popt) - Y, atol=1e-12)
    for searches in ({"epsfcn": 1e-9, "factor": 10}, {"x_scale": "jac", "verbose": 0}):
        assert_allclose(mc.curve_fit(model, X, Y, P0, **searches)[0], scipys()[0], rtol=1e-6)
    broken = np.where(np.arange(60) == 5, np.nan, Y)
    popt, _ = mc.curve_fit(model, X, broken, P0, nan_policy="omit")
    expected, _ = optimize.curve_fit(peak, X, broken, P0, nan_policy="omit")
    assert_allclose(popt, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="y must be finite"):
        mc.curve_fit(model, X, broken, P0)


@pytest.mark.parametrize(
    "bounds",
    [
        ([2, -np.inf], [3, np.inf]),
        ([2, -np.inf], [np.inf, 0.5]),
        (-9, 9),
        optimize.Bounds([-np.inf, 3], [0.2, np.inf]),
    ],
)
def test_curve_fit_starts_where_scipy_does(bounds: Any) -> None:
    """Outside fact: SciPy's start, as its model sees it first."""
    seen: list[Any] = []

    def line(x: Any, a: Any, b: Any) -> Any:
        seen.append((float(a), float(b)))
        return a * x + b

    expected, _ = optimize.curve_fit(line, X, Y, bounds=bounds)
    popt, _, info, _, _ = mc.curve_fit(_line, X, Y, bounds=bounds, full_output=True)
    assert_allclose(info["fit"].start, seen[0])
    assert_allclose(popt, expected, rtol=1e-5)


def _line(x: Any, a: Any, b: Any) -> Any:
    return a * x + b


def test_curve_fit_moves_no_start() -> None:
    """Outside fact: SciPy refuses a start outside the bounds, be it one of ones."""
    bounds = ([2, -9], [3, 9])
    with pytest.raises(ValueError, match="outside of provided bounds"):
        optimize.curve_fit(_line, X, Y, [1, 1], bounds=bounds)
    with pytest.raises(ValueError, match=r"starts at 1\.0, outside its bounds"):
        mc.curve_fit(_line, X, Y, [1, 1], bounds=bounds)


@pytest.mark.slow
def test_curve_fit_takes_what_scipy_takes() -> None:
    """Outside fact: scipy.optimize.curve_fit of the same models and data."""

    @dataclass
    class Power:
        exponent: float

        def __call__(self, x: Any, a: Any) -> Any:
            return a * x**self.exponent

    power = Power(2.0)
    assert_allclose(mc.curve_fit(power, X, Y)[0], optimize.curve_fit(power, X, Y)[0], rtol=1e-6)
    power.exponent = 1.0
    assert_allclose(mc.curve_fit(power, X, Y)[0], optimize.curve_fit(power, X, Y)[0], rtol=1e-6)
    popt, pcov = mc.curve_fit(lambda x, a: a, X, Y)
    assert_allclose(popt, [Y.mean()], rtol=1e-12)
    assert_allclose(pcov, [[Y.var(ddof=1) / 60]], rtol=1e-9)
    for y in (Y, X < 1):
        popt, _ = mc.curve_fit(_line, X > 0, y)
        assert_allclose(popt, optimize.curve_fit(_line, X > 0, y)[0], rtol=1e-6)


def test_report_says_what_matters() -> None:
    """Outside fact: the numbers of the fit itself."""
    fit = mc.fit(mc.models.gaussian_peak, START, X, Y, SIGMA, fixed="offset")
    text = fit.report()
    assert text.startswith("gaussian_peak: Converged")
    assert f"{fit.params['mu']:.8g}" in text
    assert "fixed" in text
    assert f"{float(fit.chi_squared):.6g}" in text
    assert "<table>" in fit._repr_html_()
    assert_allclose(np.diag(fit.correlation)[[0, 1, 3]], 1)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4"])
def test_data_in_another_byte_order(dtype: str) -> None:
    """As FITS files have them. Outside fact: the same numbers in this machine's order."""
    x, y = X.astype(">f8" if dtype == ">i4" else dtype), (100 * Y).astype(dtype)
    own_x, own_y = (data.astype(data.dtype.newbyteorder("=")) for data in (x, y))
    other, own = (mc.fit(mc.models.line, None, *data) for data in ((x, y), (own_x, own_y)))
    assert other.cost.dtype == own.cost.dtype
    assert other.cost == own.cost
    assert other.params == own.params


MASKED = np.ma.masked_greater(X, 2.0)

BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": X[:3], "y": Y[:3]}, ValueError, "3 points cannot determine 4 free parameters"),
    ({"y": np.where(X > 2, np.nan, Y)}, ValueError, "y must be finite"),
    ({"x": np.where(X > 2, np.inf, X)}, ValueError, "x must be finite"),
    ({"sigma": -SIGMA}, ValueError, "sigma must be finite and above zero"),
    ({"sigma": 0.0}, ValueError, "sigma must be finite and above zero"),
    ({"x": [], "y": []}, ValueError, "y is empty"),
    ({"y": np.ma.array(Y, mask=MASKED.mask)}, ValueError, "y is a masked array"),
    ({"x": MASKED}, ValueError, "x is a masked array"),
    ({"sigma": MASKED, "nan_policy": "omit"}, ValueError, "sigma is a masked array"),
    ({"mask": MASKED < 1}, ValueError, "mask is a masked array"),
    ({"local": "mu", "x": [X], "y": [np.ma.array(Y, mask=MASKED.mask)]}, ValueError, "y is a mask"),
    ({"x": np.float16(X), "y": np.float16(Y)}, TypeError, "float32 or float64"),
    ({"model": lambda p, x: np.sin(p["mu"] * x)}, ValueError, "calls NumPy: write it with jax"),
    ({"x": "abc"}, TypeError, "x must be real numbers"),
    ({"params": {}}, ValueError, "params holds no parameter"),
    ({"params": START | {"mu": np.nan}}, ValueError, r"params\['mu'\] must be finite"),
    ({"params": START | {"mu": "left"}}, TypeError, r"params\['mu'\] must be a real number"),
    ({"params": {"mu": 1.0}}, ValueError, "asks for a parameter 'sigma'"),
    ({"params": START | {"width": 1.0}}, ValueError, r"does not use params\['width'\]"),
    ({"bounds": {"sigma": (2, 3)}}, ValueError, r"sigma starts at 1.1, outside its bounds \(2"),
    ({"bounds": {"sigma": (3, 2)}}, ValueError, "bounds of sigma must go from lower to higher"),
    ({"bounds": {"width": (3, 2)}}, ValueError, "bounds names 'width'"),
    ({"bounds": {"sigma": 3}}, ValueError, "bounds of sigma must be a pair"),
    ({"fixed": {"width"}}, ValueError, "fixed names 'width'"),
    ({"fixed": set(START)}, ValueError, "every parameter is fixed"),
    (
        {"transforms": {"mu": mc.transforms.log}, "params": START | {"mu": -1.0}},
        ValueError,
        "range",
    ),
    ({"transforms": {"mu": "log"}}, TypeError, "must be a Transform"),
    ({"loss": "absolute"}, ValueError, "loss must be one of soft_l1"),
    ({"loss": 3}, TypeError, "loss must be one of mlcalc_jax.losses"),
    ({"loss": "poisson", "y": Y - 1}, ValueError, "y must be counts"),
    ({"model": "gaussian"}, TypeError, "model must be a function"),
    ({"model": lambda p, x: p["mu"]}, ValueError, r"returned shape \(\), expected"),
    ({"model": lambda p, x: p["mu"] * x * 1j}, ValueError, "returned complex numbers"),
    ({"model": mc.models.polynomial, "params": None}, ValueError, "no guess of its own"),
    ({"method": "newton"}, TypeError, "optimiser must be"),
    ({"method": optax.adam(1.0), "bounds": {"mu": (-1, 1)}}, ValueError, "bounds need"),
    ({"steps": 0}, ValueError, "steps must be at least 1"),
    ({"steps": 2**33}, ValueError, "steps must be at most 1,000,000, got 8,589,934,592"),
    ({"tolerance": -1.0}, ValueError, "tolerance must be finite and not negative"),
    ({"nan_policy": "propagate"}, ValueError, "nan_policy must be"),
    ({"y_covariance": np.eye(3)}, ValueError, "y_covariance must be a square matrix"),
    ({"y_covariance": -np.eye(60)}, ValueError, "must be positive definite"),
    ({"local": {"width"}}, ValueError, "local names 'width'"),
    ({"local": "mu", "params": None, "x": [X], "y": [Y]}, ValueError, "global fit needs a start"),
    ({"local": "mu", "x": [X, X], "y": [Y]}, ValueError, "x has 2 data sets, y has 1"),
    ({"local": "mu", "x": [X], "y": [Y], "sigma": [1, 1]}, ValueError, "sigma has 2 data sets"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[case[2][:40] for case in BAD])
@pytest.mark.usefixtures("annotations_unchecked")
def test_refuses(change: dict[str, Any], error: type[Exception], message: str) -> None:
    """Outside fact: the documented errors, which name the argument and what is wrong."""
    arguments = {"model": mc.models.gaussian_peak, "params": START, "x": X, "y": Y} | change
    with pytest.raises(error, match=message):
        mc.fit(**arguments)


@pytest.mark.slow
def test_trouble_on_the_way_is_a_status() -> None:
    """Outside fact: the documented statuses."""
    bad = mc.fit(lambda p, x: jnp.log(p["a"]) * x, {"a": -1.0}, X, Y)
    assert bad.status == mc.Status.NON_FINITE
    assert "at the start" in bad.message
    assert bad.cost == bad.chi_squared == np.inf
    assert not bad.success
    few = mc.fit(mc.models.gaussian_peak, START, X, Y, steps=1)
    assert few.status == mc.Status.STEPS_USED
    assert "more steps" in few.message
    whole = mc.fit(mc.models.line, {"slope": 1, "intercept": 2}, X, Y)
    assert whole.success
    exact = mc.fit(mc.models.line, {"slope": 1.0, "intercept": 2.0}, X[:2], Y[:2])
    assert exact.success
    assert np.isnan(exact.stderr["slope"])
    constant = mc.fit(lambda p, x: p["a"] + 0 * x, {"a": 0.0}, X, Y)
    assert_allclose(constant.params["a"], Y.mean(), rtol=1e-12)
    assert_allclose(constant.stderr["a"], Y.std(ddof=1) / np.sqrt(60), rtol=1e-12)


@pytest.mark.parametrize("loss", ["huber", "cauchy"])
def test_a_robust_fit_starts_in_the_tail(loss: str) -> None:
    """Outside fact: SciPy's cost from the true parameters; here most points begin as outliers."""
    x = np.linspace(0, 4, 50)

    def decay(p: Any, x: Any) -> Any:
        return p["a"] * jnp.exp(-p["k"] * x) + p["c"]

    def off(p: Any, y: np.ndarray) -> np.ndarray:
        return (p[0] * np.exp(-p[1] * x) + p[2] - y) / 0.05

    for seed in range(8):
        rng = np.random.default_rng(seed)
        y = 3 * np.exp(-0.8 * x) + 0.5 + 0.05 * rng.normal(size=50)
        a, k, c = np.array([3, 0.8, 0.5]) * np.exp(rng.uniform(-0.7, 0.7, 3))
        fit = mc.fit(decay, {"a": a, "k": k, "c": c}, x, y, 0.05, loss=loss)
        found = optimize.least_squares(off, [3, 0.8, 0.5], args=(y,), loss=loss, xtol=1e-15)
        assert fit.success
        assert fit.cost <= 2 * found.cost * (1 + 1e-6)


@pytest.mark.parametrize("value", [1e12, 1e20, 9.96921e36])
def test_a_fill_value_is_an_outlier(value: float) -> None:
    """Outside fact: the fit without that point, whose pull is C^2 / r."""
    y = 1 + 2 * X + 0.05 * NOISE
    start, loss = {"intercept": 0.8, "slope": 1.5}, mc.losses.cauchy(0.1)
    without = mc.fit(mc.models.line, start, X, y, mask=np.arange(60) != 7, loss=loss)
    y[7] = value
    fit = mc.fit(mc.models.line, start, X, y, loss=loss)
    assert fit.success
    for name in start:
        assert_allclose(fit.params[name], without.params[name], rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transform", "bounds"),
    [
        ("log", {"amplitude": (0, None)}),
        ("log", {"rate": (None, 10)}),
        ("log", {"rate": (-1, 10)}),
        ("reciprocal", {"amplitude": (0, None)}),
        ("reciprocal", {"rate": (None, 10)}),
        ("reciprocal", {"rate": (-5, 10)}),
    ],
)
def test_bounds_beyond_the_range_of_a_transform(transform: str, bounds: Any) -> None:
    """Outside fact: the fit without either; no bound is in the way."""
    x = np.linspace(0, 4, 40)
    y = 3 * np.exp(-0.7 * x) + 0.02 * np.sin(7 * x)
    start, scale = {"amplitude": 1.0, "rate": 1.5}, getattr(mc.transforms, transform)

    def decay(p: Any, x: Any) -> Any:
        return p["amplitude"] * jnp.exp(-p["rate"] * x)

    fit = mc.fit(decay, start, x, y, bounds=bounds, transforms={"rate": scale})
    free = mc.fit(decay, start, x, y)
    assert fit.success
    assert fit.at_bound == []
    assert_allclose(fit.params["rate"], free.params["rate"], rtol=1e-8)
    held = mc.fit(decay, start, x, y, bounds={"rate": (1.0, None)}, transforms={"rate": scale})
    assert held.at_bound == ["rate"]
    assert_allclose(held.params["rate"], 1.0, rtol=1e-12)


@pytest.mark.slow
def test_bounds_and_fixed_follow_the_parameters() -> None:
    """Whatever holds them: an ordered mapping, a class of the user's, one array."""
    y = 5 * X + 1

    def line(p: Any, x: Any) -> Any:
        slope, offset = p.values() if isinstance(p, dict) else p
        return slope * x + offset

    ordered = OrderedDict(slope=1.0, offset=0.0)
    fit = mc.fit(line, ordered, X, y, bounds={"slope": (0, 2)})
    assert fit.at_bound == ["slope"]
    assert_allclose(fit.params["slope"], 2, rtol=1e-12)
    fit = mc.fit(line, ordered, X, y, fixed={"slope": True})
    assert_allclose([*fit.params.values()], [1, 1], rtol=1e-9)
    fit = mc.fit(line, np.array([1.0, 0.0]), X, y, fixed=np.array([True, False]))
    assert_allclose(fit.params, [1, 1], rtol=1e-9)
    both = SlopeAndOffset((0, 2), (None, None))
    fit = mc.fit(lambda p, x: p.slope * x + p.offset, SlopeAndOffset(1.0, 0.0), X, y, bounds=both)
    assert fit.at_bound == ["slope"]


@pytest.mark.slow
def test_a_model_without_a_hash_is_never_an_older_one() -> None:
    """A dataclass that changed, and one that equals it now; also with an array in it."""
    model = Powers(1.0)
    for power in (1.0, 2.0):
        model.power = power
        for one in (model, Powers(power), Powers(np.full(60, power))):
            fit = mc.fit(one, {"a": 1.0}, X, 3 * np.abs(X) ** power)
            assert_allclose(fit.params["a"], 3, rtol=1e-9)
        many = mc.fit_many(model, {"a": 1.0}, X, 3 * np.abs(X)[None] ** power)
        assert_allclose(many.params["a"], 3, rtol=1e-6)


def test_a_frozen_model_that_holds_an_array() -> None:
    """It has no hash either, and its == is none that JAX can use."""
    for power in (1.0, 2.0):
        model = FrozenPowers(np.full(60, power))
        fit = mc.fit(model, {"a": 1.0}, X, 3 * np.abs(X) ** power)
        assert_allclose(fit.params["a"], 3, rtol=1e-9)


@dataclass(frozen=True)
class FrozenPowers:
    """A model that cannot be changed, but for its array."""

    power: Any

    def __call__(self, p: Any, x: Any) -> Any:
        return p["a"] * jnp.abs(x) ** self.power


@dataclass
class Powers:
    """A model that may be changed."""

    power: Any

    def __call__(self, p: Any, x: Any) -> Any:
        return p["a"] * jnp.abs(x) ** self.power


@jax.tree_util.register_dataclass
@dataclass
class SlopeAndOffset:
    """Parameters in a class of the user's."""

    slope: Any
    offset: Any


def test_bands_far_from_zero() -> None:
    """Outside fact: the band of the line of x less its mean, which loses no digits."""
    x = 2_460_000.5 + np.linspace(0, 1, 60)  # a day, as a Julian date
    y = np.sin(X) + 0.1 * NOISE
    fit = mc.fit(mc.models.line, {"slope": 0.0, "intercept": 0.0}, x, y)
    near = mc.fit(mc.models.line, {"slope": 0.0, "intercept": 0.0}, x - 2_460_001, y)
    (low, high), (a, b) = fit.band(), near.band()
    assert_allclose(high - low, b - a, rtol=1e-7)


@pytest.mark.slow
def test_case_bootstrap_of_counts() -> None:
    """Outside fact: a constant rate refitted is the mean of what was drawn."""
    counts = np.random.default_rng(3).poisson(1.3, 60).astype(float)
    fit = mc.fit(lambda p, x: p["rate"] + 0 * x, {"rate": 1.0}, X, counts, loss="poisson")
    samples = fit.bootstrap(500, kind="case")
    assert samples.converged.all()
    error = counts.std() / 60**0.5
    assert_allclose(samples.params["rate"].mean(), counts.mean(), atol=4 * error / 500**0.5)
    assert_allclose(samples.stderr["rate"], error, rtol=0.15)


def test_masked_points_may_have_no_derivative_under_jit() -> None:
    """Outside fact: the fit without them."""
    x = np.linspace(0.0, 3.0, 30)
    mask = x > 0
    y = 2 * np.log(np.where(mask, x, 1)) + 1 + 0.01 * NOISE[:30]

    def model(p: Any, x: Any) -> Any:
        return p["a"] * jnp.log(x) + p["b"]

    start = {"a": 1.0, "b": 0.0}
    removed = mc.fit(model, start, x[mask], y[mask])
    with jax.enable_x64(True):
        rate = jax.jit(
            jax.value_and_grad(lambda y: mc.fit(model, start, x, y, mask=mask).params["a"])
        )
        found, slope = jax.device_get(rate(y))
    assert_allclose(found, removed.params["a"], rtol=1e-9)
    assert slope[0] == 0
    assert_allclose(slope @ y, found, rtol=1e-7)  # linear in y


def test_arriving_is_not_stalling() -> None:
    """Residuals so large that steps overshoot, until the cost cannot tell one from the next.

    Outside fact: scipy.optimize.least_squares, of data sets on which lambda once grew to the end.
    """
    rng, x = np.random.default_rng(7), np.linspace(0, 4, 30)

    def residuals(p: Any, y: Any) -> Any:
        return 3 * np.exp(-p[0] * x) + p[1] - y

    for k in range(500):
        y = residuals((1.3, 0.5), -rng.normal(0, 0.5, 30))
        start = {"amplitude": 3.0, "rate": 1.3 * rng.uniform(0.8, 1.2)}
        start["offset"] = 0.5 * rng.uniform(0.8, 1.2)
        if k not in (6, 392, 487):
            continue
        fit = mc.fit(mc.models.exponential_decay, start, x, y, fixed="amplitude")
        best = optimize.least_squares(
            residuals, [start["rate"], start["offset"]], args=(y,), xtol=1e-15, ftol=1e-15
        )
        assert fit.success
        assert_allclose([fit.params["rate"], fit.params["offset"]], best.x, rtol=1e-6)


def test_transforms_of_a_start_that_is_traced() -> None:
    """Inside a user's jit, over starts or data, and by a fixed number: as outside of it."""
    start = {"amplitude": 1.5, "mu": 0.1, "sigma": 1.1, "offset": 0.3}

    def sigma_of(sigma: Any, offset: Any = 0.3, y: Any = Y, fixed: Any = ()) -> Any:
        given = start | {"sigma": sigma, "offset": offset}
        return mc.fit(
            mc.models.gaussian_peak, given, X, y, fixed=fixed,
            transforms={"sigma": mc.transforms.log},
        ).params["sigma"]  # fmt: skip

    with jax.enable_x64(True):
        alone = sigma_of(1.1)
        assert_allclose(jax.jit(sigma_of)(1.1), alone, rtol=1e-9)
        assert_allclose(jax.vmap(sigma_of)(np.array([1.1, 0.9])), [alone] * 2, rtol=1e-7)
        assert_allclose(jax.jit(lambda y: sigma_of(1.1, y=y))(Y), alone, rtol=1e-9)
        slope = jax.grad(lambda offset: sigma_of(1.1, offset, fixed="offset"))(0.4)
        h = 1e-4
        ends = [sigma_of(1.1, 0.4 + s, fixed="offset") for s in (h, -h)]
        assert_allclose(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-5)
    with pytest.raises(ValueError, match=r"params\['sigma'\] is outside the range"):
        jax.jit(lambda y: sigma_of(-1.0, y=y))(Y)


@pytest.mark.parametrize("offset", [1e8, 1.7e9, 2460000.5])
def test_a_line_far_from_where_x_is_zero(offset: float) -> None:
    """Dates and times as x: intercept and slope are all but the same thing there.

    Outside fact: scipy.stats.linregress of x from its middle.
    """
    rng = np.random.default_rng(0)
    x = offset + np.linspace(0, 1 / 24 if offset < 1e7 else 60, 25)
    for _ in range(10):
        y = 0.1 * np.linspace(0, 1, 25) + rng.normal(0, 0.3, 25)
        fit, line = mc.fit(mc.models.line, None, x, y), stats.linregress(x - x.mean(), y)
        assert fit.success
        assert_allclose(fit.params["slope"], line.slope, atol=1e-5 * line.stderr)
