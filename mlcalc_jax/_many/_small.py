"""Systems of a few equations, one a lane, written out entry by entry: no call of a library each."""

from typing import Any

import jax.numpy as jnp


def place(i: int, j: int) -> int:
    """Where entry (i, j), i >= j, of a lower triangle is kept."""
    return i * (i + 1) // 2 + j


def cholesky(A: list[Any], size: int) -> tuple[list[Any], Any]:
    """The factor of a matrix with a unit diagonal, entry by entry, and its least squared pivot."""
    L: list[Any] = list(A)
    least: Any = None
    for i in range(size):
        for j in range(i + 1):
            value = A[place(i, j)]
            for k in range(j):
                value = value - L[place(i, k)] * L[place(j, k)]
            if i == j:
                least = value if least is None else jnp.minimum(least, value)
                tiny = jnp.finfo(value.dtype).tiny
                L[place(i, i)] = jnp.sqrt(jnp.maximum(value, tiny))
            else:
                L[place(i, j)] = value / L[place(j, j)]
    return L, least


def solved(
    square: tuple[Any, ...],
    slope: list[Any],
    scale: tuple[Any, ...],
    damping: Any,
    stuck: list[Any],
) -> tuple[list[Any], Any]:
    """``d`` with ``(J^T J + lambda D^2) d = -J^T r``; what is stuck stays.

    And the least squared pivot of the matrix, in units of D^2.
    """
    size = len(slope)
    root = [jnp.sqrt(s) for s in scale]
    A = []
    for i in range(size):
        for j in range(i + 1):
            value = square[place(i, j)] / (root[i] * root[j])
            if i == j:
                value = value + damping
            for h in {i, j}:
                if stuck[h] is not None:
                    value = jnp.where(stuck[h], float(i == j), value)
            A.append(value)
    L, least = cholesky(A, size)
    z: list[Any] = []
    for i in range(size):
        value = -slope[i] / root[i]
        for k in range(i):
            value = value - L[place(i, k)] * z[k]
        z.append(value / L[place(i, i)])
    d: list[Any] = [None] * size
    for i in reversed(range(size)):
        value = z[i]
        for k in range(i + 1, size):
            value = value - L[place(k, i)] * d[k]
        d[i] = value / L[place(i, i)]
    return [value / r for value, r in zip(d, root, strict=True)], least


def inverse(L: list[Any], root: list[Any], size: int) -> list[Any]:
    """The lower triangle of the inverse of ``D L L^T D``."""
    M: dict[tuple[int, int], Any] = {}  # the inverse of L
    for j in range(size):
        M[j, j] = 1 / L[place(j, j)]
        for i in range(j + 1, size):
            value = sum(L[place(i, k)] * M[k, j] for k in range(j, i))
            M[i, j] = -value / L[place(i, i)]
    return [
        sum(M[k, i] * M[k, j] for k in range(i, size)) / (root[i] * root[j])
        for i in range(size)
        for j in range(i + 1)
    ]
