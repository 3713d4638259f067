"""The chain rule inside a network, factor by factor, checked against ``jax.grad``."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from . import _check
from ._precision import in_precision_of
from ._types import ArrayLike
from .network import Backprop, Forward, NetworkParams, backprop, cost, forward


class Factor(NamedTuple):
    """One factor of the chain rule, or the product of all that come before it."""

    name: str
    formula: str
    layer: int  #: counted from 1
    value: np.ndarray
    is_product: bool  #: whether it is the running product from the cost down to here

    @property
    def norm(self) -> float:
        """Root of the mean square of its numbers: what a number of it is like."""
        largest = float(np.abs(self.value).max())
        if not 0 < largest < np.inf:
            return largest
        relative = self.value.astype(float) / largest  # whose squares can be neither too large
        return float(largest * np.sqrt(np.mean(relative**2)))  # nor too small


@dataclass(frozen=True)
class Explanation:
    """Every factor of dC/dW and dC/db, from the cost back to the first layer."""

    factors: tuple[Factor, ...]
    params: NetworkParams
    passed: Forward
    chain: Backprop
    cost: float
    #: Largest |dC/dW, dC/db - jax.grad's|, relative to its largest number; or, where points cancel
    #: one another, to a millionth of what the largest is a sum of.
    disagreement: float

    def factor(self, name: str) -> Factor:
        """The factor of a name, such as ``"J_W1"``.

        Raises:
            KeyError: no factor has the name; those there are are listed.
        """
        for factor in self.factors:
            if factor.name == name:
                return factor
        raise KeyError(f"no factor {name!r}; there are {', '.join(f.name for f in self.factors)}")

    def __str__(self) -> str:
        cells = [["layer", "factor", "is", "shape", "rms"]]
        for f in self.factors:
            shape = " x ".join(map(str, f.value.shape))
            cells.append([str(f.layer), f.name, f.formula, shape, f"{f.norm:.3g}"])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        lines.append(f"cost {self.cost:.6g}; jax.grad disagrees by {self.disagreement:.1g}")
        return "\n".join(lines)


def explain_backprop(params: NetworkParams, x: ArrayLike, y: ArrayLike) -> Explanation:
    """The chain rule of a network's cost at some points, every factor with its value.

    From the cost down, layer by layer::

        dC/da_L = 2 (a_L - y)
        dC/dz_k = dC/da_k * sigma'(z_k)          dC/da_{k-1} = W_k^T dC/dz_k
        J_Wk = dC/dz_k a_{k-1}^T / N             J_bk = dC/dz_k summed over points / N

    (N times the cost's own derivatives, until J.) Where a sigmoid is saturated, ``sigma'`` is near
    zero and all below it learns little: the running product shows it.

    Args:
        params: the layers, as from ``network.init_params``.
        x: (inputs, points), or (points,) for a network of one input.
        y: (outputs, points).

    Raises:
        TypeError: parameters or data that are not real numbers.
        ValueError: shapes that do not fit; no points; NaN or infinity.
    """
    x, y = (_check.real_array(name, value) for name, value in (("x", x), ("y", y)))
    _check.finite("x", x)
    _check.finite("y", y)
    if not np.size(x):
        raise ValueError("x has no points")
    params = _check.float_params(params, (x, y))

    passed, chain, value, by_jax = jax.tree.map(
        np.asarray, in_precision_of((params, x, y), _computed, params, x, y)
    )
    apart = [
        float(np.max(np.abs(mine - theirs)))
        for mine, theirs in zip(
            jax.tree.leaves(chain.jacobian), jax.tree.leaves(by_jax), strict=True
        )
    ]
    largest = max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(by_jax))
    summed = max(float(np.max(np.mean(np.abs(delta), axis=1))) for delta in chain.delta)
    disagreement = max(apart) / max(largest, 1e-6 * summed, float(np.finfo(float).tiny))
    return Explanation(_factors(params, chain), params, passed, chain, float(value), disagreement)


@jax.jit
def _computed(
    params: NetworkParams, x: jax.Array, y: jax.Array
) -> tuple[Forward, Backprop, jax.Array, NetworkParams]:
    passed, chain = forward(params, x), backprop(params, x, y)
    return passed, chain, cost(params, x, y), jax.grad(cost)(params, x, y)


def _factors(params: NetworkParams, chain: Any) -> tuple[Factor, ...]:
    layers = len(params)
    of_activation = chain.dC_da
    found = []
    for k in range(layers, 0, -1):
        i = k - 1
        formula = "2 (a - y)" if k == layers else f"W{k + 1}^T dC/dz{k + 1}"
        found += [
            Factor(f"dC/da{k}", formula, k, np.asarray(of_activation), True),
            Factor(f"sigma'(z{k})", f"a{k} (1 - a{k})", k, chain.da_dz[i], False),
            Factor(f"dC/dz{k}", f"dC/da{k} * sigma'(z{k})", k, chain.delta[i], True),
            Factor(f"dz{k}/dW{k}", f"a{k - 1}", k, chain.dz_dW[i], False),
            Factor(f"J_W{k}", f"dC/dz{k} a{k - 1}^T / N", k, chain.jacobian[i].W, True),
            Factor(f"J_b{k}", f"sum dC/dz{k} / N", k, chain.jacobian[i].b, True),
            Factor(f"dz{k}/da{k - 1}", f"W{k}", k, chain.dz_da[i], False),
        ]
        of_activation = chain.dz_da[i].T @ chain.delta[i]
    return tuple(found)
