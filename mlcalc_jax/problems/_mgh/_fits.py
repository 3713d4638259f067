"""Models fitted to data: measurements of the time, or numbers that a formula makes.

Numbers in brackets are those of the paper. It has six digits of each minimum above zero; here are
twelve (for Meyer eleven), cut off where float64 can tell no further, so that no cost lies below.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._entry import Entry

Values = Float[Array, "points"]


def jennrich_sampson(p: Any, i: Any) -> Values:
    """[6] ``exp(i a) + exp(i b)``, to be 2 + 2 i for i = 1, ..., 10."""
    a, b = p
    return jnp.exp(i * a) + jnp.exp(i * b)


def bard(p: Any, x: Any) -> Values:
    """[8] ``a + u / (b v + c w)``, with u = i, v = 16 - i and w the smaller of both.

    For b, c -> -infinity the sum of squares tends to a second, higher minimum, 17.4286.
    """
    a, b, c = p
    return a + x["u"] / (b * x["v"] + c * x["w"])


def gaussian(p: Any, t: Any) -> Values:
    """[9] ``a exp(-b (t - c)^2 / 2)``."""
    a, b, c = p
    return a * jnp.exp(-b * (t - c) ** 2 / 2)


def meyer(p: Any, t: Any) -> Values:
    """[10] ``a exp(b / (t + c))``: the resistance of a thermistor against its temperature."""
    a, b, c = p
    return a * jnp.exp(b / (t + c))


def gulf(p: Any, x: Any) -> Values:
    """[11] ``exp(-|x - b|^c / a)``, to be t for ``x = 25 + (-50 log t)^(2/3)``.

    The paper's formula is misprinted (``y_i m i x_2`` for ``y_i - x_2``).
    """
    a, b, c = p
    power = jnp.exp(c * jnp.log(jnp.abs(x - b)))  # its derivatives need no further power
    return jnp.exp(-power / a)


def box_3d(p: Any, x: Any) -> Values:
    """[12] ``exp(-a t) - exp(-b t) - c d``, to be 0, with ``d = exp(-t) - exp(-10 t)``.

    It is 0 as well at (10, 1, -1), and wherever a = b and c = 0.
    """
    a, b, c = p
    return jnp.exp(-a * x["t"]) - jnp.exp(-b * x["t"]) - c * x["d"]


def kowalik_osborne(p: Any, u: Any) -> Values:
    """[15] ``a (u^2 + b u) / (u^2 + c u + d)``: the kinetics of an enzyme.

    Towards infinity the sum of squares tends to a second, higher minimum, 1.02734e-3.
    """
    a, b, c, d = p
    return a * (u**2 + b * u) / (u**2 + c * u + d)


def brown_dennis(p: Any, x: Any) -> Values:
    """[16] ``(a + b t - exp t)^2 + (c + d sin t - cos t)^2``, to be 0."""
    a, b, c, d = p
    return (a + b * x["t"] - x["exp"]) ** 2 + (c + d * x["sin"] - x["cos"]) ** 2


def osborne_1(p: Any, t: Any) -> Values:
    """[17] ``a + b exp(-d t) + c exp(-e t)``."""
    a, b, c, d, e = p
    return a + b * jnp.exp(-d * t) + c * jnp.exp(-e * t)


def biggs_exp6(p: Any, t: Any) -> Values:
    """[18] ``c exp(-a t) - d exp(-b t) + f exp(-e t)``.

    The paper gives 5.65565e-3, a higher minimum, which some descents from the standard start run
    into, as of BFGS or Nelder and Mead; others reach 0.
    """
    a, b, c, d, e, f = p
    return c * jnp.exp(-a * t) - d * jnp.exp(-b * t) + f * jnp.exp(-e * t)


def osborne_2(p: Any, t: Any) -> Values:
    """[19] ``p_1 exp(-p_5 t) + sum_k p_k exp(-p_(k+4) (t - p_(k+7))^2)`` for k = 2, 3, 4."""
    peaks = [p[k] * jnp.exp(-p[k + 4] * (t - p[k + 7]) ** 2) for k in (1, 2, 3)]
    return p[0] * jnp.exp(-p[4] * t) + peaks[0] + peaks[1] + peaks[2]


_COUNT = np.arange(1.0, 21)

_BARD = {"u": _COUNT[:15], "v": 16 - _COUNT[:15], "w": np.minimum(_COUNT[:15], 16 - _COUNT[:15])}
_BARD_Y = np.array(
    [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39]
)

_GAUSSIAN_HALF = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
_GAUSSIAN_Y = np.array([*_GAUSSIAN_HALF, 0.3989, *_GAUSSIAN_HALF[::-1]])

# fmt: off
_MEYER_Y = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820,
     3307, 2872], float,
)

_KOWALIK_OSBORNE = (
    np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625]),
    np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235,
              0.0246]),
)

_OSBORNE_1_Y = np.array(
    [844, 908, 932, 936, 925, 908, 881, 850, 818, 784, 751, 718, 685, 658, 628, 603, 580, 558, 538,
     522, 506, 490, 478, 467, 457, 448, 438, 431, 424, 420, 414, 411, 406]
) / 1000

_OSBORNE_2_Y = np.array(
    [1366, 1191, 1112, 1013, 991, 885, 831, 847, 786, 725, 746, 679, 608, 655, 616, 606, 602, 626,
     651, 724, 649, 649, 694, 644, 624, 661, 612, 558, 533, 495, 500, 423, 395, 375, 372, 391, 396,
     405, 428, 429, 523, 562, 607, 653, 672, 708, 633, 668, 645, 632, 591, 559, 597, 625, 739, 710,
     729, 720, 636, 581, 428, 292, 162, 98, 54]
) / 1000
# fmt: on

_GULF_T = np.arange(1, 100) / 100
_TENTH, _BIGGS_T, _FIFTH = _COUNT[:10] / 10, _COUNT[:13] / 10, _COUNT / 5

TABLE = {
    "jennrich_sampson": Entry(
        jennrich_sampson, (0.3, 0.4), (_COUNT[:10], 2 + 2 * _COUNT[:10]), 124.362182355
    ),
    "bard": Entry(bard, (1, 1, 1), (_BARD, _BARD_Y), 8.21487730657e-3),
    "gaussian": Entry(
        gaussian, (0.4, 1, 0), ((8 - _COUNT[:15]) / 2, _GAUSSIAN_Y), 1.12793276961e-8
    ),
    "meyer": Entry(meyer, (0.02, 4000, 250), (45 + 5 * _COUNT[:16], _MEYER_Y), 87.945855170),
    "gulf": Entry(
        gulf,
        (5, 2.5, 0.15),
        (25 + (-50 * np.log(_GULF_T)) ** (2 / 3), _GULF_T),
        0,
        (50, 25, 1.5),
    ),
    "box_3d": Entry(
        box_3d,
        (0, 10, 20),
        ({"t": _TENTH, "d": np.exp(-_TENTH) - np.exp(-10 * _TENTH)}, np.zeros(10)),
        0,
        (1, 10, 1),
    ),
    "kowalik_osborne": Entry(
        kowalik_osborne, (0.25, 0.39, 0.415, 0.39), _KOWALIK_OSBORNE, 3.07505603849e-4
    ),
    "brown_dennis": Entry(
        brown_dennis,
        (25, 5, -5, -1),
        (
            {"t": _FIFTH, "exp": np.exp(_FIFTH), "sin": np.sin(_FIFTH), "cos": np.cos(_FIFTH)},
            np.zeros(20),
        ),
        85822.2016263,
    ),
    "osborne_1": Entry(
        osborne_1,
        (0.5, 1.5, -1, 0.01, 0.02),
        (10 * np.arange(33.0), _OSBORNE_1_Y),
        5.46489469748e-5,
    ),
    "biggs_exp6": Entry(
        biggs_exp6,
        (1, 2, 1, 1, 1, 1),
        (_BIGGS_T, np.exp(-_BIGGS_T) - 5 * np.exp(-10 * _BIGGS_T) + 3 * np.exp(-4 * _BIGGS_T)),
        0,
        (1, 10, 1, 5, 4, 3),
    ),
    "osborne_2": Entry(
        osborne_2,
        (1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5),
        (np.arange(65) / 10, _OSBORNE_2_Y),
        4.01377362935e-2,
    ),
}
