"""Judged rows and their launches as a page shows them; rows of a campaign that is not judged yet, too. Pure but for `read_spreads`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

import numpy as np

from agents.run import DeviceRef, LaunchKind, Outcome, RunConfig, RunRecord
from dashboards.report.page import Check, Choice, Comparison, Figure, Group, Launch, Refused, Row
from device_profiles.metrics import METRICS
from orchestrator.errors import StoreError
from orchestrator.iterations import read_iterations
from orchestrator.made import Made
from orchestrator.result import CampaignResult, ChoiceResult, RowResult
from orchestrator.spec import CampaignSpec
from orchestrator.store import Store

NOT_JUDGED = "not judged"
"""The outcome of a row while its campaign is not concluded."""

Place = tuple[str, LaunchKind, int, int]
"""What tells the launches of a campaign apart: job, kind, round, attempt."""

Spread = tuple[float, float]
"""The 10th and the 90th percentile of a launch's iterations, in seconds."""


@dataclass(frozen=True, slots=True)
class Material:
    """The records of one campaign. `spreads` has those launches whose raw iterations could be read."""

    spec: CampaignSpec
    runs: tuple[RunRecord, ...]
    made: tuple[Made, ...]
    spreads: Mapping[Place, Spread]


def place_of(run: RunRecord) -> Place:
    """The place of a launch."""
    return run.job_id, run.kind, run.round, run.attempt


def read_spreads(store: Store, runs: Iterable[RunRecord]) -> Mapping[Place, Spread]:
    """The spread of every launch that timed something; those whose raw iterations are gone or damaged are left out."""
    found: dict[Place, Spread] = {}
    for run in runs:
        if run.latency is None:
            continue
        try:
            low, high = np.quantile(read_iterations(store, run), (0.1, 0.9))
        except StoreError:  # collected by retention, or damaged: the page says how many there are not
            continue
        found[place_of(run)] = (float(low), float(high))
    return MappingProxyType(found)


def groups(material: Material, result: CampaignResult | None) -> tuple[Group, ...]:
    """One group for each model on each device, rows in order: the baseline, then the fastest first."""
    spec = material.spec
    found = []
    for model in spec.models:
        for device in spec.devices:
            rows = _judged_rows(material, result, model.name, device) if result else _open_rows(material, model.name, device)
            if rows:
                found.append(_group(material, result, rows, model.name, device))
    return tuple(found)


def refused(material: Material, result: CampaignResult | None) -> tuple[Refused, ...]:
    """The recipes that gave no variant, each once a model."""
    found = {(made.model, made.recipe.name): made.why or "no reason was recorded" for made in material.made if made.variant is None}
    for row in result.rows if result else ():
        if row.variant is None:
            found.setdefault((row.model, row.recipe), row.why or "no reason was recorded")
    return tuple(Refused(model, recipe, why) for (model, recipe), why in found.items())


def comparison_group(material: Material, comparison: Comparison) -> Group:
    """Both sides of a comparison with their launches; rows are A, then B."""
    spec = material.spec
    model, device = spec.models[0].name, spec.devices[0]
    sides = [("A", comparison.a, comparison.a_p50_s), ("B", comparison.b, comparison.b_p50_s)]
    first = _first_at(material.runs, model, device)
    rows = []
    for number, (letter, recipe, p50_s) in enumerate(sides, start=1):
        runs = [run for run in material.runs if run.variant.recipe == recipe]
        figures = {"latency_p50_s": Figure(p50_s, why=None if p50_s is not None else comparison.why)}
        rows.append(
            Row(
                number=number,
                recipe=recipe,
                role=letter,
                config=spec.configs[0].label,
                variant=runs[0].variant.id if runs else None,
                outcome=Outcome.OK.value if p50_s is not None else NOT_JUDGED,
                why=None,
                figures=figures,
                launches=launches_of(material, runs, first),
            )
        )
    return replace(_bare_group(material, model, device), rows=tuple(rows))


