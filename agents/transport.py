"""The link to a device: few verbs, each with a deadline. It knows nothing of benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: `exit_code` is negative for a signal, as in `subprocess`."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Transport(Protocol):
    """Run commands on a device and move files to and from it."""

    def run(self, argv: Sequence[str], *, timeout_s: float, cancelled: Callable[[], bool] | None = None) -> Completed:
        """Run a command (no shell) to its end.

        `cancelled` is asked at least every 0.5 s. Whatever way this ends, no process it started is left.
        A process gets SIGTERM and a grace of 2 s before SIGKILL.

        Raises: CommandTimeout, Cancelled, DeviceLost.
        """

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        """Copy a file to the device; size and content are checked. Raises: TransferError, OutOfSpace, DeviceLost."""

    def pull(self, remote: str, local: Path, *, timeout_s: float) -> None:
        """Copy a file from the device; `local` appears whole or not at all. Raises: TransferError, DeviceLost."""

    def remove(self, remote: str, *, timeout_s: float) -> None:
        """Delete a file or a folder with all in it; nothing there is fine. Raises: DeviceLost."""

    def close(self) -> None:
        """End the link. Calling it twice is fine."""
