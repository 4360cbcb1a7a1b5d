"""Conclude a campaign: read its records back, judge, record the verdict, set the final status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.run import LaunchKind, Outcome, RunRecord
from orchestrator.campaigns import CampaignStatus
from orchestrator.comparing import comparison_to_record, conclude_comparison
from orchestrator.made import Made, made_id, record_to_made
from orchestrator.plan import Job
from orchestrator.progress import Progress
from orchestrator.records import RecordKind
from orchestrator.result import CampaignResult, RowResult, choice_result, result_to_record, row_result
from orchestrator.run_records import record_to_run
from orchestrator.site import Site
from orchestrator.spec import CampaignSpec


def conclude_campaign(site: Site, spec: CampaignSpec, jobs: Sequence[Job]) -> CampaignStatus:
    """Judge what the log holds of a campaign; doing it again gives the same record."""
    Progress(site.campaigns, spec.id).judging()
    runs = [record_to_run(record) for record in site.log.read(kind=RecordKind.RUN, campaign_id=spec.id)]
    made = _made(site, spec)
    status = _status(site, spec, runs, made)
    if site.log.count(kind=RecordKind.VERDICT, campaign_id=spec.id) == 0:
        if spec.comparison is not None:
            by_recipe = {job.variant.recipe: job for job in jobs}
            why = _why_not(made, runs)
            site.log.append(comparison_to_record(conclude_comparison(spec, by_recipe, runs, store=site.store, status=status, why=why)))
        else:
            site.log.append(result_to_record(_judged(site, spec, jobs, runs, made, status)))
    site.campaigns.set_status(spec.id, status)
    return status


def _made(site: Site, spec: CampaignSpec) -> list[Made]:
    ids = [made_id(spec.id, model.name, recipe.name) for model in spec.models for recipe in spec.recipes]
    return [record_to_made(record) for record in map(site.log.find, ids) if record is not None]


def _status(site: Site, spec: CampaignSpec, runs: Iterable[RunRecord], made: Sequence[Made]) -> CampaignStatus:
    """Done when every variant that could be made was measured; partial when a launch stayed bad; cancelled when asked to stop."""
    if site.campaigns.cancel_requested(spec.id):
        return CampaignStatus.CANCELLED
    last = {(run.job_id, run.kind, run.round): run for run in runs}
    measured = {run.variant.id for run in last.values() if run.kind is LaunchKind.TIMED and run.outcome is Outcome.OK}
    if not measured:
        return CampaignStatus.FAILED
    complete = all(each.variant.id in measured for each in made if each.variant is not None)
    return CampaignStatus.DONE if complete and all(run.outcome is Outcome.OK for run in last.values()) else CampaignStatus.PARTIAL


def _why_not(made: Sequence[Made], runs: Sequence[RunRecord]) -> str | None:
    """The first reason why a side was not measured."""
    refused = next((f"{each.recipe.name}: {each.why}" for each in made if each.variant is None), None)
    bad = next((f"{run.variant.recipe}: {run.outcome}: {run.why}" for run in runs if run.outcome is not Outcome.OK), None)
    return refused or bad
