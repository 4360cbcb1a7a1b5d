"""One lock for the whole machine: whatever times on its cores (this host, each virtual phone on it) holds it while it does.

The lock is flock(2) on one file in the system's folder for temporary files, shared by all users; the kernel drops it when
its holder ends, however it ends. What the file says is only for people: who holds it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from agents.errors import Cancelled, TimingLockError

LOG = logging.getLogger(__name__)

_POLL_S = 0.1
_SAY_AGAIN_S = 30.0
_MAX_TEXT_BYTES = 64
_HOLDER = re.compile(rb"([0-9]{1,10})\n")
_OPENINGS = 10


def shared_path() -> Path:
    """The file that all users of this machine lock."""
    return Path(tempfile.gettempdir()) / "thresher-timing.lock"


def own_path() -> Path:
    """The file that this user's processes lock where the shared one cannot be used."""
    return Path(tempfile.gettempdir()) / f"thresher-timing-{os.getuid()}.lock"


@contextmanager
def timing_lock(*, path: Path | None = None, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Hold the machine's timing lock; gives the file that is locked.

    Without `path` it is `shared_path`, or `own_path` (with a warning: other users' timing is then not kept apart) where
    something is in the way that this user cannot use. Each `with` is a holder of its own, so threads of one process exclude
    each other too, and a thread that enters twice waits for itself. Raises: Cancelled, TimingLockError.
    """
    while True:
        used, descriptor = _open_shared() if path is None else (path, _open(path))
        try:
            _acquire(descriptor, used, cancelled)
            if _is_at(descriptor, used):
                _say_holder(descriptor)
                yield used
                return
        finally:
            os.close(descriptor)


def holder(path: Path) -> str:
    """Who holds the lock at `path`, for a person: `process 123 (python)`, as far as the file says."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "another process"
    try:
        match = _HOLDER.fullmatch(os.read(descriptor, _MAX_TEXT_BYTES))
    finally:
        os.close(descriptor)
    if match is None:
        return "another process"
    pid = int(match[1])
    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except (psutil.Error, ValueError, OverflowError):
        return f"process {pid}"


def _open_shared() -> tuple[Path, int]:
    try:
        return shared_path(), _open(shared_path())
    except TimingLockError as error:
        LOG.warning("%s; using a lock of this user's own, so timing is not kept apart from other users'", error)
        return own_path(), _open(own_path())


def _open(path: Path) -> int:
    """A descriptor of the lock file, which is made if missing.

    It is opened without O_CREAT first: in a folder like /tmp Linux refuses O_CREAT on another user's file
    (fs.protected_regular), and refuses it to root as well. Reading is enough to lock; writing says who holds it.
    """
    for _ in range(_OPENINGS):  # another process may make or remove it at the same moment
        for flags in (os.O_RDWR, os.O_RDONLY):
            try:
                return _checked(os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), path)
            except PermissionError:
                continue
            except FileNotFoundError:
                break
            except OSError as error:
                raise TimingLockError(f"the timing lock {path} cannot be opened: {error.strerror}") from error
        else:
            raise TimingLockError(f"the timing lock {path} belongs to another user, who lets nobody else use it: delete it")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            os.fchmod(descriptor, 0o666)  # whatever the umask: every user must be able to lock it
        except FileExistsError:
            continue
        except OSError as error:
            raise TimingLockError(f"the timing lock {path} cannot be made: {error.strerror}") from error
        return descriptor
    raise TimingLockError(f"the timing lock {path} appears and disappears: something else removes it")


def _checked(descriptor: int, path: Path) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise TimingLockError(f"the timing lock {path} is not a regular file: delete what is there")


def _acquire(descriptor: int, path: Path, cancelled: Callable[[], bool]) -> None:
    said_at = -_SAY_AGAIN_S
    while not _try(descriptor, path):
        if cancelled():
            raise Cancelled(f"stopped on request while {holder(path)} held this machine's timing lock")
        if time.monotonic() - said_at >= _SAY_AGAIN_S:
            said_at = time.monotonic()
            LOG.info("waiting for this machine's timing lock: %s holds it (%s)", holder(path), path)
        time.sleep(_POLL_S)


def _try(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise TimingLockError(f"the timing lock {path} cannot be locked (a network folder?): {error.strerror}") from error
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file is still the one at that path: if it was deleted while we waited, others lock a new one."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _say_holder(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError:  # opened for reading alone, or a full disk: the lock holds all the same, it only does not say whose it is
        LOG.debug("the timing lock does not say who holds it")
