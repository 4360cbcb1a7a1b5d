"""`thresher store`: the artifact store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import FarmOption, FormatOption
from orchestrator.cli.output import Format, note, print_record, say

app = typer.Typer(no_args_is_help=True, help="The artifact store: variants, inputs and raw traces, each under its sha256.")


@app.command(epilog="Example:  thresher store usage")
def usage(farm: FarmOption = None, format: FormatOption = Format.TABLE) -> None:
    """Say how much the store holds."""
    from orchestrator.farm import find_farm
    from orchestrator.site import open_site

    with open_site(find_farm(Path.cwd(), override=farm)) as site:
        held = site.store.usage()
    if format is Format.JSON:
        fields = {
            "blobs": held.blobs,
            "size_bytes": held.size_bytes,
            "unfinished": held.unfinished,
            "unfinished_bytes": held.unfinished_bytes,
        }
        print_record("store", fields)
    else:
        say(f"{held.blobs} blobs, {held.size_bytes / 1e6:.1f} MB" + (f"; {held.unfinished} unfinished writes" if held.unfinished else ""))


@app.command(epilog="Example:  thresher store gc --traces-days 30 --delete")
def gc(
    traces_days: Annotated[float, typer.Option(min=0, help="Keep raw traces for so many days.")] = 90,
    variants_days: Annotated[float, typer.Option(min=0, help="Keep variants (and what was stored beside them) for so many days.")] = 365,
    delete: Annotated[bool, typer.Option("--delete", help="Really delete; without it, only say what would go.")] = False,
    farm: FarmOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Delete what is older than its days and needed by nothing: what unfinished campaigns, and the newest of each model and
    device, name stays, whatever its age. A record says what went."""
    from datetime import UTC, datetime

    from orchestrator.farm import find_farm
    from orchestrator.retention import RetentionPolicy, plan_gc, run_gc
    from orchestrator.site import open_site

    now = datetime.now(UTC)
    with open_site(find_farm(Path.cwd(), override=farm)) as site:
        plan = plan_gc(site.log, site.store, RetentionPolicy(traces_days, variants_days), now=now)
        gone = run_gc(site.log, site.store, plan, now=now, dry_run=not delete)
    if format is Format.JSON:
        fields = {"deleted": delete, "blobs": gone.blobs, "size_bytes": gone.size_bytes, "kept": plan.kept, "kept_bytes": plan.kept_bytes}
        print_record("gc", fields)
        return
    say(
        f"{gone.blobs} blobs, {gone.size_bytes / 1e6:.1f} MB {'deleted' if delete else 'would go'}; {plan.kept} stay, {plan.kept_bytes / 1e6:.1f} MB"
    )
    if not delete:
        note("nothing was deleted: add --delete")
