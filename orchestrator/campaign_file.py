"""`campaign.yaml` as it is written: which models, made by which recipes, on which devices, within which budgets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    RootModel,
    TypeAdapter,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from agents.bench.protocol import Protocol, protocol_named
from agents.run import RunConfig
from device_profiles.budget import LIMIT_NAMES, Bound, BudgetFile, BudgetLimits
from device_profiles.label import Label, Slug
from device_profiles.profile import Platform
from device_profiles.quantity import Seconds
from device_profiles.yaml_tree import printable

MAX_CPUS = 4096
MAX_DIMENSION = 1 << 31

_BY_PROFILE: TypeAdapter[dict[str, BudgetFile]] = TypeAdapter(dict[Slug, BudgetFile])


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Section(BaseModel):
    """A part of the file: nothing else than its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DeviceSelector(Section):
    """Which devices of the farm: those that every given key allows; no key: all of them."""

    names: Annotated[tuple[Label, ...], BeforeValidator(_one_or_more, json_schema_input_type=Label | tuple[Label, ...])] = Field(
        default=(), description="devices by name"
    )
    profile: Annotated[tuple[Slug, ...], BeforeValidator(_one_or_more, json_schema_input_type=Slug | tuple[Slug, ...])] = Field(
        default=(), description="devices of these device profiles"
    )
    platform: Annotated[tuple[Platform, ...], BeforeValidator(_one_or_more, json_schema_input_type=Platform | tuple[Platform, ...])] = (
        Field(default=(), description="devices of these platforms; `host` is this machine")
    )
    tags: Annotated[tuple[Label, ...], BeforeValidator(_one_or_more, json_schema_input_type=Label | tuple[Label, ...])] = Field(
        default=(), description="devices that have one of these tags in farm.yaml"
    )


class CampaignBudgets(RootModel[dict[str, Bound | BudgetFile]]):
    """Limits for all devices, and under the name of a device profile those that hold for that kind alone."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _checked(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        by_profile = {key: value for key, value in data.items() if isinstance(value, Mapping) and key not in LIMIT_NAMES}
        limits = BudgetLimits.model_validate({key: value for key, value in data.items() if key not in by_profile})
        checked = _BY_PROFILE.validate_python(by_profile)
        return {key: checked[key] if key in checked else getattr(limits, key) for key in data}

    @property
    def limits(self) -> BudgetFile:
        """What holds on every kind of device."""
        return BudgetFile({key: value for key, value in self.root.items() if not isinstance(value, BudgetFile)})

    @property
    def by_profile(self) -> Mapping[str, BudgetFile]:
        """What holds on one kind of device, by the name of its profile."""
        return {key: value for key, value in self.root.items() if isinstance(value, BudgetFile)}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        limits = BudgetFile.model_json_schema()
        return {**limits, "title": cls.__name__, "description": cls.__doc__, "additionalProperties": limits}


class ProtocolFile(Section):
    """The measurement protocol, and what of it this campaign does differently; null: as the protocol has it."""

    name: Literal["standard", "quick"] = Field(default="standard", description="`quick` is short, and a series of its own")
    launches: Annotated[int, Field(ge=1, le=1000)] | None = Field(default=None, description="timed launches of each variant")
    timed_s: Seconds | None = Field(default=None, description="least time that a timed launch iterates, such as `5s`")
    accept_disturbed: bool = Field(
        default=False, description="count launches that other processes disturbed, too: for shared machines, and a series of its own"
    )
    paced_interval_s: Seconds | None = Field(default=None, description="also time one inference started every so often, such as `100ms`")

    def resolve(self) -> Protocol:
        """The protocol that this asks for. Raises: ProtocolError."""
        return protocol_named(self.name).with_overrides(
            launches=self.launches,
            timed_s=self.timed_s,
            paced_interval_s=self.paced_interval_s,
            accept_disturbed=self.accept_disturbed,
        )


ModelPath = Annotated[Path, WithJsonSchema({"type": "string", "description": "a model.yaml or an .onnx file, relative to this file"})]
RecipeEntry = Annotated[
    JsonValue,
    WithJsonSchema(
        {
            "description": "a recipe that ships, the path of a recipe file, or a recipe itself",
            "anyOf": [{"type": "string"}, {"type": "object"}],
        }
    ),
]


def _check_config(config: RunConfig) -> None:
    """What `RunConfig` itself leaves to whoever writes one. Raises: ValueError."""
    if not config.label.isprintable():
        raise ValueError(f"has a configuration with control characters in a name: {printable(config.label)}")
    if any(not 0 <= cpu < MAX_CPUS for cpu in config.affinity):
        raise ValueError(f"has an `affinity` with a CPU number outside 0 to {MAX_CPUS - 1}")
    for name, shape in config.input_shapes.items():
        if any(not 1 <= size <= MAX_DIMENSION for size in shape):
            raise ValueError(f"has `input_shapes` with a size outside 1 to {MAX_DIMENSION} for `{printable(name)}`")


class CampaignFile(Section):
    """A campaign: every recipe on every model, measured in every configuration on every selected device."""

    name: Label = Field(description="what the campaign is called")
    model: ModelPath | None = Field(default=None, description="the model: a model.yaml or an .onnx file")
    models: tuple[ModelPath, ...] | None = Field(default=None, min_length=1, description="several models instead of one")
    recipes: tuple[RecipeEntry, ...] = Field(
        min_length=1,
        max_length=1000,
        description="recipes that ship, by name (fp32, fp16, int8-dynamic, int8-static, ...), recipe files, or recipes written out",
    )
    configs: tuple[RunConfig, ...] = Field(
        default=(RunConfig(),),
        min_length=1,
        max_length=100,
        description="ways to run each variant: threads, execution provider, affinity, shapes",
    )
    devices: DeviceSelector = Field(default_factory=DeviceSelector, description="which devices of the farm; default: all")
    budgets: CampaignBudgets = Field(
        default_factory=lambda: CampaignBudgets({}), description="limits, over those of models and device profiles"
    )
    protocol: Annotated[
        ProtocolFile,
        BeforeValidator(
            lambda value: {"name": value} if isinstance(value, str) else value,
            json_schema_input_type=Literal["standard", "quick"] | ProtocolFile,
        ),
    ] = Field(default_factory=ProtocolFile, description="how to measure")
    seed: int = Field(default=0, ge=0, lt=2**63, description="what the random order of launches begins with")

    @field_validator("configs")
    @classmethod
    def _distinct(cls, configs: tuple[RunConfig, ...]) -> tuple[RunConfig, ...]:
        seen: list[RunConfig] = []
        for config in configs:
            _check_config(config)
            if config in seen:
                raise ValueError(f"has the same configuration twice: {config.label}")
            seen.append(config)
        return configs

    @model_validator(mode="after")
    def _has_models(self) -> CampaignFile:
        if (self.model is None) == (self.models is None):
            raise ValueError("needs `model: PATH` or `models: [PATH, ...]`" + (", not both" if self.model is not None else ""))
        return self

    @property
    def model_paths(self) -> tuple[Path, ...]:
        """The models as written."""
        return self.models if self.models is not None else (self.model,) if self.model is not None else ()
