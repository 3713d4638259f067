"""Starts guessed from the data, held to the truths that simulated the data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import mlcalc_jax as mc

POINTS, TRUTHS, STEPS = 60, 24, 100
UNITS = ((1.0, 1.0), (1e-6, 1e6), (1e6, 1e-6))  # of x and of y
Values = NDArray[np.float64]
Truth = dict[str, float]


class Case(NamedTuple):
    model: Any
    draw: Callable[[np.random.Generator], Truth]
    in_units: Callable[[Truth, float, float], Truth]  # of x and of y
    low: float = 0.0  # the least x


class Data(NamedTuple):
    truth: Truth
    x: Any
    clean: Values
    noisy: Values


def _either(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high) * rng.choice([-1, 1]))


def _in(**powers: tuple[int, int]) -> Callable[[Truth, float, float], Truth]:
    """The truth in other units, from the powers of the units of x and of y in each parameter."""

    def in_units(truth: Truth, x_unit: float, y_unit: float) -> Truth:
        units = {name: x_unit**a * y_unit**b for name, (a, b) in powers.items()}
        return {name: value * units[name] for name, value in truth.items()}

    return in_units


def _power_law_in(truth: Truth, x_unit: float, y_unit: float) -> Truth:
    exponent = truth["exponent"]
    return {
        "amplitude": truth["amplitude"] * y_unit * x_unit**-exponent,
        "exponent": exponent,
    }


CASES = [
    Case(
        mc.models.line,
        lambda rng: {"slope": _either(rng, 0.3, 3), "intercept": _either(rng, 1, 20)},
        _in(slope=(-1, 1), intercept=(0, 1)),
    ),
    Case(
        mc.models.gaussian,
        lambda rng: {"mu": rng.uniform(2, 8), "sigma": rng.uniform(0.3, 2)},
        _in(mu=(1, 0), sigma=(1, 0)),
    ),
    Case(
        mc.models.gaussian_peak,
        lambda rng: {
            "amplitude": _either(rng, 0.5, 5),
            "mu": rng.uniform(1.5, 8.5),
            "sigma": rng.uniform(0.3, 1.5),
            "offset": _either(rng, 0.5, 50),
        },
        _in(amplitude=(0, 1), mu=(1, 0), sigma=(1, 0), offset=(0, 1)),
    ),
    Case(
        mc.models.gaussian_2d,
        lambda rng: {
            "amplitude": _either(rng, 0.5, 5),
            "x0": rng.uniform(2, 8),
            "y0": rng.uniform(2, 8),
            "sigma": rng.uniform(1, 2.5),
            "offset": _either(rng, 0.5, 50),
        },
        _in(amplitude=(0, 1), x0=(1, 0), y0=(1, 0), sigma=(1, 0), offset=(0, 1)),
    ),
    Case(
        mc.models.lorentzian,
        lambda rng: {
            "amplitude": _either(rng, 0.5, 5),
            "x0": rng.uniform(1.5, 8.5),
            "gamma": rng.uniform(0.3, 1.5),
            "offset": _either(rng, 0.5, 50),
        },
        _in(amplitude=(0, 1), x0=(1, 0), gamma=(1, 0), offset=(0, 1)),
    ),
    Case(
        mc.models.exponential_decay,
        lambda rng: {
            "amplitude": _either(rng, 0.5, 5),
            "rate": _either(rng, 0.15, 2),
            "offset": _either(rng, 0.5, 50),
        },
        _in(amplitude=(0, 1), rate=(-1, 0), offset=(0, 1)),
    ),
    Case(
        mc.models.power_law,
        lambda rng: {"amplitude": _either(rng, 0.5, 5), "exponent": _either(rng, 0.3, 4)},
        _power_law_in,
        low=0.5,
    ),
    Case(
        mc.models.logistic,
        lambda rng: {
            "capacity": _either(rng, 0.5, 5),
            "rate": _either(rng, 0.6, 5),
            "midpoint": rng.uniform(2, 8),
        },
        _in(capacity=(0, 1), rate=(-1, 0), midpoint=(1, 0)),
    ),
    Case(
        mc.models.sine,
        lambda rng: {
            "amplitude": rng.uniform(0.5, 5),
            "frequency": rng.uniform(0.08, 2.5),
            "phase": rng.uniform(-3, 3),
            "offset": _either(rng, 0.5, 50),
        },
        _in(amplitude=(0, 1), frequency=(-1, 0), phase=(0, 0), offset=(0, 1)),
    ),
]
every_model = pytest.mark.parametrize("case", CASES, ids=lambda case: case.model.__name__)
pytestmark = pytest.mark.usefixtures("double")


def _points(case: Case, rng: np.random.Generator, is_even: bool) -> Any:
    """Where to measure, in no order."""
    low = case.low
    if case.model is mc.models.gaussian_2d:
        grid = np.stack(np.meshgrid(np.linspace(0, 10, 10), np.linspace(0, 10, 6)))
        both = grid.reshape(2, -1) if is_even else rng.uniform(0, 10, (2, POINTS))
        return tuple(both[:, rng.permutation(POINTS)])
    x = np.linspace(low, 10, POINTS) if is_even else rng.uniform(low, 10, POINTS)
    return rng.permutation(x)


def _simulated(case: Case, seed: int, x_unit: float = 1.0, y_unit: float = 1.0) -> Data:
    """Data of a random truth, on even points if the seed is, and with noise of 5 %."""
    rng = np.random.default_rng(seed)
    if case.model is mc.models.gaussian:
        y_unit = 1 / x_unit
    truth = case.in_units(case.draw(rng), x_unit, y_unit)
    x = jax.tree.map(lambda axis: axis * x_unit, _points(case, rng, seed % 2 == 0))
    clean = np.asarray(case.model(truth, x))
    height = np.max(np.abs(clean - truth.get("offset", 0.0)))
    return Data(truth, x, clean, clean + 0.05 * height * rng.normal(size=POINTS))


def _descents(model: Any, runs: list[tuple[Any, Values, Truth]]) -> list[tuple[Truth, float]]:
    """Where Levenberg and Marquardt arrive from each start, and chi-squared there."""

    def descend(x: Any, y: Any, start: Any) -> Any:
        path = mc.minimise(
            mc.LeastSquares(model, x, y), start, mc.levenberg_marquardt(), STEPS, every=STEPS
        )
        return path.final, path.cost[-1]

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
    finals, costs = jax.device_get(jax.jit(jax.vmap(descend))(*stacked))
    return [
        ({name: float(values[i]) for name, values in finals.items()}, float(costs[i]))
        for i in range(len(runs))
    ]


def _one_sine(params: Truth) -> Truth:
    """The same sine with a positive amplitude and frequency and a phase in [-pi, pi)."""
    if "phase" not in params:
        return params
    amplitude, frequency, phase = (params[name] for name in ("amplitude", "frequency", "phase"))
    if frequency < 0:
        frequency, phase = -frequency, np.pi - phase
    if amplitude < 0:
        amplitude, phase = -amplitude, phase + np.pi
    phase = (phase + np.pi) % (2 * np.pi) - np.pi
    return {**params, "amplitude": amplitude, "frequency": frequency, "phase": phase}


def _assert_usable(model: Any, x: Any, y: Any) -> Truth:
    """A guess of finite floats, of positive width, at which the problem is finite too."""
    start: Truth = model.guess(x, y)
    assert {type(value) for value in start.values()} == {float}
    assert np.isfinite(list(start.values())).all(), start
    assert all(start[name] > 0 for name in ("sigma", "gamma", "frequency") if name in start), start
    assert np.isfinite(mc.LeastSquares(model, x, y)(start))
    return start


@pytest.mark.slow
@every_model
def test_descent_from_the_guess_arrives(case: Case) -> None:
    """Outside fact: the truth of simulated data; a descent that starts there knows the best fit."""
    data = [_simulated(case, seed, *units) for units in UNITS for seed in range(TRUTHS)]
    guess = case.model.guess
    on_clean = [(d.x, d.clean, guess(d.x, d.clean)) for d in data]
    on_noisy = [(d.x, d.noisy, guess(d.x, d.noisy)) for d in data]
    from_truth = [(d.x, d.noisy, d.truth) for d in data]
    ends = _descents(case.model, on_clean + on_noisy + from_truth)
    for d, (final, _) in zip(data, ends[: len(data)], strict=True):
        found = _one_sine(final)
        names = sorted(d.truth)
        assert_allclose([found[n] for n in names], [d.truth[n] for n in names], rtol=1e-6)
    _, guessed, known = np.array([cost for _, cost in ends]).reshape(3, -1)
    assert np.all(guessed <= known * (1 + 1e-6)), guessed / known


@every_model
def test_order_of_the_points_does_not_matter(case: Case) -> None:
    """Outside fact: a sum of squares has no order."""
    d = _simulated(case, 1)
    order = np.random.default_rng(2).permutation(POINTS)
    shuffled = case.model.guess(jax.tree.map(lambda axis: axis[order], d.x), d.noisy[order])
    once = {} if case.model is mc.models.line else case.model.guess(d.x, d.noisy)  # a median
    for name, value in once.items():
        assert_allclose(shuffled[name], value, rtol=1e-9)


@every_model
def test_units_go_through_the_guess(case: Case) -> None:
    """Outside fact: the dimensions of the parameters."""
    d, scaled = _simulated(case, 3), _simulated(case, 3, 1e-6, 1e6)
    expected = case.in_units(case.model.guess(d.x, d.noisy), 1e-6, 1e6)
    for name, value in case.model.guess(scaled.x, scaled.noisy).items():
        if case.model is not mc.models.power_law:  # its grid depends on the unit of x
            assert_allclose(value, expected[name], rtol=1e-6)


@pytest.mark.parametrize("level", [0.0, 3.0, -1e9, 0.1])
@every_model
def test_constant_data(case: Case, level: float) -> None:
    """Outside fact: a constant has no scale, no place and no rate, but its level."""
    x = _points(case, np.random.default_rng(0), True)
    y = np.full(POINTS, level)
    start = _assert_usable(case.model, x, y)
    if "offset" in start:
        assert_allclose(case.model(start, x), y, rtol=1e-9)


@pytest.mark.parametrize("points", [1, 2, 4, 5])
@every_model
def test_few_points(case: Case, points: int) -> None:
    """Outside fact: a guess is asked for as many points as there are parameters, or fewer."""
    for seed in range(5):
        d = _simulated(case, seed)
        x = jax.tree.map(lambda axis: axis[:points], d.x)
        _assert_usable(case.model, x, d.noisy[:points])


@every_model
def test_duplicates(case: Case) -> None:
    """Outside fact: the mean of y at one x is all that its repeats tell a least-squares fit."""
    d = _simulated(case, 4)
    twice = jax.tree.map(lambda axis: np.concatenate([axis, axis]), d.x)
    shift = np.ptp(d.clean) * 0.01
    start = _assert_usable(case.model, twice, np.concatenate([d.noisy - shift, d.noisy + shift]))
    once = {} if case.model is mc.models.line else case.model.guess(d.x, d.noisy)  # a median
    for name, value in once.items():
        assert_allclose(start[name], value, rtol=1e-6)
    same = jax.tree.map(lambda axis: np.full_like(axis, axis[0]), d.x)
    _assert_usable(case.model, same, d.noisy)


@every_model
def test_far_places_and_extreme_heights(case: Case) -> None:
    """Outside fact: floats reach from 1e-308 to 1e308, and what is asked stays inside."""
    d = _simulated(case, 5)
    for x_unit in (1e-9, 1e9):
        for y_unit in (1e-120, 1e120):
            x = jax.tree.map(lambda axis, unit=x_unit: axis * unit, d.x)
            _assert_usable(case.model, x, d.noisy * y_unit)
    _assert_usable(case.model, jax.tree.map(lambda axis: axis + 1e9, d.x), d.noisy)


@pytest.mark.parametrize("width", [0.002, 0.02, 0.2])
@pytest.mark.parametrize("model", [mc.models.gaussian_peak, mc.models.lorentzian])
def test_narrow_peak_among_many_points(model: Any, width: float) -> None:
    """Outside fact: the simulated truth, a peak of down to two gaps of ten thousand."""
    place, breadth = ("mu", "sigma") if model is mc.models.gaussian_peak else ("x0", "gamma")
    rng = np.random.default_rng(6)
    x = rng.permutation(np.linspace(0, 10, 10_000))
    y = np.asarray(model({"amplitude": -2.0, place: 7.1234, breadth: width, "offset": 9.0}, x))
    start = model.guess(x, y + 0.02 * rng.normal(size=x.size))
    assert_allclose(start[place], 7.1234, atol=width)
    assert_allclose(start[breadth], width, rtol=0.5)
    assert_allclose([start["amplitude"], start["offset"]], [-2, 9], rtol=0.4)


def test_power_law_of_points_left_of_zero() -> None:
    """Outside fact: the simulated truth, on the points where a power of x is real."""
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    start = mc.models.power_law.guess(x, np.where(x > 0, 3 * np.abs(x) ** 1.5, 0.0))
    assert_allclose([start["amplitude"], start["exponent"]], [3, 1.5], rtol=0.2)
    assert mc.models.power_law.guess(-np.ones(3), np.full(3, 2.0)) == {
        "amplitude": 2.0,
        "exponent": 0.0,
    }


def test_unnormalised_histogram() -> None:
    """Outside fact: the simulated mean and standard deviation, of counts in place of a density."""
    x = np.linspace(100, 250, 61)
    counts = 4000 * np.asarray(mc.models.gaussian({"mu": 178.0, "sigma": 7.0}, x))
    start = mc.models.gaussian.guess(x, counts)
    assert_allclose([start["mu"], start["sigma"]], [178, 7], rtol=0.2)


def test_models_stay_functions() -> None:
    """Outside fact: what Python and JAX say of a function that nobody decorated."""
    line: Any = mc.models.line
    assert line.__name__ == "line"
    assert type(line) is type(_points)
    assert {line: 1}[line] == 1
    assert "Straight line" in str(line.__doc__)
    assert not hasattr(mc.models.polynomial, "guess")
    assert not hasattr(mc.models.network, "guess")
    x = jnp.arange(3.0)
    result = jax.jit(jax.vmap(line, (None, 0)))({"slope": 2.0, "intercept": 1.0}, x)
    assert_array_equal(result, [1, 3, 5])


def test_own_model_with_a_guess() -> None:
    """Outside fact: the mean is the least-squares constant."""

    @mc.models.starts_from(lambda x, y: {"level": float(np.mean(y))})
    def constant(params: Any, x: Any) -> Any:
        """Level."""
        return params["level"] + 0 * x

    x, y = np.arange(4.0), np.array([1.0, 2.0, 3.0, 6.0])
    start = constant.guess(x, y)
    assert start == {"level": 3.0}
    assert (constant.__name__, constant.__doc__) == ("constant", "Level.")
    assert isinstance(constant, mc.models.Starting)
    path = mc.minimise(mc.LeastSquares(constant, x, y), start, mc.levenberg_marquardt(), 1)
    assert_allclose(path.final["level"], 3)
