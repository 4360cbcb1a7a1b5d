"""The protocols, their overrides and the plan of a job."""

from __future__ import annotations

import pytest

from agents.bench.protocol import PROTOCOLS, QUICK, STANDARD, plan_launches, protocol_named
from agents.errors import ProtocolError
from agents.run import LaunchKind


def test_the_standard_protocol_is_the_documented_one() -> None:
    assert (STANDARD.ref.name, STANDARD.ref.version, STANDARD.launches) == ("standard", 1, 5)
    assert (STANDARD.warmup.min_iterations, STANDARD.warmup.min_s, STANDARD.warmup.max_s, STANDARD.warmup.tolerance) == (10, 1, 10, 0.02)
    assert (STANDARD.timed.min_iterations, STANDARD.timed.min_s, STANDARD.timed.max_s) == (50, 5, 60)


def test_quick_is_a_series_of_its_own() -> None:
    assert (QUICK.name, QUICK.launches, QUICK.timed.min_iterations, QUICK.timed.min_s, QUICK.timed.max_s) == ("quick", 3, 50, 0.5, 5)
    assert QUICK.ref != STANDARD.ref


def test_more_launches_keep_the_name() -> None:
    assert STANDARD.with_overrides(launches=10).ref == STANDARD.ref
    assert STANDARD.with_overrides(launches=10).launches == 10
    assert STANDARD.with_overrides() == STANDARD
    assert STANDARD.with_overrides(timed_s=5, launches=5) == STANDARD


@pytest.mark.parametrize("launches", [-1, 0, 4, 1001])
def test_standard_takes_five_launches_or_more(launches: int) -> None:
    with pytest.raises(ProtocolError, match=f"`standard` takes 5 to 1000 launches, not {launches}:"):
        STANDARD.with_overrides(launches=launches)


def test_an_error_of_the_protocol_can_be_reported_by_a_files_field() -> None:
    with pytest.raises(ValueError, match="quick"):
        STANDARD.with_overrides(launches=2)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({"launches": 2}, "quick+launches2"),
        ({"timed_s": 2}, "quick+timed2s"),
        ({"warmup_s": 0.25}, "quick+warmup0.25s"),
        ({"paced_interval_s": 0.1}, "quick+paced0.1s"),
        ({"launches": 1, "timed_s": 10, "paced_interval_s": 0.05}, "quick+launches1+timed10s+paced0.05s"),
    ],
)
def test_what_changes_a_figures_meaning_changes_the_name(overrides: dict, name: str) -> None:
    assert QUICK.with_overrides(**overrides).name == name


def test_a_longer_section_moves_its_limit() -> None:
    changed = QUICK.with_overrides(timed_s=8, warmup_s=3)
    assert (changed.timed.min_s, changed.timed.max_s, changed.timed.min_iterations) == (8, 8, 50)
    assert (changed.warmup.min_s, changed.warmup.max_s) == (3, 3)
    assert QUICK.with_overrides(timed_s=1).timed.max_s == 5


@pytest.mark.parametrize("field", ["timed_s", "warmup_s", "paced_interval_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e9])
def test_durations_are_checked(field: str, value: float) -> None:
    with pytest.raises(ProtocolError, match=field):
        STANDARD.with_overrides(**{field: value})


def test_a_mistyped_protocol_names_the_nearest() -> None:
    assert protocol_named("quick") is PROTOCOLS["quick"]
    with pytest.raises(ProtocolError, match="did you mean `standard`"):
        protocol_named("standart")
    with pytest.raises(ProtocolError, match="`standard` and `quick`"):
        protocol_named("zzz")


def test_a_job_begins_with_the_golden_check() -> None:
    assert plan_launches(QUICK) == (
        (LaunchKind.GOLDEN, 0),
        *((LaunchKind.TIMED, number) for number in range(3)),
        *((LaunchKind.MEMORY, number) for number in range(3)),
        (LaunchKind.CLOCK, 0),
        (LaunchKind.PROFILE, 0),
    )


def test_paced_launches_are_as_many_as_timed_ones() -> None:
    plan = plan_launches(STANDARD.with_overrides(paced_interval_s=0.1))
    assert [number for kind, number in plan if kind is LaunchKind.PACED] == [0, 1, 2, 3, 4]


def test_kinds_can_be_left_out_but_not_the_golden_check() -> None:
    assert [kind for kind, _ in plan_launches(QUICK.with_overrides(kinds=(LaunchKind.TIMED,)))] == [LaunchKind.GOLDEN] + [
        LaunchKind.TIMED
    ] * 3
