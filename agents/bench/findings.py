"""What is found out about one launch while it goes on, and the record made of it at the end."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from agents.bench.request import LaunchRequest
from agents.device import DeviceFacts, Installed
from agents.run import (
    Conditions,
    DeviceRef,
    Latency,
    MemoryStage,
    OpTime,
    Outcome,
    Provenance,
    RunRecord,
    TraceRef,
)

MAX_WHY = 2000


@dataclass(slots=True)
class Findings:
    """Filled in as a launch goes on; what was found before an error stays. Fields are named as in `RunRecord`."""

    outcome: Outcome = Outcome.OK
    why: str | None = None
    retryable_error: bool = False
    provenance: Provenance | None = None
    before: Conditions | None = None
    after: Conditions | None = None
    library_load_s: float | None = None
    session_load_s: float | None = None
    first_inference_s: float | None = None
    others_busy: float | None = None
    warmup_iterations: int | None = None
    warmup_stable: bool | None = None
    latency: Latency | None = None
    memory: tuple[MemoryStage, ...] | None = None
    peak_rss_bytes: int | None = None
    ops: tuple[OpTime, ...] | None = None
    placement: Mapping[str, int] | None = None
    golden_error: float | None = None
    energy_j: float | None = None
    power_source: str | None = None
    absent: dict[str, str] = field(default_factory=dict)
    traces: tuple[TraceRef, ...] = ()

    def conclude(self, outcome: Outcome, why: str) -> None:
        """Set the outcome, unless there is one already: the first trouble is the cause."""
        if self.outcome is Outcome.OK:
            self.outcome = outcome
            self.why = plain(why)


def record_of(found: Findings, request: LaunchRequest, device: DeviceRef, *, started_at: str, duration_s: float) -> RunRecord:
    """The record of a launch that has ended."""
    return RunRecord(
        campaign_id=request.campaign_id,
        visit_id=request.visit_id,
        job_id=request.job_id,
        round=request.round,
        attempt=request.attempt,
        kind=request.kind,
        role=request.role,
        model=request.model,
        variant=request.variant,
        device=device,
        config=request.config,
        protocol=request.protocol.ref,
        outcome=found.outcome,
        why=found.why,
        started_at=started_at,
        duration_s=duration_s,
        library_load_s=found.library_load_s,
        session_load_s=found.session_load_s,
        first_inference_s=found.first_inference_s,
        others_busy=found.others_busy,
        warmup_iterations=found.warmup_iterations,
        warmup_stable=found.warmup_stable,
        latency=found.latency,
        memory=found.memory,
        peak_rss_bytes=found.peak_rss_bytes,
        ops=found.ops,
        placement=found.placement,
        golden_error=found.golden_error,
        energy_j=found.energy_j,
        power_source=found.power_source,
        absent={metric: plain(why) for metric, why in found.absent.items()},
        traces=found.traces,
        before=found.before,
        after=found.after,
        provenance=found.provenance,
    )


def provenance_of(installed: Installed, facts: DeviceFacts, *, lab_host: str) -> Provenance:
    """What will produce the numbers."""
    return Provenance(
        thresher_version=version("thresher"),
        runner_version=installed.runner_version,
        runner_sha256=installed.runner_sha256,
        runtime_version=installed.runtime_version,
        runtime_sha256=installed.runtime_sha256,
        os_build=facts.os_build,
        kernel=facts.kernel,
        cpu_model=facts.cpu_model,
        lab_host=lab_host,
    )


def plain(text: str) -> str:
    """The text on one line, without what a terminal would obey, at most 2000 characters: messages of models and runtimes are hostile."""
    shown = " ".join("".join(char if unicodedata.category(char)[0] != "C" else " " for char in text).split())
    return shown if len(shown) <= MAX_WHY else shown[: MAX_WHY - 1] + "…"
