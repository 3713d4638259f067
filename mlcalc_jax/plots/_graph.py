"""A computational graph, with the local derivative on every edge."""

from collections import defaultdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from ..calculus import Graph
from ._style import BLACK, BLUE, GREY, VERMILION, axes

# In inches: what a letter takes, what is left between two boxes beside the letters on their edges,
# and from row to row.
_LETTER, _GAP, _ROW = 0.075, 0.7, 1.15


def graph(of: Graph, *, ax: Axes | None = None) -> Axes:
    """The steps of a function from its inputs, left, to its result, right.

    Every box has the number's value, computed from left to right, and below it the derivative of
    the result by that number, gathered from right to left; every edge has the local derivative, as
    the rule and as the number. The product along a path, summed over paths, is the chain rule.

    Args:
        of: from :func:`mlcalc_jax.computational_graph`.
        ax: where to draw; a new figure, as large as the graph needs, unless given.
    """
    said = [
        (f"{node.name} = {node.operation}" if node.operation else node.name) + f"\n{node.value:.4g}"
        for node in of.nodes
    ]
    below = [f"d result: {node.derivative:.4g}" for node in of.nodes]
    rows = _rows(of)
    middles, width = _columns(of, said, below)
    place = [(middles[node.depth], row) for node, row in zip(of.nodes, rows, strict=True)]
    highest = max(rows)
    outer = {*of.inputs, of.nodes[-1].name}
    ax = axes(ax, 0.4 + width, 0.8 + _ROW * (1 + highest))
    ax.set(xlim=(0, width), ylim=(-0.7, highest + 0.5))
    ax.set_axis_off()
    boxes = [
        ax.text(
            *at,
            text,
            ha="center",
            va="center",
            color=BLACK,
            fontsize="small",
            bbox={
                "boxstyle": "round,pad=0.35",
                "facecolor": "#E8F1F8" if node.name in outer else "white",
                "edgecolor": BLACK,
            },
            zorder=3,
        )
        for node, at, text in zip(of.nodes, place, said, strict=True)
    ]
    derivatives = [
        ax.annotate(
            text,
            at,
            (0, -25),
            textcoords="offset points",
            ha="center",
            va="center",
            color=BLUE,
            fontsize="small",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
            zorder=4,
        )
        for at, text in zip(place, below, strict=True)
    ]
    covered = _Extents([*boxes, *derivatives])
    for edge in of.edges:
        beside = of.nodes[edge.target].depth - of.nodes[edge.source].depth == 1
        label = ax.text(
            0,
            0,
            edge.equation(4),
            color=VERMILION,
            fontsize="small",
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
            zorder=2.5,
        )
        ends = boxes[edge.source], boxes[edge.target]
        ax.add_patch(_Arrow(*ends, label, *((0.0, None) if beside else (0.12, covered))))
    return ax


class _Extents:
    """What some texts cover, in pixels; measured once a drawing."""

    def __init__(self, texts: list[Text]) -> None:
        self.texts = texts
        self.measured: tuple[Any, list[Bbox]] = None, []

    def __call__(self, renderer: Any) -> list[Bbox]:
        axes: Any = self.texts[0].axes
        drawing = id(renderer), *axes.bbox.bounds, *axes.viewLim.bounds
        if self.measured[0] != drawing:
            self.measured = drawing, [text.get_window_extent(renderer) for text in self.texts]
        return self.measured[1]


class _Arrow(FancyArrowPatch):
    """An arrow from the border of one text's box to that of another, with a label on it.

    The label is in the middle, or as near to it as it covers none of what is to be avoided.
    """

    def __init__(
        self, start: Text, end: Text, label: Text, bend: float, avoid: _Extents | None
    ) -> None:
        super().__init__(
            start.get_position(),
            end.get_position(),
            arrowstyle="-|>",
            connectionstyle=f"arc3,rad={bend}",
            mutation_scale=10,
            color=GREY,
            patchA=start.get_bbox_patch(),
            patchB=end.get_bbox_patch(),
            shrinkA=0,
            shrinkB=1,
            zorder=2,
        )
        self.ends, self.label, self.avoid = (start, end), label, avoid

    def draw(self, renderer: Any) -> None:
        """Only now it is known where the boxes are."""
        for text in self.ends:
            text.update_bbox_position_size(renderer)
        transform = self.get_transform()
        start, end = (transform.transform(text.get_position()) for text in self.ends)
        connect: Any = self.get_connectionstyle()
        a, b, c = connect(start, end, patchA=self.patchA, patchB=self.patchB).vertices[:3]
        taken = self.avoid(renderer) if self.avoid else []
        for t in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8):
            on_curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
            self.label.set_position(tuple(transform.inverted().transform(on_curve)))
            if not self.label.get_window_extent(renderer).count_overlaps(taken):
                break
        super().draw(renderer)


def _columns(of: Graph, said: list[str], below: list[str]) -> tuple[list[float], float]:
    """The middle of the column of each depth, and the width of all of them, in inches."""
    deepest = max(node.depth for node in of.nodes)
    letters, beside = [0] * (deepest + 1), [0] * (deepest + 1)
    for node, *texts in zip(of.nodes, said, below, strict=True):
        longest = max(len(line) for text in texts for line in text.split("\n"))
        letters[node.depth] = max(letters[node.depth], longest)
    for edge in of.edges:
        depth = of.nodes[edge.target].depth
        beside[depth] = max(beside[depth], len(edge.equation(4)))
    middles, right = [], 0.0
    for column, gap in zip(letters, beside, strict=True):
        left = right + (_GAP + _LETTER * gap if right else 0.3)
        right = left + _LETTER * column
        middles.append((left + right) / 2)
    return middles, right + 0.3


def _rows(of: Graph) -> list[float]:
    """The row of each number; of those of a depth in the order of what they come from."""
    columns = defaultdict(list)
    for k, node in enumerate(of.nodes):
        columns[node.depth].append(k)
    widest = max(map(len, columns.values()))
    sources = defaultdict(list)
    for edge in of.edges:
        sources[edge.target].append(edge.source)
    place: dict[int, float] = {}
    for depth, column in sorted(columns.items()):
        wanted = {
            k: float(np.mean([place[s] for s in sources[k]])) if sources[k] else -float(k)
            for k in column
        }
        ordered = sorted(column, key=lambda k: wanted[k])
        gap = (widest - 1) / max(1, len(ordered) - 1) if len(ordered) > 1 else 0.0
        for row, k in enumerate(ordered):
            if len(ordered) > 1:
                place[k] = row * gap
            else:
                place[k] = float(np.clip(wanted[k], 0, widest - 1)) if depth else (widest - 1) / 2
    return [place[k] for k in range(len(of.nodes))]
