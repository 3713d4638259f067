"""A fit as an object: kept, taken from a batch, and asked inside a transformation."""

import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc

X = np.linspace(0.0, 5.0, 30)
Y = 2 * np.exp(-X) + 0.1 + 0.01 * np.random.default_rng(0).normal(size=30)
START = {"amplitude": 1.0, "rate": 1.0, "offset": 0.0}
STATISTICS = ("success", "reduced_chi_squared", "aic", "bic", "r_squared", "correlation")
ALONE: list[Callable[[mc.Fit], Any]] = [
    lambda fit: fit.interval("rate"),
    lambda fit: fit.profile("rate"),
    lambda fit: fit.profile_map("rate", "offset"),
    lambda fit: fit.band(),
    lambda fit: fit.at_bound,
    lambda fit: fit.bootstrap(),
    lambda fit: fit.message,
    lambda fit: fit.path,
    lambda fit: fit.report(),
    lambda fit: mc.plots.fit(fit),
]


def fitted(y: Any = Y, **options: Any) -> mc.Fit:
    return mc.fit(mc.models.exponential_decay, START, X, y, **options)


@pytest.fixture(scope="module")
def batch() -> mc.Fit:
    with jax.enable_x64(True):
        return jax.vmap(fitted)(np.stack([Y, 2 * Y]))


@pytest.mark.parametrize("name", ["log", "logit", "reciprocal"])
def test_pickled_with_a_transform(name: str) -> None:
    """Outside fact: a pickle gives back what went in, and the pair is inverse."""
    transform = getattr(mc.transforms, name)
    assert pickle.loads(pickle.dumps(transform)) == transform
    assert_allclose(transform.to_full(transform.to_free(0.3)), 0.3, rtol=1e-6)
    start = {**START, "rate": 0.9}
    fit = mc.fit(mc.models.exponential_decay, start, X, Y, transforms={"rate": transform})
    again = pickle.loads(pickle.dumps(fit))
    assert again.report() == fit.report()
    assert_allclose(again.predict(), fit.predict())


def test_a_batch_has_the_names_of_each(batch: mc.Fit) -> None:
    """Outside fact: the fits one by one; an array keeps its own places."""
    one = fitted(2 * Y)
    assert batch.names == one.names == ["amplitude", "offset", "rate"]
    second = jax.tree.map(lambda a: a[1], batch)
    assert_allclose(second.interval("rate"), one.interval("rate"), rtol=1e-6)
    assert second.message == one.message
    assert str(batch) == repr(batch) == "<Fit of exponential_decay, batch of (2,)>"
    start = {"coefficients": np.zeros(2)}
    lines = jax.vmap(lambda y: mc.fit(mc.models.polynomial, start, X, y))(np.stack([Y, Y]))
    assert lines.names == ["coefficients[0]", "coefficients[1]"]


@pytest.mark.parametrize("ask", ALONE)
@pytest.mark.usefixtures("double")
def test_one_fit_at_a_time(ask: Callable[[mc.Fit], Any], batch: mc.Fit) -> None:
    """Of a batch: which one? Inside a transformation: what to use instead."""
    with pytest.raises(ValueError, match=r"a batch of fits; take one with `jax.tree.map\("):
        ask(batch)
    with pytest.raises(ValueError, match=r"cannot be traced: under jit, vmap or grad use "):
        jax.jit(lambda y: ask(fitted(y)))(Y)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sigma": 0.1 + 0.01 * X, "absolute_sigma": True},
        {"mask": np.arange(30) != 4, "fixed": "offset"},
        {"y_covariance": np.diag(np.full(30, 0.01)) + 0.001},
    ],
    ids=["plain", "absolute", "masked", "correlated"],
)
@pytest.mark.usefixtures("double")
def test_statistics_inside_jit(options: dict[str, Any]) -> None:
    """Outside fact: the same fit outside, computed by NumPy."""

    def statistics(y: Any) -> dict[str, Any]:
        return {name: getattr(fitted(y, **options), name) for name in STATISTICS}

    outside = statistics(Y)
    assert isinstance(outside["r_squared"], float)
    for name, value in jax.jit(statistics)(Y).items():
        assert_allclose(value, outside[name], rtol=1e-6, err_msg=name)


@pytest.mark.usefixtures("double")
def test_a_statistic_has_a_derivative() -> None:
    """Outside fact: central differences of the criterion by one of the data."""
    step = 1e-5 * (np.arange(30) == 3)
    slope = jax.grad(lambda y: fitted(y).bic)(jnp.asarray(Y))[3]
    assert_allclose(slope, (fitted(Y + step).bic - fitted(Y - step).bic) / 2e-5, rtol=1e-5)


def test_one_path_at_a_time() -> None:
    """Of several it says how to take one; and that one has what it has alone."""

    def descend(rate: Any) -> mc.Path:
        descent = mc.steepest_descent(rate)
        return mc.minimise(lambda p: p["x"] ** 2, {"x": 1.0}, descent, 9, target=0.1)

    paths = jax.vmap(descend)(jnp.array([0.1, 0.4]))
    for ask in (lambda: paths.message, paths.trimmed):
        with pytest.raises(ValueError, match=r"a batch of paths; take one with `jax.tree.map\("):
            ask()
    path = jax.tree.map(lambda a: a[1], paths)
    assert path.message == descend(0.4).message
    assert len(path.trimmed().cost) == int(path.steps_taken) + 1
