"""Measure: one launch after the other on an opened device, every attempt recorded once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from agents.bench.launch import launch_with_retries
from agents.bench.request import LaunchRequest
from agents.device import Device, ModelData, TensorFile, Workload
from agents.errors import Cancelled
from agents.host.timing_lock import timing_lock
from agents.run import DeviceRef, LaunchKind, Outcome, RunRecord
from optimizers.golden import TensorData
from orchestrator.made import Made
from orchestrator.open_device import open_device
from orchestrator.plan import Job
from orchestrator.records import RecordLog
from orchestrator.run_records import record_to_run, run_record_id, run_to_record
from orchestrator.site import Site
from orchestrator.spec import CampaignSpec


@dataclass(frozen=True, slots=True)
class LaunchPlace:
    """Which launch: what its records' ids are made of."""

    campaign_id: str
    visit_id: str
    job_id: str
    kind: LaunchKind
    round: int


def visit_id(campaign_id: str, device: str) -> str:
    """The id of a campaign's visit to a device."""
    return f"{campaign_id}/visit/{device}"


def recorded_attempts(log: RecordLog, place: LaunchPlace) -> tuple[RunRecord, ...]:
    """The attempts of a launch that the log holds, in order."""
    found: list[RunRecord] = []
    for attempt in count():
        record = log.find(
            run_record_id(place.campaign_id, place.visit_id, place.job_id, kind=place.kind, round=place.round, attempt=attempt)
        )
        if record is None:
            break
        found.append(record_to_run(record))
    return tuple(found)


class Measuring:
    """Opened devices with what their visits have put there: a context manager, used by one thread a device."""

    def __init__(self, site: Site, *, scratch: Path, stopping: threading.Event) -> None:
        self._site = site
        self._stopping = stopping
        self._scratch = scratch
        self._stack = ExitStack()
        self._devices: dict[str, Device] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def launch(self, spec: CampaignSpec, job: Job, made: Made, launch: tuple[LaunchKind, int], *, cancelled: Callable[[], bool]) -> Outcome:
        """Do one launch, with retries where that may help, and append every attempt. What is recorded already stays as it is."""
        kind, round_ = launch
        place = LaunchPlace(spec.id, visit_id(spec.id, job.device), job.id, kind, round_)
        before = recorded_attempts(self._site.log, place)
        if before:
            return before[-1].outcome
        request = self.request(spec, job, made, place)
        if kind is LaunchKind.PROFILE:
            request = replace(request, timed_p50_s=self._timed_p50_s(place))
        device = self.device(spec.device(job.device))
        try:
            with timing_lock(cancelled=cancelled):
                attempts = launch_with_retries(device, request, keep=self._site.store.put_file, cancelled=cancelled)
        except Cancelled:
            return Outcome.CANCELLED
        if not (attempts[-1].outcome is Outcome.CANCELLED and self._stopping.is_set()):  # a stopped worker does it again from the start
            self._site.log.append_many(run_to_record(run) for run in attempts)
        return attempts[-1].outcome

    def _timed_p50_s(self, place: LaunchPlace) -> float | None:
        """The median of the job's first timed launch: what profiling may cost is judged by it."""
        timed = recorded_attempts(self._site.log, replace(place, kind=LaunchKind.TIMED, round=0))
        return timed[-1].latency.p50_s if timed and timed[-1].latency else None

    def leave(self, spec: CampaignSpec, device: str) -> None:
        """Remove from a device what a visit has put there."""
        self.device(spec.device(device)).transport.remove(self._workdir(spec, device), timeout_s=60)

    def device(self, ref: DeviceRef) -> Device:
        """The device, opened once for as long as this lasts. Raises: ConfigError, AgentError."""
        with self._lock:
            if ref.name not in self._devices:
                self._devices[ref.name] = self._stack.enter_context(open_device(ref))
            return self._devices[ref.name]

    def _workdir(self, spec: CampaignSpec, device: str) -> str:
        return str(self._scratch / f"visit-{spec.id}-{spec.devices.index(spec.device(device))}")

    def request(self, spec: CampaignSpec, job: Job, made: Made, place: LaunchPlace) -> LaunchRequest:
        """What a launch asks of the device; its files are on this host and verified."""
        return LaunchRequest(
            campaign_id=spec.id,
            visit_id=place.visit_id,
            job_id=job.id,
            round=place.round,
            kind=place.kind,
            role=made.role,
            model=made.model,
            variant=made.ref,
            workload=self._workload(made, job),
            config=job.config,
            protocol=spec.protocol,
            lab_host=spec.lab_host,
            workdir=self._workdir(spec, job.device),
            scratch=self._scratch,
        )

    def _workload(self, made: Made, job: Job) -> Workload:
        """The variant's files as local paths, verified by the store."""
        assert made.variant is not None
        files, beside = made.workload(job.config), made.variant.external
        store = self._site.store
        model = store.open_local(made.variant.sha256, name=made.variant.file_name)
        return Workload(
            model=model,
            model_sha256=made.variant.sha256,
            inputs=tuple(map(self._tensor, files.inputs)),
            states=files.states,
            state_inputs=tuple(map(self._tensor, files.state_inputs)),
            reference=tuple(map(self._tensor, files.reference)),
            tolerance=made.variant.golden_tolerance,
            model_data=ModelData(beside.file_name, store.open_local(beside.sha256), beside.sha256) if beside else None,
        )

    def _tensor(self, data: TensorData) -> TensorFile:
        path = self._site.store.open_local(data.sha256)
        return TensorFile(name=data.name, dtype=data.dtype, shape=data.shape, count=data.count, path=path, sha256=data.sha256)
