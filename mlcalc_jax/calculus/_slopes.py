"""Rise over run: slopes by finite differences, how wrong they are, and gradients checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import _check
from .._precision import in_double
from .._types import AnyArray, ArrayLike, Cost
from ._derivatives import computed, gradient, names_of, point, same_structure, scalar
from ._taylor import taylor

Scheme = Literal["forward", "backward", "central", "complex"]
SCHEMES: tuple[Scheme, ...] = ("forward", "backward", "central", "complex")

_HIGHEST_DERIVATIVE = 8
#: Of the differences that check a gradient: first steps, relative, and how often each is halved.
_FIRST_STEPS = 0.05, 5e-5
_HALVINGS = 10


def slope(
    f: Callable[[Any], Any],
    x: ArrayLike | Sequence[Any],
    h: ArrayLike | Sequence[Any],
    *,
    scheme: Scheme = "forward",
) -> Float[AnyArray, "..."]:
    """Rise over run: the slope of f at x by a finite difference.

    ::

        forward   (f(x + h) - f(x)) / h              error ~ f'' h / 2     + round-off
        backward  (f(x) - f(x - h)) / h              error ~ f'' h / 2     + round-off
        central   (f(x + h) - f(x - h)) / (2 h)      error ~ f''' h^2 / 6  + round-off
        complex   Im f(x + i h) / h                  error ~ f''' h^2 / 6, no subtraction

    Args:
        f: a pure function from one real number to one; for the complex step, one that is analytic
            and takes a complex number.
        x: where; any shape. Its dtype decides the precision, bare numbers (and lists of them)
            count as float64.
        h: the run, not zero; any shape that goes with x.
        scheme: one of the above.

    Raises:
        TypeError: f is no function or returns no scalar; x or h is no number.
        ValueError: an unknown scheme, an h of 0, an x that is not finite.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    if not callable(f):
        raise TypeError(f"f must be a function, got {f!r}")
    at = point({"x": _numbers("x", x), "h": _numbers("h", h, x)}, "")
    if _check.is_concrete(at["h"]) and np.any(np.asarray(at["h"]) == 0):
        raise ValueError("h must not be 0: the rise is over a run")
    if scheme == "forward":
        return computed(at, lambda: _slope(f, at["x"], at["h"], 0, 1))
    if scheme == "backward":
        return computed(at, lambda: _slope(f, at["x"], at["h"], -1, 0))
    if scheme == "central":
        return computed(at, lambda: _slope(f, at["x"], at["h"], -1, 1))
    return computed(at, lambda: _complex_slope(f, at["x"], at["h"]))


def _slope(f: Callable[[Any], Any], x: Any, h: Any, first: int, last: int) -> Any:
    x, h = jnp.broadcast_arrays(x, h)
    each = _each(f)
    return (each(x + last * h) - each(x + first * h)) / ((last - first) * h)


def _complex_slope(f: Callable[[Any], Any], x: Any, h: Any) -> Any:
    x, h = jnp.broadcast_arrays(x, h)
    return _each(f)(jax.lax.complex(x, h)).imag / h


