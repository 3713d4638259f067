"""A fit in words and tables."""

import html
from typing import Any

import numpy as np

from ._problem import model_name


def _summary(fit: Any) -> list[tuple[str, str]]:
    """What is said above the table, as pairs of what and how much."""
    pairs = [
        ("points", f"{int(fit.points)}"),
        ("degrees of freedom", f"{int(fit.degrees_of_freedom)}"),
        ("chi-squared", f"{float(fit.chi_squared):.6g}"),
        ("reduced chi-squared", f"{float(fit.reduced_chi_squared):.6g}"),
        ("R-squared", f"{fit.r_squared:.6g}"),
        ("AIC, BIC", f"{float(fit.aic):.6g}, {float(fit.bic):.6g}"),
        ("evaluations", f"{int(fit.evaluations)}"),
    ]
    if fit.problem.loss is not None:
        pairs.insert(2, ("cost", f"{float(fit.cost):.6g}"))
    return pairs


def _rows(fit: Any) -> list[tuple[str, str, str, str, str]]:
    """Name, value, standard error, relative error, remark of every parameter."""
    values = fit._flat()
    errors = np.sqrt(np.diagonal(fit.covariance))
    at_bound, is_free = set(fit.at_bound), set(fit.freedom.free)
    rows = []
    for k, name in enumerate(fit.names):
        remark = ""
        if fit.undetermined[k]:
            remark = "undetermined"
        elif fit.freedom.tie is None and k not in is_free:
            remark = "fixed"
        elif name in at_bound:
            remark = "at its bound"
        error = "" if remark == "fixed" else f"{errors[k]:.3g}"
        relative = f"{100 * abs(errors[k] / values[k]):.2g} %" if error and values[k] else ""
        rows.append((name, f"{values[k]:.8g}", error, relative, remark))
    return rows


def _correlations(fit: Any) -> list[tuple[str, str, float]]:
    """The pairs that move together most, above 0.5, strongest first."""
    C, names = fit.correlation, fit.names
    pairs = [
        (names[i], names[j], float(C[i, j]))
        for i in range(len(names))
        for j in range(i)
        if abs(C[i, j]) > 0.5
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[2]))[:8]


_HEAD = ("parameter", "value", "standard error", "relative", "")


def as_text(fit: Any) -> str:
    """The report as lines of plain text."""
    rows = [_HEAD, *_rows(fit)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(_HEAD))]
    table = [
        "  ".join(
            cell.ljust(width) if k in (0, 4) else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines = [f"{model_name(fit.model)}: {fit.message}", ""]
    lines += [f"  {name:<20} {value}" for name, value in _summary(fit)]
    lines += ["", *(f"  {row}" for row in table)]
    if pairs := _correlations(fit):
        lines += ["", "  correlations above 0.5"]
        lines += [f"  {a}, {b}: {value:+.3f}" for a, b, value in pairs]
    if not fit.absolute_sigma:
        lines += ["", "  Standard errors are scaled so that reduced chi-squared would be 1."]
    return "\n".join(lines)


def as_html(fit: Any) -> str:
    """The report as a table for notebooks."""
    if np.ndim(fit.status):
        return html.escape(repr(fit))

    def row(cells: Any, tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    summary = " &middot; ".join(
        f"{html.escape(name)} {html.escape(value)}" for name, value in _summary(fit)
    )
    table = row(_HEAD, "th") + "".join(map(row, _rows(fit)))
    pairs = "; ".join(f"{a}, {b}: {value:+.3f}" for a, b, value in _correlations(fit))
    foot = f"<p>correlations above 0.5: {html.escape(pairs)}</p>" if pairs else ""
    name = html.escape(model_name(fit.model))
    return (
        f"<div><p><b>{name}</b>: {html.escape(fit.message)}</p><p>{summary}</p>"
        f"<table>{table}</table>{foot}</div>"
    )
