"""The chain rule inside a network: a factor as a heat map, and the network with values on it."""

from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, TwoSlopeNorm

from .._explain import Explanation, Factor
from ._style import BLACK, axes


def factor(of: Factor, *, ax: Axes | None = None) -> Axes:
    """One factor of the chain rule as a heat map: the darker, the lower; zero in the middle.

    Args:
        of: from ``explain_backprop(...).factors``.
        ax: where to draw; a new figure unless given.
    """
    ax = axes(ax, 4, 2.4)
    shown = np.atleast_2d(of.value.T).T
    largest = float(np.abs(shown).max()) or 1.0
    image = ax.imshow(
        shown,
        cmap="cividis",
        norm=TwoSlopeNorm(0, -largest, largest),
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, shown.shape[1] + 0.5, shown.shape[0] + 0.5, 0.5),  # counted from 1
    )
    bar = ax.figure.colorbar(image, ax=ax, format=lambda v, _: f"{v:.2g}")
    bar.set_ticks([-largest, 0, largest])
    bar.ax.tick_params(labelsize="x-small")
    shape = " x ".join(map(str, of.value.shape))
    ax.set_title(f"{of.name}, {shape}, rms {of.norm:.2g}", fontsize="small")
    per_point = of.name.startswith(("dC", "sigma")) or "/dW" in of.name
    ax.set_xlabel("point" if per_point else "from neuron", fontsize="small")
    ax.set_ylabel("neuron", fontsize="small")
    ax.tick_params(labelsize="x-small")
    for axis, count in ((ax.xaxis, shown.shape[1]), (ax.yaxis, shown.shape[0])):
        ticks = [1, count] if count > 1 else [1]
        axis.set_ticks(ticks if count > 10 else range(1, count + 1))
    if of.value.ndim == 1:
        ax.set_xticks([])
        ax.set_xlabel("")
    return ax


def network(
    of: Explanation,
    way: Literal["forward", "backward"] = "forward",
    *,
    ax: Axes | None = None,
) -> Axes:
    """The network: forward with its activations and weights, backward with its gradients.

    Forward, a neuron is as dark as its mean activation and an edge as wide and as coloured as its
    weight, dashed below zero. Backward, a neuron is as dark as the root mean square of dC/dz at it
    and an edge as wide and as coloured as dC/dW, relative to the largest of all layers: where
    gradients vanish, the picture fades.

    Args:
        of: from :func:`mlcalc_jax.explain_backprop`.
        way: forward or backward.
        ax: where to draw; a new figure unless given.

    Raises:
        ValueError: another way.
    """
    if way not in ("forward", "backward"):
        raise ValueError(f"way must be 'forward' or 'backward', got {way!r}")
    ax = axes(ax, 6.4, 4.4)
    is_forward = way == "forward"
    layers: tuple[Any, ...] = tuple(of.params) if is_forward else tuple(of.chain.jacobian)
    if is_forward:
        neurons = [np.mean(np.asarray(a), axis=1) for a in of.passed.a]
    else:
        rms = [np.sqrt(np.mean(np.asarray(d) ** 2, axis=1)) for d in of.chain.delta]
        neurons = [np.zeros(of.passed.a[0].shape[0]), *rms]
    largest = max(float(np.abs(np.asarray(layer.W)).max()) for layer in layers) or 1.0
    edges = ScalarMappable(Normalize(-largest, largest), "RdBu_r")
    darkest = max(float(np.abs(n).max()) for n in neurons) or 1.0
    fill = ScalarMappable(Normalize(0, 1), "Greys")
    place = [_column(k, len(n)) for k, n in enumerate(neurons)]
    for k, layer in enumerate(layers):
        for (i, j), value in np.ndenumerate(np.asarray(layer.W)):
            (x0, y0), (x1, y1) = place[k][j], place[k + 1][i]
            width = 0.3 + 4 * abs(value) / largest
            dash = "-" if value >= 0 else (0, (4, 1.5))
            colour = edges.to_rgba(value)
            ax.plot([x0, x1], [y0, y1], color=colour, linestyle=dash, linewidth=width, zorder=1)
    if not is_forward:
        neurons = [n / darkest for n in neurons]
    for k, column in enumerate(place):
        for (px, py), value in zip(column, neurons[k], strict=True):
            is_input = k == 0 and not is_forward
            shade = fill.to_rgba(value)
            ax.plot(
                px, py, "o", markersize=21, color="white" if is_input else shade, zorder=2,
                markeredgecolor=BLACK,
            )  # fmt: skip
            if not is_input:
                dark = mpl.colors.rgb_to_hsv(shade[:3])[2] < 0.55
                ax.text(
                    px, py, f"{value:.2g}", ha="center", va="center", fontsize="x-small",
                    color="white" if dark else BLACK, zorder=3,
                )  # fmt: skip
    names = ["input", *(f"layer {k}" for k in range(1, len(layers) + 1))]
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks([])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    ax.set(xlim=(-0.3, len(layers) + 0.3))
    what = "weight" if is_forward else "dC/dW"
    ax.figure.colorbar(edges, ax=ax, label=f"edges: {what}, dashed below zero", shrink=0.8)
    ax.set_title(
        "forward: neurons show the mean activation"
        if is_forward
        else f"backward: neurons show the rms of N dC/dz, over the largest, {darkest:.2g}"
    )
    return ax


def _column(k: int, count: int) -> list[tuple[float, float]]:
    return [(float(k), (count - 1) / 2 - i) for i in range(count)]
