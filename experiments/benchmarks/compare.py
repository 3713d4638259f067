"""A sweep of ``compare`` beside a Python loop over jitted steps of optax."""

import resource
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import optax

import mlcalc_jax as mc

from .._run import Config as Common
from .._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """12 optimisers x 24 learning rates x 16 seeds x 2,000 steps, on the heights and on the curve.

    The loop takes a few hundred steps of each optimiser, compiled before, and what it would take
    for all is reckoned from them; the sweep is run whole.
    """

    steps: int = 2000
    """Steps of every run (--quick: at most 50)."""
    trials: int = 24
    """Learning rates (--quick: at most 4)."""
    seeds: int = 16
    """Starts (--quick: at most 2)."""
    loop_steps: int = 300
    """Steps of the loop that are timed for each optimiser (--quick: at most 20)."""


TWELVE: dict[str, Any] = {
    "steepest descent": mc.steepest_descent,
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "Nesterov": partial(optax.sgd, momentum=0.9, nesterov=True),
    "RMSProp": optax.rmsprop,
    "Adam": optax.adam,
    "AdamW": optax.adamw,
    "AMSGrad": optax.amsgrad,
    "Adamax": optax.adamax,
    "Lion": optax.lion,
    "Adagrad": optax.adagrad,
    "Yogi": optax.yogi,
}


def experiment(config: Config, run: Run) -> str | None:
    """Time both ways on both problems."""
    with input_errors():
        for name in ("steps", "trials", "seeds", "loop_steps"):
            if getattr(config, name) < 1:
                raise ValueError(f"{name} must be at least 1")
    steps, trials, seeds, loop = config.steps, config.trials, config.seeds, config.loop_steps
    if config.quick:
        steps, trials, seeds, loop = min(steps, 50), min(trials, 4), min(seeds, 2), min(loop, 20)
    rows = []
    for problem in (mc.problems.heights(), mc.problems.curve()):
        run.doing(problem.name)
        race = partial(
            mc.compare,
            problem,
            TWELVE,
            steps=steps,
            learning_rates=mc.log_uniform(1e-4, 1e3),
            trials=trials,
            tuning_seeds=seeds,
            seeds=1,
            repeats=0,
        )
        began = time.perf_counter()
        found = race()
        first = time.perf_counter() - began
        began = time.perf_counter()
        race(key=1)
        again = time.perf_counter() - began
        each = [_loop(problem, factory, loop) for factory in TWELVE.values()]
        by_loop = sum(each) * trials * seeds * steps
        compiling = [race.compile_seconds for race in found.races]
        rows.append(
            {
                "problem": problem.name,
                "runs": len(TWELVE) * trials * seeds,
                "sweep_seconds": again,
                "loop_seconds": by_loop,
                "ratio": by_loop / again,
                "loop_microseconds_a_step": 1e6 * sum(each) / len(each),
                "sweep_microseconds_a_step": 1e6 * again / (len(TWELVE) * trials * seeds * steps),
                "sweep_seconds_with_compilation": first,
                "slowest_compilation": max(compiling),
                "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
        say(
            f"{problem.name}: {rows[-1]['runs']} runs of {steps} steps in {again:.2f} s, compiled "
            f"before; a loop would take {by_loop:.0f} s, {by_loop / again:.0f} times as long; "
            f"with compilation {first:.1f} s, the slowest optimiser {max(compiling):.2f} s; "
            f"peak memory {rows[-1]['peak_megabytes']:.0f} MB"
        )
    run.table("compare", rows)
    return None


def _loop(problem: mc.problems.Problem, factory: Any, steps: int) -> float:
    """Seconds of one step of a Python loop over a jitted step, the best of three runs."""
    optimiser = factory(0.01)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        value, gradient = jax.value_and_grad(problem.cost)(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    times = []
    for _ in range(4):
        params = jax.tree.map(jax.numpy.asarray, problem.start)
        state = optimiser.init(params)
        began = time.perf_counter()
        for _ in range(steps):
            params, state, _ = step(params, state)
        jax.block_until_ready(params)
        times.append(time.perf_counter() - began)
    return min(times[1:]) / steps


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
