"""Parsers of what Linux says of itself in /proc and /etc; pure, for the host and for any device that gives the same text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU time since boot, all CPUs together: `busy_s` of `total_s`. Stolen time is busy: somebody else had the CPU."""

    busy_s: float
    total_s: float


def parse_cpu_times(proc_stat: str, *, ticks_per_s: int) -> CpuTimes | None:
    """From the `cpu` line of /proc/stat (proc_stat(5)); None if there is none (an app on Android may not read it)."""
    for line in proc_stat.splitlines():
        fields = line.split()
        if fields[:1] == ["cpu"] and len(fields) >= 9 and all(field.isdigit() for field in fields[1:9]):
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, fields[1:9])  # `user` already holds `guest`
            busy = user + nice + system + irq + softirq + steal
            return CpuTimes(busy / ticks_per_s, (busy + idle + iowait) / ticks_per_s)
    return None


def parse_counters(text: str) -> Mapping[str, int]:
    """`NAME NUMBER` or `NAME: NUMBER [kB]` a line, as in /proc/vmstat and /proc/meminfo; sizes in bytes."""
    counters = {}
    for line in text.splitlines():
        fields = line.replace(":", " ").split()
        if len(fields) >= 2 and fields[1].isdigit():
            counters[fields[0]] = int(fields[1]) * (1024 if fields[2:3] == ["kB"] else 1)
    return counters


def parse_os_release(text: str) -> dict[str, str]:
    """Names and values of os-release(5)."""
    values = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith("#"):
            values[key] = _unquoted(value)
    return values


def os_name(values: Mapping[str, str]) -> str | None:
    """PRETTY_NAME of an os-release, or NAME and VERSION_ID; None if there is neither."""
    return values.get("PRETTY_NAME") or " ".join(filter(None, (values.get("NAME"), values.get("VERSION_ID")))) or None


def parse_cpu_model(cpuinfo: str) -> str | None:
    """The processor's name in /proc/cpuinfo: x86's `model name`; on ARM, which has none, the implementer's and part's numbers."""
    values: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, separator, value = line.partition(":")
        if separator and value.strip():
            values.setdefault(key.strip(), value.strip())
    if name := values.get("model name") or values.get("Hardware"):
        return name
    if "CPU implementer" in values and "CPU part" in values:
        return f"ARM implementer {values['CPU implementer']} part {values['CPU part']}"
    return None


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """CPU numbers of the kernel's list format (cpuset(7)): `0-3,8` is 0, 1, 2, 3, 8. Raises: ValueError."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def _unquoted(value: str) -> str:
    try:
        return "".join(shlex.split(value))
    except ValueError:  # a quote that never ends
        return value
