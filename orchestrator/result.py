"""A campaign's result as it is stored and printed: rows, budgets, the chosen variants. Absent values are null, the reason in `why`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from agents.run import DeviceRef, Outcome, RunConfig, Value
from orchestrator.campaigns import CampaignStatus
from orchestrator.canonical import canonical_json, sha256_hex
from orchestrator.made import Made
from orchestrator.records import NewRecord, Record, RecordKind
from orchestrator.verdict import BudgetCheck, Choice, Estimate, Row

RESULT_VERSION: Literal[1] = 1
Pair = tuple[float, float]


class CheckResult(Value):
    """One constraint on one row."""

    limit: str
    bound: float
    value: float | None
    worst: float | None
    met: bool | None
    why: str


class RowResult(Value):
    """One variant in one configuration on one device; intervals are 95 %."""

    model: str
    variant: str | None
    recipe: str
    role: str
    device: str
    device_profile: str
    config: RunConfig
    job_id: str | None
    outcome: Outcome
    why: str | None
    accuracy: float | None
    accuracy_metric: str | None
    accuracy_drop: float | None
    accuracy_drop_ci: Pair | None
    size_bytes: int | None
    latency_p50_s: float | None
    latency_ci_s: Pair | None
    latency_p90_s: float | None
    latency_p90_ci_s: Pair | None
    ratio: float | None = Field(description="p50 of the variant over p50 of the baseline; below 1 is faster")
    ratio_ci: Pair | None
    peak_memory_bytes: float | None
    memory_definition: str | None
    session_load_s: float | None
    first_inference_s: float | None
    energy_per_inference_j: float | None
    energy_ci_j: Pair | None
    power_source: str | None
    launches_ok: int
    launches_bad: int
    tainted: int
    checks: tuple[CheckResult, ...]
    meets_budget: bool | None
    on_front: bool
    warnings: tuple[str, ...] = Field(default=(), description="what making the variant had to say")
    notes: Mapping[str, str] = Field(default_factory=dict, description="absent value to the reason")


class ChoiceResult(Value):
    """The chosen variant of a model on a device kind."""

    model: str
    device_profile: str
    variant: str | None
    recipe: str | None
    job_id: str | None
    why: str


class CampaignResult(Value):
    """All that was concluded of a campaign."""

    version: Literal[1] = RESULT_VERSION
    id: str
    name: str
    status: CampaignStatus
    rows: tuple[RowResult, ...]
    choices: tuple[ChoiceResult, ...]

    def json_records(self) -> list[dict[str, object]]:
        """One record a model, as `campaign run --format json` ends with."""
        models = list(dict.fromkeys([row.model for row in self.rows] + [choice.model for choice in self.choices]))
        return [
            {
                "id": self.id,
                "name": self.name,
                "status": self.status.value,
                "model": model,
                "rows": [row.model_dump(mode="json") for row in self.rows if row.model == model],
                "chosen": {choice.device_profile: choice.variant for choice in self.choices if choice.model == model},
                "chosen_why": {choice.device_profile: choice.why for choice in self.choices if choice.model == model},
            }
            for model in models
        ]


def row_result(row: Row, *, warnings: tuple[str, ...] = ()) -> RowResult:
    """A judged row as it is stored."""
    notes = {
        name: estimate.why
        for name, estimate in (
            ("accuracy_drop", row.accuracy_drop),
            ("latency_p50_s", row.latency_p50_s),
            ("latency_p90_s", row.latency_p90_s),
            ("ratio", row.ratio),
            ("peak_memory_bytes", row.peak_memory_bytes),
            ("energy_per_inference_j", row.energy_per_inference_j),
        )
        if estimate is not None and estimate.why
    }
    return RowResult(
        model=row.model,
        variant=row.variant,
        recipe=row.recipe,
        role=row.role,
        device=row.device,
        device_profile=row.device_profile,
        config=row.config,
        job_id=row.job_id,
        outcome=row.outcome,
        why=row.why,
        accuracy=row.accuracy,
        accuracy_metric=row.accuracy_metric,
        accuracy_drop=_value(row.accuracy_drop),
        accuracy_drop_ci=_interval(row.accuracy_drop),
        size_bytes=row.size_bytes,
        latency_p50_s=_value(row.latency_p50_s),
        latency_ci_s=_interval(row.latency_p50_s),
        latency_p90_s=_value(row.latency_p90_s),
        latency_p90_ci_s=_interval(row.latency_p90_s),
        ratio=_value(row.ratio),
        ratio_ci=_interval(row.ratio),
        peak_memory_bytes=_value(row.peak_memory_bytes),
        memory_definition=row.memory_definition,
        session_load_s=row.session_load_s,
        first_inference_s=row.first_inference_s,
        energy_per_inference_j=_value(row.energy_per_inference_j),
        energy_ci_j=_interval(row.energy_per_inference_j),
        power_source=row.power_source,
        launches_ok=row.launches_ok,
        launches_bad=row.launches_bad,
        tainted=row.tainted,
        checks=tuple(_check(check) for check in row.checks),
        meets_budget=row.meets_budget,
        on_front=row.on_front,
        warnings=warnings,
        notes=notes,
    )


def refused_row(made: Made, device: DeviceRef) -> RowResult:
    """The row of a recipe that gave no variant: nothing was run, and `why` says why."""
    fields: dict[str, object] = dict.fromkeys(RowResult.model_fields)
    known: dict[str, object] = {
        "model": made.model,
        "recipe": made.recipe.name,
        "role": made.role.value,
        "device": device.name,
        "device_profile": device.profile,
        "config": RunConfig(),
        "outcome": Outcome.NOT_RUN,
        "why": made.why,
        "launches_ok": 0,
        "launches_bad": 0,
        "tainted": 0,
        "checks": (),
        "on_front": False,
        "warnings": (),
        "notes": {},
    }
    return RowResult.model_validate(fields | known)


def choice_result(choice: Choice) -> ChoiceResult:
    """A choice as it is stored."""
    return ChoiceResult(
        model=choice.model,
        device_profile=choice.device_profile,
        variant=choice.variant,
        recipe=choice.recipe,
        job_id=choice.job_id,
        why=choice.why,
    )


def result_to_record(result: CampaignResult) -> NewRecord:
    """The verdict as a record: one a campaign and content, so that judging again after a resume adds only what is new."""
    body = canonical_json(result)
    return NewRecord(
        id=f"verdict-{sha256_hex(result.id)}",
        kind=RecordKind.VERDICT,
        body=body,
        campaign_id=result.id,
        schema_version=RESULT_VERSION,
    )


def record_to_result(record: Record) -> CampaignResult:
    """Back from a record."""
    return CampaignResult.model_validate_json(record.body)


def _check(check: BudgetCheck) -> CheckResult:
    return CheckResult(limit=check.limit.value, bound=check.bound, value=check.value, worst=check.worst, met=check.met, why=check.why)


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _interval(estimate: Estimate | None) -> Pair | None:
    return None if estimate is None or estimate.interval is None else (estimate.interval.low, estimate.interval.high)
