"""The report of a campaign or a comparison: its records, translated into what a page shows, and written as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from dashboards.report.page import Comparison, Figure, Report
from dashboards.report.render import render_report
from orchestrator.atomic_file import atomic_file
from orchestrator.campaigns import CampaignRow, CampaignStatus
from orchestrator.canonical import Clock, utc_now, utc_text
from orchestrator.comparing import ComparisonOutcome, record_to_comparison
from orchestrator.errors import StoreError
from orchestrator.made import record_to_made
from orchestrator.progress import read_progress
from orchestrator.published_origin import absences, commands, lineages, protocol_facts, provenances, troubles
from orchestrator.published_rows import Material, comparison_group, groups, read_spreads, refused
from orchestrator.records import Record, RecordKind
from orchestrator.result import CampaignResult, record_to_result
from orchestrator.run_records import record_to_run
from orchestrator.site import Site
from orchestrator.spec import CampaignSpec

T = TypeVar("T")


def write_report(site: Site, campaign_id: str, output: Path) -> None:
    """Write the page of a campaign, whole or not at all; one that is not concluded says where it stands.

    Raises: NotFound, StoreError, OutOfSpace, ReportError.
    """
    page = render_report(compose_report(site, campaign_id))
    with atomic_file(output) as file:
        file.write(page.encode("utf-8"))


def compose_report(site: Site, campaign_id: str, *, clock: Clock = utc_now) -> Report:
    """What the page of a campaign shows. Records that cannot be read are named in it, not fatal. Raises: NotFound, StoreError."""
    row = site.campaigns.get(campaign_id)
    spec = CampaignSpec.model_validate_json(row.spec)
    damaged: list[str] = []
    runs = tuple(_readable(site.log.read(kind=RecordKind.RUN, campaign_id=campaign_id), record_to_run, damaged))
    made = tuple(_readable(site.log.read(kind=RecordKind.VARIANT, campaign_id=campaign_id), record_to_made, damaged))
    material = Material(spec, runs, made, read_spreads(site.store, runs))
    verdicts = site.log.newest(1, kind=RecordKind.VERDICT, campaign_id=campaign_id)
    base = _base(material, row, utc_text(clock()))
    if spec.comparison is not None:
        report = _compared(base, material, next(_readable(verdicts, record_to_comparison, damaged), None))
    else:
        report = _judged(base, material, next(_readable(verdicts, record_to_result, damaged), None))
    return replace(report, damaged=tuple(damaged))


def _readable(records: Iterable[Record], read: Callable[[Record], T], damaged: list[str]) -> Iterator[T]:
    """The records that can be read; of the others, what to say of them is added to `damaged`."""
    for record in records:
        try:
            yield read(record)
        except (StoreError, ValidationError) as error:
            why = str(error).splitlines()[0]
            damaged.append(f"Record {record.seq} ({record.id}) cannot be read: {why}. `thresher record verify` looks for damage.")


def _base(material: Material, row: CampaignRow, written_at: str) -> Report:
    """What the pages of campaigns and of comparisons have in common."""
    return Report(
        campaign_id=row.id,
        name=row.name,
        status=row.status.value,
        concluded=False,
        standing=_standing(row),
        created_at=row.created_at,
        written_at=written_at,
        thresher_version=_thresher_version(),
        groups=(),
        lineages=lineages(material),
        troubles=troubles(material),
        absences=absences(material),
        provenances=provenances(material),
        protocol=protocol_facts(material),
    )


def _judged(base: Report, material: Material, result: CampaignResult | None) -> Report:
    found = groups(material, result)
    return replace(
        base,
        concluded=result is not None,
        groups=found,
        refused=refused(material, result),
        commands=commands(material, found),
    )


def _compared(base: Report, material: Material, outcome: ComparisonOutcome | None) -> Report:
    assert material.spec.comparison is not None
    comparison = Comparison(
        a=material.spec.comparison.a.recipe,
        b=material.spec.comparison.b.recipe,
        verdict=outcome.verdict.value if outcome and outcome.verdict else None,
        ratio=_ratio(outcome),
        a_p50_s=outcome.a_p50_s if outcome else None,
        b_p50_s=outcome.b_p50_s if outcome else None,
        blocks=outcome.blocks if outcome else 0,
        floor=outcome.floor if outcome else None,
        resolves=outcome.resolves if outcome else None,
        why=outcome.why if outcome else "nothing is concluded yet",
    )
    return replace(
        base,
        concluded=outcome is not None,
        groups=(comparison_group(material, comparison),),
        refused=refused(material, None),
        commands=commands(material, ()),
        comparison=comparison,
    )


def _ratio(outcome: ComparisonOutcome | None) -> Figure:
    if outcome is None or outcome.ratio is None:
        return Figure(why=outcome.why if outcome else "not concluded yet")
    low, high = outcome.ratio_ci or (None, None)
    return Figure(outcome.ratio, low, high)


def _standing(row: CampaignRow) -> str:
    """Where a campaign without a verdict is, in a sentence or two."""
    stage = read_progress(row)
    far = f" {stage.done} of {stage.total} done" if stage.total else ""
    at = (
        f" It was at the stage {stage.stage!r}:{far}{f', {stage.what}' if stage.what else ''}."
        if stage.stage in {"make", "measure"}
        else ""
    )
    match row.status:
        case CampaignStatus.QUEUED:
            return "It is queued: it runs when this farm's worker does (`thresher worker`)."
        case CampaignStatus.RUNNING:
            return f"It is running, or was when its worker was ended.{at} `thresher campaign resume {row.id}` follows it or goes on."
        case CampaignStatus.INTERRUPTED:
            return f"It was interrupted.{at} It goes on with `thresher campaign resume {row.id}`."
        case CampaignStatus.CANCELLED:
            return f"It was cancelled before anything was concluded.{at}"
        case CampaignStatus.FAILED:
            return f"It failed: {stage.what or 'no reason was recorded'}."
        case CampaignStatus.DONE | CampaignStatus.PARTIAL:
            return "It is over, and its verdict is not in the record log."


def _thresher_version() -> str:
    try:
        return version("thresher")
    except PackageNotFoundError:
        return "unknown"
