"""The ratio of each block of a comparison, in order of time, with the interval of all of them together."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from dashboards.report.chart_style import WIDTH
from dashboards.report.figures import number
from dashboards.report.page import Comparison, Group, Row

_SIDES = 2


def block_ratios(group: Group) -> list[tuple[int, float]]:
    """(block from 1, p50 of B ÷ p50 of A) of each block of which all four launches counted; the group's rows are A and B."""
    if len(group.rows) != _SIDES:
        return []
    a, b = (_by_block(row) for row in group.rows)
    return [(block + 1, math.exp(b[block] - a[block])) for block in sorted(a.keys() & b.keys())]


def _by_block(row: Row) -> dict[int, float]:
    """The mean logarithm of the two medians of each block that has both; launches 2·block and 2·block + 1 are its."""
    by_round = {launch.round: launch.p50_s for launch in row.timed if launch.counts and launch.p50_s}
    blocks = {number // 2 for number in by_round}
    return {
        block: (math.log(by_round[2 * block]) + math.log(by_round[2 * block + 1])) / 2
        for block in blocks
        if 2 * block in by_round and 2 * block + 1 in by_round
    }


def block_spec(comparison: Comparison, ratios: list[tuple[int, float]]) -> dict[str, Any]:
    """The Vega-Lite specification; there is at least one ratio."""
    ratio = comparison.ratio
    known = [value for _, value in ratios] + [1.0] + [value for value in (ratio.low, ratio.high) if value is not None]
    pad = 0.08 * (max(known) - min(known)) or 0.01
    y = alt.Scale(domain=[min(known) - pad, max(known) + pad], nice=False, zero=False)
    x = alt.Scale(domain=[0.5, max(block for block, _ in ratios) + 0.5], nice=False)
    points = [{"block": block, "ratio": value, "about": f"block {block}: ratio {number(value)}"} for block, value in ratios]
    axis = alt.Axis(title="block, in order of time", grid=False, format="d", tickMinStep=1)
    layers: list[alt.Chart] = []
    if ratio.low is not None and ratio.high is not None:
        band = alt.Chart(alt.InlineData(values=[{"low": ratio.low, "high": ratio.high}])).mark_rect(color="var(--band)", aria=False)
        layers.append(band.encode(y=alt.Y("low:Q", scale=y), y2="high:Q"))
    one = alt.Chart(alt.InlineData(values=[{"one": 1}])).mark_rule(color="var(--ink)", strokeDash=[2, 3], aria=False)
    layers.append(one.encode(y=alt.Y("one:Q", scale=y)))
    if ratio.value is not None:
        centre = alt.Chart(alt.InlineData(values=[{"ratio": ratio.value}])).mark_rule(color="var(--blue)", aria=False)
        layers.append(centre.encode(y=alt.Y("ratio:Q", scale=y)))
    dots = alt.Chart(alt.InlineData(values=points)).mark_point(filled=True, size=50, color="var(--blue)", opacity=1)
    layers.append(
        dots.encode(
            x=alt.X("block:Q", scale=x, axis=axis),
            y=alt.Y("ratio:Q", scale=y, axis=alt.Axis(title="p50 of B ÷ p50 of A", tickCount=6)),
            description="about:N",
        )
    )
    spec: dict[str, Any] = alt.layer(*layers).properties(width=WIDTH, height=200).to_dict()
    return spec
