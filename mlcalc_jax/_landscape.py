"""A cost seen from its parameters' space: a slice, a path on it, its curvature."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from . import _check
from ._minimise import checked_cost
from ._path import Path
from ._precision import in_double, in_precision_of
from ._random import as_key
from ._types import Cost, Params

_MOST_DENSE = 1500


@dataclass(frozen=True)
class Landscape:
    """A cost on the plane ``centre + a * across + b * up``."""

    a: Float[np.ndarray, "columns"]
    b: Float[np.ndarray, "rows"]
    cost: Float[np.ndarray, "rows columns"]
    centre: Params
    across: Params
    up: Params

    def project(self, path: Path) -> Float[np.ndarray, "rows 2"]:
        """Where each row of a path falls on the plane: the nearest point, as (a, b).

        Raises:
            ValueError: a path of other parameters.
        """
        rows = path.trimmed().params
        if not _is_alike(rows, self.centre):
            raise ValueError("the path has other parameters than the landscape")
        centre, across, up = (_flat(tree) for tree in (self.centre, self.across, self.up))
        points = np.concatenate(
            [np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(rows)], axis=1
        )
        basis = np.stack([across, up], axis=1)
        return np.linalg.lstsq(basis, (points - centre).T.astype(float), rcond=None)[0].T


class PathDirections(NamedTuple):
    """The two directions in which a path goes farthest."""

    across: Params
    up: Params
    explained: tuple[float, float]  #: the share of the path's spread that lies along each


class Spectrum(NamedTuple):
    """Eigenvalues of a Hessian, rising."""

    eigenvalues: Float[np.ndarray, "some"]
    is_whole: bool  #: whether these are all; if not, the lowest and the highest


def filter_normalised(params: Params, key: Any = 0) -> Params:
    """A random direction, scaled so that slices of different networks can be compared.

    Normal numbers; in a leaf of two or more dimensions each row (the weights into one neuron) is
    scaled to the norm of the same row of ``params``, a vector or a number as a whole.

    Args:
        params: a pytree of arrays.
        key: seed, or a key of ``jax.random``.

    Raises:
        TypeError, ValueError: parameters that are not finite real numbers; a key that is none.

    Source: Li, Xu, Taylor, Studer and Goldstein, Visualizing the Loss Landscape of Neural Nets,
    NeurIPS 2018.
    """
    params = _check.float_params(params)
    return in_precision_of(params, lambda: _drawn(as_key(key), params))


@jax.jit
def _drawn(key: jax.Array, params: Params) -> Params:
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [_like(k, leaf) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


def _like(key: Any, leaf: jax.Array) -> jax.Array:
    noise = jax.random.normal(key, leaf.shape, leaf.dtype)
    over = tuple(range(1, leaf.ndim)) if leaf.ndim > 1 else None
    norm = partial(jnp.sum, axis=over, keepdims=True)
    size = jnp.sqrt(norm(noise**2))
    return noise * jnp.sqrt(norm(leaf**2)) / jnp.where(size > 0, size, 1)


def path_directions(path: Path) -> PathDirections:
    """The first two principal components of a path's steps from its end, each of length 1.

    Raises:
        ValueError: fewer than three rows, or fewer than two parameters.
    """
    rows = path.trimmed().params
    points = np.concatenate(
        [np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(rows)], axis=1
    ).astype(float)
    if min(points.shape) < 2 or len(points) < 3:
        raise ValueError(f"a path of three rows and two parameters is needed, got {points.shape}")
    _, sizes, directions = np.linalg.svd(points - points[-1], full_matrices=False)
    unravel = ravel_pytree(path.final)[1]
    across, up = (jax.tree.map(np.asarray, _unflat(unravel, d)) for d in directions[:2])
    share = sizes**2 / max(float(np.sum(sizes**2)), float(np.finfo(float).tiny))
    return PathDirections(across, up, (float(share[0]), float(share[1])))


def landscape(
    cost: Cost,
    centre: Params,
    across: Params = None,
    up: Params = None,
    *,
    extent: float | tuple[float, float, float, float] = 1.0,
    resolution: int = 51,
    key: Any = 0,
) -> Landscape:
    """A cost on a plane through its parameters' space.

    Args:
        cost: a pure scalar function of the parameters.
        centre: the parameters in the middle. Bare Python numbers are as precise as the data of the
            cost and the other parameters, without any of JAX's own precision (float32 unless its
            x64 flag is on).
        across, up: directions, pytrees as the parameters; random and filter-normalised unless
            given.
        extent: from -extent to extent along both, or (lowest a, highest a, lowest b, highest b).
        resolution: points along each direction.
        key: seed of the random directions.

    Raises:
        TypeError, ValueError: parameters or directions that are not finite real numbers; directions
            of another structure; an extent that is not finite, not above zero or does not rise; a
            cost that cannot be traced or is no real scalar.
    """
    centre = _check.float_params(centre, cost)
    drawn = jax.random.split(as_key(key))
    across = filter_normalised(centre, drawn[0]) if across is None else across
    up = filter_normalised(centre, drawn[1]) if up is None else up
    for name, direction in (("across", across), ("up", up)):
        _check.float_params(direction, name=name)
        if jax.tree.map(np.shape, direction) != jax.tree.map(np.shape, centre):
            raise ValueError(f"{name} must have the structure and shapes of the parameters")
    if np.ndim(extent) == 0:
        _check.positive("extent", extent)
        extent = (-float(extent), float(extent)) * 2  # type: ignore[arg-type]
    ends = _check.real_array("extent", np.asarray(extent))
    if ends.shape != (4,):
        raise ValueError(f"extent must be one number or four, got shape {ends.shape}")
    _check.finite("extent", ends)
    a_low, a_high, b_low, b_high = map(float, ends)
    if not (a_low < a_high and b_low < b_high):
        raise ValueError(f"extent must rise along both directions, got {extent}")
    count = _check.count("resolution", resolution, 2)
    a, b = np.linspace(a_low, a_high, count), np.linspace(b_low, b_high, count)

    def compute() -> jax.Array:
        checked_cost(cost, centre)

        def at(s: Any, t: Any) -> Any:
            moved = jax.tree.map(lambda c, u, v: c + s * u + t * v, centre, across, up)
            return cost(moved)

        kind = jnp.result_type(*jax.tree.leaves(centre))
        row = jax.vmap(at, (0, None))
        return jax.jit(
            lambda: jax.lax.map(lambda t: row(jnp.asarray(a, kind), t), jnp.asarray(b, kind))
        )()

    height = np.asarray(in_precision_of((centre, cost), compute))
    return Landscape(a, b, height, centre, across, up)


def hessian_spectrum(cost: Cost, params: Params, *, extremes: int | None = None) -> Spectrum:
    """Eigenvalues of a cost's Hessian, in float64.

    To 1,500 parameters the whole matrix is formed and all are returned; beyond, or where
    ``extremes`` is given, so many of the lowest and of the highest by Lanczos's method on
    Hessian-vector products (ARPACK), so that the matrix is never formed.

    Args:
        cost: a pure scalar function of the parameters.
        params: where.
        extremes: how many at each end.

    Raises:
        TypeError, ValueError: parameters that are not finite real numbers; an ``extremes`` that is
            not below half the number of parameters; a cost that cannot be traced or is no real
            scalar.
        FloatingPointError: the Hessian is not finite there.
    """
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), _check.float_params(params, cost))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    if extremes is not None and not 1 <= _check.count("extremes", extremes) < size / 2:
        raise ValueError(f"extremes must be below half the {size} parameters, got {extremes}")
    with jax.enable_x64(True):
        checked_cost(cost, params)
        x, unravel = ravel_pytree(jax.tree.map(jnp.asarray, params))
        gradient = jax.grad(lambda z: cost(unravel(z)))
        product = jax.jit(lambda v: jax.jvp(gradient, (x,), (v,))[1])
        if extremes is None and size <= _MOST_DENSE:
            matrix = np.asarray(jax.jit(lambda: jax.lax.map(product, jnp.eye(size)))())
            _finite(matrix)
            return Spectrum(np.linalg.eigvalsh((matrix + matrix.T) / 2), True)
        _finite(np.asarray(product(jnp.ones_like(x))))
        return Spectrum(_lanczos(product, size, extremes or 20), False)


def _lanczos(product: Any, size: int, extremes: int) -> np.ndarray:
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator(
        (size, size), lambda v: np.asarray(product(jnp.asarray(v.ravel(), float)))
    )
    start = np.random.default_rng(0).normal(size=size)
    ends = [
        eigsh(operator, extremes, which=which, return_eigenvectors=False, v0=start, tol=1e-8)
        for which in ("SA", "LA")
    ]
    return np.sort(np.concatenate(ends))


def _finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise FloatingPointError("the Hessian is not finite at these parameters")


def _is_alike(rows: Params, params: Params) -> bool:
    """Whether each row of the first is shaped as the second."""
    shapes = jax.tree.map(lambda leaf: np.shape(leaf)[1:], rows)
    return bool(shapes == jax.tree.map(np.shape, params))


def _flat(tree: Params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(float)


def _unflat(unravel: Any, vector: np.ndarray) -> Params:
    return in_double(lambda: unravel(jnp.asarray(vector)))