def launches_of(material: Material, runs: Sequence[RunRecord], first_at: str) -> tuple[Launch, ...]:
    """Launches in order of time. Only the last attempt of each counts, and only when it was OK."""
    last: dict[tuple[str, LaunchKind, int], int] = {}
    for run in runs:
        key = (run.job_id, run.kind, run.round)
        last[key] = max(last.get(key, 0), run.attempt)
    found = []
    for run in sorted(runs, key=lambda each: each.started_at):
        counts = run.outcome is Outcome.OK and run.attempt == last[run.job_id, run.kind, run.round]
        found.append(_launch(run, material.spreads.get(place_of(run)), counts=counts, first_at=first_at))
    return tuple(found)


def _launch(run: RunRecord, spread: Spread | None, *, counts: bool, first_at: str) -> Launch:
    temperatures = run.before.temperature_c if run.before else None
    return Launch(
        kind=run.kind.value,
        round=run.round,
        attempt=run.attempt,
        started_at=run.started_at,
        offset_s=(datetime.fromisoformat(run.started_at) - datetime.fromisoformat(first_at)).total_seconds(),
        outcome=run.outcome.value,
        why=run.why,
        counts=counts,
        iterations=run.latency.n if run.latency else None,
        p10_s=spread[0] if spread else None,
        p50_s=run.latency.p50_s if run.latency else None,
        p90_s=spread[1] if spread else run.latency.p90_s if run.latency else None,
        session_load_s=run.session_load_s,
        first_inference_s=run.first_inference_s,
        others_busy=run.others_busy,
        temperature_c=max(temperatures.values()) if temperatures else None,
    )


def _first_at(runs: Iterable[RunRecord], model: str, device: DeviceRef) -> str:
    return min((run.started_at for run in runs if (run.model, run.device.name) == (model, device.name)), default="")


def _bare_group(material: Material, model: str, device: DeviceRef) -> Group:
    budget = material.spec.budget(model, device.profile)
    evaluated = next((made.evaluation for made in material.made if made.model == model and made.evaluation), None)
    has_accuracy = evaluated is not None and evaluated.accuracy_why != "the model has no samples"
    return Group(
        model=model,
        device=device.name,
        device_profile=device.profile,
        accuracy_metric=evaluated.metric if evaluated and has_accuracy else None,
        accuracy_unit=evaluated.unit if evaluated else "1",
        accuracy_better=evaluated.better.value if evaluated else "higher",
        rows=(),
        limits={limit.value: bound for limit, bound in budget.constraints},
        objectives=tuple(limit.value for limit in budget.objectives),
        samples=evaluated.n_samples if evaluated and evaluated.n_samples else None,
        inputs=evaluated.workload.source if evaluated else None,
        virtual=device.virtual,
    )


def _group(material: Material, result: CampaignResult | None, rows: Sequence[Row], model: str, device: DeviceRef) -> Group:
    choice = _choice_of(result, model, device)
    ordered = sorted(rows, key=_order)
    numbered = tuple(replace(row, number=number) for number, row in enumerate(ordered, start=1))
    shown = Choice(choice.device_profile, choice.recipe, choice.variant, choice.why.removeprefix(f"{choice.recipe}: ")) if choice else None
    return replace(_bare_group(material, model, device), rows=numbered, choice=shown)


def _order(row: Row) -> tuple[bool, bool, float]:
    p50_s = row.figure("latency_p50_s").value
    return row.role != "baseline", p50_s is None, p50_s or 0.0


def _choice_of(result: CampaignResult | None, model: str, device: DeviceRef) -> ChoiceResult | None:
    choices = result.choices if result else ()
    return next((each for each in choices if (each.model, each.device_profile) == (model, device.profile)), None)


def _judged_rows(material: Material, result: CampaignResult, model: str, device: DeviceRef) -> list[Row]:
    mine = [row for row in result.rows if (row.model, row.device) == (model, device.name) and row.variant is not None]
    choice = _choice_of(result, model, device)
    config = next((row.config for row in result.rows if choice and row.job_id == choice.job_id), None)
    first = _first_at(material.runs, model, device)
    return [
        _judged_row(material, row, chosen=choice is not None and (row.variant, row.config) == (choice.variant, config), first_at=first)
        for row in mine
    ]


