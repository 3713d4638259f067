"""Gradient, Jacobian, Hessian and their products, of functions of any pytree, named by its keys."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import _check
from .._precision import in_precision_of
from .._types import AnyArray

Mode = Literal["forward", "reverse", "forward over reverse"]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["matrix", "tree"],
    meta_fields=["rows", "columns", "mode"],
)
@dataclass(frozen=True)
class Derivatives:
    """A matrix of derivatives that knows what its rows and columns are; NumPy takes it as one."""

    matrix: Float[AnyArray, "rows columns"]
    tree: Any  #: the same, as the pytree of the results, each leaf one as the pytree of the point
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    mode: Mode  #: of differentiation

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.matrix, dtype)

    def __str__(self) -> str:
        values = [[f"{float(value):.6g}" for value in row] for row in np.asarray(self.matrix)]
        cells = [["", *self.columns], *([r, *v] for r, v in zip(self.rows, values, strict=True))]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in cells]
        return "\n".join([*lines, f"({self.mode} mode)"])


class TotalDerivative(NamedTuple):
    """``df/dt = sum_i df/dx_i dx_i/dt``, term by term."""

    value: Float[AnyArray, ""]
    partial: Any  #: df/dx_i, a pytree as the path's
    rate: Any  #: dx_i/dt
    term: Any  #: df/dx_i dx_i/dt


def gradient(f: Callable[[Any], Any], at: Any) -> Any:
    """``df/dx`` of a scalar function, a pytree shaped as ``at``; by reverse mode.

    Args:
        f: a pure function of a pytree of real numbers that returns one real number.
        at: the point. Its dtype decides the precision; bare Python numbers count as float64.

    Raises:
        TypeError: ``f`` is no function or returns no real scalar; ``at`` holds what is no number.
        ValueError: ``at`` is empty or not finite.
    """
    _function("f", f)
    return computed(at := point(at), lambda: jax.grad(scalar(f))(_arrays(at)))


def jacobian(
    f: Callable[[Any], Any], at: Any, *, mode: Literal["forward", "reverse"] | None = None
) -> Derivatives:
    """``J_ij = df_i/dx_j``; forward mode where inputs are not more than outputs, else reverse.

    Forward mode costs one pass an input, reverse mode one pass an output.

    Args:
        f: a pure function from a pytree of real numbers to one.
        at: the point; see :func:`gradient`.
        mode: to choose oneself.

    Raises:
        TypeError, ValueError: as for :func:`gradient`; an unknown mode.
    """
    _function("f", f)
    if mode not in (None, "forward", "reverse"):
        raise ValueError(f"mode must be 'forward' or 'reverse', got {mode!r}")
    return computed(at := point(at), lambda: _jacobian(f, _arrays(at), mode))


def _jacobian(f: Callable[[Any], Any], at: Any, mode: Any) -> Derivatives:
    out = jax.eval_shape(f, at)
    if not jax.tree.leaves(out):
        raise TypeError(f"the function must return real numbers, got {out}")
    if bad := [leaf.dtype for leaf in jax.tree.leaves(out) if not _is_real(leaf)]:
        raise TypeError(f"the function must return real numbers, got {bad[0]}")
    rows, columns = names_of(out, "f"), names_of(at, "x")
    chosen: Mode = mode or ("forward" if len(columns) <= len(rows) else "reverse")
    tree = (jax.jacfwd if chosen == "forward" else jax.jacrev)(f)(at)
    return Derivatives(_matrix(tree, out, at), tree, rows, columns, chosen)


def hessian(f: Callable[[Any], Any], at: Any) -> Derivatives:
    """``H_ij = d2f/dx_i dx_j`` of a scalar function; forward over reverse mode.

    Arguments and errors are those of :func:`gradient`.
    """
    _function("f", f)

    def compute() -> Derivatives:
        x = _arrays(at)
        tree = jax.jacfwd(jax.grad(scalar(f)))(x)
        names = names_of(x, "x")
        return Derivatives(_matrix(tree, x, x), tree, names, names, "forward over reverse")

    return computed(at := point(at), compute)


def jvp(f: Callable[[Any], Any], at: Any, tangent: Any) -> Any:
    """``J v``, how the results change along ``tangent``; one forward pass, J is never formed.

    Args:
        f, at: as for :func:`jacobian`.
        tangent: v, a pytree shaped as ``at``.

    Raises:
        TypeError, ValueError: as for :func:`gradient`; a tangent of another structure or shape.
    """
    _function("f", f)
    at = point(at)
    tangent = _like("tangent", tangent, at)
    return computed(at, lambda: jax.jvp(f, (_arrays(at),), (_along(tangent, at),))[1])


def vjp(f: Callable[[Any], Any], at: Any, cotangent: Any) -> Any:
    """``w^T J``, what the results' weights ``w`` mean for each input; one reverse pass.

    Args:
        f, at: as for :func:`jacobian`.
        cotangent: w, a pytree shaped as the result of ``f``.

    Raises:
        TypeError, ValueError: as for :func:`gradient`; weights of another structure or shape.
    """
    _function("f", f)
    at = point(at)

    def compute() -> Any:
        out, pull_back = jax.vjp(f, _arrays(at))
        return pull_back(_along(_like("cotangent", cotangent, out), out))[0]

    return computed(at, compute)


def directional_derivative(
    f: Callable[[Any], Any], at: Any, direction: Any, *, normalise: bool = True
) -> Any:
    """``grad f . u``, the slope of f along ``direction``, per unit of length.

    Args:
        f, at: as for :func:`jacobian`; each result of f has its own slope.
        direction: a pytree shaped as ``at``.
        normalise: whether u is the direction scaled to length 1; if not, u is the direction.

    Raises:
        TypeError, ValueError: as for :func:`jvp`; a direction of length 0.
    """
    _function("f", f)
    at = point(at)
    u = _like("direction", direction, at)
    if normalise and all(map(_is_zero, jax.tree.leaves(u))):
        raise ValueError("direction has length 0")
    if normalise:
        u = _by_its_largest(u)

    def compute() -> Any:
        along = _along(u, at)
        if normalise:
            leaves = jax.tree.leaves(along)
            length = jnp.linalg.norm(jnp.stack([jnp.linalg.norm(leaf) for leaf in leaves]))
            along = jax.tree.map(lambda leaf: leaf / length.astype(leaf.dtype), along)
        return jax.jvp(f, (_arrays(at),), (along,))[1]

    return computed(at, compute)


def total_derivative(
    f: Callable[[Any], Any], path: Callable[[Any], Any], t: Any
) -> TotalDerivative:
    """``d/dt f(x(t)) = sum_i df/dx_i dx_i/dt``, with every term of the chain rule.

    Args:
        f: a pure scalar function of a pytree.
        path: a pure function from a number to that pytree.
        t: the number; see :func:`gradient` for its precision.

    Raises:
        TypeError: f or path is no function; t is no number; f returns no real scalar.
        ValueError: t is not finite or not one number.
    """
    _function("f", f)
    _function("path", path)
    t = point(t, "t")
    if len(jax.tree.leaves(t)) != 1 or jnp.shape(t) != ():
        raise ValueError(f"t must be one number, got {t}")

    def compute() -> TotalDerivative:
        now = jnp.asarray(t)
        where, rate = jax.jvp(path, (now,), (jnp.ones_like(now),))
        partial = jax.grad(scalar(f))(where)
        term = jax.tree.map(jnp.multiply, partial, rate)
        total = sum((jnp.sum(leaf) for leaf in jax.tree.leaves(term)), jnp.zeros_like(now))
        return TotalDerivative(total, partial, rate, term)

    return computed(t, compute)


def computed(at: Any, compute: Callable[[], Any]) -> Any:
    """What ``compute`` returns, in the precision of the point; JAX's errors say what to write."""
    with _check.traceable("the function", has_keys=True):
        return in_precision_of(at, compute)


