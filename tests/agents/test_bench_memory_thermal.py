"""Memory by stage and clocks over time, on literal figures."""

from __future__ import annotations

import pytest

from agents import memory, thermal
from agents.run import Conditions, MemoryStage
from agents.runner.wire import ClockLine

GHZ = 1_000_000_000


def stage(name: str, pss: int, swap: int = 0) -> MemoryStage:
    return MemoryStage(stage=name, pss_bytes=pss, swap_pss_bytes=swap, rss_bytes=10 * pss)


def test_memory_counts_what_was_swapped_out_and_not_rss() -> None:
    stages = (stage("baseline", 100), stage("loaded", 300, 50), stage("peak", 390), stage("retained", 90, 40))
    assert memory.peak_memory_bytes(stages) == 390
    assert memory.memory_load_bytes(stages) == 250
    assert memory.memory_retained_bytes(stages) == 30


def test_the_peak_may_be_at_loading() -> None:
    assert memory.peak_memory_bytes((stage("loaded", 500), stage("peak", 400))) == 500


def test_memory_that_was_not_read_is_absent() -> None:
    assert memory.peak_memory_bytes(()) is None
    assert memory.memory_load_bytes((stage("loaded", 1),)) is None
    assert memory.memory_retained_bytes((stage("baseline", 1),)) is None


def clocks(*hertz: int) -> list[ClockLine]:
    return [ClockLine(kind="clock", t_s=i / 10, cpu_frequency_hz=(800_000_000, hz), temperature_c={}) for i, hz in enumerate(hertz)]


@pytest.mark.parametrize(
    ("hertz", "dropped"),
    [
        ([2 * GHZ] * 12, False),  # ‾‾‾‾
        ([3 * GHZ] * 6 + [2 * GHZ] * 6, True),  # ‾‾__
        ([1 * GHZ] * 6 + [3 * GHZ] * 6, False),  # __‾‾ ramps up
        ([3 * GHZ] * 9 + [1 * GHZ] + [3 * GHZ] * 2, False),  # ‾‾\/‾ a single dip
        ([3 * GHZ] * 6 + [int(2.8 * GHZ)] * 6, False),  # within a tenth
        ([3 * GHZ] * 3 + [1 * GHZ] * 4, False),  # too few to say
        ([-1] * 20, False),  # unreadable
    ],
)
def test_a_sustained_fall_is_throttling(hertz: list[int], dropped: bool) -> None:
    assert (thermal.clocks_dropped(clocks(*hertz)) is not None) is dropped


def test_a_device_that_says_it_throttles_is_believed() -> None:
    calm, hot = Conditions(at="t", throttled=False), Conditions(at="t", throttled=True)
    assert thermal.throttled(calm, calm) is None
    assert thermal.throttled(None, None) is None
    assert "before" in (thermal.throttled(hot, calm) or "")
    assert "after" in (thermal.throttled(calm, hot) or "")


def test_what_a_clock_launch_cannot_give() -> None:
    assert set(thermal.absent_clocks(clocks(-1))) == {"temperature_c"}  # the other CPU's clock can be read
    assert set(thermal.absent_clocks([])) == {"cpu_frequency_hz", "temperature_c"}
    warm = ClockLine(kind="clock", t_s=0, cpu_frequency_hz=(-1,), temperature_c={"cpu": 40.0})
    assert set(thermal.absent_clocks([warm])) == {"cpu_frequency_hz"}
