"""Everything that a command started on this machine: found, asked to end, ended.

A process group is not enough (a child may leave it) and neither are parent links (they are lost when a parent ends), so
each command carries a mark in its environment, which its descendants inherit. Who is in the command's session, or
carries its mark, belongs to it.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from pathlib import Path
from typing import NamedTuple

import psutil

MARK_VARIABLE = "THRESHER_COMMAND"

_PROC = Path("/proc")
_FIRST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.05
_KILL_WAIT_S = 5.0


class Mark(NamedTuple):
    """Whose command it is: process, that process's start (in clock ticks since boot), and a number of its own."""

    owner: int
    owner_started: int
    number: int

    def text(self) -> str:
        """As it stands in the environment."""
        return f"{self.owner}:{self.owner_started}:{self.number}"


class ProcessStat(NamedTuple):
    """What is used of /proc/PID/stat (proc_pid_stat(5)); `started` in clock ticks since boot."""

    state: str
    session: int
    started: int


def parse_stat(text: str) -> ProcessStat:
    """Fields of /proc/PID/stat; the command name may hold anything, so the fields begin after the last `)`."""
    fields = text.rpartition(")")[2].split()
    return ProcessStat(state=fields[0], session=int(fields[3]), started=int(fields[19]))


def parse_mark(environ: bytes) -> Mark | None:
    """The mark in the text of /proc/PID/environ, None if there is none or it is not one of ours."""
    prefix = f"{MARK_VARIABLE}=".encode()
    for entry in environ.split(b"\0"):
        if entry.startswith(prefix):
            numbers = entry[len(prefix) :].split(b":")
            if len(numbers) == 3 and all(number.isdigit() and len(number) < 20 for number in numbers):
                return Mark(*map(int, numbers))
    return None


def new_mark() -> Mark:
    """A mark for one command of this process."""
    return Mark(os.getpid(), parse_stat((_PROC / "self" / "stat").read_text()).started, secrets.randbits(48))


def end_tree(leader: int | None, mark: Mark, *, grace_s: float) -> None:
    """SIGTERM to every process of the command, SIGKILL to those still there after `grace_s`; returns when none is left.

    A process in uninterruptible sleep cannot be ended by anyone; it is given 5 s after SIGKILL.
    """
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_WAIT_S)):
        deadline = time.monotonic() + patience_s
        signalled: set[int] = set()
        wait_s = _FIRST_WAIT_S
        while members := _members(leader, mark):
            for pid in members - signalled:  # again each time: a process may have forked meanwhile
                _send(pid, number)
            signalled |= members
            if time.monotonic() >= deadline:
                break
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        else:
            return


def end_orphans(*, grace_s: float = 2.0) -> tuple[int, ...]:
    """End what commands of processes that are gone left running (the lab host was killed, say); returns their pids."""
    orphans = [(pid, mark) for pid, mark in _marks() if not _is_alive(mark)]
    for mark in {mark for _, mark in orphans}:
        end_tree(None, mark, grace_s=grace_s)
    return tuple(pid for pid, _ in orphans)


def _members(leader: int | None, mark: Mark) -> set[int]:
    found = {pid for pid, other in _marks() if other == mark}
    if leader is not None:
        found |= {pid for pid in _pids() if (stat := _stat(pid)) and stat.session == leader and stat.state not in "ZX"}
    return found


def _marks() -> list[tuple[int, Mark]]:
    found = []
    for pid in _pids():
        try:
            mark = parse_mark((_PROC / str(pid) / "environ").read_bytes())
        except OSError:  # it ended, or is another user's
            continue
        if mark is not None:
            found.append((pid, mark))
    return found


def _is_alive(mark: Mark) -> bool:
    stat = _stat(mark.owner)
    return stat is not None and stat.started == mark.owner_started and stat.state not in "ZX"


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> ProcessStat | None:
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text(errors="replace"))
    except OSError:
        return None


def _send(pid: int, number: signal.Signals) -> None:
    try:
        psutil.Process(pid).send_signal(number)
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended; or it changed its user, and is not ours to end
        return
