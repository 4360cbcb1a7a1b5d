"""`thresher record`: what was measured and concluded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.options import FarmOption, FormatOption
from orchestrator.cli.output import Column, Format, note, print_record, print_table, say

app = typer.Typer(no_args_is_help=True, help="The record log: every launch, variant and verdict, appended once and never changed.")

KindOption = Annotated[
    Literal["run", "variant", "campaign", "verdict", "note"] | None, typer.Option("--kind", help="Only records of this kind.")
]
CampaignOption = Annotated[str | None, typer.Option("--campaign", metavar="ID", help="Only records of this campaign.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="Only records of this device.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Only records of this model.")]


@app.command("list", epilog="Example:  thresher record list --kind run --device host --limit 20")
def list_records(
    kind: KindOption = None,
    campaign: CampaignOption = None,
    device: DeviceOption = None,
    model: ModelOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 50,
    farm: FarmOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """List the newest records, oldest of them first."""
    from orchestrator.farm import find_farm
    from orchestrator.records import RecordKind
    from orchestrator.site import open_site

    with open_site(find_farm(Path.cwd(), override=farm)) as site:
        records = site.log.newest(limit, kind=RecordKind(kind) if kind else None, campaign_id=campaign, device=device, model=model)
    if format is Format.JSON:
        for record in records:
            import json

            print_record(
                "record",
                {
                    "seq": record.seq,
                    "id": record.id,
                    "record_kind": record.kind,
                    "created_at": record.created_at,
                    "campaign": record.campaign_id,
                    "device": record.device,
                    "model": record.model,
                    "body": json.loads(record.body),
                },
            )
        return
    columns = [
        Column("seq", right=True),
        Column("created (UTC)"),
        Column("kind"),
        Column("campaign"),
        Column("device"),
        Column("model"),
        Column("variant"),
        Column("id"),
    ]
    rows = [
        [
            str(r.seq),
            r.created_at[:19].replace("T", " "),
            r.kind,
            r.campaign_id or "",
            r.device or "",
            r.model or "",
            (r.variant_id or "")[:10],
            r.id,
        ]
        for r in records
    ]
    print_table("", columns, rows, caption=f"{len(rows)} newest records" if rows else "no records")


@app.command(epilog="Example:  thresher record export runs.parquet --traces")
def export(
    path: Annotated[
        Path, typer.Argument(help="Where to write; `-` for standard output. The ending chooses the form: .parquet .csv .jsonl")
    ],
    kind: KindOption = None,
    campaign: CampaignOption = None,
    device: DeviceOption = None,
    model: ModelOption = None,
    form: Annotated[
        Literal["parquet", "csv", "jsonl"] | None, typer.Option("--as", help="The form, where the ending does not say.")
    ] = None,
    traces: Annotated[bool, typer.Option("--traces", help="With the raw time of every iteration, in nanoseconds.")] = False,
    redact: Annotated[bool, typer.Option("--redact", help="Replace names and addresses of devices and hosts by pseudonyms.")] = False,
    farm: FarmOption = None,
) -> None:
    """Write records to a file that other tools read: Parquet or CSV (flat, a row a launch) or JSON lines (everything)."""
    from orchestrator.cli.choices import one_of
    from orchestrator.export import ExportFormat, export_records
    from orchestrator.farm import find_farm
    from orchestrator.records import RecordKind, Where
    from orchestrator.site import open_site

    chosen = one_of(ExportFormat, form or path.suffix.removeprefix("."), what="export format")
    where = Where(kind=RecordKind(kind) if kind else None, campaign_id=campaign, device=device, model=model)
    with open_site(find_farm(Path.cwd(), override=farm)) as site:
        done = export_records(site.log, str(path), form=chosen, where=where, traces=site.store if traces else None, redact=redact)
    note(
        f"{done.records} records written to {path}"
        + (f"; {done.traces_absent} traces are no longer in the store" if done.traces_absent else "")
    )


@app.command(epilog="Example:  thresher record verify")
def verify(farm: FarmOption = None, format: FormatOption = Format.TABLE) -> None:
    """Hash every record and every stored trace again, and name what is damaged or missing. Exit code 3 when anything is."""
    from orchestrator.farm import find_farm
    from orchestrator.site import open_site
    from orchestrator.verify import verify_log

    with open_site(find_farm(Path.cwd(), override=farm)) as site:
        problems = list(verify_log(site.log, site.store))
        count = site.log.count()
    for problem in problems:
        if format is Format.JSON:
            print_record("problem", {"seq": problem.seq, "id": problem.record_id, "sha256": problem.sha256, "what": problem.what})
        else:
            say(f"record {problem.seq} ({problem.record_id}): {problem.what}")
    if format is Format.JSON:
        print_record("verify", {"records": count, "problems": len(problems)})
    else:
        say(f"{count} records verified, {len(problems)} problem{'s' if len(problems) != 1 else ''}")
    if problems:
        raise typer.Exit(3)
