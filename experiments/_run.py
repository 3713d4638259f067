"""What every experiment shares: its command line, its folder of results, its way to end.

A run writes into a hidden folder beside its output folder and renames it at the end, so that an
output folder is either whole or not there. (One that was there, empty, is filled at the end.)
"""

import argparse
import csv
import dataclasses
import json
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.figure import Figure, SubFigure
from tqdm import tqdm

import mlcalc_jax as mc

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, kw_only=True)
class Config:
    """What every experiment can be told."""

    seed: int = 0
    """Seed of every random draw, where there is any."""
    out: Path | None = None
    """Folder for the results, new or empty; results/NAME-DATE-TIME unless given."""
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Take fewer steps, seeds and frames, where there are many."""


class InputError(Exception):
    """The user's input cannot be used; the message is one line that says why."""


@contextmanager
def input_errors() -> Iterator[None]:
    """Inside it, these errors speak of the user's input."""
    try:
        yield
    except (ValueError, TypeError, NotImplementedError, FloatingPointError) as error:
        raise InputError(str(error)) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise InputError(f"{where}{error.strerror or error}") from error
    except MemoryError as error:
        raise InputError(f"not enough memory: {error}") from error


class Run:
    """The folder of one run, while it fills."""

    def __init__(self, name: str, config: Config) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.name, self.config = name, config
        try:
            out = (config.out or Path("results") / f"{name}-{stamp}").expanduser()
        except RuntimeError as error:  # ~nobody
            raise ValueError(f"{config.out}: {error}") from None
        self.out, self.shown, self.is_kept = out.resolve(), _shown(out.absolute()), False
        if not 0 <= config.seed < 2**63:
            raise ValueError(f"seed must lie from 0 to 2^63 - 1, got {config.seed}")
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise ValueError(f"{self.shown} already holds something: choose another --out")
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.folder = self.out.with_name(f".{self.out.name}.{os.getpid()}")
        self.folder.mkdir()
        self.now = tqdm(bar_format="{desc} ...", leave=False, disable=None)

    def doing(self, what: str) -> None:
        """Show on a terminal what is taking its time."""
        self.now.set_description_str(what)

    @contextmanager
    def whole(self, name: str) -> Iterator[Path]:
        """A path to write to, which becomes ``name`` in the folder once it is written."""
        part = self.folder / f".part-{name}"  # which keeps the ending: some writers go by it
        with input_errors():
            yield part
            part.replace(self.folder / name)

    def figure(self, figure: Figure | SubFigure, name: str) -> None:
        """Save a figure as PNG and SVG."""
        self.doing(f"drawing {name}")
        for kind, metadata in (("png", {}), ("svg", {"Date": None})):
            with self.whole(f"{name}.{kind}") as file:
                figure.figure.savefig(file, format=kind, metadata=metadata)
        plt.close(figure.figure)

    def numbers(self, name: str, **arrays: Any) -> None:
        """Save arrays as NPZ."""
        with self.whole(f"{name}.npz") as file, open(file, "wb") as opened:
            np.savez_compressed(opened, **arrays)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Save rows as CSV, floats with every digit."""
        with (
            self.whole(f"{name}.csv") as file,
            open(file, "w", newline="", encoding="utf-8") as opened,
        ):
            writer = csv.DictWriter(opened, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def path(self, name: str, path: mc.Path) -> None:
        """Save a descent as NPZ, parameters by their place in the tree."""
        leaves = jax.tree_util.tree_leaves_with_path(path.params)
        params = {"params" + jax.tree_util.keystr(place): leaf for place, leaf in leaves}
        self.numbers(
            name,
            step=path.step,
            cost=path.cost,
            gradient_norm=path.gradient_norm,
            status=path.status,
            **params,
        )

    def holds_results(self) -> bool:
        """Whether something is saved by now."""
        return any(not file.name.startswith(".part-") for file in self.folder.iterdir())

    def finish(self, failure: str | None) -> None:
        """Write down what was run and with what, and give the folder its name."""
        record = {
            "experiment": self.name,
            "config": _as_json(self.config),
            "failure": failure,
            "versions": {
                "python": platform.python_version(),
                **{p: version(p) for p in ("jax", "jaxlib", "optax", "numpy", "matplotlib")},
                "mlcalc_jax": mc.__version__,
            },
            "device": jax.devices()[0].device_kind,
        }
        with self.whole("config.json") as file:
            file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for part in self.folder.glob(".part-*"):
            part.unlink()
        try:
            self._hand_over()
        except OSError as error:
            self.is_kept = True
            reason = error.strerror or error
            raise InputError(f"{self.shown}: {reason}; the results are in {self.folder}") from error
        self.now.close()
        say(f"results: {self.shown}")

    def _hand_over(self) -> None:
        """Into the folder that was asked for; one that is there may be a mount, or where we are."""
        if not self.out.exists():
            self.folder.rename(self.out)
            return
        if any(self.out.iterdir()):
            raise FileExistsError("it holds something by now")
        for part in sorted(self.folder.iterdir(), key=lambda part: part.name == "config.json"):
            shutil.move(part, self.out / part.name)
        self.folder.rmdir()

    def discard(self) -> None:
        """Leave nothing behind but results that are not in their place yet."""
        self.now.close()
        if not self.is_kept:
            shutil.rmtree(self.folder, ignore_errors=True)


def say(text: str) -> None:
    """Print, above any progress bar; a run goes on where nobody reads what it says."""
    try:
        tqdm.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


C = TypeVar("C", bound=Config)
Experiment = Callable[[C, Run], str | None]


def run(name: str, experiment: Experiment[C], config: C) -> int:
    """Run an experiment in float64 and keep its folder whole; returns the exit code.

    The experiment returns None, or a sentence that says what went wrong with the descent. What it
    has saved by then is kept, as it is when Ctrl-C or SIGTERM ends it.
    """
    mpl.use("Agg")
    place = None
    failure, code = None, OK
    try:
        with input_errors():
            place = Run(name, config)
        try:
            with _told_to_end(), jax.enable_x64(True), mc.plots.style():
                failure = experiment(config, place)
        except KeyboardInterrupt:
            kept = "what was done by then is kept" if place.holds_results() else "nothing is kept"
            failure, code = f"interrupted before the end; {kept}", INTERRUPTED
        place.finish(failure)
    except InputError as error:
        failure, code = " ".join(str(error).split()), BAD_INPUT
    finally:
        if place is not None:
            place.discard()
    if failure is not None:
        print(f"error: {failure}", file=sys.stderr, flush=True)
    return code or (OK if failure is None else FAILED)


@contextmanager
def _told_to_end() -> Iterator[None]:
    """Inside it SIGTERM, by which schedulers end what takes too long, is as Ctrl-C."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # which alone hears of it
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(spec: ModuleSpec | None, experiment: Experiment[C], config_type: type[C]) -> int:
    """The command line of an experiment, made of the fields of its configuration."""
    name = "experiment" if spec is None else spec.name.rpartition(".")[2]
    try:
        with input_errors():
            arguments = with_saved_options(sys.argv[1:], name)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    config = tyro.cli(
        config_type,
        prog=f"python -m experiments.{name}",
        description=f"{config_type.__doc__}\n\n"
        "--config FILE: take the options of an earlier run from its config.json; "
        "options given beside it override them.",
        args=arguments,
    )
    return run(name, experiment, config)


