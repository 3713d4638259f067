"""A comparison as a page of text, or as tables for notebooks."""

import html
import math
from typing import Any

from ._comparison import Comparison, Standing, label
from ._contenders import RATES
from ._standing import Interval

_HEAD = ("", "reached", "model evaluations", "steps", "milliseconds", "lowest", "us a", "compile")
_SECOND = ("optimiser (setting)", "target", "to target", "to target", "to target", "cost", "step",
           "s")  # fmt: skip


def rules(comparison: Comparison) -> list[str]:
    """The protocol in sentences."""
    of = comparison.protocol
    tuning, fresh, weights = len(of["tuning_seeds"]), len(of["seeds"]), of["weights"]
    return [
        f"Every optimiser: at most {of['trials']} settings, each with the same {tuning} tuning "
        f"seeds and {of['steps']} steps.",
        f"The best setting by median model evaluations to the target (failures infinite), then run "
        f"on {fresh} fresh seeds; those count.",
        f"Learning rates: {of['learning_rates']}. Target: {of['target']}.",
        f"Model evaluations are counted: a value {weights[0]}, a tangent {weights[1]}, a cotangent "
        f"{weights[2]}; so a gradient is {weights[0] + weights[2]}.",
        "Medians over seeds with 95 % intervals; * where an interval has no end.",
    ]


def report(comparison: Comparison) -> str:
    """All of it, as lines of plain text."""
    lines = [*rules(comparison), ""]
    for standing in comparison.problems:
        lines += [_about(standing), ""]
        rows = [_HEAD, _SECOND, *(_cells(row) for row in comparison.table(standing.name))]
        widths = [max(len(row[k]) for row in rows) for k in range(len(_HEAD))]
        lines += [
            "  " + "  ".join(
                cell.rjust(width) if k else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]  # fmt: skip
        lines += [*_notes(comparison, standing), ""]
    return "\n".join(lines)


def as_html(comparison: Comparison) -> str:
    """The same as tables for notebooks."""

    def row(cells: Any, tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    parts = [f"<p>{html.escape(' '.join(rules(comparison)))}</p>"]
    for standing in comparison.problems:
        head = [f"{above} {below}".strip() for above, below in zip(_HEAD, _SECOND, strict=True)]
        body = "".join(row(_cells(one)) for one in comparison.table(standing.name))
        parts.append(f"<p><b>{html.escape(_about(standing))}</b></p>")
        parts.append(f"<table>{row(head, 'th')}{body}</table>")
        parts += [f"<p>{html.escape(note.strip())}</p>" for note in _notes(comparison, standing)]
    return "<div>" + "".join(parts) + "</div>"


def _about(standing: Standing) -> str:
    known, minimum = "", standing.minimum
    if minimum is not None:
        known = f", known minimum {minimum:.6g}"
        if standing.best < minimum - 1e-6 * abs(minimum) - 1e-9 * abs(standing.start_cost):
            known += ", WHICH IT IS NOT: there are lower costs"
    return (
        f"{standing.name} ({standing.dimension} parameters): from {standing.start_cost:.4g} to the "
        f"target {standing.target:.6g}; lowest found while tuning "
        f"{standing.best:.6g}{known}"
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    name = label(row["optimiser"], row["setting"])
    if row["error"]:
        return (name, "failed", "-", "-", "-", "-", "-", "-")
    thousandth = Interval(*(1e3 * value for value in row["seconds"]))
    return (
        name,
        f"{row['share']:.0%}",
        _shown(row["oracle"]),
        _shown(row["steps"]),
        _shown(thousandth),
        f"{row['lowest_cost']:.4g}",
        _number(row["microseconds_per_step"]),
        _number(row["compile_seconds"]),
    )


def _shown(interval: Interval) -> str:
    if not math.isfinite(interval.median):
        return "-"
    low, high = (_number(v) if math.isfinite(v) else "*" for v in interval[1:])
    return f"{_number(interval.median)} [{low}, {high}]"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _notes(comparison: Comparison, standing: Standing) -> list[str]:
    """Who failed and why, how runs ended that fell short, whose learning rate lies at an end."""
    lines, rows = [], comparison.table(standing.name)
    for row in rows:
        if row["error"]:
            lines.append(f"  {row['optimiser']} could not run: {row['error']}")
        elif row["share"] < 1:
            short = [f"{n} {name.lower()}" for name, n in row["outcomes"].items()
                     if n and name != "REACHED"]  # fmt: skip
            lines.append(f"  {row['optimiser']} fell short: {', '.join(short)}")
    for row in rows:
        race = comparison.race(row["optimiser"], standing.name)
        for name in (name for name in RATES if name in race.settings):
            tried, best = race.settings[name], race.setting[name]
            low, high = tried.min(), tried.max()
            if low < high and best in (low, high):
                end = "lowest" if best == low else "highest"
                lines.append(
                    f"  {row['optimiser']} took the {end} of its learning rates, {low:.2g} to "
                    f"{high:.2g}: one beyond may be better"
                )
    return ["", *lines] if lines else []
