"""Energy of a launch: a counter is read twice and subtracted, never integrated from samples."""

from __future__ import annotations

from dataclasses import dataclass

EnergyReading = tuple[float, str] | str
"""Joules counted so far with the source, or the reason there is no counter (`Device.energy_j`)."""


@dataclass(frozen=True, slots=True)
class EnergyUsed:
    """What a source counted between two readings; `source` is `measured: ...` or `modelled: ...`."""

    energy_j: float
    source: str


def energy_used(before: EnergyReading, after: EnergyReading) -> EnergyUsed | str:
    """The difference of two readings, or the reason there is none."""
    match before, after:
        case (str(), _):
            return str(before)
        case (_, str()):
            return f"the energy counter could not be read after the run: {after}"
        case ((start_j, source), (end_j, source_after)):
            if source != source_after:
                return f"the energy source changed during the run, from `{source}` to `{source_after}`"
            if end_j < start_j:
                return f"the energy counter of `{source}` went back during the run"
            return EnergyUsed(end_j - start_j, source)
    raise AssertionError(before, after)


def counted_up(previous: int, current: int, maximum: int) -> int:
    """How far a counter that wraps to 0 after `maximum` has moved, if it wrapped at most once."""
    return current - previous if current >= previous else current + maximum + 1 - previous
