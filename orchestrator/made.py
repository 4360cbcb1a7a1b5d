"""What optimising gave: a variant with its accuracy, or the reason why there is none. Stored as a record of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from agents.run import Role, RunConfig, Value, VariantRef
from optimizers.evaluate import Evaluation
from optimizers.golden import TensorData, WorkloadFiles
from optimizers.variant import Recipe, Variant
from orchestrator.canonical import canonical_json, sha256_hex
from orchestrator.errors import StoreError
from orchestrator.records import Link, NewRecord, Record, RecordKind

MADE_VERSION: Literal[1] = 1


class ShapedWorkload(Value):
    """The workload for one choice of input shapes."""

    input_shapes: Mapping[str, tuple[int, ...]]
    files: WorkloadFiles


class Made(Value):
    """One recipe's result on one model in one campaign: all files are in the store under their sha256."""

    version: Literal[1] = MADE_VERSION
    campaign_id: str
    model: str
    recipe: Recipe
    role: Role
    variant: Variant | None
    why: str | None = None
    evaluation: Evaluation | None = None
    statistics: str | None = None
    shaped: tuple[ShapedWorkload, ...] = ()

    @property
    def ref(self) -> VariantRef:
        """The variant as launches name it. Only of a result that has one."""
        assert self.variant is not None
        return VariantRef(id=self.variant.id, recipe=self.recipe.name, sha256=self.variant.sha256, size_bytes=self.variant.size_bytes)

    def workload(self, config: RunConfig) -> WorkloadFiles:
        """The inputs and golden outputs for a configuration's input shapes."""
        assert self.evaluation is not None
        wanted = dict(config.input_shapes)
        return next((shaped.files for shaped in self.shaped if dict(shaped.input_shapes) == wanted), self.evaluation.workload)

    def tensors(self) -> Iterator[TensorData]:
        """Every tensor file of every workload."""
        for files in [*([self.evaluation.workload] if self.evaluation else []), *(shaped.files for shaped in self.shaped)]:
            yield from (*files.inputs, *files.state_inputs, *files.reference)


def made_id(campaign_id: str, model: str, recipe: str) -> str:
    """The id of the record, known before the work is done: what is there already is not made again."""
    return f"variant-{sha256_hex(chr(10).join((campaign_id, model, recipe)))}"


def made_to_record(made: Made) -> NewRecord:
    """As a record that links every blob it needs."""
    blobs = {tensor.sha256 for tensor in made.tensors()}
    if made.variant is not None:
        blobs |= {made.variant.sha256} | ({made.variant.external.sha256} if made.variant.external else set())
    if made.statistics is not None:
        blobs.add(made.statistics)
    return NewRecord(
        id=made_id(made.campaign_id, made.model, made.recipe.name),
        kind=RecordKind.VARIANT,
        body=canonical_json(made),
        campaign_id=made.campaign_id,
        model=made.model,
        variant_id=made.variant.id if made.variant else None,
        schema_version=MADE_VERSION,
        links=tuple(Link(sha256) for sha256 in sorted(blobs)),
    )


def record_to_made(record: Record) -> Made:
    """Back from a record. Raises: StoreError when a newer Thresher wrote it."""
    if record.schema_version > MADE_VERSION:
        raise StoreError(f"record {record.id} has version {record.schema_version}; this Thresher reads up to {MADE_VERSION}")
    return Made.model_validate_json(record.body)
