"""What the engine's steps do: each is idempotent, takes and gives ids and JSON, and may be run again after a kill."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from agents.host.process_tree import end_orphans
from agents.run import LaunchKind, Outcome
from orchestrator.campaigns import OVER, CampaignStatus
from orchestrator.canonical import sha256_hex
from orchestrator.comparing import next_planned
from orchestrator.conclude import conclude_campaign
from orchestrator.farm import Farm
from orchestrator.made import Made, made_id, record_to_made
from orchestrator.make import Making, make_and_evaluate
from orchestrator.measure import LaunchPlace, Measuring, recorded_attempts, visit_id
from orchestrator.plan import Job, PlannedLaunch, PlannedVariant, plan_jobs, plan_visit
from orchestrator.progress import Progress
from orchestrator.records import RecordKind
from orchestrator.run_records import record_to_run
from orchestrator.site import Site, open_site
from orchestrator.spec import BASELINE, CampaignSpec
from orchestrator.workers import Workers

_CANCEL_POLL_S = 0.25
_QUIET_S = 15.0


def lab_host_key(lab_host: str) -> str:
    """A lab host's name as a file name: 12 hex digits. A farm may be shared by several lab hosts."""
    return sha256_hex(lab_host)[:12]


class Stopping(BaseException):
    """The worker is asked to stop: passes through the engine unrecorded, so that the step runs again next time."""


