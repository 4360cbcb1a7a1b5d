"""A campaign as it is stored when it is submitted: everything resolved, nothing looked up again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from agents.bench.protocol import Protocol
from agents.run import DeviceRef, RunConfig, Value
from optimizers.model_file import ModelFile
from optimizers.variant import Recipe
from orchestrator.fingerprint import Fingerprint
from orchestrator.verdict import Budget

SPEC_VERSION: Literal[1] = 1
BASELINE = "fp32"
"""The recipe whose variant is the baseline; every campaign has it, asked for or not."""


class ResolvedBudget(Value):
    """The budget of one model on one device kind, after campaign, model and profile were merged."""

    model: str
    profile: str
    budget: Budget


class Side(Value):
    """One side of a comparison: the name of its recipe in the spec, and where its file comes from if no recipe makes it."""

    recipe: str
    path: Path | None = Field(default=None, description="an ONNX file, measured as it is")
    record: str | None = Field(default=None, description="id of the record of a variant that is in the store already")


class PairedComparison(Value):
    """Measure two variants in ABBA blocks instead of all recipes in rounds; `a` is what `b` is compared with."""

    a: Side
    b: Side
    blocks: int | None = Field(default=None, ge=1, description="null: as many as the protocol's plan finds it needs")


class CampaignSpec(Value):
    """A whole campaign; paths are absolute, `recipes` begin with the baseline where there is one."""

    version: Literal[1] = SPEC_VERSION
    id: str
    name: str
    lab_host: str
    models: tuple[ModelFile, ...]
    files: Mapping[str, tuple[Fingerprint, ...]] = Field(default_factory=dict, description="by model: what its files held")
    recipes: tuple[Recipe, ...]
    configs: tuple[RunConfig, ...]
    devices: tuple[DeviceRef, ...]
    budgets: tuple[ResolvedBudget, ...] = ()
    protocol: Protocol
    seed: int = 0
    command: str = Field(default="", description="what a user typed to get this")
    comparison: PairedComparison | None = None

    def budget(self, model: str, profile: str) -> Budget:
        """The budget of a model on a device kind; without one nothing is limited."""
        return next((entry.budget for entry in self.budgets if (entry.model, entry.profile) == (model, profile)), Budget())

    def device(self, name: str) -> DeviceRef:
        """The device of that name."""
        return next(device for device in self.devices if device.name == name)

    def side(self, recipe: str) -> Side | None:
        """The side of the comparison that a recipe's name stands for."""
        sides: Mapping[str, Side] = {side.recipe: side for side in ((self.comparison.a, self.comparison.b) if self.comparison else ())}
        return sides.get(recipe)
