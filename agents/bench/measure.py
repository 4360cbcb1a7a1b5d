"""What each kind of launch gives: the runner's lines and files turned into findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, assert_never

from agents.bench import decide
from agents.bench.findings import Findings
from agents.bench.golden import compare_golden, tensor_bytes
from agents.bench.op_profile import MAX_PROFILE_BYTES, read_profile
from agents.bench.request import LaunchRequest, file_timeout_s
from agents.errors import RunnerOutputError
from agents.run import LaunchKind, MemoryStage, Outcome, TraceRef
from agents.runner.output import read_iterations
from agents.runner.wire import (
    ClockLine,
    End,
    Failed,
    First,
    Line,
    Loaded,
    MemoryLine,
    OutputInfo,
    Start,
    TimedDone,
    WarmedUp,
)
from agents.thermal import absent_clocks, clocks_dropped
from agents.transport import Transport

T = TypeVar("T")

PERCENTILES = (("latency_p90_s", 0.9), ("latency_p99_s", 0.99))


@dataclass(frozen=True, slots=True)
class Results:
    """Where a launch's results are: on the device in `folder`, pulled into `scratch` on this host, kept by `keep`."""

    transport: Transport
    folder: str
    scratch: Path
    keep: Callable[[Path], str]

    def pull(self, name: str, *, size_bytes: int) -> Path:
        """The file of that name, which should have about that size. Raises: AgentError."""
        local = self.scratch / name
        self.transport.pull(f"{self.folder}/{name}", local, timeout_s=file_timeout_s(size_bytes))
        return local


def take_lines(found: Findings, lines: Sequence[Line]) -> None:
    """What every kind of launch says of itself."""
    for line in lines:
        match line:
            case Start():
                found.library_load_s = line.library_load_s
                if found.provenance is not None:
                    found.provenance = found.provenance.model_copy(
                        update={"runner_version": line.runner_version, "runtime_version": line.runtime_version}
                    )
            case Loaded():
                found.session_load_s = line.session_load_s
            case First():
                found.first_inference_s = line.latency_s
            case WarmedUp():
                found.warmup_iterations, found.warmup_stable = line.iterations, line.stable
            case End():
                found.peak_rss_bytes = line.peak_rss_bytes


def take_results(found: Findings, request: LaunchRequest, lines: Sequence[Line], results: Results) -> None:
    """What this kind of launch was for. Raises: AgentError, OSError."""
    match request.kind:
        case LaunchKind.GOLDEN:
            _golden(found, request, lines, results)
        case LaunchKind.TIMED:
            _timed(found, lines, results)
            if found.latency is not None:
                found.absent |= decide.absent_percentiles(found.latency, PERCENTILES)
        case LaunchKind.PACED:
            _paced(found, request, lines, results)
        case LaunchKind.MEMORY:
            _memory(found, lines)
        case LaunchKind.CLOCK:
            _clock(found, lines, results)
        case LaunchKind.PROFILE:
            _profile(found, request, lines, results)
        case _:
            assert_never(request.kind)


def _golden(found: Findings, request: LaunchRequest, lines: Sequence[Line], results: Results) -> None:
    reference = request.workload.reference
    if not reference:
        found.absent["golden_error"] = "there are no reference outputs to compare with; the model ran"
        return
    wanted = {tensor.name for tensor in reference}
    outputs = {}
    for info in _all(lines, OutputInfo):
        if info.name in wanted:
            size = tensor_bytes(info.dtype, info.shape, info.count)
            outputs[info.name] = (info, results.pull(f"golden-{info.index}.bin", size_bytes=size))
    result = compare_golden(reference, outputs, tolerance=request.workload.tolerance)
    found.golden_error = result.error
    if result.wrong is not None:
        found.conclude(Outcome.WRONG_OUTPUT, result.wrong)


def _timed(found: Findings, lines: Sequence[Line], results: Results) -> None:
    done = _one(lines, TimedDone)
    path = results.pull("iterations.bin", size_bytes=8 * done.iterations)
    if done.iterations == 0:
        raise RunnerOutputError("the runner timed no inference", stage="output")
    found.latency = decide.summarize(read_iterations(path, iterations=done.iterations), done.duration_s)
    found.traces += (TraceRef(sha256=results.keep(path), encoding="int64-le-ns", count=done.iterations),)


def _paced(found: Findings, request: LaunchRequest, lines: Sequence[Line], results: Results) -> None:
    _timed(found, lines, results)
    done = _one(lines, TimedDone)
    refused = decide.pace_lost(done.late, done.iterations, request.protocol.paced_interval_s)
    if refused is not None:
        found.latency = None
        found.absent["latency_paced_p50_s"] = refused


def _memory(found: Findings, lines: Sequence[Line]) -> None:
    stages = tuple(
        MemoryStage(stage=line.stage, pss_bytes=line.pss_bytes, swap_pss_bytes=line.swap_pss_bytes, rss_bytes=line.rss_bytes)
        for line in _all(lines, MemoryLine)
    )
    if not stages:
        raise RunnerOutputError("the runner said nothing of its memory", stage="output")
    found.memory = stages


def memory_unreadable(kind: LaunchKind, last: Line | None) -> dict[str, str]:
    """The reason for each metric of a memory launch whose kernel does not give a process's proportional memory; else nothing."""
    if kind is LaunchKind.MEMORY and isinstance(last, Failed) and "/proc/self/smaps" in last.message:
        return dict.fromkeys(("peak_memory_bytes", "memory_load_bytes", "memory_retained_bytes"), last.message)
    return {}


def _clock(found: Findings, lines: Sequence[Line], results: Results) -> None:
    samples = _all(lines, ClockLine)
    found.absent |= absent_clocks(samples)
    if samples:
        path = results.scratch / "clock.jsonl"
        path.write_text("".join(sample.model_dump_json() + "\n" for sample in samples))
        found.traces += (TraceRef(sha256=results.keep(path), encoding="json-lines", count=len(samples)),)
    if (why := clocks_dropped(samples)) is not None:
        found.conclude(Outcome.THROTTLED, why)


def _profile(found: Findings, request: LaunchRequest, lines: Sequence[Line], results: Results) -> None:
    path = results.pull("profile.json", size_bytes=MAX_PROFILE_BYTES)
    iterations = _one(lines, TimedDone).iterations  # a slow model may have none after its warm-up: then its last inference counts
    profile = read_profile(path, skip_inferences=(found.warmup_iterations or 0) + min(iterations, 1))
    found.placement = profile.placement
    refused = decide.profile_refused(profile.inference_s, request.timed_p50_s) if request.timed_p50_s else None
    if refused is None:
        found.ops = profile.ops
    else:
        found.absent["ops"] = refused
    found.traces += (TraceRef(sha256=results.keep(path), encoding="ort-profile-json", count=profile.events),)
    if (why := decide.fell_back(request.config.provider, profile.placement)) is not None:
        found.conclude(Outcome.ERROR, why)


def _all(lines: Sequence[Line], kind: type[T]) -> list[T]:
    return [line for line in lines if isinstance(line, kind)]


def _one(lines: Sequence[Line], kind: type[T]) -> T:
    found = _all(lines, kind)
    if len(found) != 1:
        raise RunnerOutputError(f"the runner wrote {len(found)} lines of the kind {kind.__name__} instead of one", stage="output")
    return found[0]
