"""Waiting for a result: awake for a while, but never for ever."""

from threading import Thread

from mlcalc_jax._xla import await_soon


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
