"""Latency of each launch, and how launches drift over the visit.

1 fp32         ├───●────┤          one line a launch: its median and its 10th to 90th percentile,
                ├──●─────┤         in order of time downwards; the band is the interval of the row's p50
2 int8    ├──●──┤
          ├─●───┤      ┆ budget
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import altair as alt

from dashboards.report.chart_style import WIDTH, is_wide, legend_of, row_label, standing, time_scale
from dashboards.report.columns import P50, P90, metric_title
from dashboards.report.figures import quantity, visible
from dashboards.report.page import Group, Launch, Row

MAX_LINES = 24
"""Launches of one row that are drawn; of more, so many are taken evenly."""

_LABELS_PX = 180
_LABEL_COLUMNS = 24
_LEAST_ROW_PX = 22.0
_BETWEEN_ROWS_PX = 8.0


@dataclass(frozen=True, slots=True)
class _Band:
    """Where a row is drawn: pixels from the top, and the distance of its lines."""

    row: Row
    top: float
    height: float
    step: float

    def line(self, index: int) -> float:
        """The middle of its launch number `index`."""
        used = self.step * len(shown_launches(self.row))
        return self.top + (self.height - used) / 2 + self.step * (index + 0.5)


@dataclass(frozen=True, slots=True)
class _Axis:
    """The time axis, from `low` to `high` in its own unit: seconds times `factor`."""

    factor: float
    unit: str
    low: float
    high: float
    wide: bool

    def at(self, seconds: float | None) -> float | None:
        """A time on the axis, no further than its ends."""
        return None if seconds is None else min(max(seconds * self.factor, self.low), self.high)

    def holds(self, seconds: float) -> bool:
        """Whether a time lies between its ends."""
        return self.low < seconds * self.factor < self.high

    def x(self, field: str) -> alt.X:
        """A field on this axis, as Vega-Lite has it."""
        scale = alt.Scale(type="log" if self.wide else "linear", domain=[self.low, self.high], nice=False, zero=False)
        return alt.X(f"{field}:Q", scale=scale, axis=alt.Axis(title=f"time of one inference ({self.unit})", tickCount=7))


def shown_launches(row: Row) -> tuple[Launch, ...]:
    """The launches of a row that are drawn: all, or `MAX_LINES` taken evenly, the first and the last among them."""
    timed = row.timed
    if len(timed) <= MAX_LINES:
        return timed
    return tuple(timed[round(index * (len(timed) - 1) / (MAX_LINES - 1))] for index in range(MAX_LINES))


def launch_spec(group: Group) -> dict[str, Any]:
    """The Vega-Lite specification of the latency of each launch. The group has at least one timed launch."""
    rows = [row for row in group.rows if row.timed]
    axis, bands = _axis(rows), _layout(rows)
    height = bands[-1].top + bands[-1].height
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, height], range=[0, height], nice=False), axis=None)
    states, colours, _ = legend_of(rows)
    colour = alt.Color("standing:N", scale=alt.Scale(domain=states, range=colours), legend=_LEGEND)
    lines = [entry for band in bands for entry in _entries(band, axis)]
    base = alt.Chart(alt.InlineData(values=lines)).encode(y=y, color=colour, description="about:N")
    layers = [
        *_intervals(bands, y, axis),
        base.mark_rule(strokeWidth=2, opacity=0.45).encode(x=axis.x("p10"), x2="p90:Q"),
        base.transform_filter("datum.counts").mark_point(filled=True, size=34, opacity=1).encode(x=axis.x("p50")),
        base.transform_filter("!datum.counts").mark_point(size=34, fill="var(--paper)", opacity=1).encode(x=axis.x("p50")),
        *_limits(group, axis),
        _names(bands, y),
    ]
    spec: dict[str, Any] = alt.layer(*layers).properties(width=WIDTH + 70 - _LABELS_PX, height=height).to_dict()
    return spec


def drift_spec(group: Group) -> dict[str, Any]:
    """Each launch's median against its row's, over the time since the first. At least one row is `drifting`."""
    rows = drifting(group)
    data = [entry for row in rows for entry in _drifts(row)]
    extreme = max([abs(entry["off"]) for entry in data] + [1.0]) * 1.1
    states, colours, _ = legend_of(rows)
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X("minute:Q", title="minutes since the first launch", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickCount=8)),
        y=alt.Y("off:Q", title="off the variant's median (%)", scale=alt.Scale(domain=[-extreme, extreme]), axis=alt.Axis(tickCount=5)),
        color=alt.Color("standing:N", scale=alt.Scale(domain=states, range=colours), legend=_LEGEND),
        description="about:N",
    )
    zero = alt.Chart(alt.InlineData(values=[{"off": 0}])).mark_rule(color="var(--rule)", aria=False).encode(y="off:Q")
    points = base.transform_filter("datum.counts").mark_point(filled=True, size=38, opacity=0.8)
    aside = base.transform_filter("!datum.counts").mark_point(size=38)
    spec: dict[str, Any] = alt.layer(zero, points, aside).properties(width=WIDTH, height=150).to_dict()
    return spec


def drifting(group: Group) -> list[Row]:
    """The rows with at least two launches that counted."""
    return [row for row in group.rows if sum(launch.counts for launch in row.timed) > 1]


def limits_beyond(group: Group) -> list[tuple[str, float]]:
    """The limits of latency that lie outside the chart of launches, which has at least one launch."""
    axis = _axis([row for row in group.rows if row.timed])
    return [(name, group.limits[name]) for name in (P50.name, P90.name) if name in group.limits and not axis.holds(group.limits[name])]


_LEGEND = alt.Legend(title=None, orient="top", symbolType="circle", columns=6)


def _axis(rows: Sequence[Row]) -> _Axis:
    """It holds every median; a spread that reaches beyond three times the slowest median is cut."""
    launches = [launch for row in rows for launch in row.timed]
    medians = [launch.p50_s or 0 for launch in launches]
    low = min(launch.p10_s or launch.p50_s or 0 for launch in launches)
    high = min(max(launch.p90_s or launch.p50_s or 0 for launch in launches), 3 * max(medians))
    factor, unit = time_scale(max(medians))
    pad = 0.04 * (high - low) or 0.05 * high or 1e-9
    return _Axis(factor, unit, max(low - pad, low * 0.8) * factor, (high + pad) * factor, is_wide(medians))


def _layout(rows: Sequence[Row]) -> list[_Band]:
    most = max(len(shown_launches(row)) for row in rows)
    step = 9.0 if most <= 5 else 7.0 if most <= 12 else 5.0
    bands: list[_Band] = []
    top = 0.0
    for row in rows:
        height = max(_LEAST_ROW_PX, step * len(shown_launches(row)) + _BETWEEN_ROWS_PX)
        bands.append(_Band(row, top, height, step))
        top += height
    return bands


def _entries(band: _Band, axis: _Axis) -> list[dict[str, Any]]:
    return [
        {
            "y": band.line(index),
            "p10": axis.at(launch.p10_s or launch.p50_s),
            "p50": axis.at(launch.p50_s),
            "p90": axis.at(launch.p90_s or launch.p50_s),
            "counts": launch.counts,
            "standing": standing(band.row).value,
            "about": _about(band.row, launch),
        }
        for index, launch in enumerate(shown_launches(band.row))
    ]


def _about(row: Row, launch: Launch) -> str:
    spread = f", 10 % to 90 %: {quantity(launch.p10_s, 's')} to {quantity(launch.p90_s, 's')}" if launch.p10_s and launch.p90_s else ""
    aside = "" if launch.counts else f"; did not count ({launch.outcome})"
    return f"{row.number} {visible(row.recipe)}, launch {launch.round + 1}: median {quantity(launch.p50_s, 's')}{spread}{aside}"


def _drifts(row: Row) -> list[dict[str, Any]]:
    middle = median(launch.p50_s or 0 for launch in row.timed if launch.counts)
    return [
        {
            "minute": launch.offset_s / 60,
            "off": ((launch.p50_s or 0) / middle - 1) * 100,
            "counts": launch.counts,
            "standing": standing(row).value,
            "about": _about(row, launch),
        }
        for launch in row.timed
        if middle > 0
    ]


def _intervals(bands: Sequence[_Band], y: alt.Y, axis: _Axis) -> list[alt.Chart]:
    data = []
    for band in bands:
        figure = band.row.figure(P50.name)
        if figure.has_interval:
            words = f"p50 {quantity(figure.value, 's')}, 95 %: {quantity(figure.low, 's')} to {quantity(figure.high, 's')}"
            place = {"y": band.top + 2, "y2": band.top + band.height - 2, "low": axis.at(figure.low), "high": axis.at(figure.high)}
            data.append({**place, "about": f"{band.row.number} {visible(band.row.recipe)}: {words}"})
    chart = alt.Chart(alt.InlineData(values=data)).mark_rect(color="var(--band)")
    return [chart.encode(y=y, y2="y2:Q", x=axis.x("low"), x2="high:Q", description="about:N")] if data else []


def _limits(group: Group, axis: _Axis) -> list[alt.Chart]:
    bounds = [(name, group.limits[name]) for name in (P50.name, P90.name) if name in group.limits]
    data = [{"at": bound * axis.factor, "words": f"{metric_title(name)} budget"} for name, bound in bounds if axis.holds(bound)]
    base = alt.Chart(alt.InlineData(values=data)).encode(x=axis.x("at"))
    return (
        [
            base.mark_rule(color="var(--bad)", strokeDash=[5, 4], strokeWidth=1.5, aria=False),
            base.mark_text(color="var(--bad)", baseline="bottom", aria=False).encode(text="words:N", y=alt.value(-3)),
        ]
        if data
        else []
    )


def _names(bands: Sequence[_Band], y: alt.Y) -> alt.Chart:
    data = [{"y": band.top + band.height / 2, "words": row_label(band.row, _LABEL_COLUMNS)} for band in bands]
    chart = alt.Chart(alt.InlineData(values=data)).mark_text(align="right", baseline="middle", fontSize=12, aria=False)
    named: alt.Chart = chart.encode(y=y, x=alt.value(-10), text="words:N")
    return named
