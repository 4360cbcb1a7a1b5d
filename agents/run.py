"""What to run on one device, and what came back: the values that agents own.

A *launch* is one process of the runner on one device; it is the replicate of the measurement protocol
(Kalibera & Jones, "Rigorous benchmarking in reasonable time", ISMM 2013) and what one `RunRecord` describes.
Everything here is text when it is stored, hence pydantic; durations are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RECORD_VERSION: Literal[1] = 1


class Value(BaseModel):
    """A frozen value that is stored as JSON; unknown keys and NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Outcome(StrEnum):
    """How a launch (or a row of launches) ended."""

    OK = "OK"  # measured, and the outputs were right
    WRONG_OUTPUT = "WRONG_OUTPUT"  # the device's outputs differ from the reference: no latency is published
    THROTTLED = "THROTTLED"  # the device lowered its clocks during the run
    TAINTED = "TAINTED"  # measured, but something else disturbed it; kept, never in a baseline
    OUT_OF_MEMORY = "OUT_OF_MEMORY"  # the model did not fit
    OUT_OF_SPACE = "OUT_OF_SPACE"  # no room for files on the device or the host
    TIMEOUT = "TIMEOUT"  # did not end within its deadline
    CRASHED = "CRASHED"  # the runner died of a signal
    DEVICE_LOST = "DEVICE_LOST"  # the device stopped answering
    CANCELLED = "CANCELLED"  # the user stopped it
    NOT_RUN = "NOT_RUN"  # never started (an earlier launch of its job decided, or time ran out)
    ERROR = "ERROR"  # anything else; `why` says what


class LaunchKind(StrEnum):
    """What one launch does. Timed launches do nothing but time."""

    GOLDEN = "golden"  # writes outputs for the golden inputs, compared with the reference
    TIMED = "timed"  # back to back
    PACED = "paced"  # at a fixed rate
    MEMORY = "memory"  # PSS and SwapPss by stage, untimed
    CLOCK = "clock"  # CPU frequency and temperatures sampled while running
    PROFILE = "profile"  # the runtime's per-op profile and op placement


class Role(StrEnum):
    """Why a variant was measured."""

    BASELINE = "baseline"  # the model as given, simplified, fp32
    INCUMBENT = "incumbent"  # what is deployed on the device kind
    CANDIDATE = "candidate"  # what might replace it
    SENTINEL = "sentinel"  # a fixed small model whose drift is the device's


class RunConfig(Value):
    """One way to run a variant: part of a series' identity."""

    threads: int = Field(default=1, ge=1, le=256, description="intra-op threads")
    provider: str = Field(default="CPUExecutionProvider", description="ONNX Runtime execution provider")
    provider_options: Mapping[str, str] = Field(default_factory=dict)
    affinity: tuple[int, ...] = Field(default=(), description="CPU numbers the process may use; empty: all")
    input_shapes: Mapping[str, tuple[int, ...]] = Field(default_factory=dict, description="fixes dynamic axes")
    graph_optimization: Literal["disabled", "basic", "extended", "all"] = "all"

    @property
    def label(self) -> str:
        """A short name for tables, the same for the same configuration: `1 thread · CPU`."""
        parts = [f"{self.threads} thread{'s' if self.threads > 1 else ''}", self.provider.removesuffix("ExecutionProvider")]
        if self.affinity:
            parts.append("cpu " + ",".join(map(str, self.affinity)))
        parts += [f"{name} {'×'.join(map(str, shape))}" for name, shape in sorted(self.input_shapes.items())]
        parts += [f"{key}={value}" for key, value in sorted(self.provider_options.items())]
        if self.graph_optimization != "all":
            parts.append(f"graph {self.graph_optimization}")
        return " · ".join(parts)


class VariantRef(Value):
    """Which variant ran: `id` is the variant's, `sha256` that of the file's bytes."""

    id: str
    recipe: str
    sha256: str
    size_bytes: int


class DeviceRef(Value):
    """Which device it ran on."""

    name: str
    profile: str
    platform: Literal["host", "linux", "android", "ios"]
    address: str
    virtual: bool = False


class ProtocolRef(Value):
    """Which measurement protocol: another name or version is another series."""

    name: str
    version: int


