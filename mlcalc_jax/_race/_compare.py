"""The front door: ``compare``."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import _check
from .._cores import cores
from .._precision import holds_tracer
from .._progress import Progress, shown, told
from .._types import Cost, Params
from ..problems import Problem
from ._comparison import Comparison, Race, Standing
from ._contenders import (
    Contender,
    Range,
    as_contenders,
    log_uniform,
    settings,
)
from ._contenders import (
    learning_rates as checked_rates,
)
from ._replay import Descent
from ._rules import Rules, Target, checked_problems, checked_root, checked_targets, fingerprint
from ._standing import Outcome, chosen, outcomes, taken
from ._store import Store
from ._sweep import Luck, Sweep, Swept, luck_of, precision


def compare(
    problem: Problem | Cost | Sequence[Problem],
    optimisers: Mapping[str, Any] | Iterable[tuple[str, Any]],
    *,
    params: Params | None = None,
    steps: int = 1000,
    learning_rates: Any = None,
    trials: int | None = None,
    quasi_random: bool = False,
    tuning_seeds: int = 8,
    seeds: int = 16,
    target: Target = None,
    multiple: float | None = None,
    tolerance: float = 1e-3,
    key: int = 0,
    repeats: int = 3,
    memory: int = 1 << 30,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | bool | None = None,
) -> Comparison:
    """Race optimisers on one or several problems, all under the same rules.

    Every contender gets the same number of trials, each with the same tuning seeds and steps. A
    seed decides the start, the minibatches and the noise, alike for all. The setting with the
    lowest median oracle cost to the target on the tuning seeds, failures counted as infinite, is
    then run on fresh seeds, and only these count. All runs of a contender on a problem are one
    compiled program, in which learning rates and seeds are data.

    Oracle cost is what an optimiser asks of the model, counted while it runs: a value is 1
    evaluation, a tangent (a column of a Jacobian by forward mode) 1, a cotangent (the backward pass
    of a gradient) 2; line searches and refused steps included. What counts is what goes through
    ``value_fn`` and the gradient that an optimiser is given and uses.

    Args:
        problem: one of :mod:`mlcalc_jax.problems`, several of them, or a cost with ``params``.
        optimisers: by name: a factory such as ``optax.adam``, whose learning rate is tuned if it
            has to be given; a :func:`mlcalc_jax.contender` with more to tune; or an optimiser that
            is ready, which has nothing to tune.
        params: the start, where the problem is a bare cost; seeds scatter it by a tenth. Bare
            Python numbers are as precise as the data of the cost and the other parameters, without
            any of JAX's own precision (float32 unless its x64 flag is on).
        steps: of every run.
        learning_rates: a range (:func:`mlcalc_jax.log_uniform`) or a list, shared by all who have
            one; from 1e-6 to 1e4 unless given.
        trials: settings of each contender; 24, or as many as there are ``learning_rates``.
        quasi_random: whether learning rates are points of a Halton sequence instead of a grid.
        tuning_seeds: how many seeds choose the setting.
        seeds: how many fresh ones judge it.
        target: a cost to reach, or one for each problem by its name.
        multiple: in place of it, that many times the lowest cost found by anyone while tuning.
        tolerance: without either, the target is ``f + tolerance (f_start - f)``, with f the known
            minimum, or else the lowest cost found by anyone while tuning (More and Wild's test).
        key: seed from which all seeds are drawn.
        repeats: timed descents of each chosen setting, one at a time; 0 for no seconds.
        memory: bytes for histories, at most; beyond, every k-th step is kept, with the lowest cost
            between, so that a step to the target is known to within k.
        out: a folder in which finished tuning is kept.
        resume: whether to carry on with a folder of the same rules.
        progress: called with the number of runs that are done and that of all; True shows a bar.

    Returns:
        every run, the chosen settings, and what they took; ``report()`` is a page of it. One that
        raises an error has that error in its rows, and spoils no other's.

    Raises:
        TypeError: an optimiser that is none, a cost that cannot be called or is no real scalar.
        ValueError: no optimisers or a name twice, no seeds, rates that are not above zero, a target
            below the known minimum, problems of one name, a folder of other rules.
        FileExistsError: ``out`` holds something and ``resume`` is not set.

    Source: More and Wild, Benchmarking derivative-free optimization algorithms (2009); Schmidt,
    Schneider and Hennig, Descending through a crowded valley (2021), on tuning budgets.
    """
    if holds_tracer((problem, params)):
        raise TypeError("compare runs on the host: it cannot be called under jit, vmap or grad")
    problems = checked_problems(problem, params)
    contenders = as_contenders(optimisers)
    rates, trials = checked_rates(
        log_uniform(1e-6, 1e4) if learning_rates is None else learning_rates, trials
    )
    if multiple is not None:
        _check.positive("multiple", multiple)
        if multiple <= 1:
            raise ValueError(f"multiple must be above 1, got {multiple}")
    _check.positive("tolerance", tolerance)
    if tolerance >= 1:
        raise ValueError(f"tolerance must be below 1, where the start lies, got {tolerance}")
    rules = Rules(
        steps=_check.steps(steps),
        rates=rates,
        trials=trials,
        quasi_random=quasi_random,
        tuning=np.arange(_check.count("tuning_seeds", tuning_seeds)),
        fresh=tuning_seeds + np.arange(_check.count("seeds", seeds)),
        target=checked_targets(target, problems),
        multiple=None if multiple is None else float(multiple),
        tolerance=float(tolerance),
        root=checked_root(key),
        repeats=_check.count("repeats", repeats, least=0),
        memory=_check.count("memory", memory),
    )
    if target is not None and multiple is not None:
        raise ValueError("give target or multiple, not both")
    if quasi_random and not isinstance(rates, Range):
        raise ValueError("quasi_random needs a range of learning rates, got a list of them")
    if resume and out is None:
        raise ValueError("resume needs out, the folder to carry on with")
    tried = {
        name: settings(one, rules.rates, rules.trials, rules.quasi_random)
        for name, one in contenders.items()
    }
    store = None
    if out is not None:
        made_with = fingerprint(problems, contenders, tried, rules)
        store = Store(Path(out).expanduser(), made_with, resume)
    tell = told(progress, " runs")
    with shown(tell):
        return _Comparing(contenders, tried, rules, store, tell).of(problems)


class _Comparing:
    """One call of :func:`compare`."""

    def __init__(
        self,
        contenders: dict[str, Contender],
        tried: dict[str, dict[str, np.ndarray]],
        rules: Rules,
        store: Store | None,
        tell: Callable[[int, int], None],
    ) -> None:
        self.contenders, self.rules, self.store, self.tell = contenders, rules, store, tell
        self.settings = tried
        self.every = rules.every(len(contenders))
        self.done = self.all = 0
        self.counting = threading.Lock()
        self.is_stopped = False

    def of(self, problems: Sequence[Problem]) -> Comparison:
        """Race on each problem in turn, then time what was chosen, with nothing beside it."""
        a_problem = sum(
            self._trials(name) * len(self.rules.tuning) + len(self.rules.fresh)
            for name in self.contenders
        )
        self.all = a_problem * len(problems)
        self.tell(0, self.all)
        results = [self._race_on(problem) for problem in problems]
        races = [race for _, some in results for race in some]
        standings = tuple(standing for standing, _ in results)
        return Comparison(standings, tuple(races), self.rules.stated())

    def _race_on(self, problem: Problem) -> tuple[Standing, list[Race]]:
        rules = self.rules
        luck = luck_of(problem, rules.root, rules.tuning)
        tuned = self._for_each(lambda name: self._tuned(problem, name, luck))
        standing = self._standing(problem, tuned, luck)
        best = {
            name: self._chosen(tuned[name].runs, standing.target)
            for name in tuned
            if not tuned[name].error
        }
        fresh = luck_of(problem, rules.root, rules.fresh)
        judged = self._for_each(
            lambda name: self._judged(problem, name, tuned[name], best.get(name, 0), fresh)
        )
        races = []
        for name in self.contenders:
            runs, error = judged[name]
            if error:
                races.append(Race(problem.name, name, error))
                continue
            race = self._race(problem, name, tuned[name], best[name], runs, standing.target)
            races.append(race)
        return standing, [self._timed(problem, race, fresh) for race in races]

    def _for_each(self, task: Callable[[str], Any]) -> dict[str, Any]:
        """The task's result for each contender; as many at once as there are cores."""
        at_once = 1 if jax.default_backend() != "cpu" else cores()
        with ThreadPoolExecutor(at_once) as pool:
            waiting = {name: pool.submit(task, name) for name in self.contenders}
            try:
                return {name: future.result() for name, future in waiting.items()}
            except BaseException:
                self.is_stopped = True
                pool.shutdown(cancel_futures=True)
                raise

    def _tuned(self, problem: Problem, name: str, luck: Luck) -> "_Tuned":
        key = json.dumps([problem.name, name])
        trials, tuning = self._trials(name), len(self.rules.tuning)
        kept = None if self.store is None else self.store.read(key)
        if kept is not None and kept.keys() >= {*Swept._fields, "seconds"}:
            self._count(trials * tuning)
            return _Tuned(Swept(*(kept[field] for field in Swept._fields)), float(kept["seconds"]))
        which, seed = (grid.ravel() for grid in np.indices((trials, tuning)))
        hyper = {name: values[which] for name, values in self.settings[name].items()}
        sweep, error = self._sweep(problem, name)
        if sweep is None:
            self._count(trials * tuning)
            return _Tuned(None, math.nan, error)
        runs, error = self._run(sweep, hyper, _rows(luck, seed))
        if runs is None:
            return _Tuned(None, math.nan, error)
        runs = jax.tree.map(lambda leaf: leaf.reshape(trials, tuning, *leaf.shape[1:]), runs)
        if self.store is not None:
            self.store.write(key, runs._asdict() | {"seconds": sweep.program.compile_seconds})
        return _Tuned(runs, sweep.program.compile_seconds)

    def _judged(
        self, problem: Problem, name: str, tuned: "_Tuned", best: int, luck: Luck
    ) -> tuple[Any, str]:
        seeds = len(self.rules.fresh)
        sweep, error = (None, tuned.error) if tuned.error else self._sweep(problem, name)
        if sweep is None:
            self._count(seeds)
            return None, error
        hyper = {name: np.full(seeds, v[best]) for name, v in self.settings[name].items()}
        return self._run(sweep, hyper, luck)

    def _sweep(self, problem: Problem, name: str) -> tuple[Sweep | None, str]:
        """The compiled runs, or what the optimiser raised while it was traced."""
        try:
            return Sweep(
                problem,
                self.contenders[name],
                tuple(self.settings[name]),
                self._trials(name) * len(self.rules.tuning),
                self.rules.steps,
                self.every,
            ), ""
        except Exception as error:  # of somebody's optimiser: it may be anything
            return None, _one_line(error)

    def _run(self, sweep: Sweep, hyper: Mapping[str, Any], luck: Luck) -> tuple[Swept | None, str]:
        """All runs, or what was raised while they ran."""
        pieces, failure = [], ""
        runs = len(luck.optimiser)
        for start in range(0, runs, sweep.runs_a_call):
            if self.is_stopped:
                raise KeyboardInterrupt
            some = np.arange(start, min(start + sweep.runs_a_call, runs))
            try:
                if not failure:
                    pieces.append(sweep({n: v[some] for n, v in hyper.items()}, _rows(luck, some)))
            except Exception as error:
                failure = _one_line(error)
            self._count(len(some))
        if failure:
            return None, failure
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *pieces), ""

    def _count(self, runs: int) -> None:
        with self.counting:
            self.done += runs
            self.tell(self.done, self.all)

    def _standing(self, problem: Problem, tuned: Mapping[str, "_Tuned"], luck: Luck) -> Standing:
        rules = self.rules
        ran = [one.runs for one in tuned.values() if not one.error]
        best = float(min((runs.lowest[..., -1].min() for runs in ran), default=math.inf))
        starts = ran[0].cost[0, :, 0] if ran else np.array([])
        start = float(np.median(starts[np.isfinite(starts)])) if np.isfinite(starts).any() else best
        minimum = None if problem.minimum is None else float(problem.minimum)
        if problem.name in rules.target:
            target = rules.target[problem.name]
        elif rules.multiple is not None:
            target = best + (rules.multiple - 1) * abs(best)
        else:
            floor = best if minimum is None else minimum
            target = floor + rules.tolerance * (start - floor)
        if not math.isfinite(target):  # no run was anywhere finite: there is nothing to reach
            target = -math.inf
        return Standing(problem.name, problem.dimension, start, minimum, best, target)

    def _chosen(self, runs: Swept, target: float) -> int:
        diverged = outcomes(runs, target) == Outcome.DIVERGED
        return chosen(taken(runs, target, self.every).oracle, runs.lowest[..., -1], diverged)

    def _race(
        self, problem: Problem, name: str, tuned: "_Tuned", best: int, runs: Swept, target: float
    ) -> Race:
        while_tuning = taken(tuned.runs, target, self.every)
        to_target = taken(runs, target, self.every)
        rows = runs.cost.shape[-1]
        kept = np.unique(np.linspace(0, rows - 1, min(rows, _ROWS_KEPT)).astype(int))
        return Race(
            problem=problem.name,
            optimiser=name,
            settings=self.settings[name],
            winner=best,
            tuning_steps=while_tuning.steps,
            tuning_oracle=while_tuning.oracle,
            tuning_lowest=tuned.runs.lowest[..., -1],
            tuning_outcome=outcomes(tuned.runs, target),
            steps=to_target.steps,
            oracle=to_target.oracle,
            outcome=outcomes(runs, target),
            passes=runs.passes,
            step=np.minimum(kept * self.every, self.rules.steps),
            cost=runs.cost[:, kept],
            lowest=runs.lowest[:, kept],
            oracle_at=runs.oracle[:, kept],
            compile_seconds=tuned.compile_seconds,
        )

    def _timed(self, problem: Problem, race: Race, luck: Luck) -> Race:
        """The race with the seconds of one descent at a time, from the first fresh seed."""
        if race.error or not self.rules.repeats:
            return race
        contender = self.contenders[race.optimiser]
        steps = self.rules.steps
        times = []
        try:
            with precision(problem)():
                descent = Descent.of(problem, contender, race.setting, _rows(luck, 0))
                for _ in range(self.rules.repeats + 1):
                    began = time.perf_counter()
                    path = jax.block_until_ready(descent.path(steps, every=steps))
                    times.append(time.perf_counter() - began)
        except Exception as error:  # of an optimiser that dislikes a number it can look at
            return Race(race.problem, race.optimiser, _one_line(error))
        first, *others = times
        each = np.array(others) / max(1, int(path.steps_taken))
        compiling = max(0.0, first - min(others))
        return Race(**vars(race) | {"seconds_per_step": each, "seconds_to_compile_one": compiling})

    def _trials(self, name: str) -> int:
        return max((len(values) for values in self.settings[name].values()), default=1)


class _Tuned(NamedTuple):
    """All trials of a contender on the tuning seeds, (trials, seeds); or why there are none."""

    runs: Any
    compile_seconds: float
    error: str = ""


_ROWS_KEPT = 512  # of a run in the result; times to the target come from all


def _rows(luck: Luck, which: Any) -> Luck:
    return jax.tree.map(lambda leaf: leaf[which], luck)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if len(text) > 300:  # the cause of an error at run time comes last
        text = f"{text[:100]} ... {text[-190:]}"
    return f"{type(error).__name__}: {text}"
