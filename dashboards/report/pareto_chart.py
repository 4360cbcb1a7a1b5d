"""The trade between latency and accuracy: a point a row, its size the file's size, budgets as lines, the chosen one marked.

drop │                 ○ 4          filled: nothing else is better in everything
     │┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ budget
     │  ◆ 2 int8
     │        ● 3 fp16      ■ 1 fp32
     └──────────────────────────── latency
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards.report.chart_style import WIDTH, Standing, is_wide, legend_of, row_label, standing, time_scale
from dashboards.report.columns import ACCURACY, DROP, P50, SIZE, unit_of
from dashboards.report.figures import quantity, visible
from dashboards.report.label_places import Point, place_labels
from dashboards.report.page import Figure, Group, Row

_HEIGHT = 340
_NAMED = 14
_AREAS = (50.0, 620.0)


@dataclass(frozen=True, slots=True)
class _Axis:
    """What one direction shows: values times `factor`, from `low` to `high`."""

    metric: str
    title: str
    factor: float
    low: float
    high: float
    wide: bool = False
    reversed: bool = False

    def part(self, value: float) -> float:
        """How far along the axis a value (before the factor) lies, 0 to 1."""
        value = value * self.factor
        done = math.log(value / self.low) / math.log(self.high / self.low) if self.wide else (value - self.low) / (self.high - self.low)
        return 1 - done if self.reversed else done

    @property
    def scale(self) -> alt.Scale:
        """As Vega-Lite has it."""
        return alt.Scale(
            type="log" if self.wide else "linear", domain=[self.low, self.high], nice=False, zero=False, reverse=self.reversed, clamp=True
        )


def vertical_metric(group: Group) -> str | None:
    """What stands against latency: the drop, else the accuracy, else the size; None when fewer than two rows have both."""
    for name in (DROP.name, ACCURACY.name, SIZE.name):
        if len(plotted(group, name)) > 1:
            return name
    return None


def plotted(group: Group, metric: str) -> list[Row]:
    """The rows that have a latency and that metric."""
    return [row for row in group.rows if row.figure(P50.name).value is not None and row.figure(metric).value is not None]


def pareto_spec(group: Group) -> dict[str, Any]:
    """The Vega-Lite specification. At least two rows have both figures (`vertical_metric` is not None)."""
    metric = vertical_metric(group)
    assert metric is not None
    rows = plotted(group, metric)
    across, up = _across(group, rows), _up(group, rows, metric)
    x = alt.X("x:Q", scale=across.scale, axis=alt.Axis(title=across.title, grid=False, tickCount=8))
    y = alt.Y("y:Q", scale=up.scale, axis=alt.Axis(title=up.title, tickCount=6))
    states, colours, shapes = legend_of(rows)
    data = [_entry(row, group, across, up) for row in rows]
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=x,
        y=y,
        color=alt.Color("standing:N", scale=alt.Scale(domain=states, range=colours), legend=_STANDING),
        shape=alt.Shape("standing:N", scale=alt.Scale(domain=states, range=shapes), legend=_STANDING),
        size=alt.Size("kb:Q", scale=_sizes(data), legend=_size_legend(data)),
        description="about:N",
    )
    layers = [
        *_limits(group, across, up),
        *_whiskers(rows, across, up, (states, colours)),
        base.transform_filter("!datum.front").mark_point(filled=False, strokeWidth=1.8, opacity=1),
        base.transform_filter("datum.front").mark_point(filled=True, opacity=0.9),
        *_names(rows, across, up, data),
    ]
    spec: dict[str, Any] = alt.layer(*layers).properties(width=WIDTH, height=_HEIGHT).to_dict()
    return spec


_STANDING = alt.Legend(title=None, orient="top", symbolSize=90, columns=6)


def _across(group: Group, rows: Sequence[Row]) -> _Axis:
    values = _reach([row.figure(P50.name) for row in rows])
    factor, unit = time_scale(max(values))
    limit = group.limits.get(P50.name)
    low, high = _padded(values, limit)
    wide = is_wide([row.figure(P50.name).value or 0 for row in rows])
    return _Axis(
        P50.name, f"p50 of one inference ({unit}), less is faster", factor, max(low, min(values) * 0.8) * factor, high * factor, wide
    )


def _up(group: Group, rows: Sequence[Row], metric: str) -> _Axis:
    low, high = _padded(_reach([row.figure(metric) for row in rows]), group.limits.get(metric))
    unit = unit_of(metric, group)
    words = f" ({unit})" if unit != "1" else ""
    name = visible(group.accuracy_metric or "accuracy")
    if metric == DROP.name:
        return _Axis(metric, f"drop of {name}{words}, less is better", 1.0, low, high)
    if metric == ACCURACY.name:
        better = group.accuracy_better
        return _Axis(
            metric, f"{name}{words}, {'more' if better == 'higher' else 'less'} is better", 1.0, low, high, reversed=better == "higher"
        )
    return _Axis(metric, "size (kB), less is better", 1e-3, max(low, 0) * 1e-3, high * 1e-3)


def _reach(figures: Sequence[Figure]) -> list[float]:
    """Values and the ends of their intervals, as far as an interval does not dwarf all values."""
    values = [figure.value for figure in figures if figure.value is not None]
    span = max(values) - min(values) or abs(values[0]) or 1.0
    ends = [end for figure in figures for end in (figure.low, figure.high) if end is not None]
    return [*values, *(end for end in ends if min(values) - span <= end <= max(values) + span)]


def _padded(values: Sequence[float], limit: float | None) -> tuple[float, float]:
    """The axis' ends: all values, and the limit where it is not so far off that it would press them together."""
    low, high = min(values), max(values)
    span = high - low or abs(high) or 1.0
    if limit is not None and low - 1.5 * span <= limit <= high + 1.5 * span:
        low, high = min(low, limit), max(high, limit)
    pad = 0.09 * (high - low or span)
    return low - pad, high + pad


