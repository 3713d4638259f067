"""Options for XLA's compiler, where the version in use knows them."""

from collections.abc import Callable
from functools import cache, wraps
from threading import current_thread, main_thread
from time import perf_counter
from typing import Any

import jax

#: Whether JAX runs small loops so, and not as one function.
RUNS_STEP_BY_STEP = jax.__version_info__ < (0, 12)

#: How long to stay awake for a result, in seconds; to be woken takes a tenth of it.
_AWAKE = 3e-4


def compiled(static_argnums: Any = (), **wanted: str | bool) -> Callable[..., Any]:
    """``jax.jit`` for a function that is never called inside another, with the options wanted."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @cache
        def jitted(backend: str) -> Any:
            options: Any = cpu_options(**wanted)
            return jax.jit(function, static_argnums=static_argnums, compiler_options=options)

        @wraps(function)
        def call(*args: Any) -> Any:
            return jitted(jax.default_backend())(*args)

        return call

    return decorate


def cpu_options(**wanted: str | bool) -> dict[str, str | bool]:
    """Those of the options that the compiler for a CPU knows; none where the backend is another.

    And always that steps run one after the other: it is no slower for small ones, and side by side
    those of JAX 0.10 may wait for ever (products of matrices under ``vmap`` in a loop).
    """
    if jax.default_backend() != "cpu":
        return {}
    wanted["xla_cpu_scheduler_type"] = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
    return {name: value for name, value in wanted.items() if knows(name, value)}


@cache
def knows(name: str, value: str | bool) -> bool:
    """Whether the compiler has such an option."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def as_one_function(function: Callable[[], dict[str, Any]], computed: str) -> dict[str, Any]:
    """What a function finds, by code that the compiler writes as one function, loops and all.

    JAX before 0.12 would run each step of such a loop by itself, which takes longer than a small
    step; newer versions do so of their own accord. For elementwise operations and sums alone: not
    everything can be part of such code.

    Args:
        function: what to compute, inside a function that is being compiled.
        computed: the name of a result that is computed, and not merely handed on.
    """
    if not RUNS_STEP_BY_STEP or jax.default_backend() != "cpu":
        return function()
    from jax.experimental.xla_metadata import set_xla_metadata

    found = jax.jit(function)()
    marked = set_xla_metadata(found[computed], xla_cpu_small_call="true", inlineable="false")
    return {**found, computed: marked}


def await_soon(array: Any) -> None:
    """Wait for a result that should be there at once: awake at first, but no longer than it pays.

    JAX computes on a thread of its own, and to be woken by it takes as long as a small fit. Only
    the main thread stays awake: several at once would take the cores from those that compute.
    """
    if current_thread() is not main_thread():
        return
    until = perf_counter() + _AWAKE
    while not array.is_ready() and perf_counter() < until:
        pass
