"""Least squares as a cost, whole and a minibatch at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlcalc_jax as mc

from .cases import counting, line_problem

X = np.linspace(-1.0, 1.0, 8)
Y = 2 * X - 1 + 0.1 * np.sin(9 * X)
SIGMA = 0.1 + 0.02 * np.arange(8)
MASK = np.array([True, False, True, True, False, True, True, True])
AT = {"slope": 1.5, "intercept": -0.7}


def _residuals(mask: Any = slice(None), sigma: Any = SIGMA) -> np.ndarray:
    return ((1.5 * X - 0.7 - Y) / (sigma * np.ones(8)))[mask]


@pytest.mark.parametrize("sigma", [None, 0.3, SIGMA], ids=["none", "number", "array"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "some"])
def test_chi_squared_and_residuals(sigma: Any, mask: Any) -> None:
    """Outside fact: the formula in NumPy."""
    problem = mc.LeastSquares(mc.models.line, X, Y, sigma, mask)
    expected = _residuals(sigma=1 if sigma is None else sigma)
    expected = expected if mask is None else np.where(mask, expected, 0)
    assert_allclose(problem.residuals(AT), expected, rtol=1e-13, atol=1e-15)
    assert_allclose(problem(AT), np.sum(expected**2), rtol=1e-13)


@pytest.mark.slow
@pytest.mark.usefixtures("double")
def test_masked_points_do_not_leak() -> None:
    """Outside fact: the problem without these points; theirs are NaN, infinite and absurd."""
    y, sigma = np.where(MASK, Y, np.nan), np.where(MASK, SIGMA, [np.nan, -1.0] * 4)
    masked = mc.LeastSquares(mc.models.line, X, y, sigma, MASK)
    removed = mc.LeastSquares(mc.models.line, X[MASK], Y[MASK], SIGMA[MASK])
    assert_allclose(masked(AT), removed(AT), rtol=1e-13)
    assert_allclose(masked.residuals(AT)[MASK], removed.residuals(AT), rtol=1e-13)
    for derivative in (jax.grad, jax.hessian):
        found, expected = derivative(masked)(AT), derivative(removed)(AT)
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-12), found, expected)


@pytest.mark.parametrize("masked", ["infinite", "zero sigma"])
def test_masked_problem_descends_as_the_removed_one(masked: str) -> None:
    """Outside fact: the path of the problem without the masked points."""
    y = np.where(MASK, Y, np.inf) if masked == "infinite" else Y
    sigma = np.where(MASK, SIGMA, 0.0)
    paths = [
        mc.minimise(problem, AT, mc.levenberg_marquardt(), 4)
        for problem in (
            mc.LeastSquares(mc.models.line, X, y, sigma, MASK),
            mc.LeastSquares(mc.models.line, X[MASK], Y[MASK], SIGMA[MASK]),
        )
    ]
    assert_allclose(paths[0].cost, paths[1].cost, rtol=1e-10)


def _root(params: Any, x: Any) -> Any:
    """Not a number, nor is its derivative, where x is below the edge."""
    return params["height"] * jnp.sqrt(x - params["edge"])


@pytest.mark.parametrize(
    "optimiser",
    [mc.newton(), optax.adam(0.05), mc.levenberg_marquardt()],
    ids=["newton", "adam", "lm"],
)
@pytest.mark.parametrize("rows", [1, 2])
def test_the_model_may_be_nan_where_it_is_masked(optimiser: Any, rows: int) -> None:
    """Outside fact: the path of the problem without the masked points."""
    x = np.linspace(-1.0, 1.0, 12)
    on = x > -0.3
    y = np.where(on, 2 * np.sqrt(np.where(on, x, 0) + 0.5) + 0.01 * np.sin(40 * x), np.nan)
    start = {"height": 1.9, "edge": -0.45}

    def model(params: Any, x: Any) -> Any:
        return _root(params, x) if rows == 1 else jnp.stack([_root(params, x)] * 2)

    def whole(y: np.ndarray) -> np.ndarray:
        return y if rows == 1 else np.stack([y, y])

    masked = mc.LeastSquares(model, x, whole(y), mask=whole(on))
    removed = mc.LeastSquares(model, x[on], whole(y[on]))
    paths = [mc.minimise(problem, start, optimiser, 8) for problem in (masked, removed)]
    assert_allclose(paths[0].cost, paths[1].cost, rtol=1e-9, atol=1e-12)
    assert paths[0].cost[-1] < 0.8 * paths[0].cost[0]


def test_several_predictors_in_a_pytree() -> None:
    """Outside fact: the plane in NumPy."""

    def plane(params: Any, x: Any) -> Any:
        return params["a"] * x["u"] + params["b"] * x["v"][0]

    problem = mc.LeastSquares(plane, {"u": X, "v": [X**2]}, Y)
    expected = np.sum((0.5 * X + 0.25 * X**2 - Y) ** 2)
    assert_allclose(problem({"a": 0.5, "b": 0.25}), expected, rtol=1e-13)


@pytest.mark.usefixtures("double")
def test_gradient_is_the_closed_form() -> None:
    """Outside fact: 2 J^T r of a straight line."""
    gradient = jax.grad(mc.LeastSquares(mc.models.line, X, Y, SIGMA))(AT)
    assert_allclose(gradient["slope"], 2 * np.sum(_residuals() * X / SIGMA), rtol=1e-12)
    assert_allclose(gradient["intercept"], 2 * np.sum(_residuals() / SIGMA), rtol=1e-12)


@pytest.mark.usefixtures("double")
def test_vmap_over_data_sets() -> None:
    """Outside fact: one problem a data set, in NumPy."""
    many = np.stack([Y, Y + 1, 3 * Y])
    batch = mc.LeastSquares(mc.models.line, X, many, SIGMA)
    axes = mc.LeastSquares.tree_unflatten(batch.model, (None, 0, None, None, None, None))
    found = jax.vmap(lambda problem: problem(AT), in_axes=(axes,))(batch)
    expected = np.sum(((1.5 * X - 0.7 - many) / SIGMA) ** 2, axis=1)
    assert_allclose(found, expected, rtol=1e-13)


def test_another_data_set_compiles_nothing() -> None:
    """Outside fact: Python code under jit runs only while tracing."""
    model, traces = counting(mc.models.line)
    value = jax.jit(lambda problem, params: problem(params))
    first = value(mc.LeastSquares(model, X, Y, SIGMA), AT)
    once = len(traces)
    other = value(mc.LeastSquares(model, X + 1, 2 * Y, 3 * SIGMA), AT)
    assert once == len(traces) == 1
    assert first != other


def test_is_frozen_and_goes_through_a_tree() -> None:
    """Outside fact: the pytree contract of JAX, leaves out and the same leaves back in."""
    problem = mc.LeastSquares(mc.models.line, X, Y, SIGMA, MASK)
    with pytest.raises(AttributeError):
        problem.y = Y  # type: ignore[misc]
    leaves, treedef = jax.tree.flatten(problem)
    assert [leaf is kept for leaf, kept in zip(leaves, (X, Y, SIGMA, MASK), strict=True)]
    again = jax.tree.unflatten(treedef, leaves)
    assert again.model is problem.model
    assert_array_equal(again(AT), problem(AT))
    names = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(problem)]
    assert names == [".x", ".y", ".sigma", ".mask"]


NAN_AT_2 = np.where(np.arange(8) == 2, np.nan, 1.0)
BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("no model", {"model": "line"}, TypeError, r"model must be a function f\(params, x\)"),
    ("no points", {"x": X[:0], "y": Y[:0]}, ValueError, "y is empty: there are no points"),
    ("NaN in y", {"y": NAN_AT_2}, ValueError, "y must be finite, got 1 NaN or infinite"),
    ("inf in y", {"y": np.full(8, np.inf)}, ValueError, "y must be finite, got 8"),
    ("NaN in x", {"x": NAN_AT_2}, ValueError, "x must be finite"),
    ("NaN in a leaf of x", {"x": {"u": NAN_AT_2}}, ValueError, r"x\['u'\] must be finite"),
    ("NaN in masked x", {"x": np.where(MASK, X, np.nan), "mask": MASK}, ValueError, "x must be"),
    ("NaN in counted y", {"y": NAN_AT_2, "mask": MASK}, ValueError, "y must be finite, got 1"),
    ("strings", {"y": np.array(["a"] * 8)}, TypeError, "y must be real numbers, got dtype <U1"),
    ("string x", {"x": "data.csv"}, TypeError, "x must be real numbers"),
    ("bool y", {"y": MASK}, TypeError, "y must be real numbers, got dtype bool"),
    ("complex y", {"y": Y + 1j}, TypeError, "y must be real numbers, got dtype complex128"),
    ("object y", {"y": np.array([None] * 8)}, TypeError, "y must be real numbers"),
    ("no y", {"y": None}, TypeError, "y must be real numbers"),
    ("sigma 0", {"sigma": 0.0}, ValueError, "sigma must be finite and above zero, got 0.0"),
    ("sigma < 0", {"sigma": -SIGMA}, ValueError, "sigma must be finite and above zero"),
    ("sigma NaN", {"sigma": NAN_AT_2}, ValueError, "sigma must be finite and above zero"),
    ("sigma inf", {"sigma": np.inf}, ValueError, "sigma must be finite and above zero"),
    ("sigma text", {"sigma": "1"}, TypeError, "sigma must be real numbers"),
    ("sigma shape", {"sigma": np.ones(7)}, ValueError, r"sigma must broadcast .* \(8,\), got \(7,"),
    ("sigma too big", {"sigma": np.ones((2, 8))}, ValueError, "sigma must broadcast"),
    ("mask shape", {"mask": MASK[:5]}, ValueError, r"mask must broadcast .*got \(5,\)"),
    (
        "mask of ints",
        {"mask": MASK.astype(int)},
        TypeError,
        "mask must be boolean, got dtype int64",
    ),
    ("mask of none", {"mask": np.zeros(8, bool)}, ValueError, "mask leaves no point to fit"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_bad_data(change: dict[str, Any], error: type[Exception], message: str) -> None:
    """Outside fact: the documented errors."""
    with pytest.raises(error, match=message):
        mc.LeastSquares(**{"model": mc.models.line, "x": X, "y": Y, **change})


@pytest.mark.parametrize("name", ["soft_l1", "huber", "cauchy", "arctan"])
@pytest.mark.usefixtures("annotations_unchecked")
def test_bad_scales(name: str) -> None:
    """Outside fact: the documented errors of a loss."""
    make = getattr(mc.losses, name)
    for scale, error, message in (
        (None, TypeError, "scale must be real numbers"),
        ([], ValueError, "scale is empty"),
        (0.0, ValueError, "scale must be finite and above zero"),
    ):
        with pytest.raises(error, match=message):
            make(scale)


def _transposed(params: Any, x: Any) -> Any:
    return (params["slope"] * x)[:, None]


@pytest.mark.parametrize(
    ("model", "x", "params", "message"),
    [
        (mc.models.line, X, {"slope": 1.0}, "line asks for a parameter 'intercept'; params has"),
        (mc.models.line, X[:5], AT, r"line returned shape \(5,\), expected that of y, \(8,\)"),
        (mc.models.line, X[0], AT, r"line returned shape \(\), expected that of y"),
        (_transposed, X, AT, r"_transposed returned shape \(8, 1\), expected that of y, \(8,\)"),
        (mc.models.line, X, {"slope": np.ones(3), "intercept": 0.0}, "line fails at params"),
    ],
)
def test_bad_params(model: Callable[..., Any], x: Any, params: Any, message: str) -> None:
    """Outside fact: the documented error, by the value, the residuals and the descent alike."""
    problem = mc.LeastSquares(model, x, Y)
    for use in (
        problem,
        problem.residuals,
        lambda p: mc.minimise(problem, p, mc.steepest_descent(0.1), 1),
    ):
        with pytest.raises(ValueError, match=message):
            use(params)


def _indexed(params: Any, x: Any) -> Any:
    """One parameter a point, so that a step shows which points its batch held."""
    return params[x.astype(int)]


def _dealt(size: int, key: Any, steps: int, points: int = 8) -> np.ndarray:
    """Which points every step moved, (steps, points)."""
    problem = mc.LeastSquares(_indexed, np.arange(points), np.ones(points))
    batches = mc.Minibatches(problem, size, key)
    path = mc.minimise(batches, np.zeros(points), mc.steepest_descent(1e-3), steps)
    return np.diff(path.params, axis=0) != 0


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_an_epoch_deals_every_point_once(size: int) -> None:
    """Outside fact: what it means to shuffle and deal; seen in the steps a descent takes."""
    per_epoch = 8 // size
    dealt = _dealt(size, 3, 3 * per_epoch)
    assert_array_equal(dealt.sum(axis=1), size)
    assert_array_equal(dealt.reshape(3, per_epoch, 8).sum(axis=1), 1)


def test_a_remainder_waits_for_the_next_shuffle() -> None:
    """Outside fact: 8 = 2 * 3 + 2, so two points sit out each epoch, not always the same ones."""
    dealt = _dealt(3, 0, 40).reshape(20, 2, 8).sum(axis=1)
    assert_array_equal(dealt.sum(axis=1), 6)
    assert dealt.max() == 1
    assert (dealt.sum(axis=0) > 0).all()


def test_shuffles_differ_by_epoch_and_seed() -> None:
    """Outside fact: of 8!/(2!)^4 = 2520 deals, six in a row are not all alike."""
    epochs = _dealt(2, 0, 24).reshape(6, 4, 8)
    assert len({epoch.tobytes() for epoch in epochs}) > 3
    assert_array_equal(_dealt(2, 0, 24), _dealt(2, jax.random.key(0), 24))
    assert (_dealt(2, 1, 24) != _dealt(2, 0, 24)).any()


@pytest.mark.parametrize("sigma", [None, 0.3, SIGMA], ids=["none", "number", "array"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "some"])
@pytest.mark.usefixtures("double")
def test_mean_over_an_epoch_is_the_whole(sigma: Any, mask: Any) -> None:
    """Outside fact: unbiasedness, exact over an epoch, with the whole computed in NumPy."""
    batches = mc.Minibatches(mc.LeastSquares(mc.models.line, X, Y, sigma, mask), 2, key=5)
    order = batches.first_order()
    parts = [batches.batch(jnp.asarray(step), order)(AT) for step in range(4)]
    keep = slice(None) if mask is None else mask
    whole = np.sum(_residuals(keep, 1 if sigma is None else sigma) ** 2)
    assert_allclose(np.mean(parts), whole, rtol=1e-12)
    assert_allclose(batches(AT), whole, rtol=1e-12)
    assert np.std(parts) > 0


def test_descent_is_the_textbooks_stochastic_gradient() -> None:
    """Outside fact: a NumPy loop over the same deals, with the cost of all points recorded."""
    dealt = _dealt(2, 9, 8)
    problem = mc.LeastSquares(mc.models.line, X, Y, SIGMA)
    path = mc.minimise(mc.Minibatches(problem, 2, 9), AT, mc.steepest_descent(1e-5), 8)
    now = np.array([AT["slope"], AT["intercept"]])
    for k in range(9):
        assert_allclose([path.params["slope"][k], path.params["intercept"][k]], now, rtol=1e-12)
        r = (now[0] * X + now[1] - Y) / SIGMA
        assert_allclose(path.cost[k], np.sum(r**2), rtol=1e-11)
        J = np.stack([X, np.ones(8)]) / SIGMA
        assert_allclose(path.gradient_norm[k], np.linalg.norm(2 * J @ r), rtol=1e-11)
        if k < 8:
            now = now - 1e-5 * 8 / 2 * 2 * J[:, dealt[k]] @ r[dealt[k]]


@pytest.mark.parametrize(
    "optimiser", [optax.adam(0.1), mc.gauss_newton()], ids=["adam", "gauss_newton"]
)
def test_other_optimisers_on_minibatches(optimiser: Any) -> None:
    """Outside fact: NumPy's straight line, about which a descent on batches wanders."""
    problem = line_problem()
    path = mc.minimise(mc.Minibatches(problem, 4), AT, optimiser, 60)
    slope, intercept = np.polyfit(X, Y, 1)
    best = np.sum((slope * X + intercept - Y) ** 2)
    assert best <= path.cost.min() < 2 * best
    assert_allclose(path.cost[-1], problem(path.final), rtol=1e-12)


