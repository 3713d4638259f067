"""What a race leaves behind: every run, the winning settings, and what may be said of them."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from ._contenders import RATES
from ._files import read_arrays, write_arrays
from ._standing import Interval, Outcome, median_interval, share_interval

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Race:
    """One contender on one problem: its tuning, and its best setting on fresh seeds.

    Of a contender that could not run, ``error`` says why, and the arrays are empty.
    """

    problem: str
    optimiser: str
    error: str = ""
    settings: Mapping[str, np.ndarray] = field(default_factory=dict)  #: a value a trial, by name
    winner: int = 0  #: the trial that was chosen
    tuning_steps: Any = None  #: (trials, tuning seeds), to the target; infinite if it was not met
    tuning_oracle: Any = None
    tuning_lowest: Any = None  #: the lowest cost
    tuning_outcome: Any = None  #: :class:`Outcome`
    steps: Any = None  #: (seeds,), to the target, of the winner on fresh seeds
    oracle: Any = None
    outcome: Any = None
    passes: Any = None  #: (seeds, 3), values, tangents and cotangents in all
    step: Any = None  #: (rows,), the steps at which the following are kept
    cost: Any = None  #: (seeds, rows)
    lowest: Any = None
    oracle_at: Any = None  #: (seeds, rows), oracle cost so far
    compile_seconds: float = math.nan  #: of the program that runs all trials
    seconds_to_compile_one: float = math.nan  #: of one descent
    seconds_per_step: Any = None  #: (repeats,), of one descent

    @property
    def setting(self) -> dict[str, float]:
        """The hyper-parameters that were chosen."""
        return {name: float(values[self.winner]) for name, values in self.settings.items()}

    @property
    def label(self) -> str:
        """The contender with the chosen setting, for people."""
        return label(self.optimiser, self.setting)

    @property
    def second_per_step(self) -> float:
        """Seconds of one step: the fastest of the timed descents."""
        timed = np.asarray([] if self.seconds_per_step is None else self.seconds_per_step)
        return float(timed.min()) if timed.size else math.nan

    @property
    def seconds(self) -> Any:
        """Seconds to the target on fresh seeds, compilation apart."""
        return self.steps * self.second_per_step


def label(optimiser: str, setting: Mapping[str, float]) -> str:
    """A contender with its setting; of the learning rate the name goes without saying."""
    shown = ", ".join(
        f"{value:.2g}" if name in RATES else f"{name} {value:.2g}"
        for name, value in setting.items()
    )
    return f"{optimiser} ({shown})" if shown else optimiser


@dataclass(frozen=True, eq=False)
class Standing:
    """What is known of a problem that was raced on."""

    name: str
    dimension: int
    start_cost: float  #: median over the tuning seeds
    minimum: float | None  #: as published
    best: float  #: lowest cost found by anyone while tuning
    target: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of :func:`mlcalc_jax.compare`.

    ``races`` has one entry a contender and problem, ``problems`` what is known of each problem, and
    ``protocol`` under which rules they ran.
    """

    problems: tuple[Standing, ...]
    races: tuple[Race, ...]
    protocol: Mapping[str, Any]

    @property
    def optimisers(self) -> tuple[str, ...]:
        """The names of the contenders, in their order."""
        return tuple(dict.fromkeys(race.optimiser for race in self.races))

    def race(self, optimiser: str, problem: str | None = None) -> Race:
        """The race of one contender; the problem need not be named if there is just one.

        Raises:
            ValueError: there is none, or the problem is not named.
        """
        name = self.standing(problem).name
        for race in self.races:
            if (race.optimiser, race.problem) == (optimiser, name):
                return race
        raise ValueError(f"{optimiser!r} took no part; there are {', '.join(self.optimisers)}")

    def standing(self, problem: str | None = None) -> Standing:
        """What is known of a problem; it need not be named if there is just one.

        Raises:
            ValueError: there is none of that name, or the problem is not named.
        """
        names = [standing.name for standing in self.problems]
        if problem is None and len(names) == 1:
            return self.problems[0]
        if problem not in names:
            raise ValueError(f"problem must be one of {', '.join(names)}, got {problem!r}")
        return self.problems[names.index(problem)]

    def records(self) -> list[dict[str, Any]]:
        """Tidy rows: one a problem, optimiser, setting and seed, of tuning and of fresh seeds."""
        return list(self._records())

    def _records(self) -> Iterator[dict[str, Any]]:
        tuning, fresh = (self.protocol[name] for name in ("tuning_seeds", "seeds"))
        for race in self.races:
            if race.error:
                continue
            head = {"problem": race.problem, "optimiser": race.optimiser}
            trials = len(race.tuning_steps)
            for trial in range(trials):
                setting = {name: float(v[trial]) for name, v in race.settings.items()}
                shown = json.dumps(setting)
                for k, seed in enumerate(tuning):
                    yield head | {
                        "phase": "tuning",
                        "trial": trial,
                        "setting": shown,
                        "seed": seed,
                        "outcome": Outcome(int(race.tuning_outcome[trial, k])).name,
                        "lowest_cost": float(race.tuning_lowest[trial, k]),
                        "steps_to_target": float(race.tuning_steps[trial, k]),
                        "oracle_to_target": float(race.tuning_oracle[trial, k]),
                        "seconds_to_target": float(
                            race.tuning_steps[trial, k] * race.second_per_step
                        ),
                    }
            for k, seed in enumerate(fresh):
                yield head | {
                    "phase": "fresh",
                    "trial": race.winner,
                    "setting": json.dumps(race.setting),
                    "seed": seed,
                    "outcome": Outcome(int(race.outcome[k])).name,
                    "lowest_cost": float(race.lowest[k, -1]),
                    "steps_to_target": float(race.steps[k]),
                    "oracle_to_target": float(race.oracle[k]),
                    "seconds_to_target": float(race.seconds[k]),
                }

    def table(self, problem: str | None = None) -> list[dict[str, Any]]:
        """One row a contender, the best first: what it took to the target on fresh seeds.

        Ordered by the median oracle cost, failures infinite, then by how many seeds got there, then
        by the median of the lowest cost. Medians come with 95 % intervals, shares with Wilson's.
        """
        name = self.standing(problem).name
        rows = [self._row(race) for race in self.races if race.problem == name]
        return sorted(rows, key=lambda r: (r["oracle"].median, -r["share"], r["lowest_cost"]))

    def _row(self, race: Race) -> dict[str, Any]:
        if race.error:
            nothing = Interval(math.inf, math.inf, math.inf)
            return {
                "optimiser": race.optimiser,
                "setting": {},
                "share": 0.0,
                "share_interval": (0.0, 1.0),
                "steps": nothing,
                "oracle": nothing,
                "seconds": nothing,
                "lowest_cost": math.inf,
                "outcomes": {},
                "microseconds_per_step": math.nan,
                "compile_seconds": math.nan,
                "error": race.error,
            }
        seeds, reached = len(race.outcome), int((race.outcome == Outcome.REACHED).sum())
        return {
            "optimiser": race.optimiser,
            "setting": race.setting,
            "share": reached / seeds,
            "share_interval": share_interval(reached, seeds),
            "steps": median_interval(race.steps),
            "oracle": median_interval(race.oracle),
            "seconds": median_interval(race.seconds),
            "lowest_cost": float(np.median(race.lowest[:, -1])),
            "outcomes": {o.name: int((race.outcome == o).sum()) for o in Outcome},
            "microseconds_per_step": 1e6 * race.second_per_step,
            "compile_seconds": race.seconds_to_compile_one,
            "error": "",
        }

    def winners(self) -> dict[str, str]:
        """For each problem, who reaches the target at the lowest median oracle cost.

        "nobody" where the median of none reaches it.
        """
        best = {standing.name: self.table(standing.name)[0] for standing in self.problems}
        return {
            name: row["optimiser"] if math.isfinite(row["oracle"].median) else "nobody"
            for name, row in best.items()
        }

    def __repr__(self) -> str:
        names = ", ".join(standing.name for standing in self.problems)
        return f"<Comparison of {len(self.optimisers)} optimisers on {names}>"

    def report(self) -> str:
        """The rules, and for each problem who reached the target, how fast, how sure that is."""
        from ._tables import report

        return report(self)

    def _repr_html_(self) -> str:
        from ._tables import as_html

        return as_html(self)

    def save(self, path: str | FilePath) -> None:
        """Write everything into one file, of NumPy's NPZ format, without pickle.

        Raises:
            OSError: it cannot be written.
        """
        arrays: dict[str, Any] = {}
        heads = []
        for k, race in enumerate(self.races):
            head = {}
            for name, value in vars(race).items():
                if name == "settings":
                    arrays |= {f"{k}/settings/{n}": v for n, v in value.items()}
                    head[name] = list(value)
                elif isinstance(value, np.ndarray):
                    arrays[f"{k}/{name}"] = value
                else:
                    head[name] = value
            heads.append(head)
        about = {
            "format": _FORMAT,
            "protocol": dict(self.protocol),
            "problems": [vars(standing) for standing in self.problems],
            "races": heads,
        }
        file = FilePath(path).expanduser()
        write_arrays(file, {"about": np.array(json.dumps(about)), **arrays})

    @classmethod
    def load(cls, path: str | FilePath) -> "Comparison":
        """Read what :meth:`save` wrote.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no such file.
        """
        try:
            arrays = read_arrays(FilePath(path).expanduser())
            about = json.loads(str(arrays.pop("about")))
            if about["format"] != _FORMAT:
                raise KeyError
            races = []
            for k, head in enumerate(about["races"]):
                mine = {n.split("/", 1)[1]: v for n, v in arrays.items() if n.startswith(f"{k}/")}
                head["settings"] = {name: mine.pop(f"settings/{name}") for name in head["settings"]}
                races.append(Race(**head | mine))
            standings = tuple(Standing(**standing) for standing in about["problems"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no saved comparison") from error
        return cls(standings, tuple(races), about["protocol"])
