"""One launch: files to the device, one process of the runner, its results back, the device left clean."""

from __future__ import annotations

import errno
import hashlib
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from agents.bench import decide
from agents.bench.findings import Findings, provenance_of, record_of
from agents.bench.measure import Results, memory_unreadable, take_lines, take_results
from agents.bench.request import LaunchRequest, artifact_path, file_timeout_s, launch_timeout_s, model_files, run_spec
from agents.bench.runner_end import doing, last_words, verdict_on
from agents.device import Device
from agents.errors import AgentError, Cancelled, CommandTimeout
from agents.power import EnergyUsed, energy_used
from agents.run import LaunchKind, Outcome, RunRecord
from agents.runner.output import parse_lines
from agents.thermal import throttled
from agents.transport import Completed

LOG = logging.getLogger(__name__)

Keep = Callable[[Path], str]
"""Puts a file into the artifact store and gives its sha256."""

_COMMAND_S = 30.0
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def run_launch(device: Device, request: LaunchRequest, *, keep: Keep, cancelled: Callable[[], bool]) -> RunRecord:
    """Run one launch, once. Whatever goes wrong on the device is the record's outcome, with the reason in `why`."""
    return _attempt(device, request, keep=keep, cancelled=cancelled)[0]


def launch_with_retries(device: Device, request: LaunchRequest, *, keep: Keep, cancelled: Callable[[], bool]) -> tuple[RunRecord, ...]:
    """Run one launch, and again (up to the protocol's `attempts`) where what went wrong may pass by itself: a record for each."""
    records: list[RunRecord] = []
    while True:
        record, retryable = _attempt(device, replace(request, attempt=len(records)), keep=keep, cancelled=cancelled)
        records.append(record)
        attempts = request.protocol.attempts
        again = decide.should_retry(record.outcome, retryable_error=retryable, attempt=record.attempt, attempts=attempts)
        if not again or cancelled():
            return tuple(records)
        LOG.info("%s launch of %s again: %s", request.kind, request.model, record.why)


def _attempt(device: Device, request: LaunchRequest, *, keep: Keep, cancelled: Callable[[], bool]) -> tuple[RunRecord, bool]:
    """The record, and whether an error ended it that may pass by itself."""
    started_at, begin_s = datetime.now(UTC).isoformat(), time.monotonic()
    found = Findings()
    try:
        with tempfile.TemporaryDirectory(prefix="thresher-launch-", dir=request.scratch) as scratch:
            _launch(device, request, found, scratch=Path(scratch), keep=keep, cancelled=cancelled)
    except AgentError as error:
        found.conclude(error.outcome, str(error))
        found.retryable_error = error.retryable
    except OSError as error:  # a file of this host: the store, the scratch folder, a model that is gone
        found.conclude(Outcome.OUT_OF_SPACE if error.errno in _NO_SPACE else Outcome.ERROR, f"a file of the lab host: {error}")
    record = record_of(found, request, device.ref, started_at=started_at, duration_s=time.monotonic() - begin_s)
    return record, found.retryable_error


def _launch(device: Device, request: LaunchRequest, found: Findings, *, scratch: Path, keep: Keep, cancelled: Callable[[], bool]) -> None:
    installed = device.install(workdir=request.workdir)
    found.provenance = provenance_of(installed, device.facts(), lab_host=request.lab_host)
    _push_artifacts(device, request, cancelled)
    with _launch_folder(device, request.workdir) as folder:
        spec = scratch / "spec.json"
        spec.write_text(run_spec(request, installed, out_dir=folder).model_dump_json())
        device.transport.push(spec, f"{folder}/spec.json", timeout_s=_COMMAND_S)
        completed = _run(device, request, found, (installed.runner, f"{folder}/spec.json"), cancelled)
        if unreadable := memory_unreadable(request.kind, last_words(completed.stdout)):
            found.absent |= unreadable
            return
        model_bytes = request.workload.model.stat().st_size
        bad = verdict_on(completed, before=found.before, after=found.after, model_bytes=model_bytes)
        if bad is not None:
            found.conclude(*bad)
            return
        lines = parse_lines(completed.stdout)
        take_lines(found, lines)
        take_results(found, request, lines, Results(device.transport, folder, scratch, keep))
        _judge(found, request, cpu_count=device.facts().cpu_count)


