"""A pit of sand: a hidden floor, the phone at its lowest point, and the proof of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .. import _check
from .._precision import in_double, in_precision_of
from .._types import AnyArray

#: The pit is a square with this side, in m; x and y run from 0.
SIDE = 6.0
#: Depth of the highest point and of the phone, in m.
TOP, BOTTOM = -1.0, -9.0

_POINTS = 121  # of the survey's grid, along each side
_STEP = SIDE / (_POINTS - 1)
_CANDIDATES = 12  # minima of the grid that are followed down
_POLISH = 40
_SAME_HOLE = 0.1  # m


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["shape", "highest", "lowest", "phone", "margin"],
    meta_fields=["floor"],
)
@dataclass(frozen=True)
class Pit:
    """A pit on the square from 0 to 6 m: a pytree, whose leaves may have a leading axis of pits.

    The depth at ``(x, y)`` is ``-1 - 8 (highest - z) / (highest - lowest)`` m with
    ``z = floor(shape, (x, y))``: -1 m at the highest point and -9 m at the phone.
    """

    shape: Any  #: the numbers of the floor
    highest: Float[AnyArray, "*pits"]  #: of ``floor``, in its own unit
    lowest: Float[AnyArray, "*pits"]
    phone: Float[AnyArray, "*pits 2"]  #: where it lies, m
    margin: Float[AnyArray, "*pits"]  #: how much deeper it lies than the next deepest hole, m
    floor: Callable[[Any, Any], Any] = field(repr=False)  #: height of the floor, any unit

    def depth(self, xy: Any) -> Float[AnyArray, ""]:
        """Depth at a place (x, y), in m; to be used under ``vmap`` for many places."""
        return self._of(_depth, xy)

    def gradient(self, xy: Any) -> Float[AnyArray, "2"]:
        """The Jacobian of the depth: it points up the slope; m per m."""
        return self._of(_gradient, xy)

    def hessian(self, xy: Any) -> Float[AnyArray, "2 2"]:
        """The Hessian of the depth, in 1/m."""
        return self._of(_hessian, xy)

    def _of(self, function: Callable[[Any, Any], Any], xy: Any) -> Any:
        if isinstance(xy, (tuple, list)):
            numpy: Any = np if all(map(_check.is_concrete, xy)) else jnp
            xy = numpy.stack([numpy.asarray(part, float) for part in xy])
        xy = _check.real_array("xy", xy)
        if np.shape(xy) != (2,):
            raise ValueError(f"xy must be two numbers, x and y, got shape {np.shape(xy)}")
        if np.ndim(self.highest):
            raise ValueError(f"these are {len(self.highest)} pits: take one, or use jax.vmap")
        return in_precision_of((self, xy), function, self, xy)


@jax.jit
def _depth(pit: Pit, xy: Any) -> Any:
    rise = (pit.highest - pit.floor(pit.shape, jnp.asarray(xy))) / (pit.highest - pit.lowest)
    return TOP + (BOTTOM - TOP) * rise


_gradient = jax.jit(jax.grad(_depth, argnums=1))
_hessian = jax.jit(jax.hessian(_depth, argnums=1))


class Survey(NamedTuple):
    """What a dense look at a floor finds."""

    highest: Float[Array, ""]
    lowest: Float[Array, ""]
    phone: Float[Array, "2"]
    margin: Float[Array, ""]  #: from the deepest to the next deepest hole, m
    proved: Float[Array, ""]  #: nothing outside the phone's own bowl comes nearer to it, m
    to_border: Float[Array, ""]  #: from the phone, m
    has_border_hole: Bool[Array, ""]
    is_finite: Bool[Array, ""]


def survey(floor: Callable[[Any], Any]) -> Survey:
    """Find the deepest point of a floor and prove that there is no other; a pure function.

    The floor is computed on a grid of 0.05 m; the deepest grid points lower than their neighbours
    are followed down by Newton's method. The proof: around the phone lies a disc in which the
    Hessian is positive definite, so that it holds no other minimum. A minimum outside it has a
    grid point within ``r = 0.05 / sqrt(2)`` m, and there the floor is at most ``M r^2 / 2`` higher
    if no second derivative exceeds ``M``: so far below the lowest grid point outside the disc no
    floor can be. ``M`` is taken from the grid's second differences, with half as much again.
    """
    ticks = jnp.linspace(0.0, SIDE, _POINTS)
    grid = jnp.stack(jnp.meshgrid(ticks, ticks, indexing="ij"), axis=-1)
    z = jax.vmap(jax.vmap(floor))(grid)
    is_hole = _lower_than_neighbours(z)
    first = jax.lax.top_k(-jnp.where(is_hole, z, jnp.inf).ravel(), _CANDIDATES)[1]
    holes = jax.vmap(partial(_follow_down, floor))(grid.reshape(-1, 2)[first])
    heights = jnp.where(is_hole.ravel()[first], jax.vmap(floor)(holes), jnp.inf)
    phone, lowest = holes[jnp.argmin(heights)], jnp.min(heights)
    away = distance(holes, phone) > _SAME_HOLE
    second = jnp.min(jnp.where(away, heights, jnp.inf))
    top = _follow_down(lambda xy: -floor(xy), grid.reshape(-1, 2)[jnp.argmax(z)])
    highest = floor(top)

    xx, yy, xy = _second_differences(z)
    middle, spread = (xx + yy) / 2, jnp.hypot((xx - yy) / 2, xy)
    curvature = 1.5 * jnp.max(jnp.abs(middle) + spread)
    from_phone = distance(grid, phone)
    is_convex = middle - spread > 0
    radius = jnp.min(jnp.where(is_convex, jnp.inf, from_phone[1:-1, 1:-1])) - _STEP
    outside = jnp.min(jnp.where(from_phone > radius, z, jnp.inf))
    bound = outside - curvature * _STEP**2 / 4
    in_metres = (TOP - BOTTOM) / (highest - lowest)
    border = jnp.zeros((_POINTS, _POINTS), bool).at[0].set(True).at[-1].set(True)
    border = border | border.T
    return Survey(
        highest,
        lowest,
        phone,
        in_metres * (jnp.where(jnp.isfinite(second), second, highest) - lowest),
        in_metres * (bound - lowest),
        jnp.minimum(jnp.min(phone), SIDE - jnp.max(phone)),
        jnp.any(is_hole & border),
        jnp.all(jnp.isfinite(z)) & (highest > lowest),
    )


def dig(floor: Callable[[Any], Any], least_margin: float = 0.0) -> Pit:
    """A pit with a floor of one's own.

    Args:
        floor: a pure function of (x, y), two numbers from 0 to 6, that gives the height of the
            floor in any unit; written with jax.numpy, twice differentiable, and with no feature
            finer than about 0.2 m.
        least_margin: how much deeper than the next deepest hole the phone must lie, in m.

    Raises:
        TypeError: a floor that JAX cannot trace or that gives no single number.
        ValueError: a floor that is flat or not finite; whose lowest point lies on the border, is
            not the only one, or cannot be told from another.
    """
    _check.not_negative("least_margin", least_margin)
    if not callable(floor):
        raise TypeError(f"floor must be a function of (x, y), got {floor!r}")
    with _check.traceable("floor"), jax.enable_x64(True):
        out = jax.eval_shape(floor, jax.ShapeDtypeStruct((2,), float))
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
        raise TypeError(f"floor must give one real number for (x, y), got {out}")

    def fixed(_: Any, xy: Any) -> Any:
        return floor(xy)

    found = in_double(jax.jit(lambda: survey(floor)))
    found = jax.tree.map(np.asarray, found)
    if not found.is_finite:
        raise ValueError("the floor must be finite and not flat on the whole of [0, 6] x [0, 6]")
    if found.to_border < 0.15:
        raise ValueError(
            f"the floor is lowest at {_place(found.phone)}, within 0.15 m of the border"
        )
    if not found.proved > 0 or found.margin < least_margin:
        raise ValueError(
            f"the floor's lowest point, {_place(found.phone)}, cannot be told from another: "
            f"the next hole is {found.margin:.2g} m less deep"
        )
    return Pit((), found.highest, found.lowest, found.phone, found.margin, fixed)


def _lower_than_neighbours(z: Any) -> Any:
    padded = jnp.pad(z, 1, constant_values=jnp.inf)
    lower = jnp.ones(z.shape, bool)
    for i in (0, 1, 2):
        for j in (0, 1, 2):
            if (i, j) != (1, 1):
                lower &= z <= padded[i : i + _POINTS, j : j + _POINTS]
    return lower


def _second_differences(z: Any) -> tuple[Any, Any, Any]:
    """f_xx, f_yy and f_xy at the grid's inner points."""
    xx = (z[2:, 1:-1] - 2 * z[1:-1, 1:-1] + z[:-2, 1:-1]) / _STEP**2
    yy = (z[1:-1, 2:] - 2 * z[1:-1, 1:-1] + z[1:-1, :-2]) / _STEP**2
    xy = (z[2:, 2:] - z[2:, :-2] - z[:-2, 2:] + z[:-2, :-2]) / (4 * _STEP**2)
    return xx, yy, xy


