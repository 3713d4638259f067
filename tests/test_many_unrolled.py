"""Models with small arrays in them, run number by number: values and derivatives are JAX's own."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from numpy.testing import assert_allclose

import mlcalc_jax as mc
from mlcalc_jax._many import _lanes, _unrolled
from mlcalc_jax._many._unrolled import NotLanewiseError

POINTS, FITS = 25, 3
X = np.linspace(0.05, 1, POINTS)
MATRIX = np.vander(X, 4)


def oscillator(p: Any, x: Any) -> Any:
    """A few steps of an explicit rule, all points at once."""

    def step(_: Any, now: Any) -> Any:
        place, speed = now
        return place + 0.1 * p[1] * speed, speed - 0.1 * p[0] * place

    return lax.fori_loop(0, 5, step, (p[2] * x, p[3] + 0 * x))[0]


#: Run number by number, with all of it elementwise; of four numbers.
UNROLLED: dict[str, Any] = {
    "stack": lambda p, x: jnp.stack(p)[1] * x + jnp.stack(p)[-1],
    "unpacked": lambda p, x: (lambda a, b, c, d: a * x + b - c * d)(*jnp.stack(p)),
    "indices": lambda p, x: jnp.array(p)[jnp.array([0, 2])].sum() * x,
    "loop index": lambda p, x: lax.fori_loop(0, 4, lambda i, v: v * x + jnp.stack(p)[i], 0 * x),
    "polyval": lambda p, x: jnp.polyval(jnp.stack(p), x),
    "basis": lambda p, x: jnp.sin(x[:, None] * jnp.arange(4.0)[None]) @ jnp.stack(p),
    "basis the other way": lambda p, x: jnp.stack(p) @ jnp.stack([x**0, x, x * x, x**3]),
    "matrix of constants": lambda p, x: MATRIX.astype(x.dtype) @ jnp.stack(p),
    "two matrices": lambda p, x: (jnp.stack(p).reshape(2, 2) @ jnp.stack([x, x**2])).sum(0),
    "batches": lambda p, x: jnp.einsum("bi,bi,p->p", *[jnp.stack(p).reshape(2, 2)] * 2, x),
    "einsum": lambda p, x: jnp.einsum("pi,ij,j->p", x[:, None] ** jnp.arange(2)[None],
                                      jnp.stack(p).reshape(2, 2), jnp.array([1.0, -1.0])),
    "peaks": lambda p, x: jnp.sum(jnp.stack(p)[:, None]
                                  * jnp.exp(-((x[None] - jnp.arange(4.0)[:, None]) ** 2)), axis=0),
    "network": lambda p, x: jnp.stack(p[:2]) @ jnp.tanh(jnp.stack(p[2:])[:, None] * x[None]),
    "vmap": lambda p, x: jax.vmap(lambda a: jnp.cos(a * x))(jnp.stack(p)).mean(0),
    "greatest": lambda p, x: jnp.max(jnp.stack([a * x**k for k, a in enumerate(p)]), axis=0),
    "norm": lambda p, x: jnp.linalg.norm(jnp.stack([p[0] * x, p[1] + x]), axis=0),
    "logsumexp": lambda p, x: jax.scipy.special.logsumexp(jnp.stack([a * x for a in p]), axis=0),
    "sums so far": lambda p, x: jnp.cumsum(jnp.stack(p))[2] * x + jnp.cumprod(jnp.stack(p))[3],
    "from the end": lambda p, x: lax.cummax(jnp.stack(p), reverse=True).sum() * x,
    "turned": lambda p, x: jnp.stack(p).reshape(2, 2).T.reshape(4)[::-1] @ jnp.arange(4.0) * x,
    "columns first": lambda p, x: (jnp.ravel(jnp.stack(p).reshape(2, 2), order="F")
                                   @ jnp.arange(4.0) * x),
    "split": lambda p, x: jnp.prod(sum(jnp.split(jnp.stack(p), 2))) * x,
    "concatenated": lambda p, x: jnp.concatenate([p[0] * x[None], p[1] * x[None] ** 2]).prod(0),
    "integral": lambda p, x: p[1] * jnp.trapezoid(
        jnp.exp(-p[0] * x[:, None] * jnp.linspace(0.0, 1.0, 5)[None]), dx=0.25, axis=1),
    "oscillator": oscillator,
    "switch": lambda p, x: sum(lax.switch(i, [lambda k=k: p[k] * x**k for k in range(4)])
                               for i in range(3)),
    "relu": lambda p, x: jax.nn.relu(p[0] * x - p[1]),
    "softplus": lambda p, x: jax.nn.softplus(p[0]) * x + jax.nn.softplus(p[1] * x),
    "hypot": lambda p, x: jnp.hypot(p[0], p[1] * x),
    "checkpoint": lambda p, x: jax.checkpoint(lambda a: jnp.sin(a * x))(p[0]) * p[1],
    "complex": lambda p, x: jnp.abs(p[0] / (1 + 1j * x * p[1])),
    "levels": lambda p, x: p[1] * jnp.sqrt(jnp.floor(3 * p[0] * x)) + p[2] * jnp.sqrt(
        jnp.abs(lax.stop_gradient(p[3] * (x - X[5])))),
    "drawn": lambda p, x: p[0] * x + p[1] * jax.random.normal(jax.random.key(0), x.shape),
    "one in an array": lambda p, x: jnp.array([p[0]]) * x * jnp.array([2.0]),
}  # fmt: skip
#: Right as well, by ``vmap`` or with steps that are more than elementwise.
OTHERS: dict[str, Any] = {
    "mean over points": lambda p, x: p[0] * x - jnp.mean(p[1] * x),
    "shifted": lambda p, x: jnp.roll(jnp.exp(p[0] * x), 1),
    "reversed": lambda p, x: jnp.exp(p[0] * x)[::-1],
    "every fifth": lambda p, x: jnp.repeat(jnp.exp(p[0] * x)[::5], 5),
    "table": lambda p, x: jnp.interp(x, jnp.array([0.0, 0.3, 0.5, 1.0]), jnp.stack(p)),
    "segments": lambda p, x: jnp.stack(p)[jnp.searchsorted(jnp.array([0.3, 0.6, 0.8]), x)],
    "solve": lambda p, x: jnp.linalg.solve(jnp.stack(p).reshape(2, 2), jnp.ones(2))[0] * x,
    "of x alone": lambda p, x: p[0] * x / jnp.max(x) + p[1] * jnp.cumsum(x) + jnp.sort(x),
    "in time": lambda p, x: lax.scan(lambda c, t: (c + 0.1 * (p[0] - c * t), c), p[1], x)[1],
    "filled": lambda p, x: (
        (p[0] * x + p[1]).at[jnp.arange(POINTS).at[0].set(99)].get(mode="fill", fill_value=0.0)
    ),
    "table of constants": lambda p, x: (
        p[0]
        * jnp.asarray(MATRIX[:, 1], x.dtype)[jnp.clip(jnp.floor(p[1] * x * 5), 0, 12).astype(int)]
    ),
    "of nothing": lambda p, x: p[0] * x + jnp.sum(p[1] * jnp.zeros(0)),
    "no turns": lambda p, x: p[0] * x + lax.scan(lambda c, t: (c, c), p[1], jnp.zeros(0))[1].sum(),
    "two precisions": lambda p, x: (
        x * jnp.matmul(jnp.stack(p), np.ones(4, np.float32), preferred_element_type=x.dtype)
    ),
    "half a precision": lambda p, x: (
        x * (jnp.stack(p).astype(jnp.bfloat16) @ jnp.ones(4, jnp.bfloat16)).astype(x.dtype)
    ),
    "long, of steps with derivatives": lambda p, x: lax.scan(
        lambda c, e: (jnp.logaddexp(c, e), None), p[0] * x, jnp.linspace(0.0, 1.0, 700)
    )[0],
    "long, of x alone": lambda p, x: (
        p[0]
        * lax.scan(
            lambda c, t: ((c[0] + jnp.sin(t * x), c[1]), None), (x, p[1]), jnp.arange(3000.0)
        )[0][0]
    ),
    "softmax": lambda p, x: jax.nn.softmax(p[0] * x),
    "long": lambda p, x: lax.fori_loop(0, 1000, lambda i, v: v + 0.001 * p[0] * v, x),
}
MODELS = UNROLLED | OTHERS


def numbers() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 1.5, (4, FITS))


def by_jax(model: Any, p: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (points, fits), and derivatives with the four numbers first; each fit has its x."""
    one = partial(jax.vmap, in_axes=1, out_axes=-1)
    of_one = lambda p, x: model(list(p), x)  # noqa: E731
    values = one(of_one)(jnp.asarray(p), jnp.asarray(x))
    slopes = one(jax.jacfwd(of_one))(jnp.asarray(p), jnp.asarray(x))
    return np.asarray(values), np.moveaxis(np.asarray(slopes), 1, 0)


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_values_and_derivatives(name: str, is_shared: bool) -> None:
    """In float64, against JAX's own forward mode, fit by fit."""
    model, p = MODELS[name], numbers()
    x = np.stack([X * (1 if is_shared else k) for k in (1, 0.9, 1.1)], axis=1)
    with jax.enable_x64(True):
        x_of_one = jax.ShapeDtypeStruct((POINTS,), X.dtype)
        run, is_elementwise = _lanes.lanewise(model, 4, x_of_one, np.float64, is_shared)
        given = [jnp.asarray(row)[None] for row in p]
        found, columns = run(given, jnp.asarray(X if is_shared else x), range(4))
        expected, slopes = by_jax(model, p, x)
    assert is_elementwise == (name in UNROLLED)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    for column, slope in zip(columns, slopes, strict=True):
        assert_allclose(np.broadcast_to(column, slope.shape), slope, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [n for n in UNROLLED if n not in ("matrix of constants", "concatenated", "switch", "drawn")],
)
def test_at_one_point(name: str) -> None:
    """As a kernel has it, without an axis for the points."""
    model, p = MODELS[name], numbers()
    with jax.enable_x64(True):
        x_of_one = jax.ShapeDtypeStruct((POINTS,), X.dtype)
        run = _lanes.at_a_point(model, 4, x_of_one, np.float64)
        found, columns = run(list(jnp.asarray(p)), jnp.asarray(X[7]), range(4))
        expected, slopes = by_jax(model, p, np.repeat(X[:, None], FITS, 1))
    assert_allclose(found, expected[7], rtol=1e-12)
    for column, slope in zip(columns, slopes, strict=True):
        assert_allclose(np.broadcast_to(column, FITS), slope[7], rtol=1e-11, atol=1e-12)


