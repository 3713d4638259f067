"""Steepest descent: its step, and the noise of the course."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import mlcalc_jax as mc

from ..cases import bowl

FLAT = {"a": np.zeros(3), "b": np.zeros((2, 2)), "c": 0.0}


def _slope(params: Any) -> Any:
    """A cost whose gradient is the same everywhere, entry k of an array being k + 1."""
    return sum(
        jnp.sum(leaf * (1 + jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape))
        for leaf in jax.tree.leaves(params)
    )


def _factors(noise: Any, key: Any, steps: int, rate: float = 0.5) -> dict[str, np.ndarray]:
    """What every step multiplied the gradient by, from the path alone: (steps, entries)."""
    path = mc.minimise(_slope, FLAT, mc.steepest_descent(rate, noise, key), steps)
    factors = {}
    for name, rows in path.params.items():
        moves = np.diff(rows.reshape(steps + 1, -1), axis=0)
        factors[name] = moves / (-rate * (1 + np.arange(moves.shape[1])))
    return factors


def test_is_params_minus_aggression_times_jacobian() -> None:
    """Outside fact: optax.sgd, and the closed form on p^2."""
    path = mc.minimise(bowl, {"a": np.array([1.0, -2.0])}, mc.steepest_descent(0.1), 4)
    same = mc.minimise(bowl, {"a": np.array([1.0, -2.0])}, optax.sgd(0.1), 4)
    expected = np.outer(0.8 ** np.arange(5), [1.0, -2.0])
    assert_allclose(path.params["a"], expected, rtol=1e-14)
    assert_allclose(path.params["a"], same.params["a"], rtol=1e-15)


def test_noise_is_one_scalar_an_array_a_step() -> None:
    """Outside fact: the course's rule; the factors are recovered from the steps taken."""
    factors = _factors(1.0, 0, 20)
    for values in factors.values():
        assert_allclose(values, values[:, :1] * np.ones(values.shape[1]), rtol=1e-9, atol=1e-11)
    firsts = np.stack([values[:, 0] for values in factors.values()])
    assert len(np.unique(np.round(firsts, 6))) == firsts.size


@pytest.mark.parametrize("noise", [1.0, 0.2])
def test_noise_is_normal_about_one(noise: float) -> None:
    """Outside fact: the normal distribution of mean 1 and standard deviation ``noise``."""
    factors = _factors(noise, 5, 2000)
    firsts = np.stack([values[:, 0] for values in factors.values()])
    assert abs(firsts.mean() - 1) < 4 * noise / firsts.size**0.5
    assert abs(firsts.std() / noise - 1) < 4 / (2 * firsts.size) ** 0.5
    assert stats.kstest(firsts.ravel(), stats.norm(1, noise).cdf).pvalue > 1e-3
    between = np.corrcoef(firsts)[np.triu_indices(3, 1)]
    along = [np.corrcoef(row[:-1], row[1:])[0, 1] for row in firsts]
    assert np.abs([*between, *along]).max() < 4 / 2000**0.5


def test_seeds_and_keys() -> None:
    """Outside fact: a seed is the key that jax.random.key makes of it, old style or new."""
    by_seed, by_key, by_old_key, other = (
        _factors(1.0, key, 20)["c"]
        for key in (7, jax.random.key(7), jax.random.PRNGKey(7), jax.random.key(8))
    )
    assert_array_equal(by_seed, by_key)
    assert_array_equal(by_seed, by_old_key)
    assert np.abs(by_seed - other).min() > 0


@pytest.mark.parametrize("noise", [0, 0.0, np.float64(0)])
def test_no_noise_is_exact(noise: Any) -> None:
    """Outside fact: the noise-free step, whose factor is 1."""
    for values in _factors(noise, 0, 20).values():
        assert_allclose(values, 1, rtol=1e-12)


def test_schedule() -> None:
    """Outside fact: the product of 1 - 2 * 0.1 / (k + 1) over the steps k = 0, 1, ..."""
    path = mc.minimise(
        bowl, {"a": np.array([1.0, -2.0])}, mc.steepest_descent(lambda k: 0.1 / (k + 1)), 4
    )
    factors = np.cumprod([1, *(1 - 0.2 / (np.arange(4) + 1))])
    assert_allclose(path.params["a"][:, 0], factors, rtol=1e-12)


def test_optax_schedule() -> None:
    """Outside facts: optax.sgd on the same schedule, which halves the rate every step."""
    schedule = optax.exponential_decay(0.1, transition_steps=1, decay_rate=0.5)
    path = mc.minimise(bowl, {"a": np.array([1.0, -2.0])}, mc.steepest_descent(schedule), 4)
    same = mc.minimise(bowl, {"a": np.array([1.0, -2.0])}, optax.sgd(schedule), 4)
    factors = np.cumprod([1, *(1 - 0.2 * 0.5 ** np.arange(4))])
    assert_allclose(path.params["a"], same.params["a"], rtol=1e-14)
    assert_allclose(path.params["a"][:, 0], factors, rtol=1e-7)  # optax's rates are float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.0,), ValueError, "aggression must be finite and above zero, got 0.0"),
        ((-1,), ValueError, "aggression must be finite and above zero, got -1"),
        ((np.nan,), ValueError, "aggression must be finite and above zero, got nan"),
        ((np.inf,), ValueError, "aggression must be finite"),
        (("fast",), TypeError, "aggression must be real numbers, got dtype <U4"),
        ((None,), TypeError, "aggression must be real numbers"),
        ((True,), TypeError, "aggression must be real numbers"),
        (([],), ValueError, "aggression is empty"),
        ((1.0, np.ones(0)), ValueError, "noise is empty"),
        ((1.0, -0.1), ValueError, "noise must be finite and not negative, got -0.1"),
        ((1.0, np.nan), ValueError, "noise must be finite"),
        ((1.0, "loud"), TypeError, "noise must be real numbers"),
        ((1.0, 0.1, 1.5), TypeError, "key must be a whole-number seed or a key"),
        ((1.0, 0.1, "seed"), TypeError, "key must be a whole-number seed or a key"),
        ((1.0, 0.1, None), TypeError, "key must be a whole-number seed or a key"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_refuses(arguments: Any, error: Any, message: str) -> None:
    """Outside fact: the documented errors."""
    with pytest.raises(error, match=message):
        mc.steepest_descent(*arguments)
