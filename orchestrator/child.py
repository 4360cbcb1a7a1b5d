"""A limited child process: where foreign models are opened, so that none can take the orchestrator down.

`run_task` starts `python -m orchestrator.child_main`, gives it one request as JSON on standard input and reads one
answer as JSON from standard output. The child sets its own limits (memory, file size, core dumps) before it imports
anything that parses a model; the parent ends it, with all its children, at the deadline or when asked to stop.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import psutil
from pydantic import BaseModel, ValidationError

from orchestrator.errors import ChildCrashed, ChildError, ChildLimit

T = TypeVar("T", bound=BaseModel)

MAX_ANSWER_BYTES = 64 * 2**20
_POLL_S = 0.05
_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use: private memory (RLIMIT_DATA), wall time, bytes of any one file it writes."""

    memory_bytes: int = 8 * 2**30
    timeout_s: float = 1800.0
    file_bytes: int = 8 * 2**30


class Stopped(Exception):
    """The caller asked to stop; the child was ended."""


def run_task(
    task: str,
    request: BaseModel,
    answer: type[T],
    *,
    limits: Limits,
    cancelled: Callable[[], bool] = lambda: False,
    cwd: Path | None = None,
) -> T:
    """Run one task of `orchestrator.child_main.TASKS` in a limited child process and parse its answer.

    Raises: ChildLimit (time, memory or file size), ChildCrashed (a signal), ChildError (the task's own error, with its
    class name in `kind`), Stopped.
    """
    message = json.dumps({"task": task, "limits": {"memory_bytes": limits.memory_bytes, "file_bytes": limits.file_bytes}})
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(message.encode() + b"\n" + request.model_dump_json().encode())
        stdin.seek(0)
        with _child(stdin, stdout, stderr, cwd) as child:
            _wait(child, limits, cancelled)
        if child.returncode < 0:
            _raise_signal(task, -child.returncode, limits)
        return _read_answer(task, child.returncode, stdout, stderr, answer)


@contextmanager
def _child(stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes], cwd: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "orchestrator.child_main"],  # -P: nothing is imported from the current folder
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd or tempfile.gettempdir(),
        env=_environment(),
        start_new_session=True,
    )
    try:
        yield child
    finally:
        end_tree(child.pid)
        child.wait()


def _environment() -> Mapping[str, str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if key in {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH"}
    }
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _wait(child: subprocess.Popen[bytes], limits: Limits, cancelled: Callable[[], bool]) -> None:
    deadline = time.monotonic() + limits.timeout_s
    while True:
        try:
            child.wait(timeout=_POLL_S)
            return
        except subprocess.TimeoutExpired:
            if cancelled():
                raise Stopped from None
            if time.monotonic() > deadline:
                raise ChildLimit(f"it did not end within {limits.timeout_s:g} s", kind="time") from None


def end_tree(pid: int) -> None:
    """End a process with all its descendants: SIGTERM, a grace of 2 s, SIGKILL. A process that is gone is fine."""
    try:
        root = psutil.Process(pid)
        processes = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=_GRACE_S)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=_GRACE_S)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _raise_signal(task: str, number: int, limits: Limits) -> None:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGXFSZ:
        raise ChildLimit(f"it tried to write a file of more than {limits.file_bytes / 1e9:.1f} GB", kind="file size")
    if number == signal.SIGKILL:
        raise ChildLimit("it was killed (SIGKILL): the system was probably out of memory", kind="memory")
    raise ChildCrashed(f"the process that ran `{task}` crashed with {name}: the model makes a library crash", kind=name)


def _read_answer(task: str, exit_code: int, stdout: IO[bytes], stderr: IO[bytes], answer: type[T]) -> T:
    stdout.seek(0)
    data = stdout.read(MAX_ANSWER_BYTES + 1)
    if len(data) > MAX_ANSWER_BYTES:
        raise ChildError(f"the answer of `{task}` is larger than {MAX_ANSWER_BYTES} bytes")
    try:
        envelope = json.loads(data)
        if "error" in envelope:
            _raise_error(envelope["error"])
        return answer.model_validate(envelope["answer"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        stderr.seek(0)
        tail = stderr.read()[-2000:].decode(errors="replace")
        raise ChildError(f"`{task}` ended with exit code {exit_code} and no answer that can be read: {tail or error}") from error


def _raise_error(error: Mapping[str, str]) -> None:
    if error["kind"] == "MemoryError":
        raise ChildLimit("it needs more memory than its limit allows", kind="memory")
    raise ChildError(error["message"], kind=error["kind"])
