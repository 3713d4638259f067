"""Which models may be computed piece by piece, and that the others are not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlcalc_jax as mc
from mlcalc_jax._pointwise import is_pointwise

WEIGHTS = np.array([[0.3, -1.0, 2.0]])
POINTWISE: dict[str, Any] = {
    "product": lambda a, x: a * x,
    "polynomial": lambda a, x: jnp.polyval(jnp.stack([a, a, a]), x),
    "scan": lambda a, x: jax.lax.scan(lambda s, c: (s * x + c, None), a * x, jnp.arange(3.0))[0],
    "two carried": lambda a, x: jax.lax.fori_loop(0, 3, lambda i, v: v * x + i, a * x),
    "one in an array": lambda a, x: jnp.array([2.0]) * a * x,
    "network": lambda a, x: (a * jnp.tanh(x[:, None] @ WEIGHTS)).sum(1),
    "features": lambda a, x: a * jnp.ones(3) @ jnp.vander(x, 3).T,
    "stack": lambda a, x: a * jnp.stack([x, x**2]).sum(0),
    "outer": lambda a, x: (x[None] * jnp.arange(3.0)[:, None] * a).sum(0),
    "where": lambda a, x: jnp.where(x > a, x, 0.0),
    "constant": lambda a, x: a * jnp.ones_like(x),
    "custom_jvp": lambda a, x: jax.nn.relu(a * x),
    "vmap": lambda a, x: jax.vmap(lambda t: a * jnp.exp(-t))(x),
    "complex": lambda a, x: jnp.abs(a + 1j * x),
}
MIXED: dict[str, Any] = {
    "cumsum": lambda a, x: a * jnp.cumsum(x),
    "mean": lambda a, x: a * (x - x.mean()),
    "count": lambda a, x: a * x / x.size,
    "shape": lambda a, x: a * x**x.size,
    "own_row": lambda a, x: a * x * np.arange(1000.0),
    "number": lambda a, x: a * x + jnp.arange(x.size),
    "reversed": lambda a, x: a * x[::-1],
    "first": lambda a, x: a * x + x[0],
    "sorted": lambda a, x: a * jnp.sort(x),
    "shifted": lambda a, x: a * jnp.roll(x, 1),
    "convolved": lambda a, x: a * jnp.convolve(x, jnp.ones(5), mode="same"),
    "fft": lambda a, x: a * jnp.abs(jnp.fft.fft(x)),
    "columns first": lambda a, x: (
        a * jnp.sum(jnp.reshape(x[None] * jnp.ones((4, 1)), (x.size, 4), order="F"), axis=1)
    ),
    "printed": lambda a, x: (a * x, jax.debug.callback(lambda _: None, x))[0],
    "products": lambda a, x: a * jnp.sum(x[:, None] * x[None], axis=0),
    "carried": lambda a, x: jax.lax.scan(lambda s, t: (s + t, s * a), 0.0, x)[1],
}


@pytest.mark.parametrize("name", [*POINTWISE, *MIXED])
def test_is_pointwise(name: str) -> None:
    """Outside fact: what a piece gives alone, against the same points among all."""
    model = (POINTWISE | MIXED)[name]
    x, a = np.linspace(0.1, 2.0, 1000), np.float32(0.7)
    assert is_pointwise(model, a, x, 100) == (name in POINTWISE)
    if name in POINTWISE:
        piece = slice(300, 400)
        assert_allclose(model(a, jnp.asarray(x))[piece], model(a, jnp.asarray(x[piece])), rtol=1e-5)


@pytest.mark.parametrize("model", [mc.models.gaussian_peak, mc.models.sine, mc.models.polynomial])
def test_models_of_the_package_are(model: Any) -> None:
    """Millions of points need memory for a piece only."""
    names = ("amplitude", "mu", "sigma", "offset", "frequency", "phase")
    params = dict.fromkeys(names, 1.0) | {"coefficients": np.ones(4)}
    assert is_pointwise(model, params, np.linspace(0, 1, 50), 10)


@pytest.mark.parametrize("points", [8_191, 8_192, 20_000])
def test_a_model_of_all_points_is_fitted_whole(points: int) -> None:
    """Outside fact: the slope and intercept of a centred line, in NumPy."""
    x = np.linspace(0, 3, points) ** 2
    y = 2 * (x - x.mean()) + 1 + np.sin(9 * x)
    fit = mc.fit(lambda p, x: p["a"] * (x - jnp.mean(x)) + p["b"], {"a": 1.0, "b": 0.0}, x, y)
    slope, intercept = np.polyfit(x - x.mean(), y, 1)
    assert_allclose([fit.params["a"], fit.params["b"]], [slope, intercept], rtol=1e-9)
    r = fit.problem.residuals(fit.params)
    assert_allclose(fit.chi_squared, np.sum(r**2), rtol=1e-9)
