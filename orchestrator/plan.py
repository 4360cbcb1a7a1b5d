"""The plan of a campaign: jobs, and the order of the launches of a visit. Pure: values in, values out.

A *job* is one variant in one configuration on one device. A *visit* is all the jobs of a campaign on one device. Its
launches are interleaved: each round has one launch of every job, in an order drawn anew from the campaign's seed, so
that what drifts (temperature, a busy neighbour) falls on all jobs alike and comparisons can be paired by round.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agents.bench.protocol import Protocol, plan_launches
from agents.run import DeviceRef, LaunchKind, Role, RunConfig

_START_S = 0.5


@dataclass(frozen=True, slots=True)
class PlannedVariant:
    """A variant that a campaign will measure."""

    model: str
    variant: str
    recipe: str
    role: Role


@dataclass(frozen=True, slots=True)
class Job:
    """One variant in one configuration on one device in one campaign; `id` follows from these."""

    id: str
    variant: PlannedVariant
    config: RunConfig
    device: str


@dataclass(frozen=True, slots=True)
class PlannedLaunch:
    """One launch of a visit; `round` counts the launches of its kind and job from 0."""

    job_id: str
    kind: LaunchKind
    round: int


def job_id(campaign_id: str, variant: PlannedVariant, config: RunConfig, device: str) -> str:
    """The id of a job: 16 hex digits, the same for the same job of the same campaign."""
    text = "\n".join((campaign_id, variant.model, variant.recipe, variant.variant, config.model_dump_json(), device))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_jobs(campaign_id: str, variants: Iterable[PlannedVariant], configs: Sequence[RunConfig], device: DeviceRef) -> tuple[Job, ...]:
    """Every variant in every configuration on one device."""
    return tuple(
        Job(job_id(campaign_id, variant, config, device.name), variant, config, device.name) for variant in variants for config in configs
    )


def plan_visit(jobs: Sequence[Job], protocol: Protocol, *, seed: str) -> tuple[PlannedLaunch, ...]:
    """The launches of a visit in order: kind by kind as the protocol plans them, each round a random order of all jobs."""
    order = random.Random(seed)  # noqa: S311 - an order, not a secret
    planned: list[PlannedLaunch] = []
    for kind, round_ in plan_launches(protocol):
        shuffled = list(jobs)
        order.shuffle(shuffled)
        planned += [PlannedLaunch(job.id, kind, round_) for job in shuffled]
    return tuple(planned)


def estimated_job_s(protocol: Protocol) -> float:
    """About how long the launches of one job take, without retries: their sections at their shortest, and half a second each to start."""
    total = 0.0
    for kind, _ in plan_launches(protocol):
        total += _START_S
        match kind:
            case LaunchKind.TIMED | LaunchKind.PACED:
                total += protocol.warmup.min_s + protocol.timed.min_s
            case LaunchKind.CLOCK:
                total += protocol.clocked.min_s
            case LaunchKind.GOLDEN | LaunchKind.MEMORY | LaunchKind.PROFILE:
                total += _START_S
    return total
