"""`thresher campaign`: measure the variants of a model on devices and choose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import FarmOption, FormatOption, typed
from orchestrator.cli.output import Column, Format, note, print_record, print_table, say

app = typer.Typer(no_args_is_help=True, help="Make variants of a model, measure them on devices, check accuracy and budgets, choose.")

CampaignId = Annotated[str, typer.Argument(metavar="ID", help="A campaign's id or the beginning of it; `last` for the newest.")]


@app.command(epilog="Example:  thresher campaign run campaign.yaml --format json | jq .chosen")
def run(
    file: Annotated[Path, typer.Argument(metavar="CAMPAIGN.yaml", help="What to run; `thresher init` writes an example.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and how long about; do nothing.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Hand it to the running worker and return at once.")] = False,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Write the HTML report there, too.")] = None,
    farm: FarmOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Run a campaign to its end, or hand it to the worker that runs already and follow.

    Ctrl-C stops cleanly when this process does the work (`thresher campaign resume` goes on), and only detaches when
    another worker does. Exit code 1: no variant within budget.
    """
    from orchestrator.cli.campaign_view import finish, follow_campaign, show_plan
    from orchestrator.farm import find_farm
    from orchestrator.submit import plan_campaign, submit

    site_farm = find_farm(file.parent, override=farm)
    note("trying the models on a few of their samples …")
    spec = plan_campaign(site_farm, file, command=typed())
    if dry_run:
        show_plan(spec, format)
        return
    submit(site_farm, spec)
    if detach:
        _detached(spec.id, format)
        return
    ended = follow_campaign(site_farm, spec.id, format)
    raise typer.Exit(finish(site_farm, spec.id, ended, format=format, report=report))


def _detached(campaign_id: str, format: Format) -> None:
    if format is Format.JSON:
        print_record("campaign", {"id": campaign_id, "status": "queued"})
    else:
        say(campaign_id)
        note("queued; it runs when this farm's worker does (`thresher worker`)")


@app.command("list", epilog="Example:  thresher campaign list --status done")
def list_campaigns(
    status: Annotated[list[str] | None, typer.Option("--status", help="Only campaigns of this status; may be given several times.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 20,
    farm: FarmOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """List the farm's campaigns, newest first, with where each stands."""
    from orchestrator.campaigns import CampaignStatus
    from orchestrator.cli.choices import one_of
    from orchestrator.farm import find_farm
    from orchestrator.progress import read_progress
    from orchestrator.site import open_site

    wanted = [one_of(CampaignStatus, text, what="status") for text in status or []]
    with open_site(find_farm(Path.cwd(), override=farm)) as site:
        rows = site.campaigns.list(status=wanted, limit=limit)
    if format is Format.JSON:
        for row in rows:
            print_record(
                "campaign",
                {
                    "id": row.id,
                    "name": row.name,
                    "status": row.status,
                    "created_at": row.created_at,
                    "lab_host": row.lab_host,
                    "progress": read_progress(row).model_dump(mode="json"),
                },
            )
        return
    columns = [Column("id"), Column("name"), Column("status"), Column("created (UTC)"), Column("now")]
    cells = [[row.id, row.name, row.status, row.created_at[:19].replace("T", " "), _now(row)] for row in rows]
    print_table("", columns, cells, caption="" if rows else "no campaigns yet: thresher campaign run campaign.yaml")


def _now(row: object) -> str:
    from orchestrator.campaigns import OVER, CampaignRow
    from orchestrator.progress import read_progress

    assert isinstance(row, CampaignRow)
    if row.status in OVER:
        return ""
    stage = read_progress(row)
    return f"{stage.stage} {stage.done}/{stage.total}" if stage.total else stage.stage


@app.command(epilog="Example:  thresher campaign show last")
def show(campaign: CampaignId = "last", farm: FarmOption = None, format: FormatOption = Format.TABLE) -> None:
    """Show what a campaign found: its rows, budgets and chosen variants."""
    from orchestrator.cli.campaign_view import print_result, resolve
    from orchestrator.farm import find_farm
    from orchestrator.site import open_site

    with open_site(find_farm(Path.cwd(), override=farm)) as site:
        print_result(site, resolve(site, campaign), format)


@app.command(epilog="Example:  thresher campaign cancel last")
def cancel(campaign: CampaignId, farm: FarmOption = None, format: FormatOption = Format.TABLE) -> None:
    """Stop a campaign for good; what was measured stays. Its runner ends within a second."""
    from orchestrator.campaigns import CampaignStatus
    from orchestrator.cancel import cancel_campaign
    from orchestrator.cli.campaign_view import resolve
    from orchestrator.farm import find_farm
    from orchestrator.site import open_site

    with open_site(find_farm(Path.cwd(), override=farm)) as site:
        row = cancel_campaign(site, resolve(site, campaign))
    if format is Format.JSON:
        print_record("campaign", {"id": row.id, "status": row.status})
    elif row.status is CampaignStatus.CANCELLED:
        say(f"campaign {row.id} is cancelled")
    else:
        say(f"campaign {row.id} is being cancelled: its worker ends what is in progress")


@app.command(epilog="Example:  thresher campaign resume last")
def resume(
    campaign: CampaignId = "last",
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Write the HTML report there, too.")] = None,
    farm: FarmOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Go on with a campaign that was interrupted or killed, from where it was; or follow one that runs."""
    from orchestrator.campaigns import OVER
    from orchestrator.cli.campaign_view import finish, follow_campaign, resolve
    from orchestrator.farm import find_farm
    from orchestrator.site import open_site

    site_farm = find_farm(Path.cwd(), override=farm)
    with open_site(site_farm) as site:
        campaign_id = resolve(site, campaign)
        status = site.campaigns.get(campaign_id).status
    if status in OVER:
        note(f"campaign {campaign_id} is over ({status}): there is nothing to resume")
    ended = follow_campaign(site_farm, campaign_id, format)
    raise typer.Exit(finish(site_farm, campaign_id, ended, format=format, report=report))


@app.command(epilog="Example:  thresher campaign report last -o report.html")
def report(
    campaign: CampaignId = "last",
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the page.")] = Path("report.html"),
    farm: FarmOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Write the HTML report of a campaign: one file that needs no network."""
    from orchestrator.cli.campaign_view import resolve
    from orchestrator.farm import find_farm
    from orchestrator.publish import write_report
    from orchestrator.site import open_site

    with open_site(find_farm(Path.cwd(), override=farm)) as site:
        campaign_id = resolve(site, campaign)
        write_report(site, campaign_id, output)
    if format is Format.JSON:
        print_record("report", {"id": campaign_id, "path": str(output.absolute())})
    else:
        say(str(output))
