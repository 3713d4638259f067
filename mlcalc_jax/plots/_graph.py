"""A computational graph, with the local derivative on every edge."""

from collections import defaultdict

import numpy as np
from matplotlib.axes import Axes

from ..calculus import Edge, Graph
from ._style import BLACK, BLUE, GREY, VERMILION, axes


def graph(of: Graph, *, ax: Axes | None = None) -> Axes:
    """The steps of a function from its inputs, left, to its result, right.

    Every box has the number's value, computed from left to right, and below it the derivative of
    the result by that number, gathered from right to left; every edge has the local derivative, as
    the rule and as the number. The product along a path, summed over paths, is the chain rule.

    Args:
        of: from :func:`mlcalc_jax.computational_graph`.
        ax: where to draw; a new figure, as large as the graph needs, unless given.
    """
    place = _layout(of)
    deepest = max(node.depth for node in of.nodes)
    widest = max(sum(n.depth == d for n in of.nodes) for d in range(deepest + 1))
    ax = axes(ax, 1.2 + 2.2 * (deepest + 1), 0.8 + 1.15 * widest)
    for edge in of.edges:
        (x0, y0), (x1, y1) = place[edge.source], place[edge.target]
        ax.annotate(
            "",
            (x1, y1),
            (x0, y0),
            arrowprops={
                "arrowstyle": "-|>",
                "color": GREY,
                "shrinkA": 24,
                "shrinkB": 26,
                "connectionstyle": f"arc3,rad={0.12 if x1 - x0 > 1 else 0.0}",
            },
        )
        ax.text(
            x0 + 0.5 * (x1 - x0),
            y0 + 0.5 * (y1 - y0) - (0.06 * (x1 - x0) if x1 - x0 > 1 else 0.0),
            _rule(edge),
            color=VERMILION,
            fontsize="small",
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        )
    for k, node in enumerate(of.nodes):
        is_end = k == len(of.nodes) - 1 or node.name in of.inputs
        what = f"{node.name} = {node.operation}" if node.operation else node.name
        text = f"{what}\n{node.value:.4g}"
        ax.text(
            *place[k],
            text,
            ha="center",
            va="center",
            color=BLACK,
            fontsize="small",
            bbox={
                "boxstyle": "round,pad=0.35",
                "facecolor": "#E8F1F8" if is_end else "white",
                "edgecolor": BLACK,
            },
            zorder=3,
        )
        ax.annotate(
            f"d result: {node.derivative:.4g}",
            place[k],
            (0, -25),
            textcoords="offset points",
            ha="center",
            va="center",
            color=BLUE,
            fontsize="small",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
            zorder=4,
        )
    ax.set(xlim=(-0.6, deepest + 0.6), ylim=(-0.7, widest - 0.5))
    ax.set_axis_off()
    return ax


def _rule(edge: Edge) -> str:
    number = f"{edge.derivative:.4g}"
    return number if edge.rule == number else f"{edge.rule} = {number}"


def _layout(of: Graph) -> dict[int, tuple[float, float]]:
    """A column for each depth, the rows of a column in the order of what they come from."""
    columns = defaultdict(list)
    for k, node in enumerate(of.nodes):
        columns[node.depth].append(k)
    widest = max(map(len, columns.values()))
    sources = defaultdict(list)
    for edge in of.edges:
        sources[edge.target].append(edge.source)
    place: dict[int, tuple[float, float]] = {}
    for depth, column in sorted(columns.items()):
        wanted = {
            k: float(np.mean([place[s][1] for s in sources[k]])) if sources[k] else -float(k)
            for k in column
        }
        ordered = sorted(column, key=lambda k: wanted[k])
        gap = (widest - 1) / max(1, len(ordered) - 1) if len(ordered) > 1 else 0.0
        for row, k in enumerate(ordered):
            y = row * gap if len(ordered) > 1 else np.clip(wanted[k], 0, widest - 1)
            place[k] = (float(depth), float(y if depth or len(ordered) > 1 else (widest - 1) / 2))
    return place
