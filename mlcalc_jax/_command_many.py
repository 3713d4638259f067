"""``python -m mlcalc_jax fit-many``: a stack of spectra, spots or pixels, fitted onto the disk."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ._many import ManyFits, fit_many
from ._options import CONVERGED, NOT_CONVERGED, STOPPED, limits, model_of, names, numbers


def add_to(commands: Any) -> None:
    """Add the command and its options to a parser's commands."""
    add = commands.add_parser(
        "fit-many", help="fit a model to every row, spot or pixel of a stack"
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
    y = _array(options.file)
    image = y.shape[:-1] if options.pixels else None
    if image is not None and len(image) < 2:
        raise ValueError(f"--pixels needs (rows, columns, points), got shape {y.shape}")
    out = (options.out or Path(f"fits-{options.file.stem}.zarr")).expanduser().absolute()
    picture = out.with_name(f"{out.name}.png") if image is not None and len(image) == 2 else None
    if picture and picture.exists() and not out.exists():  # else it is of the run to carry on with
        raise ValueError(f"{picture.name} exists: choose another --out, or move it away")

    def of_fits(file: Path) -> Any:
        """Of one fit, or of all as y is."""
        array = _array(file)
        return _Pixels(array) if image is not None and array.shape == y.shape else array

    try:
        found = fit_many(
            model_of(options.model),
            numbers("start", options.start) if options.start else None,
            _predictors(options.x, y if image is None else _Pixels(y), of_fits),
            y if image is None else _Pixels(y),
            of_fits(options.sigma) if options.sigma else None,
            absolute_sigma=options.absolute_sigma,
            mask=of_fits(options.mask) if options.mask else None,
            loss=options.loss,
            bounds=limits(options.bounds) if options.bounds else None,
            fixed=names(options.fixed) if options.fixed else (),
            covariance=options.covariance,
            steps=options.steps,
            tolerance=options.tolerance,
            polish=options.polish,
            out=out,
            resume=options.resume,
            progress=sys.stderr.isatty(),
        )
    except FileExistsError:
        raise ValueError(f"{out.name} exists: --resume carries on with it") from None
    except KeyboardInterrupt:
        kept = f"; {out.name} has what is done, and --resume carries on" if out.exists() else ""
        print(f"stopped{kept}", file=sys.stderr)
        return STOPPED
    print(found.report())
    print(f"\nresults: {out.name}")
    if image is not None and picture is not None:
        _draw(found, image, picture)
        print(f"maps: {picture.name}")
    if not found.success.any():
        print("error: no fit has converged", file=sys.stderr)
        return NOT_CONVERGED
    return CONVERGED


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
        return np.load(file, mmap_mode="r")
    try:
        import zarr
    except ImportError as error:
        raise ImportError('a Zarr array needs zarr: install "mlcalc_jax[stream]"') from error
    try:
        return zarr.open_array(file, mode="r")
    except Exception as error:
        raise ValueError(f"{file.name} is neither a .npy file nor a Zarr array") from error


def _predictors(files: str | None, y: Any, of_fits: Any) -> Any:
    """What the files hold; or the indices of the points, column first as x is in an image."""
    if files:
        x = tuple(of_fits(Path(file)) for file in names(files))
        return x if len(x) > 1 else x[0]
    axes = [np.arange(float(size)) for size in y.shape[1:]]
    return axes[0] if len(axes) == 1 else tuple(np.meshgrid(*axes[::-1], indexing="xy"))


def _draw(found: ManyFits, image: tuple[int, int], file: Path) -> None:
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
        figure.savefig(file)
