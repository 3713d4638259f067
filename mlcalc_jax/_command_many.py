"""``python -m mlcalc_jax fit-many``: a stack of spectra, spots or pixels, fitted onto the disk."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ._many import ManyFits, fit_many
from ._many._store import local
from ._options import CONVERGED, NOT_CONVERGED, STOPPED, limits, model_of, names, numbers
from ._whole import written_whole


def add_to(commands: Any) -> None:
    """Add the command and its options to a parser's commands."""
    add = commands.add_parser(
        "fit-many",
        help="fit a model to every row, spot or pixel of a stack",
        description="Fit a model to every row, spot or pixel of a stack; returns 0, 1 if no fit "
        "converged, 2 for input it cannot use or a disk it cannot write to, 130 if it was stopped "
        "by Ctrl-C: --resume then carries on.",
    ).add_argument
    add(
        "file",
        type=Path,
        help="a .npy file or .zarr array: (fits, points), or (fits, rows, columns)",
    )
    add("--pixels", action="store_true", help="each pixel is a fit: (rows, columns, points)")
    add("--model", required=True, help="one of the models, or FILE.py:FUNCTION for f(params, x)")
    add("--x", help="FILE,... of the predictors, .npy or .zarr; indices of the points unless given")
    add("--sigma", type=Path, help="file of the standard deviations, of one fit or of all")
    add("--absolute-sigma", action="store_true", help="sigma is in the unit of the data")
    add("--mask", type=Path, help="file of which points count, of one fit or of all")
    add(
        "--start",
        help="NAME=VALUE,... of the parameters, NAME=VALUE:VALUE:... of a vector; "
        "the model's own guess unless given",
    )
    add("--fixed", help="NAME,... to leave at their start")
    add("--bounds", help="NAME=LOW:HIGH,...; either may be left out")
    add("--loss", help="soft_l1, huber, cauchy, arctan or poisson")
    add("--covariance", action="store_true", help="keep the covariance matrix of every fit")
    add("--steps", type=int, default=100, help="at most so many evaluations a fit (100)")
    add("--tolerance", type=float, help="of convergence; 1e-4 in float32, 1e-8 in float64")
    add("--polish", action="store_true", help="repeat in float64 what float32 did not finish")
    add(
        "--out",
        type=Path,
        help="Zarr group for the results, fits-FILE.zarr unless given; maps of --pixels are beside "
        "it, in OUT.png",
    )
    add("--resume", action="store_true", help="carry on with an --out that is there")


def run(options: argparse.Namespace) -> int:
    """Fit, with a bar on a terminal; print the report, and draw maps of an image."""
    out = local(options.out or f"fits-{options.file.stem}.zarr").absolute()
    try:
        return _run(options, out)
    except KeyboardInterrupt:
        print(f"stopped{_kept(out)}", file=sys.stderr)
        return STOPPED


def _run(options: argparse.Namespace, out: Path) -> int:
    y = _array(options.file)
    image = y.shape[:-1] if options.pixels else None
    if image is not None and len(image) < 2:
        raise ValueError(f"--pixels needs (rows, columns, points), got shape {y.shape}")
    picture = out.with_name(f"{out.name}.png") if image is not None and len(image) == 2 else None
    if picture and picture.exists() and not out.exists():  # else it is of the run to carry on with
        raise ValueError(f"{picture.name} exists: choose another --out, or move it away")
    found = _fitted(options, out, y, image)
    print(found.report())
    print(f"\nresults: {out.name}")
    if image is not None and picture is not None:
        later = f"; {out.name} has every fit, and --resume draws the maps"
        try:
            _draw(found, image, picture)
        except KeyboardInterrupt:
            print(f"stopped{later}", file=sys.stderr)
            return STOPPED
        except OSError as error:
            raise OSError(f"{error}{later}") from error
        print(f"maps: {picture.name}")
    if not found.success.any():
        print("error: no fit has converged", file=sys.stderr)
        return NOT_CONVERGED
    return CONVERGED


