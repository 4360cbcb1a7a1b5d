"""What the launches of one job say together: outcome, latency, memory, energy. Pure.

planned   golden 0   timed 0        timed 1   timed 2   memory 0
attempts  OK         TAINTED, OK    OK        OK        OK          the last attempt of each counts: outcome OK, one tainted
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agents.run import LaunchKind, MemoryStage, Outcome, RunRecord
from device_profiles.metrics import PSS_WITH_SWAP
from orchestrator.statistics import Launch, launch, over_launches
from orchestrator.verdict import Estimate

Iterations = Callable[[RunRecord], "NDArray[np.float64] | None"]
"""Seconds of each iteration of a timed launch, or None when they are no longer kept."""

PlannedLaunches = Sequence[tuple[LaunchKind, int]]

REQUIRED = frozenset({LaunchKind.GOLDEN, LaunchKind.TIMED, LaunchKind.PACED, LaunchKind.MEMORY})
"""Kinds without which a row is not complete; the others only explain it."""

_MEASURED = ("latency_p50_s", "latency_p90_s", "peak_memory_bytes", "energy_per_inference_j")
_OUTPUTS_SEEN = frozenset({Outcome.OK, Outcome.TAINTED})  # a golden launch is not timed: what disturbs it leaves its outputs right


@dataclass(frozen=True, slots=True)
class JobFigures:
    """Figures of one job; what is None has its reason in `absent`, by the name of the row's field. `launches` are the good timed ones."""

    outcome: Outcome
    why: str | None
    launches: tuple[Launch, ...] = ()
    latency_p50_s: Estimate | None = None
    latency_p90_s: Estimate | None = None
    peak_memory_bytes: Estimate | None = None
    memory_launches: int = 0
    energy_per_inference_j: Estimate | None = None
    power_source: str | None = None
    session_load_s: float | None = None
    first_inference_s: float | None = None
    ok: int = 0
    bad: int = 0
    tainted: int = 0
    absent: Mapping[str, str] = field(default_factory=dict)


def job_figures(records: Iterable[RunRecord], planned: PlannedLaunches, *, iterations: Iterations, rng: Generator) -> JobFigures:
    """Figures of the job that these records are of; nothing of its speed, memory or energy when its outputs were not seen to be right."""
    everything = tuple(records)
    last = _last_attempts(everything)
    outcome, why = _outcome(last, planned)
    tally = JobFigures(
        outcome,
        why,
        ok=sum(each.outcome is Outcome.OK for each in everything),
        bad=sum(each.outcome not in {Outcome.OK, Outcome.TAINTED} for each in everything),
        tainted=sum(each.outcome is Outcome.TAINTED for each in everything),
    )
    hidden = _unverified(last, planned)
    if hidden is not None:
        return replace(tally, absent=dict.fromkeys(_MEASURED, hidden))
    good = [each for each in last.values() if each.outcome is Outcome.OK]
    return _with_figures(tally, good, iterations=iterations, rng=rng)


def _with_figures(tally: JobFigures, good: Sequence[RunRecord], *, iterations: Iterations, rng: Generator) -> JobFigures:
    """The figures that good launches give."""
    timed = sorted((each for each in good if each.kind is LaunchKind.TIMED and each.latency), key=lambda each: each.round)
    raw = {each.round: iterations(each) for each in timed}
    launches = tuple(_launch(each, raw[each.round], each.latency.p50_s) for each in timed if each.latency)
    tails = tuple(_launch(each, raw[each.round], each.latency.p90_s) for each in timed if each.latency and each.latency.p90_s is not None)
    memory = [_peak(each.memory) for each in good if each.kind is LaunchKind.MEMORY and each.memory]
    energy, power_source = _energy(timed)
    p50 = over_launches(launches, q=0.5, rng=rng) if launches else None
    p90 = over_launches(tails, q=0.9, rng=rng) if tails else None
    peak, joules = _over_values(memory, rng), _over_values(energy, rng)
    return replace(
        tally,
        launches=launches,
        latency_p50_s=p50,
        latency_p90_s=p90,
        peak_memory_bytes=peak,
        memory_launches=len(memory),
        energy_per_inference_j=joules,
        power_source=power_source,
        session_load_s=_median(each.session_load_s for each in timed),
        first_inference_s=_median(each.first_inference_s for each in timed),
        absent={name: _reason(name, good) for name, got in zip(_MEASURED, (p50, p90, peak, joules), strict=True) if got is None},
    )


