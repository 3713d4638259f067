"""NIST's 27 nonlinear-regression problems, with certified answers to 11 digits."""

import re
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

_FILES = Path(__file__).parent / "files" / "nist"


class NistProblem(NamedTuple):
    """Data and certificate of one problem; parameters are b1, b2, ... in order, pure numbers."""

    name: str
    model: Callable[[Any, Any], Any]  #: f(b, x), b a vector
    x: Any  #: the predictor, or the pair of them (Nelson)
    y: Float[np.ndarray, "points"]  #: the response (its logarithm for Nelson)
    starts: tuple[Float[np.ndarray, "parameters"], Float[np.ndarray, "parameters"]]
    certified: Float[np.ndarray, "parameters"]
    certified_stderr: Float[np.ndarray, "parameters"]
    residual_sum_of_squares: float

    @property
    def degrees_of_freedom(self) -> int:
        """Points less parameters."""
        return self.y.size - self.certified.size


def nist(name: str) -> NistProblem:
    """The problem of that name, such as "Misra1a"; ``NIST`` has all names.

    Source: NIST Statistical Reference Datasets, nonlinear regression. Lanczos1's residual sum of
    squares (1e-25) is below what 11 digits of its parameters can give.

    Raises:
        ValueError: there is no problem of that name.
    """
    if name not in _MODELS:
        raise ValueError(f"there is no NIST problem {name!r}; there are {', '.join(NIST)}")
    lines = (_FILES / f"{name}.dat").read_text(encoding="ascii").splitlines()
    table = [line.split("=")[1].split() for line in lines if re.match(r"\s*b\d+\s*=", line)]
    start_1, start_2, certified, stderr = np.array(table, float).T
    first, last = _lines_of_data(lines)
    y, *predictors = np.array([line.split() for line in lines[first - 1 : last]], float).T
    if name == "Nelson":
        y = np.log(y)
    x = predictors[0] if len(predictors) == 1 else tuple(predictors)
    rss = next(line for line in lines if line.startswith("Residual Sum of Squares"))
    return NistProblem(
        name,
        _MODELS[name],
        x,
        y,
        (start_1, start_2),
        certified,
        stderr,
        float(rss.split(":")[1]),
    )


def _lines_of_data(lines: Sequence[str]) -> tuple[int, int]:
    """The first and last line of the data, counted from 1, as the header gives them."""
    pattern = re.compile(r".*\bData\s+\(lines\s+(\d+)\s+to\s+(\d+)\)")
    first, last = next(match.groups() for match in map(pattern.match, lines) if match)
    return int(first), int(last)


def _horner(coefficients: Sequence[Any], x: Any) -> Any:
    """A polynomial, lowest power first."""
    return reduce(lambda so_far, c: so_far * x + c, reversed(coefficients))


def _ratio(above: int) -> Callable[[Any, Any], Any]:
    """Ratio of polynomials; the first ``above`` parameters are those of the numerator."""

    def ratio(b: Any, x: Any) -> Any:
        b = [b[k] for k in range(2 * above - 1)]
        return _horner(b[:above], x) / (1 + x * _horner(b[above:], x))

    return ratio


def _two_peaks(b: Any, x: Any) -> Any:
    first = b[2] * jnp.exp(-(((x - b[3]) / b[4]) ** 2))
    second = b[5] * jnp.exp(-(((x - b[6]) / b[7]) ** 2))
    return b[0] * jnp.exp(-b[1] * x) + first + second


def _three_decays(b: Any, x: Any) -> Any:
    return sum(b[k] * jnp.exp(-b[k + 1] * x) for k in (0, 2, 4))


def _seasons(b: Any, x: Any) -> Any:
    def wave(cosine: Any, sine: Any, period: Any) -> Any:
        angle = 2 * jnp.pi * x / period
        return cosine * jnp.cos(angle) + sine * jnp.sin(angle)

    return b[0] + wave(b[1], b[2], 12.0) + wave(b[4], b[5], b[3]) + wave(b[7], b[8], b[6])


def _chwirut(b: Any, x: Any) -> Any:
    return jnp.exp(-b[0] * x) / (b[1] + b[2] * x)


def _saturation(b: Any, x: Any) -> Any:
    return -b[0] * jnp.expm1(-b[1] * x)


def _bennett(b: Any, x: Any) -> Any:
    return b[0] * (b[1] + x) ** (-1 / b[2])


def _dan_wood(b: Any, x: Any) -> Any:
    return b[0] * x ** b[1]


def _eckerle(b: Any, x: Any) -> Any:
    return b[0] / b[1] * jnp.exp(-(((x - b[2]) / b[1]) ** 2) / 2)


def _mgh09(b: Any, x: Any) -> Any:
    return b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3])


def _mgh10(b: Any, x: Any) -> Any:
    return b[0] * jnp.exp(b[1] / (x + b[2]))


def _mgh17(b: Any, x: Any) -> Any:
    return b[0] + b[1] * jnp.exp(-x * b[3]) + b[2] * jnp.exp(-x * b[4])


def _misra1b(b: Any, x: Any) -> Any:
    return b[0] * (1 - (1 + b[1] * x / 2) ** -2)


def _misra1c(b: Any, x: Any) -> Any:
    return b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5)


def _misra1d(b: Any, x: Any) -> Any:
    return b[0] * b[1] * x / (1 + b[1] * x)


def _nelson(b: Any, x: Any) -> Any:
    return b[0] - b[1] * x[0] * jnp.exp(-b[2] * x[1])


def _rat42(b: Any, x: Any) -> Any:
    return b[0] / (1 + jnp.exp(b[1] - b[2] * x))


def _rat43(b: Any, x: Any) -> Any:
    return b[0] / (1 + jnp.exp(b[1] - b[2] * x)) ** (1 / b[3])


def _roszman(b: Any, x: Any) -> Any:
    return b[0] - b[1] * x - jnp.arctan(b[2] / (x - b[3])) / jnp.pi


_cubics, _quadratics = _ratio(4), _ratio(3)

_MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "Bennett5": _bennett,
    "BoxBOD": _saturation,
    "Chwirut1": _chwirut,
    "Chwirut2": _chwirut,
    "DanWood": _dan_wood,
    "ENSO": _seasons,
    "Eckerle4": _eckerle,
    "Gauss1": _two_peaks,
    "Gauss2": _two_peaks,
    "Gauss3": _two_peaks,
    "Hahn1": _cubics,
    "Kirby2": _quadratics,
    "Lanczos1": _three_decays,
    "Lanczos2": _three_decays,
    "Lanczos3": _three_decays,
    "MGH09": _mgh09,
    "MGH10": _mgh10,
    "MGH17": _mgh17,
    "Misra1a": _saturation,
    "Misra1b": _misra1b,
    "Misra1c": _misra1c,
    "Misra1d": _misra1d,
    "Nelson": _nelson,
    "Rat42": _rat42,
    "Rat43": _rat43,
    "Roszman1": _roszman,
    "Thurber": _cubics,
}

#: The names of all problems.
NIST: tuple[str, ...] = tuple(_MODELS)
