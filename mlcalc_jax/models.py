"""Pure models ``f(params, x) -> y``: write your own the same way, there is nothing to register.

``params`` is a mapping of named parameters. In the units below, [x] is the unit of ``x`` and [y]
that of the result; every function is elementwise in ``x`` unless it says otherwise, and can be
jitted, vmapped and differentiated. A model that :func:`starts_from` decorates has an attribute
``guess``, and ``model.guess(x, y)`` is a start for a fit of it.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, ParamSpec, Protocol, TypeVar, cast, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _guess, _guess_many
from . import network as _network
from ._types import ArrayLike, Params

Named = Mapping[str, Any]
P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


@runtime_checkable
class Starting(Protocol[P, R_co]):
    """A model that guesses where a fit of it starts."""

    __name__: str
    guess: Callable[[Any, Any], Params]
    guess_many: Callable[[Any, Any, Any], Params] | None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


def starts_from(
    guess: Callable[[Any, Any], Params],
    guess_many: Callable[[Any, Any, Any], Params] | None = None,
) -> Callable[[Callable[P, R_co]], Starting[P, R_co]]:
    """Decorate a model with ``guess(x, y)``, which makes the params a fit starts from.

    ``guess_many(x, y, mask)``, for many fits that share x, takes y (fits, points) and a mask of one
    fit or of each, or None, and returns leaves (fits,); without it, ``fit_many`` guesses one by
    one. The model stays the same function; it gets the attributes ``guess`` and ``guess_many``.
    """

    def with_guess(model: Callable[P, R_co]) -> Starting[P, R_co]:
        starting = cast(Starting[P, R_co], model)
        starting.guess, starting.guess_many = guess, guess_many
        return starting

    return with_guess


@starts_from(_guess.guess_line, _guess_many.lines)
def line(params: Named, x: ArrayLike) -> Float[Array, "*points"]:
    """Straight line, ``slope * x + intercept``.

    Parameters: ``slope`` [y]/[x], ``intercept`` [y].
    """
    return params["slope"] * jnp.asarray(x) + params["intercept"]


def polynomial(params: Named, x: ArrayLike) -> Float[Array, "*points"]:
    """Polynomial, ``sum_k coefficients[k] * x^k``, by Horner's rule.

    Parameters: ``coefficients``, a vector, lowest power first, entry k in [y]/[x]^k.
    """
    x, coefficients = jnp.asarray(x), jnp.asarray(params["coefficients"])
    return reduce(lambda so_far, c: so_far * x + c, coefficients[::-1], jnp.zeros_like(x))


@starts_from(_guess.guess_gaussian, _guess_many.gaussians)
def gaussian(params: Named, x: ArrayLike) -> Float[Array, "*points"]:
    """Density of the normal distribution, ``exp(-(x - mu)^2 / (2 sigma^2)) / (sigma sqrt(2 pi))``.

    Parameters: ``mu`` [x], the mean; ``sigma`` [x], the standard deviation. Result in 1/[x].
    """
    z = (jnp.asarray(x) - params["mu"]) / params["sigma"]
    return jnp.exp(-(z**2) / 2) / (params["sigma"] * jnp.sqrt(2 * jnp.pi))


@starts_from(_guess.guess_gaussian_peak, _guess_many.gaussian_peaks)
def gaussian_peak(params: Named, x: ArrayLike) -> Float[Array, "*points"]:
    """Gaussian peak, ``amplitude * exp(-(x - mu)^2 / (2 sigma^2)) + offset``.

    Parameters: ``amplitude`` [y], the height above the offset; ``mu`` [x]; ``sigma`` [x];
    ``offset`` [y]. The full width at half maximum is ``2 sqrt(2 ln 2) sigma``.
    """
    z = (jnp.asarray(x) - params["mu"]) / params["sigma"]
    return params["amplitude"] * jnp.exp(-(z**2) / 2) + params["offset"]


@starts_from(_guess.guess_gaussian_2d, _guess_many.gaussian_spots)
def gaussian_2d(params: Named, x: tuple[ArrayLike, ArrayLike]) -> Float[Array, "*points"]:
    """Round Gaussian spot on a plane.

    ``amplitude * exp(-((x - x0)^2 + (y - y0)^2) / (2 sigma^2)) + offset``

    ``x`` is the pair of coordinate arrays (x, y), of one shape.
    Parameters: ``amplitude`` and ``offset`` in the unit of the result; ``x0``, ``y0``, ``sigma`` in
    that of the coordinates.
    """
    across, down = jnp.asarray(x[0]), jnp.asarray(x[1])
    distance_squared = (across - params["x0"]) ** 2 + (down - params["y0"]) ** 2
    exponent = -distance_squared / (2 * params["sigma"] ** 2)
    return params["amplitude"] * jnp.exp(exponent) + params["offset"]


@starts_from(_guess.guess_lorentzian, _guess_many.lorentzians)
def lorentzian(params: Named, x: ArrayLike) -> Float[Array, "*points"]:
    """Lorentzian (Cauchy) peak, ``amplitude / (1 + ((x - x0) / gamma)^2) + offset``.

    Parameters: ``amplitude`` [y]; ``x0`` [x]; ``gamma`` [x], the half width at half maximum;
    ``offset`` [y].
    """
    z = (jnp.asarray(x) - params["x0"]) / params["gamma"]
    return params["amplitude"] / (1 + z**2) + params["offset"]


@starts_from(_guess.guess_exponential_decay, _guess_many.decays)
def exponential_decay(params: Named, x: ArrayLike) -> Float[Array, "*points"]:
    """Exponential decay, ``amplitude * exp(-rate * x) + offset``.

    Parameters: ``amplitude`` [y]; ``rate`` 1/[x], so that half is left after ``ln 2 / rate``;
    ``offset`` [y].
    """
    return params["amplitude"] * jnp.exp(-params["rate"] * jnp.asarray(x)) + params["offset"]


@starts_from(_guess.guess_power_law, _guess_many.power_laws)
def power_law(params: Named, x: ArrayLike) -> Float[Array, "*points"]:
    """Power law for x > 0, ``amplitude * x^exponent``.

    Parameters: ``amplitude`` [y]/[x]^exponent; ``exponent``, a pure number.
    """
    return params["amplitude"] * jnp.asarray(x) ** params["exponent"]


@starts_from(_guess.guess_logistic, _guess_many.growths)
def logistic(params: Named, x: ArrayLike) -> Float[Array, "*points"]:
    """Logistic growth, ``capacity / (1 + exp(-rate * (x - midpoint)))``.

    Parameters: ``capacity`` [y], the upper plateau; ``rate`` 1/[x]; ``midpoint`` [x], where half
    the capacity is reached.
    """
    z = params["rate"] * (jnp.asarray(x) - params["midpoint"])
    return params["capacity"] * jax.nn.sigmoid(z)


@starts_from(_guess.guess_sine)
def sine(params: Named, x: ArrayLike) -> Float[Array, "*points"]:
    """Sine wave, ``amplitude * sin(2 pi frequency x + phase) + offset``.

    Parameters: ``amplitude`` [y]; ``frequency`` in cycles per [x]; ``phase`` in radians;
    ``offset`` [y].
    """
    angle = 2 * jnp.pi * params["frequency"] * jnp.asarray(x) + params["phase"]
    return params["amplitude"] * jnp.sin(angle) + params["offset"]


def network(params: _network.NetworkParams, x: ArrayLike) -> Float[Array, "outputs points"]:
    """Sigmoid network, the activations of the last layer; see :mod:`mlcalc_jax.network`.

    Parameters: the layers of ``network.init_params``. ``x`` is (inputs, points) or (points,).
    """
    return _network.forward(params, x).a[-1]
