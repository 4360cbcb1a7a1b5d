"""Whether ONNX Runtime survives loading a model: a crash in one of its optimisers must not take this process along."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

_LOAD = """
import sys
import onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = int(sys.argv[2])
try:
    ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
except Exception:
    pass
"""

TIMEOUT_S = 300.0


def crash_on_load(model: Path, *, threads: int) -> str | None:
    """The signal that ended a process that loaded the model, with all of the runtime's optimisations; None where it lived.

    An error of the runtime is not a crash. A load that does not end within five minutes counts as one.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _LOAD, str(model), str(threads)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "no end"
    return signal.Signals(-child.returncode).name if child.returncode < 0 else None
