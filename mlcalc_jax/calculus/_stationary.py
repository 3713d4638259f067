"""Stationary points, free or on a constraint, from many starts, told apart by curvature."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _check
from .._precision import in_double
from .._types import Cost

Bounds = Mapping[str, tuple[float, float]]

_STEPS = 100
_HALVINGS = 12
#: Two points are one where they are so near, as a fraction of the box.
_SAME = 1e-6
#: A residual or a step counts as zero below this, relative to its size at the starts or the box.
_ZERO = 1e-9
#: An eigenvalue counts as zero below this, relative to the largest.
_FLAT = 1e-7


class CriticalPoint(NamedTuple):
    """Where the gradient is zero."""

    at: dict[str, float]
    value: float  #: f there
    kind: str  #: minimum, maximum, saddle, or degenerate: the Hessian does not tell
    eigenvalues: Float[np.ndarray, "n"]  #: of the Hessian, rising


class ConstrainedPoint(NamedTuple):
    """Where the gradient of f is a multiple of the gradient of g, and g is zero."""

    at: dict[str, float]
    value: float  #: f there
    multiplier: float  #: lambda in grad f = lambda grad g
    kind: str  #: minimum, maximum, saddle, or degenerate, along the constraint


def critical_points(f: Cost, bounds: Bounds, *, starts: int = 400) -> list[CriticalPoint]:
    """All points of a box that Newton's method finds where ``grad f = 0``, lowest value first.

    Each start of a regular lattice goes downhill on ``|grad f|^2`` by damped Newton steps in
    float64. The eigenvalues of the Hessian, its coordinates in units of the sides of the box, tell
    the kind: one of less than 1e-7 of the largest counts as zero. What no start runs into is not
    found, so that a narrow dip may be missed; more starts find more. Of a whole line of critical
    points each start finds one of its own, and all are degenerate.

    Args:
        f: a pure scalar function of ``{name: number}``.
        bounds: lowest and highest value of each coordinate, by name.
        starts: about how many.

    Raises:
        TypeError: f is no function or returns no real scalar.
        ValueError: no bounds, or one that does not rise.
    """
    names, low, high = _box(f, bounds)

    def gradient(z: Array) -> Array:
        return jax.grad(lambda z: _value(f, names, z))(z)

    def solve() -> Any:
        begin = _lattice(low, high, starts)
        z, solved = _solve(gradient, begin, high - low)
        curvature = jax.vmap(jax.hessian(_of(f, names)))
        return z, solved, jax.vmap(_of(f, names))(z), curvature(z), curvature(begin)

    z, solved, value, hessian, elsewhere = map(np.asarray, in_double(jax.jit(solve)))
    size = high - low
    scale = _typical(_in_box(elsewhere, size))
    found = []
    for k in _distinct(z, np.where(np.isfinite(value), solved, np.inf), low, high):
        eigenvalues = np.linalg.eigvalsh(hessian[k])
        at = dict(zip(names, map(float, z[k]), strict=True))
        kind = _kind(np.linalg.eigvalsh(_in_box(hessian[k], size)), scale)
        found.append(CriticalPoint(at, float(value[k]), kind, eigenvalues))
    return sorted(found, key=lambda point: point.value)


def constrained(f: Cost, g: Cost, bounds: Bounds, *, starts: int = 400) -> list[ConstrainedPoint]:
    """The stationary points of f on the curve or surface ``g = 0``, by Lagrange's multiplier.

    Solves ``grad f = lambda grad g`` and ``g = 0`` in float64 by damped Newton steps from a lattice
    of starts, each with the multiplier that fits it best. The kind is that of the Hessian of
    ``f - lambda g`` along the constraint, which is what the bordered Hessian's minors tell. Points
    where ``grad g = 0`` are no solutions of these equations.

    Args:
        f: what is to be made stationary, a pure scalar function of ``{name: number}``.
        g: zero on the constraint; the same arguments.
        bounds: lowest and highest value of each coordinate, by name: at least two.
        starts: about how many.

    Returns:
        The points in the box, lowest value of f first; none where no start runs into one.

    Raises:
        TypeError: f or g is no function or returns no real scalar.
        ValueError: fewer than two coordinates, or bounds that do not rise.
    """
    names, low, high = _box(f, bounds)
    _scalar("g", g, names, low)
    if len(names) < 2:
        raise ValueError(f"a constraint needs at least two coordinates, got {', '.join(names)}")
    of_f, of_g = _of(f, names), _of(g, names)

    def equations(z: Array) -> Array:
        x, multiplier = z[:-1], z[-1]
        return jnp.append(jax.grad(of_f)(x) - multiplier * jax.grad(of_g)(x), of_g(x))

    def start_multiplier(x: Array) -> Array:
        slope = jax.grad(of_g)(x)
        return jnp.vdot(jax.grad(of_f)(x), slope) / jnp.maximum(jnp.vdot(slope, slope), 1e-300)

    def describe(z: Array) -> Any:
        x, multiplier = z[:-1], z[-1]
        curvature = jax.hessian(lambda x: of_f(x) - multiplier * of_g(x))(x)
        return of_f(x), curvature, jax.grad(of_g)(x)

    def solve() -> Any:
        x = _lattice(low, high, starts)
        z = jnp.concatenate([x, jax.vmap(start_multiplier)(x)[:, None]], axis=1)
        size = jnp.append(high - low, jnp.maximum(1.0, jnp.max(jnp.abs(z[:, -1]))))
        z, solved = _solve(equations, z, size)
        return z, solved, *jax.vmap(describe)(z)

    z, solved, value, curvature, normal = map(np.asarray, in_double(jax.jit(solve)))
    found = []
    for k in _distinct(z[:, :-1], np.where(np.isfinite(value), solved, np.inf), low, high):
        # The directions along the constraint: all that is orthogonal to grad g.
        along = np.linalg.svd((normal[k] * (high - low))[None])[2][1:].T
        hessian = _in_box(curvature[k], high - low)
        at = dict(zip(names, map(float, z[k, :-1]), strict=True))
        kind = _kind(np.linalg.eigvalsh(along.T @ hessian @ along), float(np.abs(hessian).max()))
        found.append(ConstrainedPoint(at, float(value[k]), float(z[k, -1]), kind))
    return sorted(found, key=lambda point: point.value)


def _box(f: Cost, bounds: Bounds) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    if not isinstance(bounds, Mapping) or not bounds:
        raise ValueError(f"bounds must give (low, high) by name, got {bounds!r}")
    for name, pair in bounds.items():
        if np.shape(pair) != (2,) or not np.all(np.isfinite(pair)) or not pair[0] < pair[1]:
            raise ValueError(f"bounds[{name!r}] must be (low, high) with low < high, got {pair!r}")
    names = tuple(bounds)
    low, high = (np.array([float(bounds[name][i]) for name in names]) for i in (0, 1))
    _scalar("f", f, names, low)
    return names, low, high


def _scalar(name: str, f: Cost, names: tuple[str, ...], at: np.ndarray) -> None:
    if not callable(f):
        raise TypeError(f"{name} must be a function, got {f!r}")
    with _check.traceable(name, has_keys=True), jax.enable_x64(True):
        out = jax.eval_shape(partial(_value, f, names), jnp.asarray(at))
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
        raise TypeError(f"{name} must return one real scalar, got {out}")


def _value(f: Cost, names: tuple[str, ...], z: Array) -> Array:
    return f(dict(zip(names, z, strict=True)))


def _of(f: Cost, names: tuple[str, ...]) -> Callable[[Array], Array]:
    return partial(_value, f, names)


def _lattice(low: np.ndarray, high: np.ndarray, starts: int) -> Array:
    """About so many points over a box, none on its edge or at its very middle."""
    each = max(2, round(_check.count("starts", starts) ** (1 / len(low))))
    # Off the symmetry of the box by a golden fraction: a symmetric f would send its starts astray.
    axes = [a + (np.arange(each) + 0.382) / each * (b - a) for a, b in zip(low, high, strict=True)]
    return jnp.asarray(np.stack([axis.ravel() for axis in np.meshgrid(*axes)], axis=-1))


def _solve(equations: Callable[[Array], Array], starts: Array, size: Any) -> tuple[Array, Array]:
    """Damped Newton for ``F(z) = 0`` from each start; z, and how near it is to a solution.

    That is the larger of |F|, relative to what it was at the starts, and of the next step, relative
    to the box: in the far tail of a bell |F| is small too, but the step is not.
    """
    scale = jnp.sqrt(jnp.mean(jax.vmap(equations)(starts) ** 2, axis=0, where=_finite(starts)))
    scale = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1.0)

    def scaled(z: Array) -> Array:
        return equations(z) / scale

    def newton(z: Array) -> Array:
        J = jax.jacfwd(scaled)(z) * jnp.asarray(size)[None]
        J = jnp.where(jnp.isfinite(J), J, 0.0)
        # Rows of one size: an equation that is flat here must not look like one that is met.
        row = jnp.max(jnp.abs(J), axis=1)
        row = jnp.where(row > 0, row, 1.0)
        return -jnp.linalg.pinv(J / row[:, None], rtol=1e-10) @ (scaled(z) / row) * size

    def step(z: Array, _: None) -> tuple[Array, None]:
        move = newton(z)
        # No farther than the box is wide; then the longest of the halved steps that goes down.
        move = move / jnp.maximum(1.0, jnp.max(jnp.abs(move) / size))
        trials = z[None] + move[None] * 0.5 ** jnp.arange(_HALVINGS, dtype=z.dtype)[:, None]
        heights = jnp.sum(jax.vmap(scaled)(trials) ** 2, axis=1)
        goes_down = heights < jnp.sum(scaled(z) ** 2)
        first = jnp.argmax(goes_down)
        return jnp.where(jnp.any(goes_down), trials[first], z), None

    def one(z: Array) -> tuple[Array, Array]:
        z, _ = jax.lax.scan(step, z, length=_STEPS)
        return z, jnp.maximum(jnp.max(jnp.abs(scaled(z))), jnp.max(jnp.abs(newton(z)) / size))

    return jax.vmap(one)(starts)


def _finite(z: Array) -> Array:
    return jnp.all(jnp.isfinite(z), axis=1, keepdims=True)


def _in_box(hessians: np.ndarray, size: np.ndarray) -> np.ndarray:
    """In units of the sides of the box: signs of eigenvalues stay, and units do not matter."""
    return hessians * np.outer(size, size)


def _typical(hessians: np.ndarray) -> float:
    """The size of a Hessian's largest number, at most of the starts."""
    largest = np.abs(hessians).max(axis=(1, 2))
    finite = largest[np.isfinite(largest)]
    return float(np.median(finite)) if finite.size else 0.0


def _distinct(z: np.ndarray, apart: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[int]:
    """The solutions in the box, one of each, the most exact."""
    inside = np.all((z >= low - 1e-9 * (high - low)) & (z <= high + 1e-9 * (high - low)), axis=1)
    good = np.flatnonzero(inside & (apart < _ZERO))
    kept: list[int] = []
    for k in good[np.argsort(apart[good])]:
        if all(np.max(np.abs(z[k] - z[other]) / (high - low)) > _SAME for other in kept):
            kept.append(int(k))
    return kept


def _kind(eigenvalues: np.ndarray, scale: float) -> str:
    flat = _FLAT * max(float(np.abs(eigenvalues).max()), scale)
    if (eigenvalues > flat).all():
        return "minimum"
    if (eigenvalues < -flat).all():
        return "maximum"
    is_saddle = (eigenvalues > flat).any() and (eigenvalues < -flat).any()
    return "saddle" if is_saddle else "degenerate"
