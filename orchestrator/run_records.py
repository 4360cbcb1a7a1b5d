"""Launches as records of the log, and back."""

from __future__ import annotations

from pydantic import ValidationError

from agents.run import RECORD_VERSION, LaunchKind, RunRecord
from orchestrator.canonical import canonical_json, sha256_hex
from orchestrator.errors import StoreError
from orchestrator.records import Link, NewRecord, Record, RecordKind


def run_record_id(campaign_id: str, visit_id: str, job_id: str, *, kind: LaunchKind, round: int, attempt: int) -> str:
    """The id of a launch's record, known before the launch: what was run already is found by it after a crash."""
    place = "\n".join((campaign_id, visit_id, job_id, kind.value, str(round), str(attempt)))
    return f"run-{sha256_hex(place)}"


def run_to_record(run: RunRecord) -> NewRecord:
    """A launch as a record; its traces are linked."""
    return NewRecord(
        id=run_record_id(run.campaign_id, run.visit_id, run.job_id, kind=run.kind, round=run.round, attempt=run.attempt),
        kind=RecordKind.RUN,
        body=canonical_json(run),
        campaign_id=run.campaign_id,
        device=run.device.name,
        model=run.model,
        variant_id=run.variant.id,
        schema_version=RECORD_VERSION,
        links=tuple(Link(trace.sha256) for trace in run.traces),
    )


def record_to_run(record: Record) -> RunRecord:
    """The launch that a record holds. Raises: StoreError when it is no launch or of a newer version."""
    if record.kind is not RecordKind.RUN:
        raise StoreError(f"record {record.id!r} is a {record.kind}, not a run")
    if record.schema_version > RECORD_VERSION:
        raise StoreError(
            f"record {record.id!r} has version {record.schema_version}; this Thresher reads up to {RECORD_VERSION}: install a newer one"
        )
    try:
        return RunRecord.model_validate_json(record.body)
    except ValidationError as error:
        raise StoreError(
            f"record {record.id!r} cannot be read as a run: {error.errors()[0]['msg']}; `thresher record verify` looks for damage"
        ) from error
