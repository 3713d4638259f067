"""Small arrays carried as one: nothing is lost, and a loop finds what JAX's own finds."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mlcalc_jax._packing import Scalars, known, packed, scalars, while_loop

pytestmark = pytest.mark.usefixtures("double")


def tree(dtype: Any) -> dict[str, Any]:
    """Scalars, vectors, matrices and a large array of several dtypes, some of them extreme."""
    rng = np.random.default_rng(0)
    return {
        "number": np.asarray(np.finfo(dtype).max, dtype),
        "nothing": np.asarray(np.nan, dtype),
        "flag": np.asarray(True),
        "flags": np.array([True, False, True]),
        "count": np.asarray(-(2**31), np.int32),
        "counts": np.array([2**31 - 1, 0], np.int32),
        "long": np.asarray(2**62 + 1, np.int64),
        "single": np.asarray(1 / 3, np.float32),
        "row": rng.normal(size=5).astype(dtype),
        "one": rng.normal(size=1).astype(dtype),
        "matrix": rng.normal(size=(3, 4)).astype(dtype),
        "large": rng.normal(size=(20, 30)).astype(dtype),
        "empty": np.zeros((0, 3), dtype),
        "none": None,
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("on_host", [False, True])
def test_what_is_packed_comes_back_bit_for_bit(dtype: Any, on_host: bool) -> None:
    """Values, shapes, dtypes and the structure."""
    given = tree(dtype)
    found = jax.jit(packed)(given)
    assert len(jax.tree.leaves(found)) < len(jax.tree.leaves(given)) / 2
    assert [array.shape for array in found.large.values()] == [given["large"].shape]
    back = found.unpacked(on_host)
    assert list(back) == sorted(given)
    assert back["none"] is None
    for name, value in given.items():
        if value is not None:
            assert back[name].dtype == value.dtype, name
            np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_scalars_come_back_out_of_one_array() -> None:
    """Numbers and scalars of the dtype; anything else is left as it is."""
    given = (1e-3, 7, {"b": np.asarray(2.5), "a": np.asarray(np.nan)})
    found = scalars(given)
    assert found.values.shape == (4,)
    for back in (found.unpacked(), jax.jit(Scalars.unpacked)(found)):
        assert str(jax.tree.structure(back)) == str(jax.tree.structure(given))
        np.testing.assert_array_equal(jax.tree.leaves(back), jax.tree.leaves(given))
    one = np.asarray(1.0)
    for other in (np.ones(1), np.asarray(1, np.float32), jnp.ones(())):
        assert scalars((0, other, one))[1] is other


def test_a_loop_finds_what_jax_s_own_finds() -> None:
    """The sum of a series, its terms counted, with what does not change carried along."""

    def body(now: dict[str, Any]) -> dict[str, Any]:
        k = now["count"] + 1
        return {**now, "count": k, "number": now["number"] + 1 / k**2, "flag": k % 2 == 0}

    begun = jax.tree.map(jnp.asarray, tree(np.float64))
    begun |= {"count": known(0, np.int32), "number": known(0, float)}
    for run in (while_loop, lax.while_loop):
        found: Any = jax.jit(lambda begun, run=run: run(lambda s: s["count"] < 1000, body, begun))(
            begun
        )
        assert found["count"] == 1000
        assert found["flag"]
        np.testing.assert_allclose(found["number"], np.sum(1 / np.arange(1.0, 1001) ** 2))
        np.testing.assert_array_equal(found["matrix"], begun["matrix"])
        np.testing.assert_array_equal(found["large"], begun["large"])