def _entry(row: Row, group: Group, across: _Axis, up: _Axis) -> dict[str, Any]:
    latency, other, size = row.figure(P50.name), row.figure(up.metric), row.figure(SIZE.name)
    assert latency.value is not None and other.value is not None
    words = [f"{row.number} {visible(row.recipe)} ({standing(row)})", f"p50 {quantity(latency.value, 's')}"]
    words.append(f"{up.metric.replace('_', ' ')} {quantity(other.value, unit_of(up.metric, group))}")
    words.append(f"size {quantity(size.value, 'B')}")
    return {
        "x": latency.value * across.factor,
        "y": other.value * up.factor,
        "kb": None if size.value is None else size.value / 1e3,
        "front": row.on_front or row.chosen,
        "standing": standing(row).value,
        "about": ", ".join(words),
    }


def _sizes(data: Sequence[dict[str, Any]]) -> alt.Scale:
    known = [entry["kb"] for entry in data if entry["kb"] is not None]
    return alt.Scale(type="sqrt", domain=[0, max(known, default=1.0)], range=[_AREAS[0], _AREAS[1]], nice=False)


def _size_legend(data: Sequence[dict[str, Any]]) -> alt.Legend:
    known = [entry["kb"] for entry in data if entry["kb"] is not None]
    values = sorted({float(f"{value:.2g}") for value in (min(known), (min(known) + max(known)) / 2, max(known))}) if known else []
    return alt.Legend(
        title="size (kB)", orient="right", values=values, format=".3~r", symbolStrokeColor="var(--muted)", symbolType="circle"
    )


def _whiskers(rows: Sequence[Row], across: _Axis, up: _Axis, looks: tuple[list[str], list[str]]) -> list[alt.Chart]:
    colour = alt.Color("standing:N", scale=alt.Scale(domain=looks[0], range=looks[1]), legend=_STANDING)
    found = [(row, row.figure(P50.name), row.figure(up.metric)) for row in rows]
    flat = [
        {"x": x.low * across.factor, "x2": x.high * across.factor, "y": (y.value or 0) * up.factor, "standing": standing(row).value}
        for row, x, y in found
        if x.low is not None and x.high is not None
    ]
    tall = [
        {"x": (x.value or 0) * across.factor, "y": y.low * up.factor, "y2": y.high * up.factor, "standing": standing(row).value}
        for row, x, y in found
        if y.low is not None and y.high is not None
    ]
    drawn = []
    if flat:
        drawn.append(_rules(flat).encode(x="x:Q", x2="x2:Q", y="y:Q", color=colour))
    if tall:
        drawn.append(_rules(tall).encode(x="x:Q", y="y:Q", y2="y2:Q", color=colour))
    return drawn


def _rules(data: list[dict[str, Any]]) -> alt.Chart:
    chart: alt.Chart = alt.Chart(alt.InlineData(values=data)).mark_rule(strokeWidth=1.4, opacity=0.5, aria=False)
    return chart


def _limits(group: Group, across: _Axis, up: _Axis) -> list[alt.Chart]:
    drawn: list[alt.Chart] = []
    for axis, field in ((across, "x"), (up, "y")):
        bound = group.limits.get(axis.metric)
        if bound is None or not axis.low < bound * axis.factor < axis.high:
            continue
        base = alt.Chart(alt.InlineData(values=[{field: bound * axis.factor, "words": "budget"}]))
        drawn.append(base.mark_rule(color="var(--bad)", strokeDash=[5, 4], strokeWidth=1.5, aria=False).encode(**{field: f"{field}:Q"}))
        if field == "x":
            words = base.mark_text(aria=False, color="var(--bad)", align="right", baseline="top", dx=-5).encode(
                x="x:Q", y=alt.value(4), text="words:N"
            )
        else:
            words = base.mark_text(aria=False, color="var(--bad)", align="right", baseline="bottom", dy=-4).encode(
                y="y:Q", x=alt.value(WIDTH - 4), text="words:N"
            )
        drawn.append(words)
    return drawn


def _names(rows: Sequence[Row], across: _Axis, up: _Axis, data: Sequence[dict[str, Any]]) -> list[alt.Chart]:
    """The names that fit; with many rows the numbers of the table."""
    largest = max([entry["kb"] or 0 for entry in data]) or 1.0
    few = len(rows) <= _NAMED
    order = sorted(
        range(len(rows)), key=lambda index: (standing(rows[index]) not in (Standing.CHOSEN, Standing.BASELINE), not data[index]["front"])
    )
    points = [
        Point(
            x=across.part(rows[index].figure(P50.name).value or 0) * WIDTH,
            y=(1 - up.part(rows[index].figure(up.metric).value or 0)) * _HEIGHT,
            radius=math.sqrt((_AREAS[0] + (_AREAS[1] - _AREAS[0]) * math.sqrt((data[index]["kb"] or 0) / largest)) / math.pi),
            name=row_label(rows[index], 22) if few else str(rows[index].number),
        )
        for index in order
    ]
    places = place_labels(points, width=WIDTH, height=_HEIGHT)
    return [
        alt.Chart(
            alt.InlineData(values=[{"px": place.x, "py": place.y, "words": place.point.name} for place in places if place.align == align])
        )
        .mark_text(aria=False, align=align, baseline="middle")
        .encode(x=alt.X("px:Q", scale=None, axis=None), y=alt.Y("py:Q", scale=None, axis=None), text="words:N")
        for align in ("left", "right", "center")
        if any(place.align == align for place in places)
    ]
