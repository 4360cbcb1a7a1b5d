"""Charts: what is drawn, that it is safe to stand in a page, and that names are data and never code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from dashboards.errors import ReportError
from dashboards.report.block_chart import block_ratios
from dashboards.report.charts import comparison_charts, group_charts
from dashboards.report.launch_charts import MAX_LINES, launch_spec, limits_beyond, shown_launches
from dashboards.report.page import Comparison, Figure, Group, Launch, Row
from dashboards.report.pareto_chart import pareto_spec, vertical_metric
from dashboards.report.svg import clean_svg

Maker = Callable[..., Any]
ALLOWED = {"svg", "desc", "title", "g", "path", "line", "rect", "text", "tspan", "circle"}


def test_a_group_is_drawn_three_times_with_text_for_each(maker: Maker) -> None:
    charts = group_charts(maker().group(), key="g1")
    assert [chart.title for chart in charts] == ["Latency against accuracy", "Latency of each launch", "Drift over the visit"]
    for chart in charts:
        root = ElementTree.fromstring(str(chart.svg))
        assert root.get("role") == "img" and root.get("aria-label") == chart.title
        assert chart.caption in "".join(root.itertext())


def test_every_row_and_every_launch_is_a_mark_with_its_own_words(maker: Maker) -> None:
    group = maker().group()
    pareto, launches, _ = group_charts(group, key="g1")
    titles = [element.text or "" for element in ElementTree.fromstring(str(pareto.svg)).iter("title")]
    for row in group.rows:
        assert any(title.startswith(f"{row.number} {row.recipe} (") for title in titles)
    points = [
        element.text or "" for element in ElementTree.fromstring(str(launches.svg)).iter("title") if ", launch " in (element.text or "")
    ]
    assert len(set(points)) == sum(len(row.timed) for row in group.rows)


def test_drawings_hold_only_what_drawing_needs(maker: Maker, hostile: tuple[str, ...]) -> None:
    for chart in group_charts(maker().group(hostile), key="g1"):
        assert chart.svg is not None, chart.why
        root = ElementTree.fromstring(str(chart.svg))
        for element in root.iter():
            assert element.tag in ALLOWED
            assert not any(name.startswith("on") or name in {"href", "style", "class"} for name in element.attrib)
            assert all("url(" not in value and "javascript" not in value for name, value in element.items() if name != "aria-label")


def test_names_are_values_in_a_specification_and_nothing_else(maker: Maker, hostile: tuple[str, ...]) -> None:
    """An expression, a field or a signal with a name in it would be code; names may stand only in inline data."""
    group = maker().group([f"{name} MARKED" for name in hostile[:10]])
    for make in (launch_spec, pareto_spec):
        spec = make(group)
        assert "MARKED" in json.dumps(spec)
        assert "MARKED" not in json.dumps(_without_data(spec))


def _without_data(spec: Any) -> Any:
    if isinstance(spec, dict):
        return {key: _without_data(value) for key, value in spec.items() if key not in {"values", "datasets"}}
    return [_without_data(each) for each in spec] if isinstance(spec, list) else spec


def test_one_row_has_no_trade_to_draw(maker: Maker) -> None:
    group = maker().group(["fp32"], launches=1)
    assert vertical_metric(group) is None
    assert [chart.title for chart in group_charts(group, key="g1")] == ["Latency of each launch"]


def test_nothing_measured_is_nothing_drawn(maker: Maker) -> None:
    group = maker().group()
    empty = replace(group, rows=tuple(replace(row, launches=(), figures={}) for row in group.rows))
    assert group_charts(empty, key="g1") == []


def test_sixty_rows_are_drawn(maker: Maker) -> None:
    charts = group_charts(maker(2).group([f"recipe {index}" for index in range(60)]), key="g1")
    assert len(charts) == 3 and all(chart.svg is not None for chart in charts)
    texts = {element.text for element in ElementTree.fromstring(str(charts[1].svg)).iter("text")}
    assert {f"{number}\u2002recipe {number - 1}" for number in range(1, 61)} <= texts


@pytest.mark.parametrize("value", [0.0, 1e-9, 5.0])
def test_rows_that_do_not_differ_are_drawn(maker: Maker, value: float) -> None:
    rows = [
        replace(row, figures={**row.figures, "latency_p50_s": Figure(1e-4), "accuracy_drop": Figure(value)}) for row in maker().group().rows
    ]
    assert all(chart.svg is not None for chart in group_charts(replace(maker().group(), rows=tuple(rows)), key="g1"))


def test_a_metric_without_drops_is_drawn_by_itself(maker: Maker) -> None:
    group = maker().group()
    rows = tuple(replace(row, figures={**row.figures, "accuracy_drop": Figure(why="a distance from the baseline")}) for row in group.rows)
    assert vertical_metric(replace(group, rows=rows)) == "accuracy"
    bare = tuple(replace(row, figures={**row.figures, "accuracy": Figure()}) for row in rows)
    assert vertical_metric(replace(group, rows=bare)) == "size_bytes"


def test_a_limit_far_off_is_told_instead_of_drawn(maker: Maker) -> None:
    near = maker().group()
    far = replace(near, limits={"latency_p50_s": 5.0})
    assert limits_beyond(near) == [] and limits_beyond(far) == [("latency_p50_s", 5.0)]
    assert "lies beyond the chart" in next(chart.caption for chart in group_charts(far, key="g1") if "launch" in chart.title)
    assert "budget" not in json.dumps(launch_spec(replace(far, rows=near.rows[:1])))


def test_many_launches_are_thinned_evenly(maker: Maker) -> None:
    row = maker(2).row(1, "fp32", launches=200)
    shown = shown_launches(row)
    assert len(shown) == MAX_LINES and (shown[0], shown[-1]) == (row.timed[0], row.timed[-1])


def test_what_the_converter_refuses_is_told_in_place_of_the_chart() -> None:
    with pytest.raises(ReportError, match="not XML"):
        clean_svg("<svg><g></svg>", label="a", description="b", id="c")


def test_a_drawing_with_more_than_drawing_loses_it() -> None:
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><script>alert(1)</script><a href="javascript:x"><rect width="1"/></a>'
        '<rect width="2" onclick="x()" style="fill:url(http://a)" fill="url(#p)"/><image href="http://a"/></svg>'
    )
    cleaned = clean_svg(text, label='"<', description="&", id="c")
    root = ElementTree.fromstring(str(cleaned))
    assert [element.tag for element in root.iter()] == ["svg", "desc", "rect"]
    assert root.find("rect").attrib == {"width": "2"}


def _side(number: int, letter: str, p50_s: float, blocks: int) -> Row:
    launches = tuple(
        Launch("timed", index, 0, f"2026-11-24T15:{index:02}:00Z", 60.0 * index, "OK", p50_s=p50_s * (1.01 if index % 2 else 1.0))
        for index in range(2 * blocks)
    )
    return Row(number, f"{letter}: x", letter, "1 thread · CPU", "ab" * 32, "OK", None, {"latency_p50_s": Figure(p50_s)}, launches=launches)


def test_a_comparison_is_drawn_by_blocks(maker: Maker) -> None:
    group: Group = replace(maker().group(), rows=(_side(1, "A", 1e-4, 4), _side(2, "B", 5e-5, 4)), limits={})
    assert block_ratios(group) == [(block, pytest.approx(0.5)) for block in (1, 2, 3, 4)]
    comparison = Comparison("A: x", "B: x", "faster", Figure(0.5, 0.49, 0.51), 1e-4, 5e-5, 4, 0.02, 0.05, "B takes 0.5 times as long")
    titles = [chart.title for chart in comparison_charts(comparison, group, key="g1")]
    assert titles == ["Ratio of each block", "Latency of each launch", "Drift over the visit"]


def test_a_block_with_a_launch_that_did_not_count_is_no_block(maker: Maker) -> None:
    a, b = _side(1, "A", 1e-4, 2), _side(2, "B", 5e-5, 2)
    spoilt = replace(a, launches=(replace(a.launches[0], counts=False), *a.launches[1:]))
    assert [block for block, _ in block_ratios(replace(maker().group(), rows=(spoilt, b)))] == [2]