def point(at: Any, name: str = "at") -> Any:
    """``at`` as floating arrays; bare numbers and integers are float64 beside no other float.

    ``name`` is what errors call it; nothing where its keys say it all.

    Raises:
        TypeError: a leaf is not a real number or an array of them.
        ValueError: there is no leaf, or one is empty or not finite.
    """
    return _check.float_params(at, np.float64(0) if _is_bare(at) else None, name)


def _is_bare(at: Any) -> bool:
    """Whether nothing in the point has a floating dtype of its own."""
    return not any(hasattr(leaf, "dtype") and _is_real(leaf) for leaf in jax.tree.leaves(at))


def _is_zero(leaf: Any) -> bool:
    return _check.is_concrete(leaf) and not np.any(np.asarray(leaf))


def _by_its_largest(direction: Any) -> Any:
    """The direction over its largest number, whose square may be out of range.

    By NumPy where that can be: XLA takes numbers below the normal range for 0.
    """
    leaves = jax.tree.leaves(direction)
    numpy: Any = np if all(map(_check.is_concrete, leaves)) else jnp
    most = numpy.max(numpy.stack([numpy.max(numpy.abs(leaf), initial=0) for leaf in leaves]))
    return jax.tree.map(lambda leaf: numpy.asarray(leaf) / most, direction)