class TraceRef(Value):
    """A raw trace in the artifact store."""

    sha256: str
    encoding: Literal["int64-le-ns", "ort-profile-json", "json-lines"]
    count: int = Field(description="values or lines in it")


class Latency(Value):
    """One launch's iterations in figures; a percentile is null unless n(1-q) >= 10."""

    n: int
    p50_s: float
    p90_s: float | None
    p99_s: float | None
    mean_s: float
    min_s: float
    max_s: float
    mad_s: float = Field(description="median absolute deviation from the median, unscaled")
    cv: float = Field(description="standard deviation / mean")
    outliers: int = Field(description="iterations more than 5 MAD from the median: flagged, kept")
    duration_s: float = Field(description="wall time of the timed section")


class MemoryStage(Value):
    """Memory of the runner process at one stage (/proc/PID/smaps_rollup; Linux, Android)."""

    stage: Literal["baseline", "loaded", "peak", "retained"]
    pss_bytes: int
    swap_pss_bytes: int
    rss_bytes: int


class OpTime(Value):
    """One node of the optimised graph in the runtime's profile: mean kernel time an inference, and where it ran."""

    name: str
    op_type: str
    provider: str
    mean_s: float
    calls: int


class Conditions(Value):
    """What the device said of itself at one moment, outside the timed section; null is "it cannot say"."""

    at: str = Field(description="UTC, ISO 8601")
    load_1min: float | None = None
    cpu_busy: float | None = Field(
        default=None, description="share of all cores busy over half a second, 0 to 1; null where sampling it would hold up a launch"
    )
    cpu_busy_s: float | None = Field(default=None, description="CPU time used since boot, all CPUs and all processes, stolen time too")
    cpu_total_s: float | None = Field(default=None, description="CPU time there was since boot, all CPUs, used or idle")
    oom_kills: int | None = Field(default=None, description="processes the kernel has ended for want of memory, since boot")
    cpu_frequency_hz: tuple[int, ...] | None = Field(default=None, description="one a CPU, in order of CPU number")
    temperature_c: Mapping[str, float] | None = Field(default=None, description="by thermal zone")
    throttled: bool | None = None
    available_memory_bytes: int | None = None


class Provenance(Value):
    """What produced the numbers."""

    thresher_version: str
    runner_version: str
    runner_sha256: str
    runtime: str = "onnxruntime"
    runtime_version: str
    runtime_sha256: str
    os_build: str
    kernel: str
    cpu_model: str
    lab_host: str


class RunRecord(Value):
    """One launch: what was asked, what came back, why it counts or does not."""

    version: Literal[1] = RECORD_VERSION
    campaign_id: str
    visit_id: str
    job_id: str = Field(description="one variant in one configuration on one device in one campaign")
    round: int = Field(description="place of the launch among its job's launches of the same kind, from 0")
    attempt: int = Field(description="0 first, then retries")
    kind: LaunchKind
    role: Role
    model: str
    variant: VariantRef
    device: DeviceRef
    config: RunConfig
    protocol: ProtocolRef
    outcome: Outcome
    why: str | None = Field(default=None, description="for any outcome but OK: the reason, for a person")
    started_at: str = Field(description="UTC, ISO 8601")
    duration_s: float = Field(description="wall time of the whole launch, files and checks included")
    library_load_s: float | None = None
    session_load_s: float | None = None
    first_inference_s: float | None = None
    others_busy: float | None = Field(
        default=None, description="share of all CPUs' time that other processes used while the runner ran, 0 to 1"
    )
    warmup_iterations: int | None = None
    warmup_stable: bool | None = None
    latency: Latency | None = None
    memory: tuple[MemoryStage, ...] | None = None
    peak_rss_bytes: int | None = None
    ops: tuple[OpTime, ...] | None = None
    placement: Mapping[str, int] | None = Field(default=None, description="nodes by execution provider")
    golden_error: float | None = Field(
        default=None, description="‖device - reference‖₂ / ‖reference‖₂ over the golden outputs, the worst output"
    )
    energy_j: float | None = None
    power_source: str | None = Field(default=None, description="`measured: ...` or `modelled: ...`; null where there is none")
    absent: Mapping[str, str] = Field(default_factory=dict, description="metric to the reason it was not measured")
    traces: tuple[TraceRef, ...] = ()
    before: Conditions | None = None
    after: Conditions | None = None
    provenance: Provenance | None = None
