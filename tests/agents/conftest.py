"""A device for tests of the protocol: real files, real processes, and a runner that is a script which speaks the wire."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from agents.bench.launch import launch_with_retries, run_launch
from agents.bench.protocol import QUICK, Protocol
from agents.bench.request import LaunchRequest
from agents.device import DeviceFacts, Installed, TensorFile, Workload
from agents.host.transport import LocalTransport
from agents.run import Conditions, DeviceRef, LaunchKind, Role, RunConfig, RunRecord, VariantRef

HEADER = """#!{python} -I
import json, os, signal, struct, sys, time
spec = json.load(open(sys.argv[1]))
out = spec["out_dir"]
def say(kind, **fields): print(json.dumps({{"kind": kind, **fields}}), flush=True)
def begin():
    say("start", version=1, runner_version="9.9", runtime_version="1.99", pid=os.getpid(), library_load_s=0.01)
    say("loaded", session_load_s=0.02)
    say("first", latency_s=0.003)
    say("warmed-up", iterations=10, duration_s=0.1, stable=True)
def timed(nanoseconds, late=0, duration_s=1.0):
    with open(out + "/iterations.bin", "wb") as file: file.write(struct.pack(f"<{{len(nanoseconds)}}q", *nanoseconds))
    say("timed", iterations=len(nanoseconds), duration_s=duration_s, late=late)
def end(): say("end", reason="complete", peak_rss_bytes=123456)
"""

GOOD = "begin(); timed([1_000_000 + i for i in range(100)]); end()"


@dataclass
class ScriptedDevice:
    """A device whose runner is a script and whose conditions and energy are given (the last ones again when they run out)."""

    runner: str
    ref: DeviceRef = field(default_factory=lambda: DeviceRef(name="bench", profile="host", platform="host", address="local:"))
    transport: LocalTransport = field(default_factory=LocalTransport)
    said: Sequence[Conditions] = (Conditions(at="2026-11-24T00:00:00+00:00"),)
    energy: Sequence[tuple[float, str] | str] = ("no counter here",)

    def __post_init__(self) -> None:
        self._said, self._energy = _then_the_last(self.said), _then_the_last(self.energy)

    def facts(self) -> DeviceFacts:
        return DeviceFacts("os", "kernel", "cpu", 2, 2**30, "boot")

    def conditions(self) -> Conditions:
        return next(self._said)

    def energy_j(self) -> tuple[float, str] | str:
        return next(self._energy)

    def install(self, *, workdir: str) -> Installed:
        return Installed(self.runner, "/libonnxruntime.so", "9.8", "aa", "1.98", "bb")


def _then_the_last(values: Sequence) -> Iterator:
    yield from values
    while True:
        yield values[-1]


class Bench:
    """Builds scripts, workloads and requests in one folder, and keeps traces in another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.visit = folder / "visit"
        self.store = folder / "store"
        self.store.mkdir()
        model = folder / "model.onnx"
        model.write_bytes(b"not opened by a script")
        self.workload = Workload(model, sha256(model), (self.tensor("x", np.zeros((2, 3), "<f4")),), (), (), (), 0.01)

    def tensor(self, name: str, samples: np.ndarray) -> TensorFile:
        """A tensor file of shape (count, *shape)."""
        path = self.folder / f"{name}.bin"
        path.write_bytes(samples.tobytes())
        return TensorFile(name, samples.dtype.name, samples.shape[1:], len(samples), path, sha256(path))

    def with_reference(self, samples: np.ndarray, *, tolerance: float = 0.01) -> None:
        self.workload = replace(self.workload, reference=(self.tensor("y", samples),), tolerance=tolerance)

    def device(self, body: str, **settings: object) -> ScriptedDevice:
        script = self.folder / "runner"
        script.write_text(HEADER.format(python=sys.executable) + body)
        script.chmod(0o755)
        return ScriptedDevice(str(script), **settings)

    def request(self, kind: LaunchKind = LaunchKind.TIMED, *, protocol: Protocol = QUICK, threads: int = 1, **fields) -> LaunchRequest:
        return LaunchRequest(
            campaign_id="c",
            visit_id="v",
            job_id="j",
            round=0,
            kind=kind,
            role=Role.CANDIDATE,
            model="m",
            variant=VariantRef(id="i", recipe="fp32", sha256=self.workload.model_sha256, size_bytes=22),
            workload=self.workload,
            config=RunConfig(threads=threads),
            protocol=protocol,
            lab_host="lab",
            workdir=str(self.visit),
            **fields,
        )

    def keep(self, path: Path) -> str:
        digest = sha256(path)
        (self.store / digest).write_bytes(path.read_bytes())
        return digest

    def run(self, device, kind: LaunchKind = LaunchKind.TIMED, *, cancelled: Callable[[], bool] = lambda: False, **fields) -> RunRecord:
        return run_launch(device, self.request(kind, **fields), keep=self.keep, cancelled=cancelled)

    def run_again(self, device, kind: LaunchKind = LaunchKind.TIMED, **fields) -> tuple[RunRecord, ...]:
        return launch_with_retries(device, self.request(kind, **fields), keep=self.keep, cancelled=lambda: False)

    def left_over(self) -> list[str]:
        """Names in the visit's folder of launches: none after a launch."""
        launches = self.visit / "launches"
        return [path.name for path in launches.iterdir()] if launches.exists() else []


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty rig."""
    return Bench(tmp_path)
