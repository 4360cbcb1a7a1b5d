"""This machine as a device like any other."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from agents.device import DeviceFacts, Installed
from agents.host import sensors
from agents.host.proc_text import os_name, parse_cpu_model, parse_os_release
from agents.host.process_tree import end_orphans
from agents.host.rapl import RaplMeter
from agents.host.transport import LocalTransport
from agents.power import EnergyReading
from agents.run import Conditions, DeviceRef
from agents.runner.build import build_runner, host_runtime

_BUSY_SAMPLE_S = 0.5


@dataclass(slots=True)
class HostDevice:
    """See `Device`. `cache` is where the built runner is kept."""

    ref: DeviceRef
    transport: LocalTransport
    cache: Path
    _meter: RaplMeter = field(default_factory=RaplMeter)
    _facts: DeviceFacts | None = None
    _installed: Installed | None = None
    _throttles: int | None = None
    _sampled: bool = False

    def facts(self) -> DeviceFacts:
        """See `Device.facts`."""
        if self._facts is None:
            self._facts = _read_facts()
        return self._facts

    def conditions(self) -> Conditions:
        """See `Device.conditions`. `cpu_busy` is sampled by the first call alone, which takes half a second for it.

        `throttled` says whether a CPU was throttled for heat since the call before (at the first call: null).
        """
        busy = None if self._sampled else _sample_busy()
        self._sampled = True
        throttles, before = sensors.throttle_count(), self._throttles
        self._throttles = throttles
        times = sensors.cpu_times()
        return Conditions(
            at=datetime.now(UTC).isoformat(),
            load_1min=os.getloadavg()[0],
            cpu_busy=busy,
            cpu_busy_s=times.busy_s if times else None,
            cpu_total_s=times.total_s if times else None,
            oom_kills=sensors.oom_kills(),
            cpu_frequency_hz=sensors.cpu_frequencies_hz(),
            temperature_c=sensors.temperatures_c(),
            throttled=None if throttles is None or before is None else throttles > before,
            available_memory_bytes=psutil.virtual_memory().available,
        )

    def install(self, *, workdir: str) -> Installed:
        """See `Device.install`: the runner is built once and run where it lies, so `workdir` needs nothing of it. Raises: BuildError."""
        if self._installed is None:
            built, runtime = build_runner(target="host", cache=self.cache), host_runtime()
            self._installed = Installed(
                runner=str(built.path),
                runtime=str(runtime),
                runner_version=built.version,
                runner_sha256=built.sha256,
                runtime_version=version("onnxruntime"),
                runtime_sha256=_sha256(runtime),
            )
        return self._installed

    def energy_j(self) -> EnergyReading:
        """See `Device.energy_j`."""
        return self._meter.read()


@contextmanager
def open_host(ref: DeviceRef, *, cache: Path) -> Iterator[HostDevice]:
    """This machine, opened as a device. What a lab host that was killed left running on it is ended first."""
    end_orphans()
    transport = LocalTransport()
    try:
        yield HostDevice(ref, transport, cache)
    finally:
        transport.close()


def _read_facts() -> DeviceFacts:
    return DeviceFacts(
        os_build=os_name(parse_os_release(sensors.read_text(Path("/etc/os-release")) or "")) or platform.system(),
        kernel=platform.release(),
        cpu_model=parse_cpu_model(sensors.read_text(Path("/proc/cpuinfo")) or "") or platform.machine(),
        cpu_count=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        boot_id=(sensors.read_text(Path("/proc/sys/kernel/random/boot_id")) or "").strip(),
    )


def _sample_busy() -> float | None:
    before = sensors.cpu_times()
    time.sleep(_BUSY_SAMPLE_S)
    after = sensors.cpu_times()
    if before is None or after is None or after.total_s <= before.total_s:
        return None
    return min((after.busy_s - before.busy_s) / (after.total_s - before.total_s), 1.0)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if TYPE_CHECKING:
    from agents.device import Device

    _: Device = HostDevice(DeviceRef(name="", profile="", platform="host", address=""), LocalTransport(), Path())
