"""How a campaign looks in a terminal: live progress, the table of rows, the choice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from agents.bench.protocol import Protocol
from orchestrator.campaigns import CampaignStatus
from orchestrator.cli.output import Column, Format, note, print_record, print_table, say, stderr
from orchestrator.cli.signals import stop_on_signals
from orchestrator.comparing import ComparisonOutcome, record_to_comparison
from orchestrator.farm import Farm
from orchestrator.progress import Stage, read_progress
from orchestrator.result import CampaignResult, Pair, RowResult, record_to_result
from orchestrator.site import Site, open_site
from orchestrator.spec import CampaignSpec
from orchestrator.worker import Ended, follow


def resolve(site: Site, text: str) -> str:
    """The id of the campaign that a person means: its id, the beginning of it, or `last`. Raises: NotFound."""
    from orchestrator.errors import NotFound

    rows = site.campaigns.list()
    if not rows:
        raise NotFound("there are no campaigns yet: thresher campaign run campaign.yaml")
    if text == "last":
        return rows[0].id
    matching = [row.id for row in rows if row.id == text] or [row.id for row in rows if row.id.startswith(text)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise NotFound(f"several campaigns begin with {text!r}: {', '.join(matching[:5])}")
    return site.campaigns.get(text).id  # it is not there: this says which are


def follow_campaign(farm: Farm, campaign_id: str, format: Format) -> Ended:
    """Follow a campaign to its end with live progress on standard error; Ctrl-C stops or detaches."""
    with open_site(farm) as site, stop_on_signals() as stopping, _Live(site, campaign_id) as live:
        return follow(farm, campaign_id, stopping=stopping, tick=live.tick)


_SAY_EVERY_S = 10.0


class _Live:
    """A progress bar where there is a terminal, a line for each new stage where there is none."""

    def __init__(self, site: Site, campaign_id: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._site, self._id = site, campaign_id
        self._console = stderr()
        self._last = Stage(stage="queued")
        self._ticks = 0
        self._said_at = 0.0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> _Live:
        self._bar.start()
        self._task = self._bar.add_task("queued", total=None)
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def tick(self) -> None:
        """Show where the campaign is; the database is asked every third time."""
        self._ticks += 1
        if self._ticks % 3:
            return
        stage = read_progress(self._site.campaigns.get(self._id))
        if stage == self._last:
            return
        if self._bar.disable:
            self._say(stage)
        self._last = stage
        self._bar.update(self._task, description=_words(stage), completed=stage.done, total=stage.total or None)

    def _say(self, stage: Stage) -> None:
        """Without a terminal: a line for each new stage, and one every ten seconds."""
        if stage.stage == self._last.stage and time.monotonic() - self._said_at < _SAY_EVERY_S:
            return
        self._said_at = time.monotonic()
        counted = f" ({stage.done + 1} of {stage.total})" if stage.total else ""
        note(f"{_words(stage)}{counted}")


def _words(stage: Stage) -> str:
    from orchestrator.cli.output import printable

    match stage.stage:
        case "make":
            return f"making {printable(stage.what)}"
        case "measure":
            return f"on {printable(stage.device or '')}: {printable(stage.what)}"
        case "judge":
            return "judging"
        case "failed" | "queued":
            return stage.stage


def finish(farm: Farm, campaign_id: str, ended: Ended, *, format: Format, report: Path | None) -> int:
    """Print what came out; gives the exit code."""
    with open_site(farm) as site:
        row = site.campaigns.get(campaign_id)
        if ended.stopped:
            if format is Format.JSON:
                print_record("campaign", {"id": row.id, "status": row.status})
            if row.status is CampaignStatus.RUNNING:
                note(f"detached: the worker goes on with campaign {row.id}; follow it again with: thresher campaign resume {row.id}")
            else:
                note(f"campaign {row.id} is {row.status}; go on with: thresher campaign resume {row.id}")
            return 130
        code = print_result(site, campaign_id, format)
        if report is not None:
            from orchestrator.publish import write_report

            write_report(site, campaign_id, report)
            note(f"report: {report}")
    stage = read_progress(row)
    if stage.stage == "failed":
        note(f"campaign {row.id}: {stage.what}")
    return 3 if row.status is CampaignStatus.FAILED else code


def print_result(site: Site, campaign_id: str, format: Format) -> int:
    """Print what a campaign or comparison came to, or where it stands when it has come to nothing yet; gives the exit code."""
    from orchestrator.records import RecordKind

    row = site.campaigns.get(campaign_id)
    found = site.log.newest(1, kind=RecordKind.VERDICT, campaign_id=campaign_id)
    if not found:
        stage = read_progress(row)
        if format is Format.JSON:
            print_record("campaign", {"id": row.id, "status": row.status, "progress": stage.model_dump(mode="json")})
        else:
            say(f"campaign {row.id} is {row.status}: {_words(stage)} {stage.done}/{stage.total}")
        return 0
    spec = CampaignSpec.model_validate_json(row.spec)
    if spec.comparison is not None:
        outcome = record_to_comparison(found[0])
        print_comparison(outcome, format)
        return outcome.exit_code
    return _print_campaign(record_to_result(found[0]), spec.protocol, format)


def print_comparison(outcome: ComparisonOutcome, format: Format) -> None:
    """Print what a paired comparison shows."""
    if format is Format.JSON:
        print_record("comparison", outcome.model_dump(mode="json"))
        return
    say(f"{outcome.b_recipe}  against  {outcome.a_recipe}  on {outcome.device}: {outcome.verdict or 'inconclusive'}")
    say(f"  ratio of p50 (B ÷ A, below 1 is faster): {ranged(outcome.ratio, outcome.ratio_ci, 1)}  [95 %], {outcome.blocks} blocks")
    say(f"  p50: A {ranged(outcome.a_p50_s, None, 1e3)} ms, B {ranged(outcome.b_p50_s, None, 1e3)} ms")
    say(f"  {outcome.why}")


def _print_campaign(result: CampaignResult, protocol: Protocol, format: Format) -> int:
    code = 0 if any(choice.variant for choice in result.choices) else 1
    if format is Format.JSON:
        for record in result.json_records():
            print_record("campaign", record)
        return code
    for model in dict.fromkeys(each.model for each in result.rows):
        _print_rows(
            f"{model}: protocol {protocol.name} v{protocol.version}, {protocol.launches} timed launches each",
            [each for each in result.rows if each.model == model],
        )
    for choice in result.choices:
        say(
            f"chosen for {choice.model} on {choice.device_profile}: {choice.recipe or 'none'} ({choice.why.removeprefix(f'{choice.recipe}: ')})"
        )
    say(f"campaign {result.id}: {result.status}")
    return code


_COLUMNS = (
    Column("recipe"),
    Column("variant"),
    Column("device"),
    Column("outcome"),
    Column("p50 [95 %] ms", right=True),
    Column("ratio [95 %]", right=True),
    Column("accuracy", right=True),
    Column("drop [95 %]", right=True),
    Column("size kB", right=True),
    Column("peak PSS MB", right=True),
    Column("budget"),
)


def _print_rows(title: str, rows: Sequence[RowResult]) -> None:
    several = len({row.config.label for row in rows}) > 1
    cells = [
        [
            row.recipe + (f" · {row.config.label}" if several and row.job_id else ""),
            (row.variant or "–")[:10],
            row.device,
            row.outcome,
            ranged(row.latency_p50_s, row.latency_ci_s, 1e3),
            ranged(row.ratio, row.ratio_ci, 1),
            "–" if row.accuracy is None else f"{row.accuracy:.4g}",
            ranged(row.accuracy_drop, row.accuracy_drop_ci, 1),
            "–" if row.size_bytes is None else f"{row.size_bytes / 1e3:.1f}",
            "–" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:.1f}",
            {True: "met", False: "not met", None: "undecided" if row.job_id else "–"}[row.meets_budget],
        ]
        for row in rows
    ]
    metric = next((row.accuracy_metric for row in rows if row.accuracy_metric), None)
    print_table(
        title,
        _COLUMNS,
        cells,
        caption="p50: median of one inference, back to back, warm; ratio: p50 over the fp32 baseline's, below 1 is faster; "
        f"accuracy: {metric or 'none'}; drop: how much worse than the baseline; PSS: proportional set size with swap",
    )
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.why:
            reasons.setdefault(row.why, []).append(f"{row.recipe} on {row.device}")
    for recipe, warnings in {row.recipe: row.warnings for row in rows}.items():
        for warning in warnings:
            say(f"  warning, {recipe}: {warning}")
    for reason, of in reasons.items():
        say(f"  {'all' if len(of) == len(rows) > 1 else ', '.join(of)}: {reason}")


def ranged(value: float | None, interval: Pair | None, scale: float) -> str:
    """A figure with its interval, scaled: `1.23 [1.20 1.26]`."""
    if value is None:
        return "–"
    text = f"{value * scale:.3g}"
    return f"{text} [{interval[0] * scale:.3g} {interval[1] * scale:.3g}]" if interval else text


def show_plan(spec: CampaignSpec, format: Format) -> None:
    """What would run, and how long about on each device."""
    from agents.bench.protocol import plan_launches
    from orchestrator.plan import estimated_job_s

    launches = len(plan_launches(spec.protocol))
    jobs = len(spec.models) * len(spec.recipes) * len(spec.configs)
    seconds = jobs * estimated_job_s(spec.protocol)
    for device in spec.devices:
        fields = {"device": device.name, "jobs": jobs, "launches": jobs * launches, "estimated_s": round(seconds, 1)}
        if format is Format.JSON:
            print_record("plan", fields)
        else:
            say(f"{device.name}: {jobs} jobs, {jobs * launches} launches, about {seconds / 60:.1f} device minutes")
    if format is Format.TABLE:
        say(f"models: {', '.join(model.name for model in spec.models)}")
        say(f"recipes: {', '.join(recipe.name for recipe in spec.recipes)}")
        say(f"protocol: {spec.protocol.name} v{spec.protocol.version}; nothing was run")
