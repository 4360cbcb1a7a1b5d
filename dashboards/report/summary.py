"""What a report says in a few sentences: what was measured, what was chosen and why, what it costs and gains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dashboards.report.columns import ACCURACY, DROP, P50, PEAK, RATIO, SIZE, Column, metric_title, unit_of
from dashboards.report.figures import interval, isolated, moment, number, plural, quantity, share, visible
from dashboards.report.page import Figure, Group, Report, Row

Tone = Literal["good", "bad", "plain"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the chosen variant, with what it was for the baseline."""

    title: str
    definition: str
    value: str
    interval: str
    against: str
    tone: Tone


def sentences(report: Report) -> tuple[str, ...]:
    """The summary of a campaign: what was measured, a sentence a choice, what did not go well. Text is visible already, names isolated."""
    return (_measured(report), *(_chosen(group) for group in report.groups if group.choice is not None), *_not_well(report))


def named(text: str) -> str:
    """A name within a sentence: visible, and apart where it runs from right to left."""
    return isolated(visible(text))


def _measured(report: Report) -> str:
    models = _listed(dict.fromkeys(group.model for group in report.groups))
    devices = _listed(dict.fromkeys(group.device for group in report.groups))
    rows = sum(len(group.rows) for group in report.groups)
    launches = sum(len(row.launches) for group in report.groups for row in group.rows)
    protocol = next((value for key, value in report.protocol if key == "protocol"), "")
    by = f" by the protocol {protocol}" if protocol else ""
    if not rows:
        return f"Campaign {named(report.name)}, begun {moment(report.created_at)} UTC, has measured nothing yet."
    variants = plural(rows, "row", "rows") if len(report.groups) > 1 else plural(rows, "variant")
    return f"{variants} of {models} on {devices}: {plural(launches, 'launch', 'launches')}{by}."


def _listed(names: dict[str, None]) -> str:
    known = [named(name) for name in names]
    if len(known) > 4:
        known = [*known[:3], f"{len(known) - 3} more"]
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}" if known else "nothing"


def _chosen(group: Group) -> str:
    assert group.choice is not None
    place = f"{named(group.model)} on {named(group.device)}"
    why = visible(group.choice.why).rstrip(".")
    if group.choice.recipe is None:
        return f"For {place}, no variant was chosen: {why}."
    row = group.chosen
    gains = list(_gains(group, row)) if row is not None else []
    if not gains:
        return f"For {place}, {named(group.choice.recipe)} was chosen: {why}."
    return f"For {place}, {named(group.choice.recipe)} was chosen: {'; '.join(gains)}. {_reason(group, why)}"


def _reason(group: Group, why: str) -> str:
    """Why it was that one; the figures with which the reason begins are told already."""
    rest = why.partition("; ")[2]
    by = " and then ".join(metric_title(objective) for objective in group.objectives)
    return f"It was chosen by {by}: {rest}." if rest and by else f"Why: {why}."


def _gains(group: Group, row: Row) -> Iterator[str]:
    p50, ratio = row.figure(P50.name), row.figure(RATIO.name)
    if p50.value is not None:
        yield f"one inference takes {_with_interval(p50, 's')}"
    if row.role == "baseline":
        yield "it is the model as given"
        return
    if ratio.value is not None:
        yield f"{_faster(ratio)} the baseline's time"
    drop = row.figure(DROP.name)
    if drop.value is not None:
        yield _lost(drop, group)
    baseline = group.baseline
    for column, noun in ((SIZE, "the file is"), (PEAK, "peak memory is")):
        before = baseline.figure(column.name).value if baseline else None
        after = row.figure(column.name).value
        if before and after is not None and abs(after / before - 1) >= 0.005:
            yield f"{noun} {share(1 - after / before)} {'smaller' if after < before else 'larger'} ({quantity(after, 'B')})"


def _with_interval(figure: Figure, unit: str) -> str:
    ends = interval(figure, unit)
    return quantity(figure.value, unit) + (f" (95 %: {ends})" if ends else " (no interval)")


def _faster(ratio: Figure) -> str:
    assert ratio.value is not None
    ends = f" (95 %: {interval(ratio, '1')})" if ratio.has_interval else " (no interval)"
    return f"{number(ratio.value)} ×{ends}"


def _lost(drop: Figure, group: Group) -> str:
    assert drop.value is not None
    metric = visible(group.accuracy_metric or "accuracy")
    unit = unit_of(DROP.name, group)
    ends = f" (95 %: {interval(drop, unit)})" if drop.has_interval else ""
    if drop.value == 0:
        return f"{metric} stays the same{ends}"
    return f"{metric} {'loses' if drop.value > 0 else 'gains'} {quantity(abs(drop.value), unit)}" + (
        f" (95 % of the drop: {interval(drop, unit)})" if ends else ""
    )


def _not_well(report: Report) -> Iterator[str]:
    if not report.concluded:
        yield f"Nothing is concluded yet: {visible(report.standing)}"
    if report.refused:
        yield f"{plural(len(report.refused), 'recipe')} gave no variant."
    if report.troubles:
        yield f"{plural(len(report.troubles), 'launch', 'launches')} did not count (disturbed or failed); each is listed with its reason."
    if report.damaged:
        yield f"{plural(len(report.damaged), 'record')} of this campaign could not be read."


def tiles(group: Group) -> tuple[Tile, ...]:
    """The figures of the chosen variant beside the baseline's; empty where nothing was chosen on this device."""
    row, baseline = group.chosen, group.baseline
    if row is None:
        return ()
    shown = (P50, SIZE, PEAK) if row.role == "baseline" else (P50, RATIO, DROP, SIZE, PEAK)
    found = [_tile(column, group, row, baseline) for column in shown if row.figure(column.name).value is not None]
    if (row.role == "baseline" or row.figure(DROP.name).value is None) and row.figure(ACCURACY.name).value is not None:
        found.insert(1, _tile(ACCURACY, group, row, baseline))
    return tuple(found)


def _tile(column: Column, group: Group, row: Row, baseline: Row | None) -> Tile:
    figure, unit = row.figure(column.name), unit_of(column.name, group)
    before = baseline.figure(column.name).value if baseline is not None and baseline is not row else None
    title = {RATIO.name: "of the baseline's time", DROP.name: f"drop of {visible(group.accuracy_metric or 'accuracy')}"}.get(
        column.name, column.title
    )
    value = f"{number(figure.value)} ×" if column is RATIO and figure.value is not None else quantity(figure.value, unit)
    against = f"baseline {quantity(before, unit)}" if before is not None and column not in (RATIO, DROP) else ""
    return Tile(title, column.definition, value, interval(figure, unit), against, _tone(column, figure, before))


def _tone(column: Column, figure: Figure, before: float | None) -> Tone:
    """Good or bad only where the interval says so."""
    reference = {RATIO.name: 1.0, DROP.name: 0.0}.get(column.name, before)
    low = figure.low if figure.low is not None else figure.value
    high = figure.high if figure.high is not None else figure.value
    if reference is None or low is None or high is None or column is ACCURACY:
        return "plain"
    return "good" if high < reference else "bad" if low > reference else "plain"
