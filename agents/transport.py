"""The link to a device: few verbs, each with a deadline. It knows nothing of benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: `exit_code` is negative for a signal, as in `subprocess`.

    `cpu_s` is the CPU time it and the children it waited for used; None where the link cannot tell.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    cpu_s: float | None = None


class Transport(Protocol):
    """Run commands on a device and move files to and from it."""

    def run(self, argv: Sequence[str], *, timeout_s: float, cancelled: Callable[[], bool] | None = None) -> Completed:
        """Run a command (no shell) to its end.

        `cancelled` is asked at least every 0.5 s. Whatever way this ends, no process it started is left.
        A process gets SIGTERM and a grace of 2 s (0.5 s when cancelled) before SIGKILL.

        Raises: CommandTimeout, Cancelled, CommandFailed (no such command, or it wrote without end), DeviceLost.
        """

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        """Copy a file to the device; missing parent folders are made, for this user alone.

        Size and content are checked; `remote` appears whole or not at all. Raises: TransferError, OutOfSpace, DeviceLost.
        """

    def pull(self, remote: str, local: Path, *, timeout_s: float) -> None:
        """Copy a file from the device; `local` appears whole or not at all. Raises: TransferError, OutOfSpace, DeviceLost."""

    def remove(self, remote: str, *, timeout_s: float) -> None:
        """Delete a file or a folder with all in it; nothing there is fine. Raises: DeviceLost."""

    def close(self) -> None:
        """End the link. Calling it twice is fine."""
