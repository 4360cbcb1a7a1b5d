"""The limited child process itself: one task, one request in a file, one answer on standard output."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

TASKS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "inspect": ("optimizers.inspect_model", "InspectRequest", "inspect_model"),
        "make": ("optimizers.make", "MakeRequest", "make_variant"),
        "evaluate": ("optimizers.evaluate", "EvaluateRequest", "evaluate"),
    }
)
"""Name to module, request type and function."""


_OUT_OF_MEMORY = ("bad allocation", "bad_alloc", "Failed to allocate memory", "Cannot allocate memory")
"""How libraries say it who cannot raise MemoryError."""

_PR_SET_PDEATHSIG = 1  # prctl(2): the signal this process gets when its parent dies


def _end_with_parent() -> None:
    """Do not outlive a parent that was killed."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(limits: Mapping[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, key in ((resource.RLIMIT_DATA, "memory_bytes"), (resource.RLIMIT_FSIZE, "file_bytes")):
        _, hard = resource.getrlimit(kind)
        wanted = limits[key] if hard == resource.RLIM_INFINITY else min(limits[key], hard)
        resource.setrlimit(kind, (wanted, hard))


def main() -> int:
    """Run the task named in the first line of the file on the request in the rest; 0 when it gave an answer."""
    answer_fd = os.dup(1)
    os.dup2(2, 1)  # what a native library prints must not end in the answer
    if sys.platform == "linux":
        _end_with_parent()
    header, _, body = Path(sys.argv[1]).read_bytes().partition(b"\n")
    order = json.loads(header)
    _limit(order["limits"])
    warnings.simplefilter("ignore")
    envelope: dict[str, object]
    try:
        module, request_type, function = TASKS[order["task"]]
        loaded = importlib.import_module(module)
        request = getattr(loaded, request_type).model_validate_json(body)
        envelope = {"answer": getattr(loaded, function)(request).model_dump(mode="json")}
    except MemoryError:
        envelope = {"error": {"kind": "MemoryError", "message": "out of memory"}}
    except Exception as error:  # noqa: BLE001 - the one place where a task's failure becomes an answer
        if not _ours(error):
            traceback.print_exc()
        envelope = {"error": {"kind": _kind(error), "message": str(error) or type(error).__name__}}
    with os.fdopen(answer_fd, "w") as answer:
        json.dump(envelope, answer)
    return 1 if "error" in envelope else 0


def _ours(error: Exception) -> bool:
    return type(error).__module__.startswith("optimizers.")


def _kind(error: Exception) -> str:
    return "MemoryError" if any(words in str(error) for words in _OUT_OF_MEMORY) else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