def _is_real(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _arrays(tree: Any) -> Any:
    return jax.tree.map(jnp.asarray, tree)


def _along(given: Any, model: Any) -> Any:
    """``given`` as arrays in the dtypes of ``model``; to call where those dtypes are enabled."""
    return jax.tree.map(lambda a, b: jnp.asarray(a, jnp.asarray(b).dtype), given, model)


def _function(name: str, f: Any) -> None:
    if not callable(f):
        raise TypeError(f"{name} must be a function, got {f!r}")


def scalar(f: Callable[[Any], Any], kind: Any = jnp.floating) -> Callable[[Any], Any]:
    """``f``, once it is known to return one number, of a dtype of that kind."""

    def checked(x: Any) -> Any:
        value = f(x)
        leaves = jax.tree.leaves(value)
        if len(leaves) == 1 and _check.is_numeric(leaves[0]):
            number = jnp.asarray(leaves[0])
            if number.shape == () and jnp.issubdtype(number.dtype, kind):
                return number
        wanted = "one real scalar" if kind is jnp.floating else "one scalar"
        got = jax.tree.map(_kind_of, value)
        raise TypeError(f"the function must return {wanted}, got {got}")

    return checked


def _kind_of(leaf: Any) -> str:
    return jnp.asarray(leaf).aval.str_short() if _check.is_numeric(leaf) else repr(leaf)


def _like(name: str, given: Any, model: Any) -> Any:
    """``given`` in the structure and shapes of ``model``; in its dtypes too unless traced."""
    leaves, treedef = jax.tree.flatten(given)
    if not same_structure(given, model):
        expected = jax.tree.structure(model)
        raise ValueError(f"{name} must have the structure {expected}, got {treedef}")
    checked = []
    for leaf, wanted in zip(leaves, jax.tree.leaves(model), strict=True):
        array = _check.real_array(name, leaf)
        _check.finite(name, array)
        if jnp.shape(array) != jnp.shape(wanted):
            expected = jnp.shape(wanted)
            raise ValueError(f"{name} must have the shape {expected}, got {jnp.shape(array)}")
        checked.append(array.astype(wanted.dtype) if _check.is_concrete(array) else array)
    return jax.tree.unflatten(treedef, checked)


def same_structure(a: Any, b: Any) -> bool:
    """Whether two pytrees have the same keys in the same places."""
    return str(jax.tree.structure(a)) == str(jax.tree.structure(b))


def names_of(tree: Any, bare: str) -> tuple[str, ...]:
    """The name of every number in a pytree: its keys, and its place in its array."""
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        key = jax.tree_util.keystr(path, simple=True, separator=".") or bare
        for place in np.ndindex(leaf.shape):
            names.append(key + (f"[{', '.join(map(str, place))}]" if place else ""))
    return tuple(names)


def _matrix(tree: Any, out: Any, at: Any) -> Any:
    """The pytree of a Jacobian as one matrix."""
    treedef: Any = jax.tree.structure(out)
    outer = treedef.flatten_up_to(tree)
    sizes = [leaf.size for leaf in jax.tree.leaves(out)]
    rows = [
        jnp.concatenate([jnp.reshape(leaf, (size, -1)) for leaf in jax.tree.leaves(row)], axis=1)
        for row, size in zip(outer, sizes, strict=True)
    ]
    return jnp.concatenate(rows, axis=0)
