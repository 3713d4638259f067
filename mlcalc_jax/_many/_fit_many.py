"""The front door: ``fit_many``."""

import hashlib
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _check
from .._precision import holds_tracer
from .._problem import hashed, model_name
from .._progress import Progress, shown, told
from .._types import Model, Params
from ..losses import NAMED, Poisson
from . import _run
from ._descent import Settings, results
from ._fits import ManyFits, meanings
from ._input import Bounds, Input, checked, storable
from ._memory import side_by_side
from ._rows import Found
from ._store import FORMAT, Store, as_digest, digest, local, opened, plain

_GUESSED = 8  # starts of which a group keeps a note


def fit_many(
    model: Model,
    params: Params | None,
    x: Any,
    y: Any,
    sigma: Any = None,
    *,
    absolute_sigma: bool = False,
    mask: Any = None,
    loss: Any = None,
    bounds: Bounds | None = None,
    fixed: Iterable[str] | Mapping[str, Any] = (),
    covariance: bool = False,
    steps: int = 100,
    tolerance: float | None = None,
    polish: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | bool | None = None,
) -> ManyFits:
    """Fit one model to each row of ``y``: millions of small independent problems.

    Each fit is Levenberg-Marquardt on the normal equations, with Marquardt's scaling and Nielsen's
    rule for the damping. A fit that goes wrong ends in a status of its own and touches no other.
    Fits that need more steps than most are gathered and carried on together. All cores of a CPU
    work, or all accelerators of the machine. On a GPU all of a descent is one kernel, a fit a
    thread, if the model works number by number, point by point, in functions that the compiler of
    kernels knows (erf is none); any other goes as on a CPU, several times slower. Small arrays
    within a model (``jnp.stack``, products of matrices, sums over them, loops of a known length)
    are written out as numbers, here as there. A ``y`` that is in the memory of a GPU stays there.

    The normal equations square the condition number of the Jacobian: in float32 some 3 digits of a
    well-conditioned problem are exact, in float64 some 8; where that does not do, :func:`fit` is
    more careful. In float32 a fit ends where rounding hides what the cost could still fall; then
    parameters of a well-conditioned problem are within some 0.01 of their standard errors, and
    these within 0.3 %; or within some ``eps |y|`` over the noise, if that is more. A fit of which
    rounding spoils the standard errors by more than 3 % is SINGULAR.

    ``y``, ``sigma``, ``mask`` and an ``x`` of each fit may be larger than memory: anything with
    ``shape``, ``dtype`` and slices, such as a ``numpy.memmap`` or a Zarr array, is read window by
    window. With ``out`` the results are written as they come; a run that was killed, at whatever
    moment, is carried on with by ``resume=True``, and its results are the same bit for bit. Where
    ``jax.distributed`` is initialised, each process takes its share of the windows, and ``out``
    must be a folder that all see.

    Args:
        model: a pure function ``f(params, x) -> y`` of one fit, points along the last axis.
        params: the start, a pytree of numbers: one for all fits, or an array of one for each, never
            a vector of parameters (a list of numbers may be one); None asks the model for its own
            guess, fit by fit, of which bounds take the nearest value that they allow.
        x: of one fit, (points,) or a pytree of them, for all; or (fits, points).
        y: (fits, points); of images (fits, height, width), with x, sigma and mask alike. Its dtype
            decides the precision; integers of up to 16 bits and half precision are
            computed in float32.
        sigma: standard deviations, (points,) or (fits, points); 1 unless given.
        absolute_sigma: whether sigma is in the unit of y; if not, only ratios count. Counts under a
            Poisson loss have their own variance, and it is absolute.
        mask: which points count, (points,) or (fits, points); so rows of different length are
            padded. What is masked may be NaN.
        loss: one of :mod:`mlcalc_jax.losses`, or its name: "soft_l1", "huber", "cauchy", "arctan",
            "poisson" (maximum likelihood for counts). Its numbers are those of all fits and points.
            Standard errors under a robust loss are as rough as those of :func:`fit`.
        bounds: (low, high) by the name of a parameter, each a number or one for each fit; None for
            no bound. A parameter that ends at a bound equals it; its standard error does not hold.
        fixed: names of parameters that stay at their start; or a mapping of names to True, False or
            one of them for each fit.
        covariance: whether to return the covariance matrix of each fit.
        steps: at most so many evaluations a fit.
        tolerance: a fit has converged when the part of the residuals that the parameters can still
            reach is shorter than this times the residuals; 1e-4 in float32 and 1e-8 in float64
            unless given. The step that remains is taken, and not evaluated again: chi-squared and
            covariance are of the point before it, relatively some tolerance^2 and tolerance away.
        polish: whether float32 fits that have not converged are repeated in float64.
        out: a folder for the results, a Zarr group; needs ``mlcalc_jax[stream]``.
        resume: whether to carry on with a group that is there and was made with these settings. (Of
            y, and of x, sigma and mask of each fit, shape and first and last rows are compared.)
        progress: called with the number of fits that are done and that of all, as they come; True
            shows a bar, and needs tqdm.

    Returns:
        the fits, as NumPy arrays, or as JAX arrays where ``y`` is in the memory of a GPU, or the
        arrays of the group. An all-masked fit, or one with fewer points than parameters, is
        SINGULAR; one that is not finite at its start, data included, is NON_FINITE, and so is one
        whose squares the precision cannot hold (in float32, y of 1e19, or residuals of 1e-17).

    Raises:
        TypeError: parameters or data that are not real numbers; a model that is no function;
            anything that is traced.
        ValueError: no fits; a masked array that masks something; shapes that do not go together, or
            go together in two ways; sigma that is not above zero, counts below zero; an unknown
            name in ``bounds`` or ``fixed``; bounds that do not rise, or without the start;
            parameters of one name, or of names that ``out`` cannot store; an ``out`` of other
            settings.
        FileExistsError, BlockingIOError: ``out`` is there already, or is being written.
        OSError: the disk is full, or may not be written.

    Source: Madsen, Nielsen and Tingleff, Methods for Non-Linear Least Squares Problems (2004).
    Counts: Laurence and Chromy, Efficient maximum likelihood estimator fitting of histograms
    (2010).
    """
    model = hashed(model)
    given = (model, params, x, y, sigma, mask, loss, bounds, fixed, steps, tolerance)
    if holds_tracer((given, getattr(loss, "rho", None))):
        raise TypeError("fit_many takes arrays of numbers; inside jit or vmap use fit")
    steps = _check.steps(steps)
    if tolerance is not None:
        _check.positive("tolerance", tolerance)
        if np.ndim(tolerance):
            raise ValueError(f"tolerance must be one number, got shape {np.shape(tolerance)}")
        tolerance = float(tolerance)
    if resume and out is None:
        raise ValueError("resume needs out, the results to carry on with")
    with _check.traceable(model_name(model) if callable(model) else "the model"):
        data = checked(model, params, x, y, sigma, mask, loss, bounds, fixed)
        if out is not None:
            storable(data.names)
        settings = Settings(
            model,
            data.treedef,
            data.free,
            data.has_shared_x,
            bool(absolute_sigma or isinstance(data.loss, Poisson)),
            bool(covariance),
        )
        options = _run.Options(tolerance, steps, bool(polish))
        run = _Run(data, settings, options, told(progress, " fits"))
        return run.in_memory() if out is None else run.on_disk(Path(out).expanduser(), resume)


