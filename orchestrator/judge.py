"""What a campaign's records amount to: a row for each variant, configuration and device, and a choice for each device kind. Pure.

records of a job ──► figures ──► row ──► budget checks ──► Pareto front ──► choice of each device kind
records of the baseline's job ──► ratio ─┘
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

from agents.run import DeviceRef, Outcome, Role, RunConfig, RunRecord
from device_profiles.metrics import Better
from orchestrator.budgets_check import Figure, check_budget, meets_budget
from orchestrator.choose import choose
from orchestrator.job_figures import Iterations, JobFigures, PlannedLaunches, job_figures, memory_definition
from orchestrator.pareto import front
from orchestrator.statistics import ratio
from orchestrator.verdict import Budget, Choice, Estimate, Interval, Limit, Row


@dataclass(frozen=True, slots=True)
class VariantFacts:
    """What is known of a variant without a device. `accuracy_why` is the reason where accuracy or its drop is None."""

    id: str
    recipe: str
    role: Role
    size_bytes: int
    accuracy: float | None = None
    accuracy_metric: str = ""
    accuracy_better: Better = Better.HIGHER
    accuracy_drop: Estimate | None = None
    accuracy_why: str | None = None
    samples: int = 0


@dataclass(frozen=True, slots=True)
class MeasuredJob:
    """One job: what was measured, where and how, and every record of it (all attempts, in any order)."""

    id: str
    model: str
    variant: VariantFacts
    device: DeviceRef
    config: RunConfig
    records: tuple[RunRecord, ...]


@dataclass(frozen=True, slots=True)
class CampaignData:
    """What `judge` judges. `planned` are the launches of each job in order, `budgets` are by model and device profile."""

    jobs: tuple[MeasuredJob, ...]
    planned: PlannedLaunches
    iterations: Iterations
    budgets: Mapping[tuple[str, str], Budget] = field(default_factory=dict)
    seed: int = 0

    def budget(self, model: str, profile: str) -> Budget:
        """The budget of a model on a device kind; without limits when none was given."""
        return self.budgets.get((model, profile), Budget())


def judge(data: CampaignData) -> tuple[tuple[Row, ...], tuple[Choice, ...]]:
    """Rows in the order of the jobs, and choices in the order in which models and device kinds come in them.

    The same records give the same figures: random numbers depend only on the seed and the job.
    """
    figures = {job.id: job_figures(job.records, data.planned, iterations=data.iterations, rng=_rng(data, job.id)) for job in data.jobs}
    baselines = {_setting(job): job for job in data.jobs if job.variant.role is Role.BASELINE}
    rows = tuple(_row(data, job, figures, baselines.get(_setting(job))) for job in data.jobs)
    rows = _with_front(rows, data.jobs)
    return rows, _choices(data, rows, figures)


def _rng(data: CampaignData, job_id: str) -> Generator:
    return np.random.default_rng([data.seed, zlib.crc32(job_id.encode())])


def _setting(job: MeasuredJob) -> tuple[str, str, str]:
    """What a variant and its baseline have in common."""
    return job.model, job.device.name, job.config.model_dump_json()


def _row(data: CampaignData, job: MeasuredJob, figures: Mapping[str, JobFigures], baseline: MeasuredJob | None) -> Row:
    own, variant = figures[job.id], job.variant
    relative, relative_why = _ratio(data, job, figures, baseline)
    checks = check_budget(data.budget(job.model, job.device.profile), _limited(variant, own))
    absent = {**own.absent, **({"ratio": relative_why} if relative_why else {})}
    if variant.accuracy is None or variant.accuracy_drop is None:
        absent["accuracy" if variant.accuracy is None else "accuracy_drop"] = variant.accuracy_why or "not evaluated"
    return Row(
        model=job.model,
        variant=variant.id,
        recipe=variant.recipe,
        role=variant.role,
        device=job.device.name,
        device_profile=job.device.profile,
        config=job.config,
        job_id=job.id,
        outcome=own.outcome,
        why=_why(own.why, absent),
        size_bytes=variant.size_bytes,
        accuracy=variant.accuracy,
        accuracy_metric=variant.accuracy_metric,
        accuracy_drop=variant.accuracy_drop,
        latency_p50_s=own.latency_p50_s,
        latency_p90_s=own.latency_p90_s,
        ratio=relative,
        peak_memory_bytes=own.peak_memory_bytes,
        memory_definition=memory_definition(own),
        session_load_s=own.session_load_s,
        first_inference_s=own.first_inference_s,
        energy_per_inference_j=own.energy_per_inference_j,
        power_source=own.power_source,
        launches_ok=own.ok,
        launches_bad=own.bad,
        tainted=own.tainted,
        checks=checks,
        meets_budget=meets_budget(checks, own.outcome),
    )


def _ratio(
    data: CampaignData, job: MeasuredJob, figures: Mapping[str, JobFigures], baseline: MeasuredJob | None
) -> tuple[Estimate | None, str | None]:
    """The ratio to the baseline on the same device in the same configuration, or why there is none."""
    ours = figures[job.id].launches
    if not ours:
        return None, None  # the missing latency says why
    if baseline is None:
        return None, "the baseline was not measured on this device in this configuration"
    if baseline.id == job.id:
        return Estimate(1.0, Interval(1.0, 1.0), "this is the baseline"), None
    theirs = figures[baseline.id].launches
    if not theirs:
        return None, f"the baseline has no latency here: {figures[baseline.id].absent.get('latency_p50_s', 'not measured')}"
    return ratio(ours, theirs, rng=_rng(data, job.id)), None


def _limited(variant: VariantFacts, own: JobFigures) -> dict[Limit, Figure]:
    """The figures that budgets may limit."""
    absent, timed = own.absent, len(own.launches)
    return {
        Limit.LATENCY_P50_S: Figure(own.latency_p50_s, absent.get("latency_p50_s"), timed),
        Limit.LATENCY_P90_S: Figure(own.latency_p90_s, absent.get("latency_p90_s"), timed),
        Limit.PEAK_MEMORY_BYTES: Figure(own.peak_memory_bytes, absent.get("peak_memory_bytes"), own.memory_launches),
        Limit.ENERGY_PER_INFERENCE_J: Figure(own.energy_per_inference_j, absent.get("energy_per_inference_j"), timed),
        Limit.SIZE_BYTES: Figure(Estimate(variant.size_bytes, None), replicate="none"),
        Limit.ACCURACY_DROP: Figure(variant.accuracy_drop, variant.accuracy_why, variant.samples, replicate="sample"),
    }


def _why(outcome_why: str | None, absent: Mapping[str, str]) -> str | None:
    """The reason for a bad outcome, then what is absent and why; what has one reason in common is told together."""
    together: dict[str, list[str]] = {}
    for name, reason in absent.items():
        together.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names)}: {reason}" for reason, names in together.items()]
    return "; ".join([*([outcome_why] if outcome_why else []), *parts]) or None


def _with_front(rows: Sequence[Row], jobs: Sequence[MeasuredJob]) -> tuple[Row, ...]:
    """Rows marked that are on the Pareto front of their model, device and configuration."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for index, (row, job) in enumerate(zip(rows, jobs, strict=True)):
        if row.outcome is Outcome.OK and row.latency_p50_s is not None and job.variant.role is not Role.SENTINEL:
            groups.setdefault(_setting(job), []).append(index)
    marked = list(rows)
    for group in groups.values():
        drops = all(rows[index].accuracy_drop is not None for index in group)
        points = [(_inaccuracy(jobs[index].variant, drops=drops), *_costs(rows[index])) for index in group]
        for index, on_front in zip(group, front(points), strict=True):
            marked[index] = replace(marked[index], on_front=on_front)
    return tuple(marked)


def _inaccuracy(variant: VariantFacts, *, drops: bool) -> float | None:
    """Smaller is more accurate: the drop where all have one, else the metric; a metric that compares with the baseline has none of it."""
    if drops:
        return variant.accuracy_drop.value if variant.accuracy_drop else None
    if variant.accuracy is None:
        return -np.inf if variant.role is Role.BASELINE else None
    return variant.accuracy if variant.accuracy_better is Better.LOWER else -variant.accuracy


def _costs(row: Row) -> tuple[float | None, ...]:
    estimates = (row.latency_p50_s, row.peak_memory_bytes, row.energy_per_inference_j)
    return (row.size_bytes, *(estimate.value if estimate else None for estimate in estimates))


def _choices(data: CampaignData, rows: Sequence[Row], figures: Mapping[str, JobFigures]) -> tuple[Choice, ...]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.role != Role.SENTINEL:
            groups.setdefault((row.model, row.device_profile), []).append(row)
    launches = {job_id: own.launches for job_id, own in figures.items()}
    return tuple(choose(group, data.budget(*key), launches=launches, seed=data.seed) for key, group in groups.items())
