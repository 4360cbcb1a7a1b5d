"""The runner's wire format, version 1: the run spec that it reads, the JSON lines that it writes.

The same schema serves the C runner and, later, the runner app of iOS. `docs/schema/run-spec.json` is exported from here.
All paths are the device's own and absolute. Names follow ONNX Runtime's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from agents.run import Value

WIRE_VERSION: Literal[1] = 1

ElementType = Literal[
    "float32", "float16", "float64", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"
]


class SessionOptions(Value):
    """How the session is created."""

    intra_op_threads: int = Field(default=1, ge=1, le=256)
    inter_op_threads: int = Field(default=1, ge=1, le=256)
    graph_optimization: Literal["disabled", "basic", "extended", "all"] = "all"
    cpu_arena: bool = True
    memory_pattern: bool = True
    provider: str = "CPUExecutionProvider"
    provider_options: Mapping[str, str] = Field(default_factory=dict)
    config: Mapping[str, str] = Field(default_factory=dict, description="session config entries")


class InputTensor(Value):
    """An input: `count` samples of `shape`, raw C-order little-endian, one after the other in `file`; iteration i takes sample i mod count.

    `file` null: zeros (count is then 1). A state input starts from its file or zeros (count 1) and is then fed from its output.
    A rank is at most 16; all inputs together take at most 2 GiB.
    """

    name: str
    dtype: ElementType
    shape: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...]
    count: int = Field(default=1, ge=1, le=1_000_000)
    file: str | None = None


class StateLink(Value):
    """An output that becomes an input of the next inference.

    States are reset to their start when sample 0 of the input with the most samples comes round again, and at the start of each phase.
    """

    output: str
    input: str


class Warmup(Value):
    """At least `min_iterations` and `min_s`, then until the medians of successive blocks of ten agree within `tolerance`, at most `max_iterations` or `max_s`.

    `max_s` holds whatever else is asked; `max_iterations` only ends the wait for agreement, so that a model of a microsecond still warms up
    for `min_s`.
    """

    min_iterations: int = Field(default=10, ge=0, le=10_000_000)
    min_s: float = Field(default=1.0, ge=0, le=86_400)
    max_iterations: int = Field(default=100, ge=0, le=10_000_000)
    max_s: float = Field(default=10.0, ge=0, le=86_400)
    tolerance: float = Field(default=0.02, ge=0, le=10)


class Timed(Value):
    """At least `min_iterations` and `min_s`, at most `max_s` or `max_iterations`. `interval_s`: start one inference every so many seconds (paced); null: back to back.

    A paced inference that cannot start on time starts at once, and the next is due one interval after it: no burst catches up.
    """

    min_iterations: int = Field(default=50, ge=0, le=10_000_000)
    min_s: float = Field(default=5.0, ge=0, le=86_400)
    max_iterations: int = Field(default=1_000_000, ge=1, le=10_000_000)
    max_s: float = Field(default=60.0, ge=0, le=86_400)
    interval_s: float | None = Field(default=None, ge=1e-6, le=3600)


class RunSpec(Value):
    """What one launch of the runner does.

    mode `time`: load, first inference, warm-up, timed loop; raw nanoseconds (int64 little-endian) go to `out_dir`/iterations.bin.
    mode `golden`: one inference for each of `golden_count` samples in order; output k of sample i is appended to `out_dir`/golden-k.bin.
    mode `memory`: smaps_rollup before the session (the inputs are in memory by then), after it, its highest at `sample_hz` from the first
    inference to the last, and after the session was released.
    mode `clock`: samples clocks and temperatures at `sample_hz` while the timed loop runs.
    mode `profile`: all inferences, the first one and the warm-up too, with ONNX Runtime's profiler on; the profile goes to
    `out_dir`/profile.json.
    `memory`, `clock` and `profile` iterate as `time` does (`first`, `warmed-up` and `timed` lines), without storing times.
    A file appears whole or not at all. SIGTERM (SIGINT, SIGHUP too) during the timed loop keeps the inferences that ended; before it,
    there is no `timed` line and no iterations.bin.
    """

    version: Literal[1] = WIRE_VERSION
    runtime: str = Field(description="path of libonnxruntime")
    model: str
    out_dir: str = Field(description="an existing folder; the runner writes nowhere else")
    mode: Literal["time", "golden", "memory", "clock", "profile"]
    session: SessionOptions = SessionOptions()
    inputs: tuple[InputTensor, ...]
    states: tuple[StateLink, ...] = ()
    warmup: Warmup = Warmup()
    timed: Timed = Timed()
    golden_count: int = Field(default=0, ge=0)
    sample_hz: float = Field(default=10.0, gt=0, le=1000)
    affinity: tuple[int, ...] = ()


class Start(Value):
    """First line: the runner and the runtime are there."""

    kind: Literal["start"]
    version: Literal[1]
    runner_version: str
    runtime_version: str
    pid: int
    library_load_s: float


class Loaded(Value):
    """The session was created: options, loading, graph optimisation."""

    kind: Literal["loaded"]
    session_load_s: float


class First(Value):
    """The first inference of the process."""

    kind: Literal["first"]
    latency_s: float


class WarmedUp(Value):
    """Warm-up ended; `stable` false: at its limit, medians still apart."""

    kind: Literal["warmed-up"]
    iterations: int
    duration_s: float
    stable: bool


class TimedDone(Value):
    """The timed loop ended; `late` counts paced inferences that could not start on time."""

    kind: Literal["timed"]
    iterations: int
    duration_s: float
    late: int = 0


class MemoryLine(Value):
    """smaps_rollup at one stage."""

    kind: Literal["memory"]
    stage: Literal["baseline", "loaded", "peak", "retained"]
    pss_bytes: int
    swap_pss_bytes: int
    rss_bytes: int


class ClockLine(Value):
    """One sample of clocks (one a CPU; -1: cannot be read) and temperatures (by zone), at `t_s` since the loop began."""

    kind: Literal["clock"]
    t_s: float
    cpu_frequency_hz: tuple[int, ...]
    temperature_c: Mapping[str, float]


class OutputInfo(Value):
    """What golden-`index`.bin holds: the k-th output of the model."""

    kind: Literal["output"]
    index: int
    name: str
    dtype: ElementType
    shape: tuple[int, ...]
    count: int


class Failed(Value):
    """Last line of a run that failed; `stage` is also in the exit code (`EXIT_STAGE`)."""

    kind: Literal["error"]
    stage: Literal["spec", "runtime", "session", "input", "run", "output"]
    message: str


class End(Value):
    """Last line of a run that did what it could; `reason` `sigterm`: asked to stop, what was measured so far is written."""

    kind: Literal["end"]
    reason: Literal["complete", "sigterm"]
    peak_rss_bytes: int


Line = Annotated[
    Start | Loaded | First | WarmedUp | TimedDone | MemoryLine | ClockLine | OutputInfo | Failed | End,
    Field(discriminator="kind"),
]
LINE: TypeAdapter[Line] = TypeAdapter(Line)

EXIT_STAGE: Mapping[int, str] = {0: "", 10: "spec", 11: "runtime", 12: "session", 13: "input", 14: "run", 15: "output", 143: "sigterm"}
"""Exit code to the stage that failed; 143: ended by SIGTERM with what was measured so far."""
