"""What Levenberg-Marquardt believes: how far its local model can be trusted, and the next step.

A step is proposed, tried by whoever holds the problem, and judged.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ._linear import Triangle, damped, predicted_decrease, product, step_and_inverse
from ._packing import known, while_loop
from ._types import ArrayLike

#: The longest a column of J has been is forgotten at this rate.
_MEMORY = 0.8
#: A gain ratio farther from 1 than this shows a curved surface.
_BENT = 0.1
#: The longest the acceleration may be, relative to the step.
_SHARPEST_BEND = 0.375


class Trust(NamedTuple):
    """What a step leaves for the next."""

    damping: Float[Array, ""]  #: lambda
    growth: Float[Array, ""]  #: the factor on lambda if the next step is rejected
    scale: Float[Array, "parameters"]  #: D, the length each column of J has or recently had
    reach: Float[Array, ""]  #: the longest step, relative to the parameters, both measured by D
    is_bent: Bool[Array, ""]  #: whether the last step found the surface curved


class Proposal(NamedTuple):
    """A step, and what it promises."""

    d: Float[Array, "parameters"]
    damping: Float[Array, ""]  #: lambda, raised if the step would have been too long
    predicted: Float[Array, ""]  #: by how much the local model says the cost will fall
    is_cut: Bool[Array, ""]  #: whether it would have been longer
    is_bent: Bool[Array, ""]  #: whether the second derivative was asked for


def first_trust(at: Float[Array, "parameters"], damping: ArrayLike, reach: float = 3.0) -> Trust:
    """Before the first step."""
    first = jnp.asarray(damping, at.dtype)
    growth, longest = known(2, at.dtype), known(reach, at.dtype)
    return Trust(first, growth, jnp.zeros_like(at), longest, known(True, bool))


def lengths(
    of: Triangle, trust: Trust, at: Float[Array, "parameters"]
) -> Float[Array, "parameters"]:
    """D: the column lengths of J, slow to forget longer ones; 1 for a column of zeros.

    A column whose whole parameter could not change r by more than rounding is not trusted to be
    that short.
    """
    scale = jnp.maximum(_MEMORY * trust.scale, jnp.linalg.norm(of.R, axis=0))
    unseen = jnp.finfo(at.dtype).eps * jnp.hypot(jnp.linalg.norm(of.z), of.rest)
    scale = jnp.maximum(scale, jnp.where(at == 0, 0, unseen / jnp.where(at == 0, 1, jnp.abs(at))))
    return jnp.where(scale > 0, scale, 1)


def propose(
    of: Triangle,
    at: Float[Array, "parameters"],
    trust: Trust,
    bend: Callable[[Array], Array],
) -> Proposal:
    """The step that minimises ``|r + J d|^2 + lambda |D d|^2``, cut to the reach and accelerated.

    ``trust.scale`` holds D. The acceleration a goes along the geodesic of the model surface:
    ``(J^T J + lambda D^2) a = -J^T r'' / 2``, with r'' the second derivative of r along d, so that
    d + a follows a curved valley. ``bend(d)`` gives ``J^T r''``; it is asked only where the last
    step found the surface curved.
    """
    size = jnp.linalg.norm(trust.scale * at)
    limit = jnp.where(size > 0, trust.reach * size, jnp.inf)
    found = _within_reach(of, trust, limit)

    def accelerated(d: Array) -> Array:
        a = -product(found.inverse, product(found.inverse.T, bend(d))) / 2
        longest = _SHARPEST_BEND * jnp.linalg.norm(trust.scale * d)
        return d + jnp.where(jnp.linalg.norm(trust.scale * a) <= longest, a, 0)

    return Proposal(
        d=lax.cond(trust.is_bent, accelerated, lambda d: d, found.d),
        damping=found.damping,
        predicted=predicted_decrease(of, found.d),
        is_cut=found.damping > trust.damping,
        is_bent=trust.is_bent,
    )


class _Damped(NamedTuple):
    """The step for one lambda, and the lambda that should make it as long as allowed."""

    tries: Int[Array, ""]
    damping: Float[Array, ""]
    d: Float[Array, "parameters"]
    inverse: Float[Array, "parameters parameters"]  #: of R of the damped problem
    length: Float[Array, ""]
    better: Float[Array, ""]


def _within_reach(of: Triangle, trust: Trust, limit: Array) -> _Damped:
    """Lambda, raised until the step is no longer than the limit, and the step.

    Newton's method on the secular equation ``1 / |D d| = 1 / limit`` (Hebden; More and Sorensen).
    """

    def at_better(now: _Damped) -> _Damped:
        damping = now.better
        with_damping = damped(of, jnp.sqrt(damping) * trust.scale)
        d, inverse = step_and_inverse(with_damping)
        length = jnp.linalg.norm(trust.scale * d)
        w = product(inverse.T, trust.scale * (trust.scale * d / length))
        more = (length - limit) / limit / jnp.sum(w * w)
        better = damping + jnp.maximum(more, damping)
        return _Damped(now.tries + 1, damping, d, inverse, length, better)

    zero, size = known(0, of.z.dtype), of.z.size
    nothing = known(np.zeros(size), of.z.dtype), known(np.zeros((size, size)), of.z.dtype)
    before = known(0, np.int32), zero, *nothing, zero
    return while_loop(
        lambda now: (now.tries == 0) | ((now.tries <= 10) & (now.length > 1.1 * limit)),
        at_better,
        _Damped(*before, better=trust.damping),
    )


def judge(trust: Trust, proposed: Proposal, decrease: Array, is_better: Array) -> Trust:
    """Nielsen's rule for lambda, by the gain ratio: the actual over the predicted decrease."""
    widest = 1 / jnp.finfo(trust.damping.dtype).eps ** 2  # keeps a long stay at the optimum finite
    gain = decrease / jnp.where(proposed.predicted > 0, proposed.predicted, jnp.inf)
    gain = jnp.where(is_better, gain, 0)
    factor = jnp.where(is_better, jnp.maximum(1 / 3, 1 - (2 * gain - 1) ** 3), trust.growth)
    return Trust(
        damping=jnp.clip(proposed.damping * factor, 1 / widest, widest),
        growth=jnp.where(is_better, 2, jnp.minimum(2 * trust.growth, widest)),
        scale=trust.scale,
        reach=jnp.where(is_better & proposed.is_cut & (gain > 0.75), 5, 1) * trust.reach,
        is_bent=~is_better | (jnp.abs(gain - 1) > _BENT),
    )
