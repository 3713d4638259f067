"""``python -m mlcalc_jax``: fits from the command line, and pictures to play with in a window."""

import argparse
import json
import os
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import _command_many, data
from ._fit import fit
from ._options import (
    BAD_INPUT,
    CONVERGED,
    NOT_CONVERGED,
    STOPPED,
    limits,
    list_of_models,
    model_of,
    names,
    numbers,
)
from ._path import Status
from ._problem import model_name
from ._result import Fit
from .calculus import expression

#: What messages for Python say, and what to say here.
_WORDS = {"give params, the start": "give the start with --start"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, 1 if a fit did not converge, 2 for input it cannot use.

    Of many fits, 1 if none converged. Ctrl-C ends it with 130.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    run = {"fit": _fit, "fit-many": _command_many.run, "explore": _explore}.get(options.command)
    if run:
        try:
            return run(options)
        except BrokenPipeError:  # no error of the input: whoever read the output has gone
            raise
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return STOPPED
        except (ValueError, TypeError, OSError, ImportError, NotImplementedError) as error:
            print(f"error: {_said(error)}", file=sys.stderr)
            return BAD_INPUT
        except Exception as error:
            if not _is_of_a_file(error, getattr(options, "model", "")):
                raise
            said = f"{options.model} fails: {type(error).__name__}: {error}"
            print(f"error: {' '.join(said.split())}", file=sys.stderr)
            return BAD_INPUT
    if options.command == "models":
        print(list_of_models())
    else:
        parser.print_help()
    return 0


def _is_of_a_file(error: Exception, model: str) -> bool:
    """Whether an error comes from the file of a ``FILE.py:FUNCTION``, or from what that calls."""
    file = str(model).rpartition(":")[0]
    frames = traceback.walk_tb(error.__traceback__)
    return bool(file) and any(
        frame.f_code.co_filename == os.path.abspath(file) for frame, _ in frames
    )


def _said(error: Exception) -> str:
    """An error on one line, in the words of the options."""
    text = " ".join(str(error).split())
    for word, option in _WORDS.items():
        text = text.replace(word, option)
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mlcalc_jax", description=main.__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("models", help="list the models and their parameters")
    add = commands.add_parser("fit", help="fit a model to columns of a CSV file").add_argument
    add(
        "file",
        help="a CSV file; the columns of one without a header, whose first row is numbers, are "
        "called 0, 1, ...",
    )
    add(
        "--x",
        required=True,
        help="column of the predictor, or several with commas between them; a name with a comma "
        "in it in double quotes",
    )
    add("--y", required=True, help="column of the response")
    add("--sigma", help="column of the standard deviations of y")
    add("--absolute-sigma", action="store_true", help="sigma is in the unit of y")
    add("--model", required=True, help="one of the models, or FILE.py:FUNCTION for f(params, x)")
    add(
        "--start",
        help="NAME=VALUE,... of the parameters, NAME=VALUE:VALUE:... of a vector; "
        "the model's own guess unless given",
    )
    add("--fixed", help="NAME,... to leave at their start")
    add("--bounds", help="NAME=LOW:HIGH,...; either may be left out")
    add("--loss", help="soft_l1, huber, cauchy, arctan or poisson")
    add("--level", type=float, default=0.95, help="of the confidence band (0.95)")
    add("--x-label", help="of the axis; the column's name unless given")
    add("--y-label", help="of the axis; the column's name unless given")
    add("--out", type=Path, help="folder for report, figure and JSON, new or empty; fit-FILE")
    _command_many.add_to(commands)
    add = commands.add_parser(
        "explore", help="play with secants, Taylor polynomials or a surface in a window"
    ).add_argument
    add("what", choices=["slope", "taylor", "surface"])
    add("--function", required=True, help="a formula in x, or for a surface in x and y")
    add("--at", type=float, default=0.0, help="where to begin (0); a surface's middle is 0, 0")
    add("--radius", type=float, default=3.0, help="how far the picture reaches (3)")
    return parser


def _explore(options: argparse.Namespace) -> int:
    import matplotlib.pyplot as plt
    from matplotlib.backends.registry import BackendFilter, backend_registry

    from . import plots

    if plt.get_backend().lower() not in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
        raise ValueError(
            "no window can be opened here; in Jupyter, mlcalc_jax.plots.explore_* do the same "
            "after %matplotlib widget"
        )
    if options.what == "surface":
        f = expression(options.function, ("x", "y"))
        reach = -options.radius, options.radius
        shown = plots.explore_surface(f, x=("x", *reach), y=("y", *reach))
    else:
        f = expression(options.function)
        if options.what == "slope":
            shown = plots.explore_slope(f, options.at, radius=options.radius)
        else:
            shown = plots.explore_taylor(f, options.at, reach=options.radius)
    plt.show()
    del shown  # its widgets were alive until the window was closed
    return 0


def _fit(options: argparse.Namespace) -> int:
    predictors = names(options.x)
    wanted = [*predictors, options.y, *([options.sigma] if options.sigma else [])]
    columns = dict(zip(wanted, data.read_columns(options.file, wanted), strict=True))
    x: Any = tuple(columns[name] for name in predictors)
    out = (options.out or Path(f"fit-{Path(options.file).stem}")).expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out.name} already holds something: choose another --out")
    if not 0 < options.level < 1:
        raise ValueError(f"level must be between 0 and 1, got {options.level}")
    start = numbers("start", options.start) if options.start else {}
    found = fit(
        model_of(options.model),
        {name: np.asarray(value) for name, value in start.items()} or None,
        x if len(predictors) > 1 else x[0],
        columns[options.y],
        columns[options.sigma] if options.sigma else None,
        absolute_sigma=options.absolute_sigma,
        fixed=names(options.fixed) if options.fixed else (),
        bounds=limits(options.bounds) if options.bounds else None,
        loss=options.loss,
    )
    print(found.report())
    _write(found, options, out)
    print(f"\nresults: {out.name}")
    if not found.success:
        print(f"error: {found.message}", file=sys.stderr)
    return CONVERGED if found.success else NOT_CONVERGED