def _over_values(values: Sequence[float], rng: Generator) -> Estimate | None:
    """The median of one value a launch."""
    return over_launches([launch([value]) for value in values], q=0.5, rng=rng) if values else None


def memory_definition(figures: JobFigures) -> str | None:
    """How the memory was counted, where it was."""
    return PSS_WITH_SWAP if figures.peak_memory_bytes is not None else None


def _last_attempts(records: Iterable[RunRecord]) -> dict[tuple[LaunchKind, int], RunRecord]:
    """The last attempt of each launch."""
    last: dict[tuple[LaunchKind, int], RunRecord] = {}
    for each in records:
        place = (each.kind, each.round)
        if place not in last or each.attempt > last[place].attempt:
            last[place] = each
    return last


def _outcome(last: Mapping[tuple[LaunchKind, int], RunRecord], planned: PlannedLaunches) -> tuple[Outcome, str | None]:
    for kind, round_ in planned:
        if kind not in REQUIRED:
            continue
        record = last.get((kind, round_))
        if record is None:
            return Outcome.NOT_RUN, f"{kind} launch {round_ + 1} never started"
        if record.outcome is not Outcome.OK and not (kind is LaunchKind.GOLDEN and record.outcome in _OUTPUTS_SEEN):
            tries = f" ({record.attempt + 1} tries)" if record.attempt else ""
            return record.outcome, f"{kind} launch {round_ + 1}{tries}: {record.why or 'no reason was recorded'}"
    return Outcome.OK, None


def _unverified(last: Mapping[tuple[LaunchKind, int], RunRecord], planned: PlannedLaunches) -> str | None:
    """Why nothing may be published: an output was wrong, or none was compared with the reference."""
    if any(each.outcome is Outcome.WRONG_OUTPUT for each in last.values()):
        return "the outputs on the device are wrong"
    golden = [place for place in planned if place[0] is LaunchKind.GOLDEN]
    if any(place not in last or last[place].outcome not in _OUTPUTS_SEEN for place in golden):
        return "the outputs on the device could not be checked"
    return None


def _launch(record: RunRecord, iterations: NDArray[np.float64] | None, figure: float) -> Launch:
    """The launch by its raw iterations, or by its recorded figure alone where they are gone."""
    return launch([figure] if iterations is None else iterations, round=record.round)


def _peak(stages: Sequence[MemoryStage]) -> float:
    return float(max(stage.pss_bytes + stage.swap_pss_bytes for stage in stages))


def _energy(timed: Sequence[RunRecord]) -> tuple[list[float], str | None]:
    """Joules per inference of each launch that has them from the first one's source, and that source."""
    known = [each for each in timed if each.energy_j is not None and each.latency and each.power_source]
    if not known:
        return [], None
    source = known[0].power_source
    values = []
    for each in known:
        if each.power_source == source and each.latency and each.energy_j is not None:
            values.append(each.energy_j / (1 + (each.warmup_iterations or 0) + each.latency.n))  # 1: the first inference
    return values, source


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _reason(name: str, good: Sequence[RunRecord]) -> str:
    """Why no launch gave this figure: in the words of the launches, if they say."""
    said = [each.absent[name] for each in good if name in each.absent]
    return said[0] if said else f"no {'memory' if name == 'peak_memory_bytes' else 'timed'} launch was good"
