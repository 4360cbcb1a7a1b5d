"""A device as the measurement protocol sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agents.run import Conditions, DeviceRef
from agents.transport import Transport


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What does not change while a device is up."""

    os_build: str
    kernel: str
    cpu_model: str
    cpu_count: int
    memory_bytes: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Installed:
    """The runner and the runtime on the device, with what they are."""

    runner: str
    runtime: str
    runner_version: str
    runner_sha256: str
    runtime_version: str
    runtime_sha256: str


class Device(Protocol):
    """One device, opened: used by one thread, as a context manager of the module that opens it."""

    @property
    def ref(self) -> DeviceRef:
        """Its name, profile and address."""

    @property
    def transport(self) -> Transport:
        """The link to it."""

    def facts(self) -> DeviceFacts:
        """Read once, then the same. Raises: DeviceLost."""

    def conditions(self) -> Conditions:
        """Temperatures, clocks and load now; called before and after timed sections only. Raises: DeviceLost."""

    def install(self, *, workdir: str) -> Installed:
        """Make sure the runner and the runtime are there; `workdir` is a folder of the visit's own on the device."""

    def energy_j(self) -> tuple[float, str] | str:
        """A counter of energy in joules with its source, to be read twice and subtracted; or the reason there is none."""


@dataclass(frozen=True, slots=True)
class TensorFile:
    """Raw C-order little-endian tensors in one file: `count` samples of `shape`, one after the other."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    count: int
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelData:
    """Weights that a model keeps in a file of their own: it must lie beside the model's under that name."""

    file_name: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Workload:
    """A variant with what it takes to run it: files on this host that the protocol pushes to the device.

    `states` maps an output's name to the input it is fed back to (zeros at first, `state_inputs` give dtype and shape).
    `reference` holds the outputs for the first `count` samples of `inputs`; empty means "no golden check".
    `tolerance` bounds ‖device - reference‖₂ / ‖reference‖₂ of each output.
    """

    model: Path
    model_sha256: str
    inputs: tuple[TensorFile, ...]
    states: tuple[tuple[str, str], ...]
    state_inputs: tuple[TensorFile, ...]
    reference: tuple[TensorFile, ...]
    tolerance: float
    model_data: ModelData | None = None
