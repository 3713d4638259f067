"""What the commands share: exit codes, and what their options mean."""

import csv
import importlib.util
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from . import models

CONVERGED, NOT_CONVERGED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def model_of(name: str) -> Callable[..., Any]:
    """A model of the package, or a function of the user's file."""
    if ":" not in name:
        known = named_models()
        if name not in known:
            raise ValueError(f"there is no model {name!r}; there are {', '.join(known)}")
        return known[name]
    file, _, function = name.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise ValueError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{file} fails: {type(error).__name__}: {error}") from error
    model = getattr(module, function, None)
    if not callable(model):
        raise ValueError(f"{file} has no function {function!r}")
    return model


def named_models() -> dict[str, Callable[..., Any]]:
    """The models that take named parameters, by name."""
    members = inspect.getmembers(models, callable)
    return {
        name: member
        for name, member in members
        if getattr(member, "__module__", "") == models.__name__
        and name not in ("network", "starts_from", "Starting")
        and not name.startswith("_")
    }


def list_of_models() -> str:
    """Every model with its formula and its parameters."""
    lines = []
    for name, model in named_models().items():
        first, _, rest = (inspect.getdoc(model) or "").partition("\n")
        _, _, parameters = rest.partition("Parameters: ")
        lines += [f"{name}: {first}", f"    parameters: {' '.join(parameters.split())}"]
    return "\n".join(lines)


def names(text: str) -> list[str]:
    """``NAME,...``; a name with a comma in it stands in double quotes."""
    cells = next(csv.reader([text], skipinitialspace=True))
    return [cell.strip() for cell in cells or [""]]


def numbers(option: str, text: str) -> dict[str, float | list[float]]:
    """``NAME=VALUE,...``; a vector is ``NAME=VALUE:VALUE:...``."""
    found: dict[str, float | list[float]] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            first, *more = (float(one) for one in value.split(":"))
        except ValueError:
            raise ValueError(
                f"--{option} must be NAME=VALUE,..., or NAME=VALUE:VALUE:... for a vector, "
                f"got {part!r}"
            ) from None
        _once(option, name.strip(), found)
        found[name.strip()] = [first, *more] if more else first
    return found


def limits(text: str) -> dict[str, tuple[float | None, float | None]]:
    """``NAME=LOW:HIGH,...``, either may be left out."""
    bounds = dict[str, tuple[float | None, float | None]]()
    for part in text.split(","):
        name, _, pair = part.partition("=")
        low, colon, high = pair.partition(":")
        try:
            ends = [float(end) if end.strip() else None for end in (low, high)]
        except ValueError:
            ends = []
        if not colon or not ends:
            raise ValueError(f"--bounds must be NAME=LOW:HIGH,..., got {part!r}")
        _once("bounds", name.strip(), bounds)
        bounds[name.strip()] = (ends[0], ends[1])
    return bounds


def _once(option: str, name: str, found: Collection[str]) -> None:
    if name in found:
        raise ValueError(f"--{option} names {name!r} twice")
