"""Run as a program: make variants of many models, each in a fork with limits of its own, and print one JSON line each.

    python forked_make.py TIMEOUT_S MEMORY_BYTES RECIPE MODEL...

An outcome is "variant", "none", the class name of an error of ours, "limit" (time), "signal N", or "foreign: ..." - the one that must not be.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path

import onnxscript.optimizer  # noqa: F401 - loaded once, not in each fork

from optimizers.errors import OptimizerError
from optimizers.make import MakeRequest, make_variant
from optimizers.recipes import find_recipe


def outcome(recipe: str, model: Path) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        request = MakeRequest(model="odd", onnx_path=model, recipe=find_recipe(recipe), out_dir=Path(folder), intra_op_threads=1)
        try:
            result = make_variant(request)
        except OptimizerError as error:
            return type(error).__name__, str(error)
        except MemoryError:
            return "limit", "memory"
        except BaseException as error:  # noqa: BLE001 - finding these is what this program is for
            return f"foreign: {type(error).__name__}", str(error)
    if result.variant is None:
        return "none", str(result.why)
    return "variant", " ".join(result.variant.warnings)


def in_fork(recipe: str, model: Path, *, timeout_s: int, memory_bytes: int) -> tuple[str, str]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(timeout_s)
        os.write(write, json.dumps(outcome(recipe, model)).encode()[:60_000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return ("limit", "time") if number == signal.SIGALRM else (f"signal {number}", "")
    kind, message = json.loads(answer)
    return kind, message


def main() -> None:
    timeout_s, memory_bytes, recipe = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for name in sys.argv[4:]:
        kind, message = in_fork(recipe, Path(name), timeout_s=timeout_s, memory_bytes=memory_bytes)
        print(json.dumps({"model": Path(name).name, "outcome": kind, "message": message[:2000]}), flush=True)


if __name__ == "__main__":
    main()
