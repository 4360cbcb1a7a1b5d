"""How all charts look, and how rows are told apart in them. Colours are the page's own, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from dashboards.report.figures import isolated, short
from dashboards.report.page import Row

WIDTH = 620
"""Width of the plot itself, in CSS pixels; labels and axes come on top."""

_FONT_SIZE = 12
_LOG_FROM = 12.0


class Standing(StrEnum):
    """How a row stands, which is what its mark shows; the value is the word in the legend."""

    CHOSEN = "chosen"
    BASELINE = "baseline"
    CANDIDATE = "candidate"  # there is no budget
    WITHIN = "within budget"
    UNDECIDED = "undecided"  # its interval contains a limit
    OVER = "over budget"
    A = "A"  # what a comparison compares with
    B = "B"  # what is compared


_LOOKS = {
    Standing.CHOSEN: ("var(--good)", "diamond"),
    Standing.BASELINE: ("var(--ink)", "square"),
    Standing.CANDIDATE: ("var(--blue)", "circle"),
    Standing.WITHIN: ("var(--blue)", "circle"),
    Standing.UNDECIDED: ("var(--amber)", "triangle-up"),
    Standing.OVER: ("var(--bad)", "triangle-down"),
    Standing.A: ("var(--ink)", "square"),
    Standing.B: ("var(--blue)", "circle"),
}


def standing(row: Row) -> Standing:
    """How a row stands; chosen and baseline come before its budget."""
    if row.chosen:
        return Standing.CHOSEN
    if row.role in {Standing.BASELINE, Standing.A, Standing.B}:
        return Standing(row.role)
    if not row.checks:
        return Standing.CANDIDATE
    return {True: Standing.WITHIN, False: Standing.OVER, None: Standing.UNDECIDED}[row.meets_budget]


def legend_of(rows: Iterable[Row]) -> tuple[list[str], list[str], list[str]]:
    """The standings that occur, with the colour and the shape of each."""
    there = {standing(row) for row in rows}
    found = [each for each in Standing if each in there]
    return [each.value for each in found], [_LOOKS[each][0] for each in found], [_LOOKS[each][1] for each in found]


def row_label(row: Row, limit: int) -> str:
    """`3 int8-static`: the number in the table, which makes it unique, and as much of the name as there is room for. A side of a comparison has its letter in its name."""
    name = isolated(short(row.recipe, limit))
    return name if row.role in {Standing.A, Standing.B} else f"{row.number}\u2002{name}"


def time_scale(longest_s: float) -> tuple[float, str]:
    """Factor and symbol in which a time axis is shown."""
    return next(((factor, unit) for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")) if longest_s * factor >= 1), (1e9, "ns"))


def is_wide(values: Iterable[float]) -> bool:
    """Whether values differ so much that only a logarithmic axis shows them all."""
    known = [value for value in values if value > 0]
    return bool(known) and max(known) / min(known) > _LOG_FROM


CONFIG: dict[str, Any] = {
    "background": None,
    "padding": {"left": 24, "top": 5, "right": 24, "bottom": 5},  # a reader's font may be wider than the one measured with
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "gridColor": "var(--line)",
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "labelFontSize": _FONT_SIZE,
        "titleFontSize": _FONT_SIZE,
        "titleFontWeight": "normal",
        "titlePadding": 8,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "labelFontSize": _FONT_SIZE,
        "titleFontSize": _FONT_SIZE,
        "titleFontWeight": "normal",
        "symbolStrokeWidth": 1.5,
        "symbolOpacity": 1,
        "columnPadding": 22,
        "labelLimit": 200,
    },
    "text": {"fontSize": 11, "color": "var(--ink)"},
}