def _follow_down(floor: Callable[[Any], Any], start: Any) -> Any:
    """The minimum near ``start`` inside the square: Newton's method, each step lower and short."""
    derivative, second = jax.grad(floor), jax.hessian(floor)

    def step(carry: Any, _: Any) -> Any:
        xy, z, most = carry
        g, H = derivative(xy), second(xy)
        free = ~(((xy <= 0) & (g > 0)) | ((xy >= SIDE) & (g < 0)))  # the others press on the border
        g = jnp.where(free, g, 0)
        H = jnp.where(free[:, None] & free[None, :], H, jnp.eye(2))
        move = newton_step(g, H)
        move *= jnp.minimum(1, most / jnp.maximum(jnp.linalg.norm(move), 1e-300))
        trial = jnp.clip(xy + move, 0, SIDE)
        trial_z = floor(trial)
        is_lower = trial_z < z
        carry = (
            jnp.where(is_lower, trial, xy),
            jnp.where(is_lower, trial_z, z),
            jnp.where(is_lower, most, most / 4),
        )
        return carry, None

    first = (start, floor(start), jnp.asarray(_STEP, start.dtype))
    return jax.lax.scan(step, first, length=_POLISH)[0][0]


def newton_step(g: Any, H: Any) -> Any:
    """Newton's step with the Hessian's eigenvalues made positive, so that it leads downhill."""
    middle = (H[0, 0] + H[1, 1]) / 2
    spread = jnp.hypot((H[0, 0] - H[1, 1]) / 2, H[0, 1])
    size = jnp.abs(middle) + spread
    shift = jnp.maximum(0, spread - middle) + jnp.where(middle > spread, 0, 1e-3 * size + 1e-300)
    a, b, d = H[0, 0] + shift, H[0, 1], H[1, 1] + shift
    return -jnp.stack([d * g[0] - b * g[1], a * g[1] - b * g[0]]) / (a * d - b * b)


def distance(places: Any, place: Any) -> Any:
    """From each place of an array to one, in m."""
    return jnp.hypot(places[..., 0] - place[0], places[..., 1] - place[1])


def _place(xy: Any) -> str:
    return f"({xy[0]:.2f}, {xy[1]:.2f})"
