"""What the compiler is told, and waiting for a result: awake for a while, but never for ever."""

from threading import Thread
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from numpy.testing import assert_allclose

from mlcalc_jax._xla import RUNS_STEP_BY_STEP, as_one_function, await_soon


class Result:
    """Stands in for an array that is ready once it has been asked often enough."""

    def __init__(self, after: float) -> None:
        self.after, self.asked = after, 0

    def is_ready(self) -> bool:
        self.asked += 1
        return self.asked > self.after


def test_the_wait_ends_with_the_result() -> None:
    """Outside fact: counted."""
    result = Result(after=2)
    await_soon(result)
    assert result.asked == 3


def test_the_wait_gives_up() -> None:
    """A result that never comes is left to JAX to wait for."""
    result = Result(after=float("inf"))
    await_soon(result)
    assert result.asked > 1


def test_other_threads_sleep() -> None:
    """They leave the waiting to JAX."""
    result = Result(after=2)
    thread = Thread(target=await_soon, args=(result,))
    thread.start()
    thread.join()
    assert result.asked == 0


def test_one_function_finds_the_same() -> None:
    """And where the compiler would not by itself, it is told to."""

    def halved(x: Any) -> Any:
        return lax.while_loop(lambda y: jnp.max(y) > 1, lambda y: y / 2 - jnp.sum(y) * 1e-4, x)

    def as_one(x: Any) -> Any:
        return as_one_function(lambda: {"first": x, "last": halved(x)}, "last")["last"]

    x = jnp.linspace(1, 1000, 2000)
    program = jax.jit(as_one).lower(x).compile()
    assert_allclose(program(x), halved(x), rtol=1e-6)
    if RUNS_STEP_BY_STEP:
        assert str(program.as_text()).count('xla_cpu_small_call="true"') == 1