def test_another_seed_of_the_shuffle_compiles_nothing() -> None:
    """Outside fact: Python code under jit runs only while tracing."""
    model, traces = counting(mc.models.line)
    problem = mc.LeastSquares(model, X, Y)
    costs = []
    for seed in (0, 1, 2):
        costs.append(
            mc.minimise(mc.Minibatches(problem, 2, seed), AT, mc.steepest_descent(0.01), 3).cost
        )
        if seed == 0:
            once = len(traces)
    assert len(traces) == once
    assert not np.array_equal(costs[0], costs[1])


@pytest.mark.parametrize(
    ("problem", "size", "error", "message"),
    [
        (lambda p: p, 2, TypeError, "problem must be a LeastSquares, got function"),
        (None, 0, ValueError, "size must be at least 1, got 0"),
        (None, 9, ValueError, "size must be at most the 8 points, got 9"),
        (None, 2.5, TypeError, "size must be a whole number, got 2.5"),
        (
            mc.LeastSquares(lambda p, x: p * jnp.sum(x) * jnp.ones(8), np.ones((8, 3)), Y),
            2,
            ValueError,
            r"x has shape \(8, 3\): expected the 8 points of y along its last axis",
        ),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_bad_minibatches(problem: Any, size: Any, error: Any, message: str) -> None:
    """Outside fact: the documented errors."""
    with pytest.raises(error, match=message):
        mc.Minibatches(line_problem() if problem is None else problem, size)


@pytest.mark.parametrize("stop", ["target", "gradient_tolerance"])
def test_minibatches_cannot_stop_early(stop: str) -> None:
    """Outside fact: the documented error."""
    batches, limit = mc.Minibatches(line_problem(), 2), {stop: 0.1}
    with pytest.raises(ValueError, match=f"{stop} tests the whole cost"):
        mc.minimise(batches, AT, mc.steepest_descent(0.01), 3, **limit)  # type: ignore[arg-type]