def _fitted(
    options: argparse.Namespace, out: Path, y: Any, image: tuple[int, ...] | None
) -> ManyFits:
    """The fits; what was done before the disk was full is kept."""

    def of_fits(file: Path) -> Any:
        """Of one fit, or of all as y is."""
        array = _array(file)
        return _Pixels(array) if image is not None and array.shape == y.shape else array

    rows = y if image is None else _Pixels(y)
    x = _predictors(options.x, rows, of_fits)
    sigma, mask = (of_fits(f) if f else None for f in (options.sigma, options.mask))
    try:
        return fit_many(
            model_of(options.model),
            numbers("start", options.start) if options.start else None,
            x,
            rows,
            sigma,
            absolute_sigma=options.absolute_sigma,
            mask=mask,
            loss=options.loss,
            bounds=limits(options.bounds) if options.bounds else None,
            fixed=names(options.fixed) if options.fixed else (),
            covariance=options.covariance,
            steps=options.steps,
            tolerance=options.tolerance,
            polish=options.polish,
            out=out,
            resume=options.resume,
            progress=sys.stderr.isatty() and find_spec("tqdm") is not None,
        )
    except FileExistsError:
        raise ValueError(f"{out.name} exists: --resume carries on with it") from None
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(f"{error}{_kept(out)}") from error


def _kept(out: Path) -> str:
    """What there is, if anything, when a run ends too soon."""
    return f"; {out.name} has what is done, and --resume carries on" if out.exists() else ""


class _Pixels:
    """An image whose pixels are the fits, (fits, points), read some rows of the image at a time."""

    def __init__(self, image: Any) -> None:
        self.image, self.dtype = image, image.dtype
        self.pixels = int(np.prod(image.shape[1:-1]))  # of a row of the image
        self.shape = (image.shape[0] * self.pixels, image.shape[-1])
        self.ndim = 2

    def __getitem__(self, which: slice) -> np.ndarray:
        start, stop, _ = which.indices(self.shape[0])
        first, last = start // self.pixels, -(-stop // self.pixels)
        rows = np.asarray(self.image[first:last]).reshape(-1, self.shape[1])
        return rows[start - first * self.pixels : stop - first * self.pixels]


def _array(file: Path) -> Any:
    """An array on the disk, not read yet."""
    if not file.exists():
        raise FileNotFoundError(f"there is no {file.name}")
    if file.suffix == ".npy":
        return _memory_map(file)
    try:
        import zarr
    except ImportError as error:
        raise ImportError('a Zarr array needs zarr: install "mlcalc_jax[stream]"') from error
    try:
        return zarr.open_array(file, mode="r")
    except Exception as error:
        raise ValueError(f"{file.name or file} is neither a .npy file nor a Zarr array") from error


def _memory_map(file: Path) -> np.ndarray:
    try:
        array = np.load(file, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{file.name} is cut short, or no .npy file of numbers") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"{file.name} holds several arrays: save each as a .npy file")
    return array


def _predictors(files: str | None, y: Any, of_fits: Any) -> Any:
    """What the files hold; or the indices of the points, column first as x is in an image."""
    if files:
        x = tuple(of_fits(Path(file)) for file in names(files))
        return x if len(x) > 1 else x[0]
    axes = [np.arange(float(size)) for size in y.shape[1:]]
    return axes[0] if len(axes) == 1 else tuple(np.meshgrid(*axes[::-1], indexing="xy"))


def _draw(found: ManyFits, image: tuple[int, int], file: Path) -> None:
    """Maps in a file that is either whole or as it was."""
    import matplotlib as mpl

    mpl.use("Agg")
    from . import plots

    parameters = list(found.params)
    rows = -(-(len(parameters) + 1) // 2)
    with plots.style():
        figure = plots.figure(10, 4 * rows)
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for name, ax in zip(parameters, axes, strict=False):
            plots.parameter_map(found, name, image, ax=ax)
        plots.status_map(found, image, ax=axes[len(parameters)])
        for ax in axes[len(parameters) + 1 :]:
            ax.remove()
        with written_whole(file) as part:
            figure.savefig(part, format="png")
