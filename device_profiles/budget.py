"""Budgets as people write them, in campaigns, models and device profiles: limits, and what to minimise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, PlainValidator, RootModel, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from device_profiles.field_errors import nearest
from device_profiles.quantity import ENERGY, SHARE, SIZE, TIME, Dimension, parse_bytes, parse_quantity, quantity_schema

MINIMIZE: Literal["minimize"] = "minimize"

Bound = float | Literal["minimize"]


def _bound(dimension: Dimension, parse: Callable[[object], float]) -> tuple[PlainValidator, WithJsonSchema]:
    def validate(value: object) -> Bound:
        if value == MINIMIZE:
            return MINIMIZE
        if isinstance(value, str) and nearest(value, [MINIMIZE]):
            raise ValueError(f"needs a limit or the word `{MINIMIZE}`: did you mean `{MINIMIZE}`?")
        return parse(value)

    schema = quantity_schema(dimension)
    return PlainValidator(validate), WithJsonSchema({"anyOf": [{"const": MINIMIZE}, *schema["anyOf"]]})


_TIME = _bound(TIME, lambda value: parse_quantity(value, TIME))
_SIZE = _bound(SIZE, parse_bytes)
_ENERGY = _bound(ENERGY, lambda value: parse_quantity(value, ENERGY))
_AMOUNT = _bound(SHARE, lambda value: parse_quantity(value, SHARE))


class BudgetLimits(BaseModel):
    """The limits there are: each an upper bound, or `minimize` to make it an objective."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_p50_s: Annotated[Bound | None, *_TIME] = Field(default=None, description="median time of one inference, such as `5ms`")
    latency_p90_s: Annotated[Bound | None, *_TIME] = Field(
        default=None, description="90th percentile of the time of one inference, such as `8ms`"
    )
    peak_memory_bytes: Annotated[Bound | None, *_SIZE] = Field(
        default=None, description="highest memory of the process that runs the model, such as `80MB`"
    )
    size_bytes: Annotated[Bound | None, *_SIZE] = Field(default=None, description="size of the variant's file, such as `4MB`")
    energy_per_inference_j: Annotated[Bound | None, *_ENERGY] = Field(default=None, description="energy of one inference, such as `20mJ`")
    accuracy_drop: Annotated[Bound | None, *_AMOUNT] = Field(
        default=None, description="how much worse than the baseline, in the unit of the model's metric; `1%` is 0.01"
    )


LIMIT_NAMES: tuple[str, ...] = tuple(BudgetLimits.model_fields)
"""The limits by name; orchestrator.verdict.Limit has the same."""


class BudgetFile(RootModel[dict[str, Bound]]):
    """Limit name to its bound in SI units or `minimize`, in the order written: the first objective matters most."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _checked(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        limits = BudgetLimits.model_validate(dict(data))
        return {name: getattr(limits, name) for name in data}

    @property
    def constraints(self) -> tuple[tuple[str, float], ...]:
        """Limits with their upper bounds in SI units."""
        return tuple((name, bound) for name, bound in self.root.items() if bound != MINIMIZE and isinstance(bound, float | int))

    @property
    def objectives(self) -> tuple[str, ...]:
        """What to minimise, the most important first."""
        return tuple(name for name, bound in self.root.items() if bound == MINIMIZE)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = BudgetLimits.model_json_schema()
        properties = {name: {key: value for key, value in one.items() if key != "default"} for name, one in schema["properties"].items()}
        return {**schema, "description": cls.__doc__, "properties": properties}
