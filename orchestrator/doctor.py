"""What this machine has and lacks for Thresher's work, and how to get what is missing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from agents.errors import AgentError


class State(StrEnum):
    """How a finding stands."""

    OK = "ok"  # there
    MISSING = "missing"  # needed, and not there: the main job cannot run
    OPTIONAL = "optional"  # not there; something that some users want cannot be done


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` says how to get it, empty when it is there."""

    what: str
    state: State
    detail: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, quickest first."""
    yield Finding("python", State.OK, f"{sys.version.split()[0]} at {sys.executable}")
    yield from _runner()
    yield _writable("cache folder", _cache())
    yield _writable("temporary folder", Path(tempfile.gettempdir()))
    yield _package("pyarrow", "record export to Parquet", "export")
    yield _package("altair", "charts in reports", "report")
    yield _package("vl_convert", "charts in reports", "report")
    yield _package("psycopg", "a PostgreSQL database", "postgres")
    yield _energy()
    yield _pss()
    yield _cores()


def _runner() -> Iterator[Finding]:
    from agents.runner.build import build_runner, default_cache, host_runtime

    try:
        runtime = host_runtime()
        yield Finding("ONNX Runtime", State.OK, str(runtime))
    except AgentError as error:
        yield Finding("ONNX Runtime", State.MISSING, str(error), "pip install onnxruntime")
    try:
        built = build_runner("host", cache=default_cache())
        yield Finding("runner", State.OK, f"{built.version} at {built.path}")
    except AgentError as error:
        yield Finding("runner", State.MISSING, str(error), "a C compiler builds it: apt install gcc, or: pip install ziglang")


def _cache() -> Path:
    from agents.runner.build import default_cache

    return default_cache()


def _writable(what: str, folder: Path) -> Finding:
    existing = next((parent for parent in (folder, *folder.parents) if parent.exists()), folder)
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(what, State.MISSING, f"{folder} cannot be written", f"chown or chmod {existing}")
    if free < 2**30:
        return Finding(what, State.MISSING, f"{folder} has {free / 1e6:.0f} MB free", "free at least 1 GB")
    return Finding(what, State.OK, f"{folder}, {free / 1e9:.0f} GB free")


def _package(module: str, use: str, extra: str) -> Finding:
    if find_spec(module) is not None:
        return Finding(module, State.OK, f"for {use}")
    return Finding(module, State.OPTIONAL, f"not installed; needed for {use}", f"pip install 'thresher[{extra}]'")


def _energy() -> Finding:
    from agents.host.rapl import RaplMeter

    reading = RaplMeter().read()
    if isinstance(reading, str):
        return Finding("energy counter", State.OPTIONAL, reading, "energy is left out of records; bare metal with RAPL has it")
    return Finding("energy counter", State.OK, reading[1])


def _pss() -> Finding:
    if Path("/proc/self/smaps_rollup").exists():
        return Finding("memory by PSS", State.OK, "/proc/PID/smaps_rollup")
    return Finding(
        "memory by PSS", State.OPTIONAL, "/proc/PID/smaps_rollup is absent", "Linux 4.14 or newer; memory is left out of records"
    )


def _cores() -> Finding:
    count = os.cpu_count() or 1
    if count < 2:
        return Finding(
            "cores", State.OPTIONAL, "one core: everything else on the machine disturbs timing", "measure on a machine with two or more"
        )
    return Finding("cores", State.OK, f"{count}; timed launches take turns by the machine's timing lock")