def test_those_that_are_all_the_greatest_share_its_derivative() -> None:
    """As in JAX's own rule; at equal starts."""
    model = lambda p, x: jnp.max(jnp.stack(p)) * x + jnp.min(jnp.stack([p[0] * x, p[1] * x]), 0)  # noqa: E731
    p = np.array([[1.0, 2.0, 1.0], [1.0, 2.0, 1.0], [1.0, 2.0, 0.5], [1.0, 1.0, 0.5]])
    with jax.enable_x64(True):
        x_of_one = jax.ShapeDtypeStruct((POINTS,), X.dtype)
        run, is_elementwise = _lanes.lanewise(model, 4, x_of_one, np.float64, True)
        found, columns = run([jnp.asarray(row)[None] for row in p], jnp.asarray(X), range(4))
        expected, slopes = by_jax(model, p, np.repeat(X[:, None], FITS, 1))
    assert is_elementwise
    assert_allclose(found, expected)
    for column, slope in zip(columns, slopes, strict=True):
        assert_allclose(np.broadcast_to(column, slope.shape), slope)


@pytest.mark.parametrize("name", ["matrix of constants", "mean over points", "shifted", "in time"])
def test_what_depends_on_other_points_is_not_run_at_one(name: str) -> None:
    with pytest.raises(NotLanewiseError):
        _lanes.at_a_point(MODELS[name], 4, jax.ShapeDtypeStruct((POINTS,), X.dtype), np.float64)


