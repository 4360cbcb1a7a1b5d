"""What one launch is asked to do, and the run spec and deadline that follow from it (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import assert_never

from agents.bench.protocol import Protocol
from agents.device import Installed, TensorFile, Workload
from agents.run import LaunchKind, Role, RunConfig, VariantRef
from agents.runner.wire import InputTensor, RunSpec, SessionOptions, StateLink, Timed, Warmup

SLOWEST_LINK_BYTES_PER_S = 2e6
FILE_ALLOWANCE_S = 30.0

_SAFE_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """One launch of one job: a variant in one configuration.

    `workdir` is the visit's own folder on the device. `timed_p50_s` is the median of a timed launch of the same job, where
    one is known: per-op times are refused when profiling costs more than a tenth over it. `scratch` is a folder of this host
    for files on their way (the temporary one by default).
    """

    campaign_id: str
    visit_id: str
    job_id: str
    round: int
    kind: LaunchKind
    role: Role
    model: str
    variant: VariantRef
    workload: Workload
    config: RunConfig
    protocol: Protocol
    lab_host: str
    workdir: str
    attempt: int = 0
    timed_p50_s: float | None = None
    scratch: Path | None = None


def artifact_path(workdir: str, sha256: str, suffix: str) -> str:
    """Where a file of that content lies on the device; the runtime goes by a model's ending, so that is kept."""
    ending = suffix if _SAFE_SUFFIX.fullmatch(suffix) else ".bin"
    return str(PurePosixPath(workdir) / "artifacts" / f"{sha256}{ending}")


def model_path(workdir: str, workload: Workload) -> str:
    """Where the model lies on the device; one with weights in another file has a folder of its own with both."""
    if workload.model_data is None:
        return artifact_path(workdir, workload.model_sha256, workload.model.suffix)
    return str(PurePosixPath(workdir) / "artifacts" / f"{workload.model_sha256}.d" / "model.onnx")


def model_files(workdir: str, workload: Workload) -> tuple[tuple[Path, str, str], ...]:
    """The model's files as (on this host, sha256, on the device). Raises: ValueError for a name that is more than a file's."""
    model = model_path(workdir, workload)
    data = workload.model_data
    if data is None:
        return ((workload.model, workload.model_sha256, model),)
    if PurePosixPath(data.file_name).name != data.file_name:
        raise ValueError(f"{data.file_name!r} is not a file name")
    return (data.path, data.sha256, str(PurePosixPath(model).with_name(data.file_name))), (workload.model, workload.model_sha256, model)


def run_spec(request: LaunchRequest, installed: Installed, *, out_dir: str) -> RunSpec:
    """The run spec of a launch whose files are where `artifact_path` says."""
    config, protocol, workload = request.config, request.protocol, request.workload
    return RunSpec(
        runtime=installed.runtime,
        model=model_path(request.workdir, workload),
        out_dir=out_dir,
        mode=_mode(request.kind),
        session=SessionOptions(
            intra_op_threads=config.threads,
            graph_optimization=config.graph_optimization,
            provider=config.provider,
            provider_options=config.provider_options,
        ),
        inputs=tuple(_input(tensor, request.workdir) for tensor in workload.inputs)
        + tuple(InputTensor(name=state.name, dtype=state.dtype, shape=state.shape) for state in workload.state_inputs),
        states=tuple(StateLink(output=output, input=name) for output, name in workload.states),
        warmup=_warmup(request),
        timed=_section(request),
        golden_count=golden_count(workload) if request.kind is LaunchKind.GOLDEN else 0,
        sample_hz=protocol.memory_sample_hz if request.kind is LaunchKind.MEMORY else protocol.sample_hz,
        affinity=config.affinity,
    )


def golden_count(workload: Workload) -> int:
    """How many samples a golden launch runs: as many as there are reference outputs; one (does it run at all?) where there are none."""
    return max((tensor.count for tensor in workload.reference), default=1)


def launch_timeout_s(request: LaunchRequest) -> float:
    """Deadline of the runner: its sections at their longest, and the protocol's allowance for the rest."""
    protocol = request.protocol
    if request.kind is LaunchKind.GOLDEN:
        return protocol.golden_s + protocol.allowance_s
    return _warmup(request).max_s + _section(request).max_s + protocol.allowance_s


def file_timeout_s(size_bytes: int) -> float:
    """Deadline of one file's copy, over the slowest link that is worth using."""
    return FILE_ALLOWANCE_S + size_bytes / SLOWEST_LINK_BYTES_PER_S


def _mode(kind: LaunchKind) -> str:
    match kind:
        case LaunchKind.TIMED | LaunchKind.PACED:
            return "time"
        case LaunchKind.GOLDEN | LaunchKind.MEMORY | LaunchKind.CLOCK | LaunchKind.PROFILE:
            return kind.value
    assert_never(kind)


def _warmup(request: LaunchRequest) -> Warmup:
    protocol = request.protocol
    return protocol.brief_warmup if request.kind in (LaunchKind.MEMORY, LaunchKind.PROFILE) else protocol.warmup


def _section(request: LaunchRequest) -> Timed:
    protocol = request.protocol
    match request.kind:
        case LaunchKind.TIMED | LaunchKind.GOLDEN:
            return protocol.timed
        case LaunchKind.PACED:
            return protocol.timed.model_copy(update={"interval_s": protocol.paced_interval_s})
        case LaunchKind.MEMORY:
            return protocol.untimed
        case LaunchKind.CLOCK:
            return protocol.clocked
        case LaunchKind.PROFILE:
            return protocol.profiled
    assert_never(request.kind)


def _input(tensor: TensorFile, workdir: str) -> InputTensor:
    return InputTensor(
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        count=tensor.count,
        file=artifact_path(workdir, tensor.sha256, tensor.path.suffix),
    )
