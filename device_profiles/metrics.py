"""The one table of what Thresher measures: name, unit, which way is better, definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Better(StrEnum):
    """Which way a metric improves."""

    LOWER = "lower"  # less is better: latency, memory, energy
    HIGHER = "higher"  # more is better: accuracy
    NEITHER = "neither"  # describes a condition: temperature, clock


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity that is measured or derived, always in SI units (`unit` is the symbol; "1" is dimensionless)."""

    name: str
    unit: str
    better: Better
    definition: str


_ALL = (
    Metric(
        "latency_p50_s",
        "s",
        Better.LOWER,
        "median over launches of each launch's median time of one inference, back to back, after warm-up",
    ),
    Metric("latency_p90_s", "s", Better.LOWER, "median over launches of each launch's 90th percentile of one inference, back to back"),
    Metric("latency_p99_s", "s", Better.LOWER, "median over launches of each launch's 99th percentile of one inference, back to back"),
    Metric(
        "latency_paced_p50_s",
        "s",
        Better.LOWER,
        "median over launches of each launch's median time of one inference started at a fixed rate",
    ),
    Metric(
        "session_load_s", "s", Better.LOWER, "time to create the runtime's session from the model file, in a new process (file cache warm)"
    ),
    Metric("first_inference_s", "s", Better.LOWER, "time of the first inference in a new process"),
    Metric(
        "peak_memory_bytes",
        "B",
        Better.LOWER,
        "highest memory of the runner process while it loads and runs the model; `memory_definition` says how it was counted",
    ),
    Metric("memory_load_bytes", "B", Better.LOWER, "memory of the runner process after the session was created, less the memory before"),
    Metric(
        "memory_retained_bytes",
        "B",
        Better.LOWER,
        "memory of the runner process after the session was released, less the memory before it was created",
    ),
    Metric("peak_rss_bytes", "B", Better.LOWER, "highest resident set size of the runner process (VmHWM): shared pages count in full"),
    Metric("size_bytes", "B", Better.LOWER, "bytes of the variant's file, with its external data"),
    Metric(
        "energy_per_inference_j",
        "J",
        Better.LOWER,
        "energy of the whole source (`power_source`) over a timed launch, divided by its inferences",
    ),
    Metric("accuracy", "1", Better.HIGHER, "the model's own metric on its evaluation samples; unit and direction are the metric's"),
    Metric(
        "accuracy_drop",
        "1",
        Better.LOWER,
        "how much worse than the baseline on the same samples, in the metric's own unit; positive is worse",
    ),
    Metric("cpu_frequency_hz", "Hz", Better.NEITHER, "clock of a CPU as the operating system reports it"),
    Metric("temperature_c", "°C", Better.NEITHER, "temperature of a thermal zone as the operating system reports it"),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})

PSS_WITH_SWAP = "linux_pss_with_swap"
"""Memory definition: `Pss` + `SwapPss` of /proc/PID/smaps_rollup."""
