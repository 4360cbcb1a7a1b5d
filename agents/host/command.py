"""Run one command on this machine to its end, with a deadline, bounded output and nothing left behind."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from agents.errors import AgentError, Cancelled, CommandFailed, CommandTimeout
from agents.host.process_tree import MARK_VARIABLE, Mark, end_tree, new_mark
from agents.transport import Completed

LOG = logging.getLogger(__name__)

MAX_OUTPUT_BYTES = 64 * 2**20

GRACE_S = 2.0
CANCEL_GRACE_S = 0.5
"""Shorter: whoever cancels waits for it, and nothing that the command would still write is used."""

_POLL_S = 0.2
_CHUNK_BYTES = 65536


@dataclass(slots=True)
class _Output:
    """What a command wrote so far."""

    limit_bytes: int
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)

    @property
    def full(self) -> bool:
        return len(self.stdout) + len(self.stderr) > self.limit_bytes


def run_command(
    argv: Sequence[str],
    *,
    timeout_s: float,
    cancelled: Callable[[], bool] | None,
    environment: Mapping[str, str],
    max_output_bytes: int = MAX_OUTPUT_BYTES,
) -> Completed:
    """Run `argv` (no shell) with that environment and nothing on standard input.

    Raises: CommandFailed, CommandTimeout, Cancelled.
    """
    command = tuple(argv)
    deadline = time.monotonic() + timeout_s
    output = _Output(max_output_bytes)

    def why_stop() -> AgentError | None:
        if output.full:
            return CommandFailed(f"`{command[0]}` wrote more than {max_output_bytes} bytes and was ended")
        if cancelled is not None and cancelled():
            return Cancelled("stopped on request")
        if time.monotonic() >= deadline:
            return CommandTimeout(command, timeout_s, bytes(output.stdout), bytes(output.stderr))
        return None

    with _started(command, environment) as child:
        error = _read_until_exit(child.process, output, why_stop, deadline)
        if error is not None:
            child.grace_s = CANCEL_GRACE_S if isinstance(error, Cancelled) else GRACE_S
            raise error
    return Completed(child.exit_code, bytes(output.stdout), bytes(output.stderr), child.cpu_s)


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    mark: Mark
    grace_s: float = GRACE_S
    exit_code: int = 0
    cpu_s: float = 0.0


@contextmanager
def _started(command: tuple[str, ...], environment: Mapping[str, str]) -> Iterator[_Child]:
    mark = new_mark()
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env={**environment, MARK_VARIABLE: mark.text()},
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in an argument
        raise CommandFailed(f"`{command[0]}` cannot be started: {getattr(error, 'strerror', None) or error}") from error
    child = _Child(process, mark)
    try:
        yield child
    finally:
        # The leader is not reaped yet, so its number cannot belong to a stranger while its session is searched.
        end_tree(process.pid, mark, grace_s=child.grace_s)
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
        _reap(child)


def _reap(child: _Child) -> None:
    pid, status, usage = os.wait4(child.process.pid, os.WNOHANG)
    if pid == 0:  # stuck in the kernel (a dead network disk, say): SIGKILL is pending, waiting for it would hang this thread
        LOG.warning("process %d cannot be ended: it waits in the kernel", child.process.pid)
        child.exit_code = child.process.returncode = -signal.SIGKILL
        return
    child.exit_code = child.process.returncode = os.waitstatus_to_exitcode(status)
    child.cpu_s = usage.ru_utime + usage.ru_stime


def _read_until_exit(
    process: subprocess.Popen[bytes], output: _Output, why_stop: Callable[[], AgentError | None], deadline: float
) -> AgentError | None:
    """Collect what the command writes until it has ended, or there is a reason to stop it."""
    assert process.stdout is not None
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        for pipe, buffer in ((process.stdout, output.stdout), (process.stderr, output.stderr)):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, buffer)
        pause_s = 0.001
        while not _has_exited(process.pid):
            if (error := why_stop()) is not None:
                return error
            if selector.get_map():
                _read(selector, min(_POLL_S, max(deadline - time.monotonic(), 0)))
            else:  # it closed its output and runs on, or is about to end
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 0.05)
        while selector.get_map() and not output.full and _read(selector, 0):
            pass  # what was written before it ended; a pipe that a left-over child still holds open is not waited for
    return why_stop() if output.full else None


def _read(selector: selectors.BaseSelector, timeout_s: float) -> bool:
    """One read of each pipe that has something; false if none had."""
    events = selector.select(timeout_s)
    for key, _ in events:
        chunk = os.read(key.fd, _CHUNK_BYTES)
        if chunk:
            key.data.extend(chunk)
        else:
            selector.unregister(key.fileobj)
    return bool(events)


def _has_exited(pid: int) -> bool:
    """Whether it has ended, without reaping it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