def _write(found: Fit, options: argparse.Namespace, out: Path) -> None:
    """Report, figure and JSON, in a folder that is either whole or not there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    part.mkdir()
    try:
        (part / "report.txt").write_text(found.report() + "\n", encoding="utf-8")
        text = json.dumps(as_json(found), indent=2, allow_nan=False)
        (part / "fit.json").write_text(text + "\n", encoding="utf-8")
        if not isinstance(found.problem.x, tuple):
            _draw(found, options, part)
        if out.exists():
            out.rmdir()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _draw(found: Fit, options: argparse.Namespace, folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from . import plots

    ax = plots.fit(
        found,
        x_label=options.x_label or names(options.x)[0],
        y_label=options.y_label or options.y,
        level=options.level,
    )
    for kind in ("png", "svg"):
        ax.figure.figure.savefig(folder / f"fit.{kind}")


def as_json(found: Fit) -> Mapping[str, Any]:
    """A fit as what strict JSON can hold; NaN and infinity are null."""
    fixed = set(range(len(found.names))) - set(found.freedom.free)
    values, errors = found._flat(), np.sqrt(np.diag(found.covariance))
    parameters = {
        name: {
            "value": _number(values[k]),
            "stderr": _number(errors[k]),
            "fixed": k in fixed,
            "undetermined": bool(found.undetermined[k]),
        }
        for k, name in enumerate(found.names)
    }
    statistics = ("cost", "chi_squared", "reduced_chi_squared", "aic", "bic", "r_squared")
    return {
        "model": model_name(found.model),
        "converged": bool(found.success),
        "status": Status(int(found.status)).name,
        "message": found.message,
        "parameters": parameters,
        "covariance": [[_number(value) for value in row] for row in found.covariance],
        "points": int(found.points),
        "degrees_of_freedom": int(found.degrees_of_freedom),
        **{name: _number(getattr(found, name)) for name in statistics},
        "absolute_sigma": found.absolute_sigma,
        "evaluations": int(found.evaluations),
        "jax": jax.__version__,
    }


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
