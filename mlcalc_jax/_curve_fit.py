"""SciPy's ``curve_fit``, by its signature and returns, over :func:`mlcalc_jax.fit`."""

import inspect
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from . import _check
from ._fit import MOST_STEPS, fit
from ._path import Status
from ._problem import hashed
from ._result import Fit


class _Unpacked:
    """A model ``f(params, x)`` of a function ``f(x, a, b, ...)``; equal for the same function."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f
        self.__name__ = getattr(f, "__name__", type(f).__name__)

    def __call__(self, params: Any, x: Any) -> Any:
        y = jnp.asarray(self.f(x, *(params[k] for k in range(len(params)))))
        return y if y.ndim else jnp.broadcast_to(y, jnp.shape(x)[-1:])


_model = lru_cache(maxsize=256)(_Unpacked)


def curve_fit(
    f: Callable[..., Any],
    xdata: Any,
    ydata: Any,
    p0: Any = None,
    sigma: Any = None,
    absolute_sigma: bool = False,
    check_finite: bool | None = None,
    bounds: Any = (-np.inf, np.inf),
    method: str | None = None,
    jac: Any = None,
    *,
    full_output: bool = False,
    nan_policy: str | None = None,
    loss: Any = None,
    f_scale: float = 1.0,
    max_nfev: int | None = None,
    maxfev: int | None = None,
    ftol: float | None = None,
    xtol: float | None = None,
    gtol: float | None = None,
    epsfcn: Any = None,
    factor: Any = None,
    diag: Any = None,
    x_scale: Any = None,
    diff_step: Any = None,
    tr_solver: Any = None,
    tr_options: Any = None,
    jac_sparsity: Any = None,
    verbose: int = 0,
) -> tuple[Any, ...]:
    """Fit ``f(xdata, a, b, ...)`` to ``ydata``: ``from mlcalc_jax import curve_fit``, and go on.

    Arguments and returns are those of ``scipy.optimize.curve_fit``. The model must be written with
    plain operators or ``jax.numpy``: it is compiled, and its derivatives are exact, so ``jac`` is
    not needed. There is one method, Levenberg-Marquardt, and it takes bounds; what tells SciPy's
    methods how to search (tolerances, scales, steps of differences, ``verbose`` and the like) is
    accepted and not needed. What the function reads besides its arguments counts as it was when it
    was compiled: pass what changes as an argument. A lambda written anew in every call is compiled
    anew, and so is a callable that has no hash.

    Returns:
        ``popt, pcov``, and with ``full_output`` also ``infodict``, ``mesg`` and ``ier`` (1 to 4 for
        success). The keys of ``infodict`` are ``nfev``, ``fvec`` and ``fit``, the :class:`Fit`;
        those of MINPACK's factorisation (``fjac``, ``ipvt``, ``qtf``) are not there.

    Raises:
        ValueError: unsuitable input, as from :func:`mlcalc_jax.fit`; a model that fails, or that
            computes with NumPy.
        RuntimeError: the fit did not converge.
        TypeError: data that are not real numbers, a ``loss`` that is a function of one's own.
    """
    if p0 is None:
        p0 = _between(bounds, _number_of_parameters(f))
    p0 = np.atleast_1d(_floats("p0", p0))
    if p0.ndim != 1:
        raise ValueError(f"p0 must be one-dimensional, got shape {p0.shape}")
    if nan_policy not in (None, "raise", "omit"):
        raise ValueError(f'nan_policy must be None, "raise" or "omit", got {nan_policy!r}')
    if method not in (None, "lm", "trf", "dogbox"):
        raise ValueError(f'method must be "lm", "trf" or "dogbox", got {method!r}')
    is_matrix = sigma is not None and np.ndim(sigma) == 2
    policy: Literal["raise", "omit"] = "omit" if nan_policy == "omit" else "raise"
    result = fit(
        _model(hashed(f)),
        p0,
        _floats("xdata", xdata),
        _floats("ydata", ydata),
        None if is_matrix else sigma,
        y_covariance=sigma if is_matrix else None,
        absolute_sigma=absolute_sigma,
        bounds=_pair(bounds),
        nan_policy=policy,
        loss=_loss(loss, f_scale),
        steps=min(_check.count("maxfev", maxfev or max_nfev or 1000), MOST_STEPS),
    )
    status = Status(int(result.status))
    if not (status.has_converged or status == Status.SINGULAR):
        raise RuntimeError(f"Optimal parameters not found: {result.message}")
    covariance = result.covariance
    if not np.isfinite(covariance).all():
        covariance = np.full_like(covariance, np.inf)
        warnings.warn("Covariance of the parameters could not be estimated", stacklevel=2)
    popt = np.asarray(result.params)
    if not full_output:
        return popt, covariance
    return popt, covariance, _info(result), result.message, 1


def _info(result: Fit) -> dict[str, Any]:
    return {
        "nfev": int(result.evaluations),
        "fvec": np.asarray(result.problem.residuals(result.params)),
        "fit": result,
    }


def _number_of_parameters(f: Callable[..., Any]) -> int:
    kinds = inspect.Parameter
    parameters = inspect.signature(f).parameters.values()
    if any(p.kind == kinds.VAR_POSITIONAL for p in parameters):
        raise ValueError("the number of parameters of f is not known: give p0")
    places = [
        p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    if len(places) < 2:
        raise ValueError("f must take x and at least one parameter")
    return len(places) - 1


def _between(bounds: Any, number: int) -> np.ndarray:
    """SciPy's start: halfway between two bounds, 1 inside a single one, 1 where there is none."""
    low, high = (np.broadcast_to(end, number) for end in _ends(bounds))
    has_low, has_high = np.isfinite(low), np.isfinite(high)
    with np.errstate(invalid="ignore"):
        starts = [(low + high) / 2, low + 1, high - 1]
    return np.select([has_low & has_high, has_low, has_high], starts, 1.0)


def _pair(bounds: Any) -> Any:
    low, high = _ends(bounds)
    return None if np.isneginf(low).all() and np.isposinf(high).all() else (low, high)


def _ends(bounds: Any) -> tuple[np.ndarray, np.ndarray]:
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        bounds = (bounds.lb, bounds.ub)
    try:
        low, high = bounds
    except (TypeError, ValueError):
        raise ValueError(f"bounds must be a pair (lower, upper), got {bounds!r}") from None
    return np.asarray(low, float), np.asarray(high, float)


def _floats(name: str, values: Any) -> np.ndarray:
    """An array; of floats where it holds whole numbers or booleans."""
    _check.nothing_masked(name, values)
    array = np.asarray(values)
    return array.astype(float) if array.dtype.kind in "iub" else array


def _loss(loss: Any, f_scale: float) -> Any:
    from . import losses

    if isinstance(loss, str) and loss != "linear":
        named = {name: getattr(losses, name) for name in ("soft_l1", "huber", "cauchy", "arctan")}
        if loss not in named:
            raise ValueError(f"loss must be linear, {', '.join(named)}, got {loss!r}")
        return named[loss](f_scale)
    return None if loss == "linear" else loss