def with_saved_options(arguments: Sequence[str], name: str) -> list[str]:
    """The arguments with ``--config FILE`` replaced by the options saved in the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not the config.json of a run of this experiment.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    known, others = parser.parse_known_args(arguments)
    if known.config is None:
        return others
    try:
        record = json.loads(Path(known.config).read_text(encoding="utf-8"))
        saved, options = record["experiment"], record["config"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{known.config} is not the config.json of an experiment") from None
    if saved != name:
        raise ValueError(f"{known.config} is of the experiment {saved}, not {name}")
    return [*(token for key, value in options for token in _tokens(key, value)), *others]


def _tokens(key: str, value: Any) -> list[str]:
    """A saved option as it is given on the command line."""
    option = "--" + key.replace("_", "-")
    if isinstance(value, bool):
        return [option] if value else []
    if isinstance(value, list):
        return [option, *map(str, value)]
    return [f"{option}={value}"]  # which may begin with a minus


def _as_json(config: Config) -> dict[str, Any]:
    """The configuration without the folder, which the next run must choose anew."""
    fields = dataclasses.asdict(config)
    del fields["out"]
    return {k: str(v) if isinstance(v, Path) else v for k, v in fields.items()}


def _shown(path: Path) -> str:
    """The path as short as it can be said from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