def _run(device: Device, request: LaunchRequest, found: Findings, argv: tuple[str, ...], cancelled: Callable[[], bool]) -> Completed:
    """Run the runner between two looks at the device."""
    timeout_s = launch_timeout_s(request)
    found.before = device.conditions()
    energy_before = device.energy_j()
    try:
        completed = device.transport.run(argv, timeout_s=timeout_s, cancelled=cancelled)
    except CommandTimeout as error:
        found.conclude(error.outcome, f"the launch did not end within {timeout_s:g} s; it was stopped {doing(error.stdout)}")
        raise
    used = energy_used(energy_before, device.energy_j())
    found.after = device.conditions()
    found.others_busy = decide.others_busy(found.before, found.after, completed.cpu_s)
    if request.kind in (LaunchKind.TIMED, LaunchKind.PACED):
        if isinstance(used, EnergyUsed):
            found.energy_j, found.power_source = used.energy_j, used.source
        else:
            found.absent["energy_per_inference_j"] = used
    return completed


def _judge(found: Findings, request: LaunchRequest, *, cpu_count: int) -> None:
    """Whether figures of time count."""
    if not decide.is_disturbable(request.kind):
        return
    if (why := throttled(found.before, found.after)) is not None:
        found.conclude(Outcome.THROTTLED, why)
    if request.protocol.accept_disturbed:
        return
    threads = request.config.threads
    why = decide.disturbance(busy=found.others_busy, threads=threads, cpu_count=cpu_count, warmup_stable=found.warmup_stable)
    if why is not None:
        found.conclude(Outcome.TAINTED, why)


def _push_artifacts(device: Device, request: LaunchRequest, cancelled: Callable[[], bool]) -> None:
    """Push the files of the workload that are not there yet; a name that holds the content's sha256 is there whole or not at all."""
    workload, folder = request.workload, PurePosixPath(request.workdir) / "artifacts"
    tensors = [
        (tensor.path, tensor.sha256, artifact_path(request.workdir, tensor.sha256, tensor.path.suffix)) for tensor in workload.inputs
    ]
    folders = [
        str(folder),
        *({str(PurePosixPath(remote).parent) for _, _, remote in model_files(request.workdir, workload)} - {str(folder)}),
    ]
    there: set[str] = set()
    for each in folders:
        listing = device.transport.run(["ls", each], timeout_s=_COMMAND_S, cancelled=cancelled)
        there |= {f"{each}/{name}" for name in listing.stdout.decode(errors="replace").split("\n")}
    for local, sha256, remote in (*model_files(request.workdir, workload), *tensors):
        if remote in there:
            continue
        if cancelled():
            raise Cancelled("stopped on request before the runner began")
        _check_content(local, sha256)
        device.transport.push(local, remote, timeout_s=file_timeout_s(local.stat().st_size))
        there.add(remote)


def _check_content(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise AgentError(f"{path} is not what it was: its sha256 is no longer {sha256}")


@contextmanager
def _launch_folder(device: Device, workdir: str) -> Iterator[str]:
    """A folder of the launch's own on the device, which the first push into it makes; it is removed with all that is in it."""
    folder = str(PurePosixPath(workdir) / "launches" / uuid.uuid4().hex)
    try:
        yield folder
    finally:
        try:
            device.transport.remove(folder, timeout_s=_COMMAND_S)
        except AgentError as error:
            LOG.warning("%s: the folder %s could not be removed: %s", device.ref.name, folder, error)