@pytest.mark.parametrize("points", [1, 2, 4])
@pytest.mark.parametrize("name", ["basis", "peaks", "network", "two matrices", "oscillator"])
def test_as_many_points_as_numbers(name: str, points: int) -> None:
    """An axis of numbers is never taken for that of the points."""
    model, p = MODELS[name], numbers()
    with jax.enable_x64(True):
        x = jnp.asarray(X[:points])
        run, _ = _lanes.lanewise(model, 4, jax.ShapeDtypeStruct(x.shape, x.dtype), x.dtype, True)
        found, columns = run([jnp.asarray(row)[None] for row in p], x, range(4))
        expected, slopes = by_jax(model, p, np.repeat(X[:points, None], FITS, 1))
    assert_allclose(found, expected, rtol=1e-12)
    for column, slope in zip(columns, slopes, strict=True):
        assert_allclose(np.broadcast_to(column, slope.shape), slope, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["polyval", "peaks", "in time", "table"])
def test_fits_are_those_of_fit(name: str) -> None:
    """Through the compiler, which takes such a model as one function."""
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.5, 1.5, (70, 4))

    def model(p: Any, x: Any) -> Any:
        return MODELS[name](p, x) + (p[2] * x + p[3] if name == "in time" else 0)

    with jax.enable_x64(True):
        y = np.stack([np.asarray(model(list(t), jnp.asarray(X))) for t in truth])
        y += rng.normal(0, 1e-3, y.shape)
        found = mc.fit_many(model, list(truth.T), X, y)
        for k in range(3):
            one = mc.fit(model, list(truth[k]), X, y[k])
            assert_allclose(found.cost[k], one.cost, rtol=1e-10)
            assert_allclose([p[k] for p in found.params], one.params, rtol=1e-5)


def test_a_model_that_is_written_out_is_not_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is unrolled beyond that counts."""
    monkeypatch.setattr(_unrolled, "_MOST_STEPS", 10)
    x = jax.ShapeDtypeStruct((POINTS,), np.float32)

    def by_hand(p: Any, x: Any) -> Any:
        for _ in range(50):
            x = jnp.sin(p[0] * x)
        return x

    assert _lanes.lanewise(by_hand, 1, x, np.float32, True)[1]
    assert not _lanes.lanewise(MODELS["oscillator"], 4, x, np.float32, True)[1]
