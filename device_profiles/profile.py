"""A device kind: what is known of a phone model or a computer, and where it is known from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from device_profiles.budget import LIMIT_NAMES, BudgetFile
from device_profiles.field_errors import did_you_mean
from device_profiles.label import Label, Slug
from device_profiles.quantity import Bytes, Fraction, Hertz

Platform = Literal["host", "linux", "android", "ios"]
Precision = Literal["float32", "float16", "bfloat16", "int8", "int4"]
Unit = Literal["cpu", "gpu", "npu", "dsp"]
ZoneKind = Literal["cpu", "gpu", "npu", "skin", "battery", "other"]
PowerSource = Literal["external-meter", "rail-counters", "charge-counter", "current", "rapl", "none"]

CpuNumber = Annotated[int, Field(ge=0, le=4095)]


class Fact(BaseModel):
    """A value of a profile: nothing else than its keys, and never NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cluster(Fact):
    """CPUs of one kind, by the numbers the operating system gives them; `max_frequency_hz` null: unknown."""

    name: Label = Field(description="what affinity calls it, such as `little`, `big`, `prime`")
    core: Label | None = Field(default=None, description="the core's name, such as `Cortex-X3`")
    cpus: tuple[CpuNumber, ...] = Field(min_length=1, description="CPU numbers, from 0")
    max_frequency_hz: Hertz | None = Field(default=None, description="highest clock, such as `2.91GHz`")


class OsRange(Fact):
    """The operating systems that the device runs; a null end is unknown (or, at the top, still open)."""

    name: Label
    minimum: Label | None = Field(default=None, description="the version it came with")
    maximum: Label | None = Field(default=None, description="the last version it gets")


class Runtime(Fact):
    """A runtime that runs there; `version` null: whichever is installed."""

    name: Label
    version: Label | None = None


class ExecutionProvider(Fact):
    """An execution provider of ONNX Runtime that the device can use, and what it runs on."""

    name: Label = Field(description="as ONNX Runtime calls it, such as `CPUExecutionProvider`")
    unit: Unit | None = Field(default=None, description="what it computes on; null: it decides, or unknown")
    precisions: tuple[Precision, ...] | None = Field(default=None, description="element types that work; null: unknown")


class ThermalZone(Fact):
    """A temperature sensor by the type the operating system gives it (numbers move between models)."""

    name: Label
    kind: ZoneKind


class MeasurementState(Fact):
    """What is set on the device before measuring and put back after; null: left as it is found."""

    fixed_performance: bool | None = Field(default=None, description="Android's fixed-performance mode, or a pinned governor")
    airplane_mode: bool | None = None
    battery_saver: bool | None = None
    screen_brightness: Fraction | None = None
    minimum_charge: Fraction | None = Field(default=None, description="a visit begins at this charge or above, such as `30%`")
    maximum_charge: Fraction | None = Field(default=None, description="a visit begins at this charge or below, such as `80%`")
    cluster: Label | None = Field(default=None, description="cluster that runs are pinned to by default")


class DeviceProfile(Fact):
    """A device kind. What is not known is null, and is shown as unknown."""

    name: Slug = Field(description="the profile's name; that of its file too")
    description: str = Field(default="", max_length=500)
    platform: Platform
    soc: Label | None = Field(default=None, description="system on a chip, or processor")
    clusters: tuple[Cluster, ...] | None = Field(default=None, description="CPU clusters, from the slowest to the fastest")
    memory_bytes: Bytes | None = Field(default=None, description="memory built in, such as `8GiB`")
    os: OsRange | None = Field(default=None, description="operating systems it runs")
    runtimes: tuple[Runtime, ...] | None = None
    execution_providers: tuple[ExecutionProvider, ...] | None = None
    power_source: PowerSource | None = Field(
        default=None, description="the best source of energy figures; `none`: it is known that there is none"
    )
    thermal_zones: tuple[ThermalZone, ...] | None = None
    budgets: BudgetFile = Field(default_factory=lambda: BudgetFile({}), description="limits for every model on this kind of device")
    measurement: MeasurementState = Field(default_factory=MeasurementState, description="state of the device while it is measured")
    sources: Mapping[str, str | tuple[str, ...]] = Field(
        default_factory=dict, description="where facts are known from: field name to the address of a page or file, or several"
    )

    @field_validator("name")
    @classmethod
    def _not_a_limit(cls, name: str) -> str:
        if name in LIMIT_NAMES:
            raise ValueError(f"cannot be `{name}`: that is the name of a budget limit")
        return name

    @field_validator("sources")
    @classmethod
    def _of_fields(cls, sources: Mapping[str, Any]) -> Mapping[str, Any]:
        for field in sources:
            if field not in cls.model_fields:
                raise ValueError(f"names `{field}`, which is no fact of a profile: {did_you_mean(field, cls.model_fields, noun='facts')}")
        return sources

    @model_validator(mode="after")
    def _clusters_fit(self) -> DeviceProfile:
        clusters = self.clusters or ()
        names = [cluster.name for cluster in clusters]
        cpus = [cpu for cluster in clusters for cpu in cluster.cpus]
        if len(set(names)) < len(names):
            raise ValueError("has two clusters of the same name: give each its own")
        twice = next((cpu for cpu in cpus if cpus.count(cpu) > 1), None)
        if twice is not None:
            raise ValueError(f"has CPU {twice} in two clusters: each CPU belongs to one")
        pinned = self.measurement.cluster
        if pinned is not None and pinned not in names:
            raise ValueError(f"cannot pin runs to the cluster `{pinned}`: {did_you_mean(pinned, names, noun='clusters')}")
        return self

    def cluster(self, name: str) -> Cluster | None:
        """The cluster of that name, None if the profile has none."""
        return next((cluster for cluster in self.clusters or () if cluster.name == name), None)
