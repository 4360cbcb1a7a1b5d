"""A limited child process: where foreign models are opened, so that none can take the orchestrator down.

`run_task` starts `python -m orchestrator.child_main` on a request in a file and reads one answer as JSON from its
standard output. The child sets its own limits (memory, file size, core dumps) before it imports anything that parses a
model; at the deadline, or when asked to stop, it is ended with everything it started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from agents.errors import AgentError, Cancelled, CommandTimeout
from agents.host.command import run_command
from agents.transport import Completed
from orchestrator.errors import ChildCrashed, ChildError, ChildLimit

T = TypeVar("T", bound=BaseModel)

_KEPT = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "XDG_CACHE_HOME"})
_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use: private memory (RLIMIT_DATA), wall time, bytes of any one file it writes."""

    memory_bytes: int = 8 * 2**30
    timeout_s: float = 1800.0
    file_bytes: int = 8 * 2**30


class Stopped(Exception):
    """The caller asked to stop; the child was ended."""


def run_task(task: str, request: BaseModel, answer: type[T], *, limits: Limits, cancelled: Callable[[], bool] = lambda: False) -> T:
    """Run one task of `orchestrator.child_main.TASKS` in a limited child process and parse its answer.

    Raises: ChildLimit (time, memory or file size), ChildCrashed (a signal), ChildError (the task's own error, with its
    class name in `kind`), Stopped.
    """
    with tempfile.TemporaryDirectory(prefix="thresher-child-") as folder:
        order = Path(folder, "request.json")
        order.write_text(json.dumps({"task": task, "limits": asdict(limits)}) + "\n" + request.model_dump_json(), encoding="utf-8")
        argv = [sys.executable, "-P", "-m", "orchestrator.child_main", str(order)]  # -P: nothing is imported from the current folder
        try:
            done = run_command(argv, timeout_s=limits.timeout_s, cancelled=cancelled, environment=_environment())
        except Cancelled:
            raise Stopped from None
        except CommandTimeout:
            raise ChildLimit(f"it did not end within {limits.timeout_s:g} s", kind="time") from None
        except AgentError as error:
            raise ChildError(f"`{task}`: {error}") from error
    if done.exit_code < 0:
        _raise_signal(task, -done.exit_code, limits)
    return _read_answer(task, done, answer)


def _environment() -> Mapping[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in _KEPT}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "ORT_DISABLE_TELEMETRY": "1"}


def _raise_signal(task: str, number: int, limits: Limits) -> None:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGXFSZ:
        raise ChildLimit(f"it tried to write a file of more than {limits.file_bytes / 1e9:.1f} GB", kind="file size")
    if number == signal.SIGKILL:
        raise ChildLimit("it was killed (SIGKILL): the system was probably out of memory", kind="memory")
    raise ChildCrashed(f"the process that ran `{task}` ended by {name}: a library crashed on this model, or its metric ended it", kind=name)


def _read_answer(task: str, done: Completed, answer: type[T]) -> T:
    try:
        envelope = json.loads(done.stdout)
        if "error" in envelope:
            _raise_error(envelope["error"])
        return answer.model_validate(envelope["answer"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        said = done.stderr[-_SHOWN:].decode(errors="replace").strip()
        raise ChildError(
            f"the process that ran `{task}` ended (exit code {done.exit_code}) without an answer: something in it ended it"
            + (f"; its last words: {said}" if said else "")
        ) from error


def _raise_error(error: Mapping[str, str]) -> None:
    if error["kind"] == "MemoryError":
        raise ChildLimit("it needs more memory than its limit allows", kind="memory")
    raise ChildError(error["message"], kind=error["kind"])
