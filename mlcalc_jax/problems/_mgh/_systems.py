"""Systems of few equations in few unknowns: the residuals are what should be zero.

Numbers in brackets are those of the paper.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._entry import Entry

Residuals = Float[Array, "residuals"]


def rosenbrock(p: Any, _: Any) -> Residuals:
    """[1] ``10 (b - a^2), 1 - a``."""
    a, b = p
    return jnp.stack([10 * (b - a**2), 1 - a])


def freudenstein_roth(p: Any, _: Any) -> Residuals:
    """[2] ``a - 13 + ((5 - b) b - 2) b, a - 29 + ((b + 1) b - 14) b``.

    There is a second minimum, 48.9842, at (11.41, -0.8968), and it is where most descents end.
    """
    a, b = p
    return jnp.stack([a - 13 + ((5 - b) * b - 2) * b, a - 29 + ((b + 1) * b - 14) * b])


def powell_badly_scaled(p: Any, _: Any) -> Residuals:
    """[3] ``10^4 a b - 1, exp(-a) + exp(-b) - 1.0001``."""
    a, b = p
    return jnp.stack([1e4 * a * b - 1, jnp.exp(-a) + jnp.exp(-b) - 1.0001])


def brown_badly_scaled(p: Any, _: Any) -> Residuals:
    """[4] ``a - 10^6, b - 2 10^-6, a b - 2``."""
    a, b = p
    return jnp.stack([a - 1e6, b - 2e-6, a * b - 2])


def beale(p: Any, _: Any) -> Residuals:
    """[5] ``c_i - a (1 - b^i)`` for i = 1, 2, 3, with c = (1.5, 2.25, 2.625)."""
    a, b = p
    return jnp.stack([1.5 - a * (1 - b), 2.25 - a * (1 - b**2), 2.625 - a * (1 - b**3)])


def helical_valley(p: Any, _: Any) -> Residuals:
    """[7] ``10 (c - 10 theta), 10 (sqrt(a^2 + b^2) - 1), c``: a helix around the third axis.

    theta is the angle of (a, b) in turns, from -1/4 to 3/4.
    """
    a, b, c = p
    # Of the point turned by a quarter, so that the jump of the angle is where the paper has it, at
    # a = 0, b < 0, and not at the start.
    theta = jnp.arctan2(-a, b) / (2 * jnp.pi) + 0.25
    return jnp.stack([10 * (c - 10 * theta), 10 * (jnp.sqrt(a**2 + b**2) - 1), c])


def powell_singular(p: Any, _: Any) -> Residuals:
    """[13] ``a + 10 b, sqrt 5 (c - d), (b - 2 c)^2, sqrt 10 (a - d)^2``.

    Its Jacobian is singular at the minimum.
    """
    a, b, c, d = p
    return jnp.stack(
        [a + 10 * b, jnp.sqrt(5) * (c - d), (b - 2 * c) ** 2, jnp.sqrt(10) * (a - d) ** 2]
    )


def wood(p: Any, _: Any) -> Residuals:
    """[14] Two of Rosenbrock's valleys, the second with 90 for 100, and a coupling of both.

    ``10 (b - a^2), 1 - a, sqrt 90 (d - c^2), 1 - c, sqrt 10 (b + d - 2), (b - d) / sqrt 10``
    """
    a, b, c, d = p
    first = [10 * (b - a**2), 1 - a]
    second = [jnp.sqrt(90) * (d - c**2), 1 - c]
    return jnp.stack([*first, *second, jnp.sqrt(10) * (b + d - 2), (b - d) / jnp.sqrt(10)])


TABLE = {
    "rosenbrock": Entry(rosenbrock, (-1.2, 1), 2, 0, (1, 1)),
    "freudenstein_roth": Entry(freudenstein_roth, (0.5, -2), 2, 0, (5, 4)),
    "powell_badly_scaled": Entry(powell_badly_scaled, (0, 1), 2, 0),
    "brown_badly_scaled": Entry(brown_badly_scaled, (1, 1), 3, 0, (1e6, 2e-6)),
    "beale": Entry(beale, (1, 1), 3, 0, (3, 0.5)),
    "helical_valley": Entry(helical_valley, (-1, 0, 0), 3, 0, (1, 0, 0)),
    "powell_singular": Entry(powell_singular, (3, -1, 0, 1), 4, 0, (0, 0, 0, 0)),
    "wood": Entry(wood, (-3, -1, -3, -1), 6, 0, (1, 1, 1, 1)),
}
