"""Many runs at once, the runs in the last axis: the same as one by one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mlcalc_jax._race._lanes import lanewise

SHARED = np.linspace(-1.0, 1.0, 200).reshape(2, 100)


def _matrix(v: Any) -> Any:
    return v["m"] @ v["m"].T + v["s"]


#: Of "s" (), "v" (5,) and "m" (3, 4).
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "numbers": lambda v: jnp.exp(v["v"]) * v["s"] + jnp.where(v["s"] > 0, v["v"], 2.0),
    "clamped by one of each": lambda v: jnp.clip(v["v"], v["s"], 1.0),
    "shared result": lambda v: jnp.ones(3),
    "sums": lambda v: (v["m"].sum(), v["m"].sum(0), v["m"].max(1), jnp.cumsum(v["v"])),
    "sum of many": lambda v: (v["v"][:, None] * SHARED[:1]).sum(1),
    "sum over two axes": lambda v: (v["m"][:, :, None] * SHARED[:1, None]).sum((0, 2)),
    "moved": lambda v: (v["m"].T[::2], v["m"].reshape(6, 2), jnp.flip(v["v"]), v["v"][None]),
    "whole numbers": lambda v: jnp.sum(v["v"] > 0, dtype=jnp.int32) + jnp.int32(2),
    "printed": lambda v: (v["v"] * v["s"], jax.debug.callback(lambda _: None, v["s"]))[0],
    "empty product": lambda v: jnp.zeros((3, 0)) @ v["m"][:0],
    "columns first": lambda v: jnp.reshape(v["m"], (2, 6), order="F"),
    "joined": lambda v: jnp.concatenate([v["v"], jnp.zeros(2), v["m"].ravel()]),
    "padded": lambda v: jnp.pad(v["v"], 2),
    "split": lambda v: jnp.split(v["v"], [2]),
    "product": _matrix,
    "product with a shared one": lambda v: (v["m"][:, :2] @ SHARED, SHARED.T @ v["m"][:2]),
    "long product": lambda v: jnp.tanh(v["m"][:, :2] @ SHARED) @ SHARED.T,
    "product of two long ones": lambda v: (lambda a: a @ jnp.cos(a).T)(v["m"][:, :2] @ SHARED),
    "large and long": lambda v: (lambda a: a.T @ a)(jnp.sin(SHARED[0])[:, None] * SHARED[1:, :20]),
    "large": lambda v: (lambda a: a @ a.T)(SHARED[:1, :20].T * SHARED[1:] * v["s"]),
    "batch of products": lambda v: jnp.einsum(
        "ij,ijk->ik", v["m"], v["m"][:, :, None] * v["v"][None, None]
    ),
    "matrix by vector": lambda v: v["m"] @ v["v"][:4],
    "solved": lambda v: jnp.linalg.solve(_matrix(v) + 9 * jnp.eye(3), v["v"][:3]),
    "sorted": lambda v: (jnp.sort(v["v"]), jnp.argmax(v["m"], 1)),
    "loop": lambda v: lax.while_loop(lambda x: x < 10, lambda x: 2 * x + 1, jnp.abs(v["s"])),
    "scan": lambda v: lax.scan(lambda a, x: (a + x, a * x), v["s"], v["v"]),
    "branch": lambda v: lax.cond(v["s"] > 0, lambda x: x + 1, lambda x: x * 2, v["v"]),
    "gathered": lambda v: v["v"][jnp.int32(jnp.abs(v["s"])) % 5],
    "drawn": lambda v: jax.random.normal(jax.random.key(jnp.int32(100 * jnp.abs(v["s"]))), (3,)),
    "gradient": jax.grad(lambda v: jnp.sum(jax.nn.sigmoid(v["m"][:, :2] @ SHARED + v["s"]) ** 2)),
    "Jacobian": jax.jacobian(lambda v: jax.nn.sigmoid(v["m"] @ v["v"][:4]) * v["s"]),
    "called": jax.jit(lambda v: jax.nn.softplus(v["v"]) + jax.nn.relu(v["s"])),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_many_equal_one_by_one(name: str) -> None:
    function = FUNCTIONS[name]
    draw = np.random.default_rng(3).normal
    with jax.enable_x64(True):
        runs = [{"s": draw(), "v": draw(size=5), "m": draw(size=(3, 4))} for _ in range(6)]
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), float), runs[0])
        last = jax.tree.map(lambda *leaves: np.stack(leaves, axis=-1), *runs)
        found = jax.jit(lanewise(function, one))(last)
        for k, run in enumerate(runs):
            expected = function(jax.tree.map(jnp.asarray, run))
            mine = jax.tree.map(lambda leaf, k=k: leaf[..., k], found)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, 1e-12, 1e-13), mine, expected
            )
            assert jax.tree.map(jnp.result_type, mine) == jax.tree.map(jnp.result_type, expected)
