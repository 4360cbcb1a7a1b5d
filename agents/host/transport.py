"""This machine as a device: commands are child processes, files are copied and checked."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from agents.errors import CommandTimeout, OutOfSpace, TransferError
from agents.host.command import run_command
from agents.transport import Completed

_CHUNK_BYTES = 2**20
_NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class LocalTransport:
    """Runs commands on this machine and copies files on it.

    A command gets only PATH, the C locale and `environment`: secrets that this process may hold are none of its business.
    """

    def __init__(self, *, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **(environment or {})}

    def run(self, argv: Sequence[str], *, timeout_s: float, cancelled: Callable[[], bool] | None = None) -> Completed:
        """See `Transport.run`."""
        return run_command(argv, timeout_s=timeout_s, cancelled=cancelled, environment=self._environment)

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        """See `Transport.push`."""
        target = _device_path(remote)
        with _mapped_errors(f"{local} could not be copied to {remote}"):
            _make_folder(target.parent)
            _copy(local.resolve(), target, timeout_s=timeout_s)

    def pull(self, remote: str, local: Path, *, timeout_s: float) -> None:
        """See `Transport.pull`."""
        with _mapped_errors(f"{remote} could not be copied to {local}"):
            _copy(_device_path(remote), local, timeout_s=timeout_s)

    def remove(self, remote: str, *, timeout_s: float) -> None:
        """See `Transport.remove`; folders that hold more than a device's files (`/`, a home) are refused."""
        target = _device_path(remote)
        if any(place.is_relative_to(target) for place in _places_of_people()):
            raise TransferError(f"{remote} is not a folder of a device: it will not be deleted")
        with _mapped_errors(f"{remote} could not be deleted"):
            try:
                if target.is_dir() and not target.is_symlink():
                    shutil.rmtree(target)
                else:
                    target.unlink()
            except FileNotFoundError:
                return

    def close(self) -> None:
        """See `Transport.close`; there is nothing to end."""


def _device_path(remote: str) -> Path:
    path = PurePosixPath(remote)
    if not path.is_absolute() or ".." in path.parts or "\0" in remote:
        raise TransferError(f"{remote!r} is not an absolute path without `..`")
    return Path(path)


def _places_of_people() -> list[Path]:
    """Folders that hold more than a device's files, as far as they are known (a service may have no home)."""
    places = [Path(tempfile.gettempdir())]
    for place in (Path.home, Path.cwd):
        with suppress(RuntimeError, OSError):
            places.append(place())
    return places


def _make_folder(folder: Path) -> None:
    """Make it and its missing parents for this user alone (models are secrets)."""
    for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def _copy(source: Path, target: Path, *, timeout_s: float) -> None:
    """Copy to a temporary name beside the target, read it back, compare, then move it there.

    Raises: TransferError, CommandTimeout, OSError.
    """
    deadline = time.monotonic() + timeout_s
    with _opened(source) as reading:
        descriptor, temporary = tempfile.mkstemp(prefix=".thresher-", dir=target.parent)
        try:
            sent = hashlib.sha256()
            with os.fdopen(descriptor, "w+b") as writing:
                for chunk in _chunks(reading, deadline, source, timeout_s):
                    sent.update(chunk)
                    writing.write(chunk)
                writing.flush()
                writing.seek(0)
                arrived = hashlib.sha256()
                for chunk in _chunks(writing, deadline, source, timeout_s):
                    arrived.update(chunk)
            if arrived.digest() != sent.digest():
                raise TransferError(f"{source} arrived damaged at {target}: its sha256 differs")
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The regular file; not what a symbolic link or a pipe in its place would give. Raises: TransferError, OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise TransferError(f"{path} is not a regular file")
        yield file


def _chunks(file: BinaryIO, deadline: float, source: Path, timeout_s: float) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
        if time.monotonic() >= deadline:
            raise CommandTimeout((f"copy of {source}",), timeout_s)


@contextmanager
def _mapped_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise OutOfSpace(f"{what}: no space left ({error.strerror})") from error
        raise TransferError(f"{what}: {error.strerror or error}") from error


if TYPE_CHECKING:
    from agents.transport import Transport

    _: Transport = LocalTransport()