class Work:
    """The work of one worker: a context manager. Steps may run in several threads, one a device; `stopping` ends them all."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.stopping = threading.Event()
        self._stack = ExitStack()
        self._active = 0
        self._planned: dict[tuple[str, str], Mapping[str, Job]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.site: Site = self._stack.enter_context(open_site(self.farm))
        self.scratch = self.farm.state_dir / "scratch" / lab_host_key(self.farm.lab_host) / str(os.getpid())
        self.scratch.mkdir(parents=True, exist_ok=True)
        self._stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self._measuring = self._stack.enter_context(Measuring(self.site, scratch=self.scratch, stopping=self.stopping))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    # The worker's own life

    def take_over(self) -> None:
        """Become the lab host's worker: say so, and clear what killed workers left: their runners and scratch folders."""
        from importlib.metadata import version

        Workers(self.site.database).started(self.farm.lab_host, pid=os.getpid(), version=version("thresher"))
        for row in self.site.campaigns.list(status={CampaignStatus.INTERRUPTED}, lab_host=self.farm.lab_host):
            self.site.campaigns.set_status(row.id, CampaignStatus.RUNNING, only_from={CampaignStatus.INTERRUPTED})  # the engine goes on
        end_orphans()
        for left in self.scratch.parent.iterdir():
            if left != self.scratch:
                shutil.rmtree(left, ignore_errors=True)

    def heartbeat(self) -> None:
        """Say that this worker lives."""
        Workers(self.site.database).beat(self.farm.lab_host, pid=os.getpid())

    def leave(self) -> None:
        """Stop being the worker; campaigns in progress are marked as interrupted, to be resumed."""
        for campaign_id in self.running():
            self.site.campaigns.set_status(campaign_id, CampaignStatus.INTERRUPTED, only_from={CampaignStatus.RUNNING})
        Workers(self.site.database).stopped(self.farm.lab_host, pid=os.getpid())

    def running(self) -> list[str]:
        """The campaigns in progress on this lab host."""
        return [row.id for row in self.site.campaigns.list(status={CampaignStatus.RUNNING}, lab_host=self.farm.lab_host)]

    def queued(self) -> list[str]:
        """The campaigns that wait for this lab host's worker."""
        return [row.id for row in self.site.campaigns.list(status={CampaignStatus.QUEUED}, lab_host=self.farm.lab_host)]

    def fail(self, campaign_id: str, why: str) -> None:
        """A campaign cannot go on."""
        Progress(self.site.campaigns, campaign_id).failed(why)
        self.site.campaigns.set_status(campaign_id, CampaignStatus.FAILED, only_from=set(CampaignStatus) - OVER)

    def stop(self) -> None:
        """End the steps in progress, with their runners, and wait until they have let go."""
        self.stopping.set()
        deadline = time.monotonic() + _QUIET_S
        while self._active and time.monotonic() < deadline:
            time.sleep(0.02)

    # Steps

    def begin(self, campaign_id: str) -> list[list[int]]:
        """Which (model, recipe) pairs to make, the baseline of each model first; none when it is cancelled already."""
        spec = self._spec(campaign_id)
        if self._cancelled(campaign_id)():
            return []
        self.site.campaigns.set_status(
            campaign_id, CampaignStatus.RUNNING, only_from={CampaignStatus.QUEUED, CampaignStatus.INTERRUPTED, CampaignStatus.RUNNING}
        )
        return [[model, recipe] for model in range(len(spec.models)) for recipe in range(len(spec.recipes))]

    def make(self, campaign_id: str, model: int, recipe: int) -> str:
        """Make one variant and evaluate it; gives the id of its record."""
        with self._step(campaign_id):
            spec = self._spec(campaign_id)
            name, wanted = spec.models[model].name, spec.recipes[recipe]
            record_id = made_id(campaign_id, name, wanted.name)
            cancelled = self._cancelled(campaign_id)
            if self.site.log.find(record_id) is None and not cancelled():
                baseline = None if wanted.name == BASELINE else self._made(campaign_id, name, BASELINE)
                Progress(self.site.campaigns, campaign_id).making(spec, model, recipe)
                making = Making(spec, spec.models[model], wanted, baseline)
                make_and_evaluate(self.site, making, scratch=self.scratch, cancelled=cancelled)
            return record_id

    def devices(self, campaign_id: str) -> list[str]:
        """The devices to visit; none when cancelled."""
        return [] if self._cancelled(campaign_id)() else [device.name for device in self._spec(campaign_id).devices]

    def open_visit(self, campaign_id: str, device: str) -> list[list[str | int]]:
        """The launches of the visit in order, as (job, kind, round, number, total); for a comparison the golden ones."""
        spec = self._spec(campaign_id)
        jobs = tuple(self._jobs(spec, device).values())
        protocol = spec.protocol if spec.comparison is None else replace(spec.protocol, kinds=(LaunchKind.GOLDEN,))
        return _numbered(plan_visit(jobs, protocol, seed=f"{spec.seed}/{device}"))

    def next_launches(self, campaign_id: str, device: str) -> list[list[str | int]]:
        """The next block of a comparison; nothing for a campaign, whose launches were all planned at the start."""
        spec = self._spec(campaign_id)
        if spec.comparison is None or self._cancelled(campaign_id)():
            return []
        jobs = self._jobs(spec, device)
        by_recipe = {job.variant.recipe: job for job in jobs.values()}
        sides = [by_recipe.get(side.recipe) for side in (spec.comparison.a, spec.comparison.b)]
        if sides[0] is None or sides[1] is None or any(self._hopeless(campaign_id, device, job_id) for job_id in jobs):
            return []
        runs = [record_to_run(record) for record in self.site.log.read(kind=RecordKind.RUN, campaign_id=campaign_id)]
        return _numbered(next_planned(spec, (sides[0], sides[1]), runs, self.site.store), before=len(runs))

    def launch(self, campaign_id: str, device: str, planned: list[str | int]) -> str:
        """Do one launch with its retries and record every attempt; gives the last one's outcome."""
        job_id, kind = str(planned[0]), LaunchKind(str(planned[1]))
        round_, number, total = map(int, planned[2:])
        with self._step(campaign_id):
            cancelled = self._cancelled(campaign_id)
            if cancelled() or (kind is not LaunchKind.GOLDEN and self._hopeless(campaign_id, device, job_id)):
                return Outcome.NOT_RUN
            spec = self._spec(campaign_id)
            job = self._jobs(spec, device)[job_id]
            made = self._made(campaign_id, job.variant.model, job.variant.recipe)
            assert made is not None
            Progress(self.site.campaigns, campaign_id).launching(job, (kind, round_), done=number, total=total)
            return self._measuring.launch(spec, job, made, (kind, round_), cancelled=cancelled)

    def close_visit(self, campaign_id: str, device: str) -> None:
        """Leave the device as it was found."""
        with self._step(campaign_id):
            self._measuring.leave(self._spec(campaign_id), device)

    def conclude(self, campaign_id: str, failures: list[str]) -> str:
        """Judge, record the verdict and set the campaign's final status; `failures` are why visits ended early."""
        spec = self._spec(campaign_id)
        jobs = [job for device in spec.devices for job in self._jobs(spec, device.name).values()]
        return conclude_campaign(self.site, spec, jobs, failures=failures).value

    # What they share

    def _step(self, campaign_id: str) -> _Step:
        return _Step(self, self._cancelled(campaign_id))

    def _spec(self, campaign_id: str) -> CampaignSpec:
        return CampaignSpec.model_validate_json(self.site.campaigns.get(campaign_id).spec)

    def _made(self, campaign_id: str, model: str, recipe: str) -> Made | None:
        record = self.site.log.find(made_id(campaign_id, model, recipe))
        return record_to_made(record) if record else None

    def _jobs(self, spec: CampaignSpec, device: str) -> Mapping[str, Job]:
        """The jobs of a visit by id."""
        if (spec.id, device) not in self._planned:
            found = [made for model in spec.models for recipe in spec.recipes if (made := self._made(spec.id, model.name, recipe.name))]
            variants = [
                PlannedVariant(made.model, made.variant.id, made.recipe.name, made.role) for made in found if made.variant is not None
            ]
            self._planned[spec.id, device] = {job.id: job for job in plan_jobs(spec.id, variants, spec.configs, spec.device(device))}
        return self._planned[spec.id, device]

    def _hopeless(self, campaign_id: str, device: str, job_id: str) -> bool:
        """Whether the job's golden launch has shown that nothing it measures would be published."""
        place = LaunchPlace(campaign_id, visit_id(campaign_id, device), job_id, LaunchKind.GOLDEN, 0)
        attempts = recorded_attempts(self.site.log, place)
        return bool(attempts) and attempts[-1].outcome not in {Outcome.OK, Outcome.TAINTED}

    def _cancelled(self, campaign_id: str) -> Callable[[], bool]:
        """Whether to stop what is in progress, asked as often as one likes: the database is asked four times a second."""
        asked_at, answer = 0.0, False

        def cancelled() -> bool:
            nonlocal asked_at, answer
            if self.stopping.is_set():
                return True
            if not answer and time.monotonic() - asked_at > _CANCEL_POLL_S:
                answer, asked_at = self.site.campaigns.cancel_requested(campaign_id), time.monotonic()
            return answer

        return cancelled


def _numbered(planned: Sequence[PlannedLaunch], *, before: int = 0) -> list[list[str | int]]:
    total = before + len(planned)
    return [[launch.job_id, launch.kind.value, launch.round, number, total] for number, launch in enumerate(planned, start=before)]


class _Step:
    """A step in progress: counted, and turned into `Stopping` when the worker is to stop."""

    def __init__(self, work: Work, cancelled: Callable[[], bool]) -> None:
        self._work = work
        self._cancelled = cancelled

    def __enter__(self) -> None:
        with self._work._lock:
            if self._work.stopping.is_set():
                raise Stopping
            self._work._active += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._work._lock:
            self._work._active -= 1
        if self._work.stopping.is_set():
            raise Stopping
