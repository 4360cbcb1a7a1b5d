"""The profile of this machine, probed from what it says of itself; what it does not say is unknown."""

from __future__ import annotations

import json
import os
import platform
import sys
import unicodedata
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from agents.errors import AgentError
from agents.host import sensors
from agents.host.proc_text import parse_cpu_list, parse_cpu_model, parse_os_release
from agents.host.rapl import POWERCAP, rapl_packages
from agents.host.transport import LocalTransport
from device_profiles.label import MAX_LABEL
from device_profiles.profile import Cluster, DeviceProfile, ExecutionProvider, OsRange, Runtime, ThermalZone, Unit, ZoneKind

_CPUS = Path("/sys/devices/system/cpu")
_HYBRID = {"little": Path("/sys/devices/cpu_atom/cpus"), "big": Path("/sys/devices/cpu_core/cpus")}  # x86 with two kinds of cores
_CLUSTER_NAMES = {1: ("all",), 2: ("little", "big"), 3: ("little", "big", "prime")}
_REMOTE_PROVIDERS = frozenset(("AzureExecutionProvider",))  # computes on a server: nothing that this machine can be measured by
_UNITS: dict[str, Unit] = {
    "CPUExecutionProvider": "cpu",
    "XnnpackExecutionProvider": "cpu",
    "DnnlExecutionProvider": "cpu",
    "CUDAExecutionProvider": "gpu",
    "TensorrtExecutionProvider": "gpu",
    "ROCMExecutionProvider": "gpu",
    "MIGraphXExecutionProvider": "gpu",
    "WebGpuExecutionProvider": "gpu",
    "QNNExecutionProvider": "npu",
    "VitisAIExecutionProvider": "npu",
}
_IMPORT_TIMEOUT_S = 60.0
_LIST_PROVIDERS = "import json, onnxruntime; print(json.dumps(onnxruntime.get_available_providers()))"


def probe_host() -> DeviceProfile:
    """The profile `host`. Starts one short process, which imports ONNX Runtime."""
    os_release = parse_os_release(sensors.read_text(Path("/etc/os-release")) or "")
    soc = _label(parse_cpu_model(sensors.read_text(Path("/proc/cpuinfo")) or "") or platform.machine())
    runtime = _runtime_version()
    return DeviceProfile(
        name="host",
        description="this machine, as it says of itself",
        platform="host",
        soc=soc,
        clusters=_clusters(soc),
        memory_bytes=psutil.virtual_memory().total,
        os=_os(os_release),
        runtimes=() if runtime is None else (Runtime(name="onnxruntime", version=runtime),),
        execution_providers=_execution_providers(),
        power_source="rapl" if rapl_packages(POWERCAP) else "none",
        thermal_zones=tuple(ThermalZone(name=name, kind=_zone_kind(name)) for name in _zone_names()),
        sources={
            "soc": "/proc/cpuinfo",
            "clusters": str(_CPUS),
            "memory_bytes": "/proc/meminfo",
            "os": "/etc/os-release",
            "runtimes": "the metadata of the Python package onnxruntime",
            "execution_providers": "onnxruntime.get_available_providers()",
            "power_source": str(POWERCAP),
            "thermal_zones": "/sys/class/hwmon",
        },
    )


def _clusters(core: str | None) -> tuple[Cluster, ...]:
    """CPUs of one kind together: by x86's two kinds of cores or by ARM's capacity, else all as one."""
    groups = _hybrid_groups() or _capacity_groups()
    names = _CLUSTER_NAMES.get(len(groups), tuple(f"cluster{number}" for number in range(len(groups))))
    return tuple(
        Cluster(name=name, core=core if len(groups) == 1 else None, cpus=cpus, max_frequency_hz=_max_frequency_hz(cpus))
        for name, cpus in zip(names, groups, strict=True)
    )


def _hybrid_groups() -> list[tuple[int, ...]]:
    lists = [sensors.read_text(path) for path in _HYBRID.values()]
    return [parse_cpu_list(text) for text in lists if text] if all(lists) else []


def _capacity_groups() -> list[tuple[int, ...]]:
    """CPUs by the kernel's `cpu_capacity` (ARM; 1024 is the fastest), the slowest first; one group where there is none."""
    online = parse_cpu_list(sensors.read_text(_CPUS / "online") or "") or tuple(range(os.cpu_count() or 1))
    groups: dict[int, list[int]] = {}
    for cpu in online:
        text = (sensors.read_text(_CPUS / f"cpu{cpu}" / "cpu_capacity") or "").strip()
        groups.setdefault(int(text) if text.isdigit() else 0, []).append(cpu)
    return [tuple(cpus) for _, cpus in sorted(groups.items())]


def _max_frequency_hz(cpus: tuple[int, ...]) -> int | None:
    texts = [(sensors.read_text(_CPUS / f"cpu{cpu}" / "cpufreq" / "cpuinfo_max_freq") or "").strip() for cpu in cpus]
    return max((int(text) * 1000 for text in texts if text.isdigit()), default=None)


def list_providers() -> tuple[str, ...] | None:
    """Execution providers of the installed ONNX Runtime, None if it cannot say.

    A process of its own asks: importing it here costs memory and threads.
    """
    try:
        same_packages = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "ORT_DISABLE_TELEMETRY": "1"}
        done = LocalTransport(environment=same_packages).run([sys.executable, "-P", "-c", _LIST_PROVIDERS], timeout_s=_IMPORT_TIMEOUT_S)
        return tuple(name for name in map(str, json.loads(done.stdout)) if name not in _REMOTE_PROVIDERS)
    except (AgentError, ValueError):
        return None


def _execution_providers() -> tuple[ExecutionProvider, ...] | None:
    names = list_providers()
    if names is None:
        return None
    precisions = {"CPUExecutionProvider": ("float32", "float16", "int8")}
    return tuple(ExecutionProvider(name=name, unit=_UNITS.get(name), precisions=precisions.get(name)) for name in names)


def _runtime_version() -> str | None:
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return None


def _os(os_release: dict[str, str]) -> OsRange:
    release = _label(os_release.get("VERSION_ID", ""))
    return OsRange(name=_label(os_release.get("NAME", "")) or platform.system() or "unknown", minimum=release, maximum=release)


def _zone_names() -> list[str]:
    labels = [_label(name) for name in sensors.temperatures_c() or {}]
    return sorted({label for label in labels if label})


def _zone_kind(name: str) -> ZoneKind:
    chip = name.lower()
    if any(word in chip for word in ("coretemp", "k10temp", "zenpower", "cpu", "x86_pkg")):
        return "cpu"
    if any(word in chip for word in ("amdgpu", "nouveau", "radeon", "gpu")):
        return "gpu"
    return "battery" if chip.startswith("bat") else "other"


def _label(text: str) -> str | None:
    """The text as a profile takes it: one line of at most 64 printable characters; None if nothing of it is left."""
    shown = " ".join("".join(char if unicodedata.category(char)[0] != "C" else " " for char in text).split())
    return shown[:MAX_LABEL].strip() or None
