"""Numbers and names as text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.report.columns import metric_title
from dashboards.report.figures import columns, duration, interval, isolated, number, quantity, share, short, visible
from dashboards.report.page import Figure


@given(st.text())
@settings(max_examples=50, deadline=None)
def test_nothing_unseen_survives(text: str) -> None:
    shown = visible(text)
    assert all(char.isprintable() or char in "\u00a0\u202f\u200c\u200d" for char in shown)
    shown.encode("utf-8")


def test_what_reorders_or_commands_is_written_out() -> None:
    assert visible("\u202egnp.exe") == "\\u202egnp.exe"
    assert visible("\x1b[31mred") == "\\x1b[31mred"
    assert visible("two\nlines") == "two lines"
    assert visible("plain <b>é</b> 模型") == "plain <b>é</b> 模型"


@given(st.text(max_size=300), st.integers(min_value=3, max_value=40))
@settings(max_examples=50, deadline=None)
def test_a_short_name_is_short(text: str, limit: int) -> None:
    assert columns(short(text, limit)) <= limit


def test_a_short_name_keeps_both_ends() -> None:
    assert short("quantised-statically-per-tensor", 15) == "quantis…-tensor"
    assert short("fp32", 15) == "fp32"


def test_names_that_run_from_right_to_left_are_set_apart() -> None:
    assert isolated("نموذج") == "\u2068نموذج\u2069"
    assert isolated("fp32") == "fp32"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.9895, "0.990"), (0.0123, "0.0123"), (0.000357, "0.00036"), (-0.0036, "−0.0036"), (12.345, "12.35"), (250.0, "250")],
)
def test_bare_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


def test_nothing_but_zero_is_shown_as_zero() -> None:
    assert quantity(None, "s") == "–"
    assert quantity(0.0, "B") == "0\u00a0B"
    assert number(1e-9) == "1e−09"


def test_an_interval_names_its_unit_once() -> None:
    assert interval(Figure(1.23e-4, 1.2e-4, 1.26e-4), "s") == "120\u00a0to\u00a0126\u00a0µs"
    assert interval(Figure(1e-3, 9.9e-4, 1.01e-3), "s") == "990\u00a0µs\u00a0to\u00a01.01\u00a0ms"
    assert interval(Figure(0.62, 0.6, 0.65), "1") == "0.600\u00a0to\u00a00.650"
    assert interval(Figure(1.0), "s") == ""


def test_shares_and_durations() -> None:
    assert [share(0.621), share(0.0312), share(0.002)] == ["62\u00a0%", "3.1\u00a0%", "0.20\u00a0%"]
    assert [duration(5), duration(125), duration(3780)] == ["5\u00a0s", "2\u00a0min 5\u00a0s", "1\u00a0h 3\u00a0min"]


def test_a_metric_without_a_column_is_named_without_its_unit() -> None:
    assert [metric_title(name) for name in ("latency_p50_s", "latency_p99_s", "temperature_c", "ops")] == [
        "p50",
        "latency p99",
        "temperature",
        "ops",
    ]
