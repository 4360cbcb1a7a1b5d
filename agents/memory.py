"""What the memory of a launch is: figures of /proc/PID/smaps_rollup, added up by one definition.

The definition is `device_profiles.metrics.PSS_WITH_SWAP`: `Pss` (pages shared with other processes count in proportion)
and `SwapPss` (what was swapped out is still the process's). Resident set size is another metric, never mixed with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.run import MemoryStage


def counted_bytes(stage: MemoryStage) -> int:
    """Memory at one stage: Pss + SwapPss."""
    return stage.pss_bytes + stage.swap_pss_bytes


def peak_memory_bytes(stages: Sequence[MemoryStage]) -> int | None:
    """`peak_memory_bytes` of METRICS: the highest of all stages; None if there are none."""
    return max(map(counted_bytes, stages), default=None)


def memory_load_bytes(stages: Sequence[MemoryStage]) -> int | None:
    """`memory_load_bytes` of METRICS; None unless both stages were read. It may be negative: pages were given back."""
    return _difference(stages, "loaded")


def memory_retained_bytes(stages: Sequence[MemoryStage]) -> int | None:
    """`memory_retained_bytes` of METRICS; None unless both stages were read."""
    return _difference(stages, "retained")


def _difference(stages: Sequence[MemoryStage], later: str) -> int | None:
    by_stage = {stage.stage: counted_bytes(stage) for stage in stages}
    if "baseline" not in by_stage or later not in by_stage:
        return None
    return by_stage[later] - by_stage["baseline"]