def _judged_row(material: Material, row: RowResult, *, chosen: bool, first_at: str) -> Row:
    runs = [run for run in material.runs if run.job_id == row.job_id]
    budget = material.spec.budget(row.model, row.device_profile)
    sources = {limit.value: source for limit, source in budget.sources}
    return Row(
        number=0,
        recipe=row.recipe,
        role=row.role,
        config=row.config.label,
        variant=row.variant,
        outcome=row.outcome.value,
        why=_outcome_why(row),
        figures=_figures(row, runs),
        checks=tuple(
            Check(each.limit, each.bound, each.value, each.worst, each.met, each.why, sources.get(each.limit)) for each in row.checks
        ),
        meets_budget=row.meets_budget,
        on_front=row.on_front,
        chosen=chosen,
        power_source=row.power_source,
        memory_definition=row.memory_definition,
        launches=launches_of(material, runs, first_at),
        also=_also(material, row.model, row.recipe, row.variant),
    )


def _outcome_why(row: RowResult) -> str | None:
    """The row's reason less what it says of single figures, which each figure says itself."""
    parts = [part for part in (row.why or "").split("; ") if not set(part.partition(": ")[0].split(", ")) <= METRICS.keys() | {"ratio"}]
    return "; ".join(parts) or None


def _figures(row: RowResult, runs: Sequence[RunRecord]) -> dict[str, Figure]:
    """Every figure; an absent one with the reason that a launch gave, else the row's."""
    absent = {name: why for run in runs for name, why in run.absent.items()}
    values = {
        "latency_p50_s": (row.latency_p50_s, row.latency_ci_s),
        "latency_p90_s": (row.latency_p90_s, row.latency_p90_ci_s),
        "ratio": (row.ratio, row.ratio_ci),
        "accuracy": (row.accuracy, None),
        "accuracy_drop": (row.accuracy_drop, row.accuracy_drop_ci),
        "size_bytes": (row.size_bytes, None),
        "peak_memory_bytes": (row.peak_memory_bytes, None),
        "session_load_s": (row.session_load_s, None),
        "first_inference_s": (row.first_inference_s, None),
        "energy_per_inference_j": (row.energy_per_inference_j, row.energy_ci_j),
    }
    figures = {}
    for name, (value, ends) in values.items():
        low, high = ends or (None, None)
        why = row.notes.get(name) or (None if value is not None else absent.get(name) or row.why)
        figures[name] = Figure(value, low, high, why)
    return figures


def _open_rows(material: Material, model: str, device: DeviceRef) -> list[Row]:
    """The rows of a campaign that is not judged: what is known without a judgement, and the launches so far."""
    first = _first_at(material.runs, model, device)
    seen: set[str] = set()
    rows = []
    for made in material.made:
        if made.model != model or made.variant is None or made.variant.id in seen:
            continue
        seen.add(made.variant.id)
        rows += [_open_row(material, made, device, config, first) for config in material.spec.configs]
    return rows


def _open_row(material: Material, made: Made, device: DeviceRef, config: RunConfig, first_at: str) -> Row:
    assert made.variant is not None
    found, variant = made.evaluation, made.variant
    pending = Figure(why="not concluded yet")
    runs = [
        run
        for run in material.runs
        if (run.model, run.variant.id, run.device.name, run.config) == (made.model, variant.id, device.name, config)
    ]
    drop = Figure(found.accuracy_drop, found.accuracy_drop_low, found.accuracy_drop_high, found.accuracy_drop_why) if found else pending
    names = ("latency_p50_s", "ratio", "peak_memory_bytes", "session_load_s", "first_inference_s", "energy_per_inference_j")
    return Row(
        number=0,
        recipe=made.recipe.name,
        role=made.role.value,
        config=config.label,
        variant=variant.id,
        outcome=NOT_JUDGED,
        why=None,
        figures={
            **dict.fromkeys(names, pending),
            "accuracy": Figure(found.accuracy, why=found.accuracy_why) if found else pending,
            "accuracy_drop": drop,
            "size_bytes": Figure(variant.size_bytes),
        },
        launches=launches_of(material, runs, first_at),
        also=_also(material, made.model, made.recipe.name, variant.id),
    )


def _also(material: Material, model: str, recipe: str, variant: str | None) -> tuple[str, ...]:
    """Other recipes that gave the same variant."""
    return tuple(
        made.recipe.name
        for made in material.made
        if made.model == model and made.recipe.name != recipe and made.variant is not None and made.variant.id == variant
    )