def _each(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``f`` of every number of an array."""

    def of_all(x: Any) -> Any:
        return jax.vmap(scalar(f, jnp.number))(x.ravel()).reshape(x.shape)

    return of_all


def _numbers(name: str, value: Any, beside: Any = None) -> Any:
    """``value``, a list of numbers as an array: of bare ones in the precision of ``beside``."""
    array = _check.arrays_of_lists(value, beside)
    if isinstance(array, (list, tuple)):
        array = np.asarray(array)
    if not _check.is_numeric(array):
        raise TypeError(f"{name} must be a number or an array of numbers, got {value!r}")
    return array


def derivative(
    f: Callable[[Any], Any], x: ArrayLike | Sequence[Any], order: int = 1
) -> Float[AnyArray, "..."]:
    """The derivative of f at x, of any order to 8, by automatic differentiation: no h, no error
    but rounding.

    Args:
        f: a pure function from one real number to one.
        x: where; any shape. Its dtype decides the precision, bare numbers count as float64.
        order: how often f is differentiated; 0 gives f itself. The work doubles with each order;
            :func:`taylor` goes further.

    Raises:
        TypeError: f is no function or returns no scalar, x is no number, order no whole number.
        ValueError: an order outside 0 to 8; an x that is not finite.
    """
    if not callable(f):
        raise TypeError(f"f must be a function, got {f!r}")
    if _check.count("order", order, least=0) > _HIGHEST_DERIVATIVE:
        raise ValueError(
            f"order must be at most {_HIGHEST_DERIVATIVE}, got {order}; taylor goes further"
        )
    at = point(_numbers("x", x), "x")

    def compute() -> Any:
        differentiated = scalar(f, jnp.number)
        for _ in range(order):
            differentiated = jax.jacfwd(differentiated)
        return _each(differentiated)(jnp.asarray(at))

    return computed(at, compute)


class SlopeErrors(NamedTuple):
    """How wrong each scheme's slope is, against the run h."""

    h: Float[AnyArray, "steps"]
    error: dict[str, Float[AnyArray, "steps"]]  #: |slope - f'(x)| by scheme
    order: dict[str, float]  #: fitted: the error goes as h^order where truncation rules
    predicted: dict[str, Float[AnyArray, "steps"]]  #: truncation and round-off together
    best_h: dict[str, float]  #: where the prediction is least; no such h for the complex step
    automatic: float  #: the error of automatic differentiation; NaN where it is not known
    exact: float  #: f'(x): from Taylor coefficients by intervals, which are proved
    exact_error: float  #: proved; infinite where automatic differentiation had to stand in

    def __repr__(self) -> str:
        schemes = ", ".join(self.error)
        return f"<SlopeErrors of {schemes} at {len(self.h)} runs; the slope is {self.exact:g}>"


def slope_errors(f: Callable[[Any], Any], x: float, h: ArrayLike | None = None) -> SlopeErrors:
    """The error of every scheme of :func:`slope` against h, and what theory predicts.

    With machine epsilon eps, the differences lose about ``eps (|f| + |x f'|)`` to the rounding of f
    and of x, so that::

        forward, backward  |f''| h / 2    + eps (|f| + |x f'|) / h    best h ~ eps^(1/2)
        central            |f'''| h^2 / 6 + eps (|f| + |x f'|) / 2h   best h ~ eps^(1/3)
        complex            |f'''| h^2 / 6 + eps |f'|                  the smaller, the better

    Args:
        f: a pure function from one real number to one.
        x: where.
        h: the runs, above zero; 1 down to 1e-16 unless given.

    Raises:
        TypeError, ValueError: as for :func:`slope`; f is not defined at x.

    Source: Press et al., Numerical Recipes, section 5.7; Squire and Trapp, SIAM Review 40 (1998)
    110, for the complex step.
    """
    if not callable(f):
        raise TypeError(f"f must be a function, got {f!r}")
    x = _check.one_number("x", x)
    runs = np.geomspace(1, 1e-16, 97) if h is None else np.asarray(_check.real_array("h", h), float)
    _check.positive("h", runs)
    runs = np.sort(runs.ravel())[::-1]
    with jax.enable_x64(True):
        at_x = jnp.asarray(x)
        value, first, second, third = (float(derivative(f, at_x, k)) for k in range(4))
    if not np.isfinite([value, first]).all():
        raise ValueError(f"f has no finite value and slope at x = {x:g}")
    exact, exact_error = _proved_slope(f, x, first)
    eps = np.finfo(float).eps
    noise = eps * (abs(value) + abs(x * first))
    predicted: dict[str, Any] = {
        "forward": abs(second) * runs / 2 + noise / runs,
        "central": abs(third) * runs**2 / 6 + noise / (2 * runs),
        "complex": abs(third) * runs**2 / 6 + eps * abs(first),
    }
    predicted["backward"] = predicted["forward"]
    error: dict[str, Any] = {}
    order: dict[str, float] = {}
    for scheme in SCHEMES:
        try:
            error[scheme] = np.abs(np.asarray(slope(f, x, runs, scheme=scheme)) - exact)
        except (TypeError, NotImplementedError):  # f does not take a complex number
            continue
        order[scheme] = _fitted_order(runs, error[scheme], noise if scheme != "complex" else eps)
    best = {s: float(runs[np.argmin(predicted[s])]) for s in error if s != "complex"}
    kept = {scheme: predicted[scheme] for scheme in error}
    automatic = abs(first - exact) if np.isfinite(exact_error) else np.nan
    return SlopeErrors(runs, error, order, kept, best, automatic, exact, exact_error)


def _proved_slope(f: Callable[[Any], Any], x: float, instead: float) -> tuple[float, float]:
    try:
        found = taylor(f, x, 1)
    except (NotImplementedError, ValueError):
        return instead, np.inf
    return float(found.coefficients[1]), float(found.coefficient_errors[1])


def _fitted_order(h: np.ndarray, error: np.ndarray, noise: float) -> float:
    """The slope of log error against log h, where h is small and rounding is smaller still."""
    ruled = (h < 0.1) & (error > 300 * noise / (h if noise > 0 else 1)) & np.isfinite(error)
    if ruled.sum() < 3:
        return np.nan
    return float(np.polyfit(np.log(h[ruled]), np.log(error[ruled]), 1)[0])


@dataclass(frozen=True)
class GradientCheck:
    """A gradient held against finite differences, number by number."""

    worst: float  #: the worst relative disagreement, beyond what the differences may be wrong by
    where: str  #: the parameter with it
    undecided: tuple[str, ...]  #: parameters whose differences are too rough to tell
    names: tuple[str, ...]
    gradient: Float[np.ndarray, "parameters"]
    differences: Float[np.ndarray, "parameters"]
    errors: Float[np.ndarray, "parameters"]  #: what the differences may be wrong by, estimated

    @property
    def agrees(self) -> bool:
        """Whether every number of the gradient is right to 6 digits or to what can be told."""
        return self.worst < 1e-6 and not self.undecided

    def __str__(self) -> str:
        k = self.names.index(self.where)
        text = (
            f"{'agrees' if self.agrees else 'DISAGREES'}: worst relative disagreement "
            f"{self.worst:.2g}, at {self.where}: gradient {self.gradient[k]:.10g}, "
            f"differences {self.differences[k]:.10g} +- {self.errors[k]:.1g}"
        )
        if self.undecided:
            text += f"; too rough to tell: {', '.join(self.undecided[:5])}"
            text += f" and {len(self.undecided) - 5} more" if len(self.undecided) > 5 else ""
        return text


def check_gradient(
    f: Cost, params: Any, gradient_of: Callable[[Any], Any] | None = None
) -> GradientCheck:
    """Hold a gradient against central differences extrapolated to h = 0, in float64.

    Every number of ``params`` is moved both ways by ten steps, each half the one before; Neville's
    scheme extrapolates (Ridders), and the spread of the tableau says how far to trust the result.
    That is done from a first step of a twentieth of the number and again from a thousandth of that:
    the better one counts, or the second where they contradict each other, as they do where f
    wiggles within the longer steps. Where the result is not to be trusted far, nothing is decided;
    but a claim smaller than what f's rounding hides even at the longest step counts as zero.

    Args:
        f: a pure function of a pytree that returns one real number, a rule of differentiation of
            its own (``jax.custom_vjp``) included.
        params: where.
        gradient_of: the function to check, ``params`` to a pytree shaped as ``params``, such as a
            gradient written by hand; ``jax.grad(f)`` unless given.

    Raises:
        TypeError, ValueError: as for :func:`gradient`; a gradient of another structure or shape.

    Source: Ridders, Advances in Engineering Software 4 (1982) 75.
    """
    at = jax.tree.map(lambda leaf: np.asarray(leaf, float), point(params, "params"))
    claimed = gradient(f, at) if gradient_of is None else in_double(gradient_of, at)
    if not same_structure(claimed, at):
        raise ValueError(
            f"the gradient must have the structure of params, {jax.tree.structure(at)}, "
            f"got {jax.tree.structure(claimed)}"
        )
    for a, b in zip(jax.tree.leaves(at), jax.tree.leaves(claimed), strict=True):
        if np.shape(a) != np.shape(b):
            raise ValueError(
                f"the gradient must be shaped as params, {np.shape(a)}, got {np.shape(b)}"
            )
    with _check.traceable("f", has_keys=True), jax.enable_x64(True):
        differences, errors, invisible = jax.device_get(_ridders(f, at))
    names = names_of(at, "x")
    analytic = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(claimed)]).astype(float)
    size = np.maximum(np.abs(analytic), np.abs(differences))
    apart = np.abs(analytic - differences)
    tiny = np.finfo(float).tiny
    beyond = np.maximum(apart - 10 * errors, 0) / np.maximum(size, tiny)
    beyond = np.where(np.isfinite(apart), beyond, np.inf)
    is_seen = np.abs(analytic) > invisible  # else it is as good as zero
    rough = (10 * errors > 0.01 * size) & (apart > 1e-6 * size) & is_seen
    worst = int(np.argmax(np.where(beyond > 0, beyond, -1 / (1 + apart / np.maximum(size, tiny)))))
    undecided = tuple(name for name, is_rough in zip(names, rough, strict=True) if is_rough)
    return GradientCheck(
        float(beyond[worst]), names[worst], undecided, names, analytic, differences, errors
    )


