"""Problems by name, for command lines."""

import inspect
import re
from collections.abc import Callable
from functools import partial

from ._base import Problem
from ._course import curve, heights
from ._mgh import MGH, more_garbow_hillstrom
from ._regressions import line, logistic_regression
from ._surfaces import beale, himmelblau, quadratic, ravine, rosenbrock, saddle

_COURSE = {"heights": heights, "curve": curve}
_REGRESSIONS = {"line": line, "logistic_regression": logistic_regression}
_SURFACES = {
    "quadratic": quadratic,
    "rosenbrock": rosenbrock,
    "beale": beale,
    "himmelblau": himmelblau,
    "saddle": saddle,
    "ravine": ravine,
}
# What is a surface as well is one here, for its named parameters and its view.
_ALL: dict[str, Callable[..., Problem]] = (
    {name: partial(more_garbow_hillstrom, name) for name in MGH}
    | _COURSE
    | _REGRESSIONS
    | _SURFACES
)

#: What :func:`named` knows.
NAMES = (*_COURSE, *_REGRESSIONS, *_SURFACES, *(name for name in MGH if name not in _SURFACES))

#: Sets of names, for a race over many problems.
SETS = {
    "course": tuple(_COURSE),
    "regressions": tuple(_REGRESSIONS),
    "surfaces": tuple(_SURFACES),
    "mgh": MGH,
    "all": NAMES,
}

_CALL = re.compile(r"\s*(\w+)\s*(?:\((?P<inside>[^()]*)\)|:(?P<after>[^()]*))?\s*")


def named(name: str) -> Problem:
    """The problem of that name, one of ``NAMES``: ``"rosenbrock"``, ``"bard"``.

    Numbers and words may follow in brackets or after colons, as the function of that name takes
    them: ``"quadratic(1000, 10)"`` and ``"quadratic:1000:10"`` are ``quadratic(1000, 10)``, and
    ``"curve(spiral)"`` is ``curve("spiral")``. The name of a problem that it returns gives the same
    problem again, if its numbers have 12 digits at most.

    Raises:
        ValueError: an unknown name, or arguments that its function does not take.
        TypeError: an argument of the wrong kind.
    """
    call = _CALL.fullmatch(name)
    if call is None or call[1] not in _ALL:
        raise ValueError(f"there is no problem {name!r}; the problems are {', '.join(NAMES)}")
    inside, after = call["inside"], call["after"]
    words = inside.split(",") if inside else after.split(":") if after else []
    factory = _ALL[call[1]]
    arguments = [_value(word.strip()) for word in words]
    signature = inspect.signature(factory)
    try:
        signature.bind(*arguments)
    except TypeError:
        raise ValueError(
            f"{call[1]}{_without_types(signature)} does not take the arguments of {name!r}"
        ) from None
    return factory(*arguments)


def _value(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word.strip("'\"")


def _without_types(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"