class _Run:
    """One call of :func:`fit_many`: where its results go."""

    def __init__(
        self,
        data: Input,
        settings: Settings,
        options: _run.Options,
        progress: Progress,
    ) -> None:
        self.data, self.settings, self.options, self.progress = data, settings, options, progress

    def in_memory(self) -> ManyFits:
        """All windows, in arrays."""
        data = self.data
        size = _run.part_size(data)
        parts = [(k, min(k + size, data.fits)) for k in range(0, data.fits, size)]
        found = {} if data.is_on_device else side_by_side(self._arrays(), data.fits)
        pieces = []
        with (
            shown(self.progress),
            closing(self._windows(parts, lambda *part: _sliced(found, *part))) as windows,
        ):
            for _, stop, some in windows:
                if data.is_on_device:
                    pieces.append(some)
                self.progress(stop, data.fits)
        if pieces:
            found = pieces[0] if len(pieces) == 1 else _joined(pieces)
        leaves = ([found[f"{what}/{name}"] for name in data.names] for what in ("params", "stderr"))
        params, stderr = (jax.tree.unflatten(data.treedef, each) for each in leaves)
        rest = ("cost", "chi_squared", "degrees_of_freedom", "status", "iterations")
        return ManyFits(params, stderr, found.get("covariance"), *(found[name] for name in rest))

    def on_disk(self, path: Path, resume: bool) -> ManyFits:
        """All windows that are not there yet, in a Zarr group."""
        path = local(path)
        data, (process, processes) = self.data, (jax.process_index(), jax.process_count())
        size, arrays = _run.window_size(data.points), self._arrays()
        settings, about = self._described(), self._about()
        with (
            Store(
                path, settings, about, arrays, data.fits, size, resume, process, processes
            ) as store,
            shown(self.progress),
        ):
            mine = list(store.windows())
            left = [part for part in mine if not (resume and store.is_done(*part))]
            total = sum(stop - start for start, stop in mine)
            done = total - sum(stop - start for start, stop in left)
            self.progress(done, total)
            # Where the first window is done, the others go on as they would have after it.
            is_known = bool(left) and left[0] != mine[0]
            known = store.arrays["iterations"][slice(*mine[0])] if is_known else None
            with closing(
                self._windows(left, lambda start, stop: side_by_side(arrays, stop - start), known)
            ) as windows:
                for start, stop, some in windows:
                    store.write(start, stop, jax.device_get(some))
                    done += stop - start
                    self.progress(done, total)
            store.finish()
        return opened(store.path)

    def _arrays(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """What is found of each fit: shape and dtype by name."""
        data, found = self.data, results(self.settings, self.data.dtype)
        params = {
            f"{what}/{name}": ((), data.dtype)
            for what in ("params", "stderr")
            for name in data.names
        }
        return params | {name: of for name, of in found.items() if name not in ("at", "stderr")}

    def _windows(
        self,
        parts: list[tuple[int, int]],
        place: _run.Place,
        known: np.ndarray | None = None,
    ) -> Generator[tuple[int, int, dict[str, Any]], None, None]:
        """What windows have found, by the names of the arrays: on the host those of ``place``."""
        data = self.data
        for start, stop, found in _run.windows(
            data,
            self.settings,
            parts,
            self.options,
            None if data.is_on_device else place,
            known,
        ):
            if data.is_on_device:
                with jax.enable_x64(data.dtype == np.float64):
                    found = _named(tuple(data.names), data.free, stop - start, found)
            yield start, stop, found

    def _about(self) -> dict[str, Any]:
        """What another program needs to read the results, as JSON."""
        from .. import __version__

        names = self.data.names
        return {
            "mlcalc_jax": __version__,
            "parameters": names,
            "covariance_of": [names[k] for k in self.data.free],
            "status_meanings": meanings(),
        }

    def _described(self) -> dict[str, Any]:
        """Everything the results depend on, as JSON: what a user gives before what follows."""
        data = self.data
        weights = {
            name: None if array is None else digest(array, ends=array.ndim > 1)
            for name, array in (("sigma", data.sigma), ("mask", data.mask))
        }
        return {
            "format": FORMAT,
            "jax": jax.__version__,
            "device": jax.local_devices()[0].device_kind,
            "fits": data.fits,
            "points": data.points,
            "dtype": data.dtype.name,
            "y": digest(data.y, ends=True),
            "x": digest(*jax.tree.leaves(data.x), ends=not data.has_shared_x),
            "model": model_name(data.model),
            "parameters": data.names,
            "model_code": _code_of_model(data),
            "start": "guess" if data.guess else self._by_name(map(plain, data.starts)),
            "guess": self._guessed() if data.guess else None,
            "sigma": weights["sigma"],
            "mask": weights["mask"],
            "loss": None if data.loss is None else _name_of_loss(data.loss),
            "loss_numbers": [plain(leaf) for leaf in jax.tree.leaves(data.loss)],
            "loss_code": None if data.loss is None else _code_of_loss(data),
            "absolute_sigma": self.settings.absolute_sigma,
            "bounds": self._by_name(
                [plain(low), plain(high)] for low, high in zip(data.low, data.high, strict=True)
            ),
            "fixed": self._by_name(
                k not in data.free if held is None else digest(held)
                for k, held in enumerate(data.held)
            ),
            "covariance": self.settings.wants_covariance,
            **self.options._asdict(),
        }

    def _guessed(self) -> dict[str, list[str]]:
        """The first starts that are guessed, to three digits: what another guess would change."""
        starts = self.data.window(0, min(_GUESSED, self.data.fits))["starts"]
        return self._by_name([f"{value:.3g}" for value in np.atleast_1d(s)] for s in starts)

    def _by_name(self, values: Iterable[Any]) -> dict[str, Any]:
        """A setting of each parameter."""
        return dict(zip(self.data.names, values, strict=True))


def _sliced(arrays: dict[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    return {name: array[start:stop] for name, array in arrays.items()}


@partial(jax.jit, static_argnums=(0, 1, 2))
def _named(
    names: tuple[str, ...], free: tuple[int, ...], count: int, found: Found
) -> dict[str, Any]:
    """What ``count`` fits have found, by the names of the arrays, the fits first."""
    held = iter(found["held"])
    named = {}
    for k, name in enumerate(names):
        if k in free:
            column = free.index(k)
            value, error = (found[what][column, :count] for what in ("at", "stderr"))
        else:
            value = jnp.broadcast_to(next(held), (count,))
            error = jnp.zeros(count, value.dtype)
        named[f"params/{name}"], named[f"stderr/{name}"] = value, error
    for name, values in found.items():
        if name not in ("at", "stderr", "held"):
            named[name] = jnp.moveaxis(values[..., :count], -1, 0)
    return named


@jax.jit
def _joined(pieces: list[dict[str, jax.Array]]) -> dict[str, jax.Array]:
    return {name: jnp.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _code_of_model(data: Input) -> str:
    """A digest of what the model and its derivative compute."""
    number = jax.ShapeDtypeStruct((), data.dtype)
    x = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape if data.has_shared_x else (data.points,), data.dtype
        ),
        data.x,
    )
    params = jax.tree.unflatten(data.treedef, [number] * len(data.names))
    return _code_of(
        lambda p, x: jax.jvp(lambda p: data.model(p, x), (p,), (p,)), data.dtype, params, x
    )


def _name_of_loss(loss: Any) -> str:
    """Its name among those of the package, or that of its kind."""
    kind: Any = jax.tree.structure(loss)
    same = (name for name, make in NAMED.items() if jax.tree.structure(make()) == kind)
    return next(same, type(loss).__name__)


def _code_of_loss(data: Input) -> str:
    """A digest of what the loss computes."""
    r = jax.ShapeDtypeStruct((data.points,), data.dtype)
    return _code_of(
        lambda loss, r, y: (loss.terms(r, y), loss.weights(r, y)), data.dtype, data.loss, r, r
    )


def _code_of(function: Any, dtype: np.dtype[Any], *arguments: Any) -> str:
    """A digest of what a function computes, the arrays it closes over at any depth included."""
    with jax.enable_x64(dtype == np.float64):
        outermost = jax.make_jaxpr(function)(*arguments)
    of = hashlib.sha256(str(outermost).encode())

    def add(jaxpr: Any) -> None:
        literals = (v.val for equation in jaxpr.eqns for v in equation.invars if hasattr(v, "val"))
        for constant in (*getattr(jaxpr, "consts", ()), *literals):
            of.update(digest(np.asarray(constant)).encode())
        for equation in jaxpr.eqns:
            for inner in jax.tree.leaves(equation.params, is_leaf=_is_jaxpr):
                if _is_jaxpr(inner):
                    add(inner)

    add(outermost)
    return as_digest(of)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns")
