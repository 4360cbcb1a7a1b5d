"""A variant: the file that a recipe made of a model, with where it comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Value(BaseModel):
    """A frozen value that is stored as JSON; unknown keys and NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PassSpec(Value):
    """One step of a recipe: a pass by name, with its parameters (each pass checks its own)."""

    name: str
    parameters: Mapping[str, Any] = Field(default_factory=dict)


class Recipe(Value):
    """An ordered list of passes under a name."""

    name: str
    description: str = ""
    passes: tuple[PassSpec, ...]


class Step(Value):
    """What one pass did: lineage of a variant."""

    pass_name: str
    parameters: Mapping[str, Any]
    modified: bool
    summary: str = Field(description="one sentence for a person: what changed, or why nothing did")
    size_before_bytes: int
    size_after_bytes: int
    duration_s: float
    details: Mapping[str, Any] = Field(default_factory=dict, description="counts and figures of the pass, by name")


class ExternalData(Value):
    """Weights in a file of their own beside the model's: it must keep that name."""

    file_name: str
    sha256: str
    size_bytes: int


class Variant(Value):
    """What a recipe made: `id` is the sha256 of the file's sha256 (and its external data's) and the recipe's canonical JSON.

    `size_bytes` counts the external data too.
    """

    id: str
    model: str
    recipe: Recipe
    sha256: str
    size_bytes: int
    file_name: str = Field(description="model.onnx or model.ort: the runtime goes by the ending")
    external: ExternalData | None = Field(default=None, description="only a model with more than 1 GiB of weights has it")
    model_sha256: str = Field(description="of the user's file that the recipe began with")
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()
    tools: Mapping[str, str] = Field(description="versions of what made it: onnx, onnx_ir, onnxruntime, numpy, thresher")
    golden_tolerance: float = Field(
        description="how far, relative in the 2-norm, a device's outputs may be from the host's for this variant"
    )


def variant_id(sha256: str, recipe: Recipe, *, external_sha256: str | None = None) -> str:
    """The id of the variant whose bytes have that sha256 and which that recipe made: 64 hex digits."""
    files = sha256 if external_sha256 is None else f"{sha256}\n{external_sha256}"
    return hashlib.sha256(f"{files}\n{recipe.model_dump_json(exclude={'description'})}".encode()).hexdigest()
