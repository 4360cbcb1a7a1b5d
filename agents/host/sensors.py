"""What this machine says of itself now: load, clocks, temperatures, memory. Reading it starts nothing and waits for nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from agents.host.proc_text import CpuTimes, parse_counters, parse_cpu_times

_CPUS = Path("/sys/devices/system/cpu")


def cpu_times() -> CpuTimes | None:
    """CPU time since boot; None where /proc does not say."""
    text = read_text(Path("/proc/stat"))
    return None if text is None else parse_cpu_times(text, ticks_per_s=os.sysconf("SC_CLK_TCK"))


def oom_kills() -> int | None:
    """How many processes the kernel has ended for want of memory since boot; None where it does not say."""
    return parse_counters(read_text(Path("/proc/vmstat")) or "").get("oom_kill")


def cpu_frequencies_hz() -> tuple[int, ...] | None:
    """The clock of each CPU by cpufreq; None where any is not shown (virtual machines have none)."""
    frequencies = []
    for cpu in range(os.cpu_count() or 0):
        text = read_text(_CPUS / f"cpu{cpu}" / "cpufreq" / "scaling_cur_freq")
        if text is None or not text.strip().isdigit():
            return None
        frequencies.append(int(text) * 1000)
    return tuple(frequencies) or None


def temperatures_c() -> Mapping[str, float] | None:
    """By sensor, named `chip` or `chip label`; None where there is no sensor."""
    found: dict[str, float] = {}
    for chip, sensors in psutil.sensors_temperatures().items():
        for number, sensor in enumerate(sensors):
            name = f"{chip} {sensor.label or number}" if sensor.label or len(sensors) > 1 else chip
            found[name] = float(sensor.current)
    return found or None


def throttle_count() -> int | None:
    """How often the CPUs were throttled for heat since boot (x86's thermal_throttle counters); None where it is not counted."""
    total, counted = 0, False
    for path in _CPUS.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"):
        text = read_text(path)
        if text is not None and text.strip().isdigit():
            total, counted = total + int(text), True
    return total if counted else None


def read_text(path: Path) -> str | None:
    """The text of a small file of the kernel's, None if it is not there or not ours to read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None
