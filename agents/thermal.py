"""Whether a device lowered its clocks, from what it said of itself."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from agents.run import Conditions
from agents.runner.wire import ClockLine

CLOCK_DROP = 0.10
"""A sustained fall of the fastest CPU's clock by more than this share, while the load stayed the same, is throttling."""

_MIN_SAMPLES = 8


def clocks_dropped(samples: Sequence[ClockLine]) -> str | None:
    """Why the samples of one run under constant load show throttling, or None.

    The fastest CPU's clock, median of the last quarter of the samples against that of the first; a load ramps clocks up at
    first, never down, so a fall is the device's own doing. Too few samples or unreadable clocks show nothing.
    """
    clocks = [fastest for sample in samples if (fastest := max(sample.cpu_frequency_hz, default=-1)) > 0]
    if len(clocks) < _MIN_SAMPLES:
        return None
    quarter = len(clocks) // 4
    first_hz, last_hz = median(clocks[:quarter]), median(clocks[-quarter:])
    if last_hz >= first_hz * (1 - CLOCK_DROP):
        return None
    return f"the fastest CPU's clock fell from {first_hz / 1e9:.2f} to {last_hz / 1e9:.2f} GHz while the model ran"


def throttled(before: Conditions | None, after: Conditions | None) -> str | None:
    """Why a launch was throttled by what the device said before and after it, or None."""
    if before is not None and before.throttled:
        return "the device said before the launch that it was throttling"
    if after is not None and after.throttled:
        return "the device said after the launch that it had throttled"
    return None


def absent_clocks(samples: Sequence[ClockLine]) -> dict[str, str]:
    """The reason for each metric of a clock launch that the device cannot give."""
    absent = {}
    if not any(frequency > 0 for sample in samples for frequency in sample.cpu_frequency_hz):
        absent["cpu_frequency_hz"] = "the operating system does not say how fast its CPUs run (no cpufreq)"
    if not any(sample.temperature_c for sample in samples):
        absent["temperature_c"] = "the device shows no temperature sensor"
    return absent