def _ridders(f: Cost, at: Any) -> Any:
    """Derivative by each number of ``at``, its estimated error, and what f's rounding hides."""
    flat, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, at))
    shrink = 2.0
    rounding = np.finfo(float).eps * jnp.abs(f(unravel(flat)))

    def extrapolated(k: Any, first: Any) -> tuple[Any, Any]:
        h = first * shrink ** -jnp.arange(float(_HALVINGS))

        def difference(step: Any) -> Any:
            up, down = flat.at[k].add(step), flat.at[k].add(-step)
            return (f(unravel(up)) - f(unravel(down))) / (up[k] - down[k])

        column = jax.lax.map(difference, h)
        best, error = column[0], jnp.asarray(jnp.inf)
        for j in range(1, _HALVINGS):
            factor = shrink ** (2 * j)
            last = column
            column = (factor * last[1:] - last[:-1]) / (factor - 1)
            spread = jnp.maximum(jnp.abs(column - last[1:]), jnp.abs(column - last[:-1]))
            spread = jnp.where(jnp.isfinite(spread), spread + rounding / h[j:], jnp.inf)
            least = jnp.argmin(spread)
            best = jnp.where(spread[least] < error, column[least], best)
            error = jnp.minimum(error, spread[least])
        return best, error

    def by_one(k: Any) -> tuple[Any, Any, Any]:
        longest, second = (s * jnp.where(flat[k] == 0, 1, jnp.abs(flat[k])) for s in _FIRST_STEPS)
        (wide, wide_error), (near, near_error) = extrapolated(k, longest), extrapolated(k, second)
        is_wiggly = jnp.abs(wide - near) > 10 * (wide_error + near_error)
        is_wide = (wide_error <= near_error) & ~is_wiggly
        best, error = jnp.where(is_wide, wide, near), jnp.where(is_wide, wide_error, near_error)
        return best, error, rounding / longest

    return jax.jit(lambda: jax.lax.map(by_one, jnp.arange(flat.size)))()
