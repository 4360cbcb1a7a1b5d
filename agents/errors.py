"""Errors of agents.

AgentError                the root; `outcome` says what a launch that met it is recorded as
├── TransportError        the link to the device failed
│   ├── DeviceLost        the device does not answer any more
│   └── TransferError     a push or pull failed or arrived damaged
├── CommandTimeout        a command on the device ran past its deadline
├── CommandFailed         a command could not be started, or wrote more than is read
├── Cancelled             the caller asked to stop
├── RunnerError           the runner said that it could not do what the spec asks
│   └── RunnerOutputError what the runner wrote cannot be read
├── OutOfSpace            no space left where something had to be written
├── BuildError            the runner could not be built (no compiler, say)
├── TimingLockError       the machine's timing lock cannot be used
└── ProtocolError         no such measurement protocol, or a setting that it does not allow
"""

from __future__ import annotations

from typing import ClassVar

from agents.run import Outcome


class AgentError(Exception):
    """Root of the errors of agents."""

    outcome: ClassVar[Outcome] = Outcome.ERROR
    retryable: ClassVar[bool] = False


class TransportError(AgentError):
    """The link to the device failed."""

    retryable = True


class DeviceLost(TransportError):
    """The device does not answer any more."""

    outcome = Outcome.DEVICE_LOST


class TransferError(TransportError):
    """A push or pull failed, or what arrived differs from what was sent."""


class CommandTimeout(AgentError):
    """A command on the device ran past its deadline; its processes were ended."""

    outcome = Outcome.TIMEOUT

    def __init__(self, command: tuple[str, ...], timeout_s: float, stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__(f"`{command[0]}` did not end within {timeout_s:g} s")
        self.command = command
        self.timeout_s = timeout_s
        self.stdout = stdout
        self.stderr = stderr


class CommandFailed(AgentError):
    """A command could not be started (not there, not executable), or wrote more than is read of one; it was ended."""


class Cancelled(AgentError):
    """The caller asked to stop; the remote processes were ended."""

    outcome = Outcome.CANCELLED


class RunnerError(AgentError):
    """The runner said that it could not do what the spec asks; `stage` is where."""

    def __init__(self, message: str, *, stage: str = "", exit_code: int | None = None, stderr: str = "") -> None:
        super().__init__(message)
        self.stage = stage
        self.exit_code = exit_code
        self.stderr = stderr


class RunnerOutputError(RunnerError):
    """What the runner wrote is not what the wire format promises."""


class OutOfSpace(AgentError):
    """No space left where something had to be written."""

    outcome = Outcome.OUT_OF_SPACE


class BuildError(AgentError):
    """The runner could not be built; the message says what to install."""


class TimingLockError(AgentError):
    """The machine's timing lock cannot be used; the message says which file is in the way."""


class ProtocolError(AgentError, ValueError):
    """No such measurement protocol, or a setting that it does not allow; a ValueError so that a file's field can report it."""
