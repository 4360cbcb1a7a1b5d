"""Conclude a campaign: read its records back, judge, record the verdict, set the final status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.bench.protocol import plan_launches
from agents.run import Outcome, RunRecord
from orchestrator.campaigns import CampaignStatus
from orchestrator.comparing import comparison_to_record, conclude_comparison
from orchestrator.errors import Missing
from orchestrator.iterations import read_iterations
from orchestrator.judge import CampaignData, MeasuredJob, VariantFacts, judge
from orchestrator.made import Made, made_id, record_to_made
from orchestrator.plan import Job
from orchestrator.progress import Progress
from orchestrator.records import NewRecord, RecordKind
from orchestrator.result import CampaignResult, RowResult, choice_result, refused_row, result_to_record, row_result
from orchestrator.run_records import record_to_run
from orchestrator.site import Site
from orchestrator.spec import CampaignSpec
from orchestrator.verdict import Estimate, Interval, Row


@dataclass(frozen=True, slots=True)
class _Material:
    """What there is to judge."""

    spec: CampaignSpec
    jobs: Sequence[Job]
    runs: Sequence[RunRecord]
    made: Sequence[Made]
    cancelled: bool


def conclude_campaign(site: Site, spec: CampaignSpec, jobs: Sequence[Job], *, failures: Sequence[str] = ()) -> CampaignStatus:
    """Judge what the log holds of a campaign and set its final status; what is judged already is not judged again."""
    Progress(site.campaigns, spec.id).judging()
    found = site.log.newest(1, kind=RecordKind.VERDICT, campaign_id=spec.id)
    if found:
        status = CampaignStatus(json.loads(found[0].body)["status"])
    else:
        runs = [record_to_run(record) for record in site.log.read(kind=RecordKind.RUN, campaign_id=spec.id)]
        material = _Material(spec, jobs, runs, _made(site, spec), site.campaigns.cancel_requested(spec.id))
        record, status = _compared(site, material) if spec.comparison is not None else _judged(site, material)
        site.log.append(record)
        if failures:
            Progress(site.campaigns, spec.id).failed("; ".join(failures))
        elif status is CampaignStatus.FAILED:
            why = _why_not(material.made, runs) or "nothing was measured"
            Progress(site.campaigns, spec.id).failed(f"no variant was measured well; {why}")
    site.campaigns.set_status(spec.id, status)
    return status


def _compared(site: Site, material: _Material) -> tuple[NewRecord, CampaignStatus]:
    by_recipe = {job.variant.recipe: job for job in material.jobs}
    why = _why_not(material.made, material.runs)
    outcome = conclude_comparison(material.spec, by_recipe, material.runs, store=site.store, why=why)
    status = CampaignStatus.FAILED if outcome.verdict is None else CampaignStatus.DONE
    status = CampaignStatus.CANCELLED if material.cancelled else status
    return comparison_to_record(outcome.model_copy(update={"status": status})), status


def _made(site: Site, spec: CampaignSpec) -> list[Made]:
    ids = [made_id(spec.id, model.name, recipe.name) for model in spec.models for recipe in spec.recipes]
    return [record_to_made(record) for record in map(site.log.find, ids) if record is not None]


def _why_not(made: Sequence[Made], runs: Sequence[RunRecord]) -> str | None:
    """The first reason why a side was not measured."""
    refused = next((f"{each.recipe.name}: {each.why}" for each in made if each.variant is None), None)
    bad = next((f"{run.variant.recipe}: {run.outcome}: {run.why}" for run in runs if run.outcome is not Outcome.OK), None)
    return refused or bad


def _judged(site: Site, material: _Material) -> tuple[NewRecord, CampaignStatus]:
    spec = material.spec
    rows, choices = judge(
        CampaignData(
            jobs=_measured(material),
            planned=plan_launches(spec.protocol),
            iterations=lambda run: _iterations(site, run),
            budgets={(entry.model, entry.profile): entry.budget for entry in spec.budgets},
            seed=spec.seed,
        )
    )
    status = _status(rows, cancelled=material.cancelled)
    warnings = {(each.model, each.variant.id): each.variant.warnings for each in material.made if each.variant is not None}
    result = CampaignResult(
        id=spec.id,
        name=spec.name,
        status=status,
        rows=(*(row_result(row, warnings=warnings.get((row.model, row.variant), ())) for row in rows), *_refused(material)),
        choices=tuple(map(choice_result, choices)),
    )
    return result_to_record(result), status


def _iterations(site: Site, run: RunRecord) -> NDArray[np.float64] | None:
    try:
        return read_iterations(site.store, run)
    except Missing:  # retention may have collected it
        return None


def _status(rows: Sequence[Row], *, cancelled: bool) -> CampaignStatus:
    """Done when every variant that could be made was measured well, partial when some were, failed when none was."""
    if cancelled:
        return CampaignStatus.CANCELLED
    good = [row.outcome is Outcome.OK for row in rows]
    if not any(good):
        return CampaignStatus.FAILED
    return CampaignStatus.DONE if all(good) else CampaignStatus.PARTIAL


def _measured(material: _Material) -> tuple[MeasuredJob, ...]:
    facts = {(each.model, each.variant.id): _facts(each) for each in material.made if each.variant is not None}
    by_job: dict[str, list[RunRecord]] = {job.id: [] for job in material.jobs}
    for run in material.runs:
        by_job.setdefault(run.job_id, []).append(run)
    return tuple(
        MeasuredJob(
            id=job.id,
            model=job.variant.model,
            variant=facts[job.variant.model, job.variant.variant],
            device=material.spec.device(job.device),
            config=job.config,
            records=tuple(by_job[job.id]),
        )
        for job in material.jobs
    )


def _facts(made: Made) -> VariantFacts:
    assert made.variant is not None and made.evaluation is not None
    found = made.evaluation
    drop = None
    if found.accuracy_drop is not None:
        ends = found.accuracy_drop_low, found.accuracy_drop_high
        interval = None if ends[0] is None or ends[1] is None else Interval(ends[0], ends[1])
        drop = Estimate(found.accuracy_drop, interval, found.accuracy_drop_why)
    return VariantFacts(
        id=made.variant.id,
        recipe=made.recipe.name,
        role=made.role,
        size_bytes=made.variant.size_bytes,
        accuracy=found.accuracy,
        accuracy_metric=found.metric,
        accuracy_better=found.better,
        accuracy_drop=drop,
        accuracy_why=found.accuracy_why or found.accuracy_drop_why,
        samples=found.n_samples,
    )


def _refused(material: _Material) -> list[RowResult]:
    """A row a device for every recipe that gave no variant."""
    return [refused_row(made, device) for made in material.made if made.variant is None for device in material.spec.devices]
