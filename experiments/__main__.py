"""List the experiments, and run the main job: both assignments and their comparison."""

import importlib
import pkgutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import tyro

import experiments

from ._run import INTERRUPTED, run, say
from ._run import Config as Common

MAIN_JOB = ("draw_curve", "fit_heights", "compare_optimisers")


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Run both assignments and their comparison, minutes of work; each leaves a folder."""

    list: tyro.conf.FlagCreatePairsOff[bool] = False
    """List the experiments and stop."""


def main() -> int:
    """Run the main job; the exit code is the highest of its experiments'."""
    config = tyro.cli(Config, prog="python -m experiments", description=Config.__doc__)
    say("experiments, each run by python -m experiments.NAME (--help says more):")
    for name, module in _experiments().items():
        say(f"  {name:<20}{(module.__doc__ or '').splitlines()[0]}")
    if config.list:
        return 0
    out = config.out or Path("results") / time.strftime("%Y%m%d-%H%M%S")
    codes = []
    for name in MAIN_JOB:
        module = importlib.import_module(f"experiments.{name}")
        say(f"\n== {name}")
        settings = module.Config(seed=config.seed, quick=config.quick, out=out / name)
        codes.append(run(name, module.experiment, settings))
        if codes[-1] == INTERRUPTED:
            break
    return max(codes)


def _experiments() -> dict[str, ModuleType]:
    """Every module beside this one that is an experiment, by name."""
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
    modules = {
        name: importlib.import_module(f"experiments.{name}")
        for name in names
        if not name.startswith("_")
    }
    return {name: module for name, module in modules.items() if hasattr(module, "experiment")}


if __name__ == "__main__":
    sys.exit(main())
