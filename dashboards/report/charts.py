"""The charts of a group, or the reason why there are none. altair and vl-convert are asked for only here, where charts are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from markupsafe import Markup

from dashboards.errors import ReportError
from dashboards.report.chart_style import CONFIG
from dashboards.report.columns import ACCURACY, DROP, metric_title
from dashboards.report.figures import plural, quantity, visible
from dashboards.report.page import Comparison, Group
from dashboards.report.svg import clean_svg, draw

MISSING = (
    "There are no charts, since altair and vl-convert are not installed: `pip install 'thresher[report]'` adds them to the next report."
)


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawing with its caption; `svg` None: it could not be drawn, `why` says why."""

    title: str
    caption: str
    svg: Markup | None
    why: str = ""


def charts_available() -> bool:
    """Whether the libraries that draw are installed."""
    return find_spec("altair") is not None and find_spec("vl_convert") is not None


def group_charts(group: Group, *, key: str) -> list[Chart]:
    """What there is to draw of a group: latency of each launch, drift, and the trade of latency and accuracy. `key` makes ids unique."""
    from dashboards.report.launch_charts import drift_spec, drifting, launch_spec
    from dashboards.report.pareto_chart import pareto_spec, vertical_metric

    charts = []
    metric = vertical_metric(group)
    if metric is not None:
        title, caption = _pareto_words(group, metric)
        charts.append(_chart(lambda: pareto_spec(group), title, caption, f"{key}-pareto"))
    if any(row.timed for row in group.rows):
        title, caption = _launch_words(group)
        charts.append(_chart(lambda: launch_spec(group), title, caption, f"{key}-launches"))
    if drifting(group):
        charts.append(_chart(lambda: drift_spec(group), "Drift over the visit", _DRIFT, f"{key}-drift"))
    return charts


def comparison_charts(comparison: Comparison, group: Group, *, key: str) -> list[Chart]:
    """What there is to draw of a comparison: the ratio of each block, then what any group has of latency."""
    from dashboards.report.block_chart import block_ratios, block_spec

    ratios = block_ratios(group)
    caption = (
        f"{plural(len(ratios), 'block')} of four launches (A B B A or B A A B). A point below 1 is a block in which B was faster; "
        "the band is the 95 % interval of the ratio over all blocks, the line its value."
    )
    blocks = [_chart(lambda: block_spec(comparison, ratios), "Ratio of each block", caption, f"{key}-blocks")] if ratios else []
    return [*blocks, *group_charts(group, key=key)]


_DRIFT = (
    "Each launch's median against the median of its row's launches, in order of time. Points that rise together show a device that became "
    "slower; such drift falls on all variants alike, since their launches take turns."
)


def _chart(spec: Callable[[], dict[str, Any]], title: str, caption: str, key: str) -> Chart:
    try:
        drawing = draw({**spec(), "config": CONFIG})
        return Chart(title, caption, clean_svg(drawing, label=title, description=caption, id=key))
    except ReportError as error:
        return Chart(title, caption, None, str(error))


def _pareto_words(group: Group, metric: str) -> tuple[str, str]:
    other = "accuracy" if metric in (ACCURACY.name, DROP.name) else metric_title(metric)
    chosen = group.chosen
    picked = ""
    if chosen is not None:
        picked = f" Chosen: {chosen.number} {visible(chosen.recipe)}, {quantity(chosen.figure('latency_p50_s').value, 's')}."
    return (
        f"Latency against {other}",
        "Towards the lower left is better. The area of a mark is the size of the file; lines through it are 95 % intervals, dashed lines "
        "are budgets. Filled: no other variant is as good in everything and better in something (accuracy, latency, size, memory, energy); "
        f"hollow: another is. Numbers are those of the table.{picked}",
    )


def _launch_words(group: Group) -> tuple[str, str]:
    from dashboards.report.launch_charts import limits_beyond

    count = sum(len(row.timed) for row in group.rows)
    beyond = [
        f" The budget for {metric_title(name)}, {quantity(bound, 's')}, lies beyond the chart." for name, bound in limits_beyond(group)
    ]
    return (
        "Latency of each launch",
        f"{plural(count, 'launch', 'launches')}: a point is the median of one, the line through it reaches from its 10th to its 90th percentile; "
        "within a variant the first launch is at the top. The band is the 95 % interval of the variant's p50. Hollow points did not count."
        + "".join(beyond),
    )
