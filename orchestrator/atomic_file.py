"""Files that appear whole or not at all, and what to say when the disk will not take them."""

from __future__ import annotations

import errno
import getpass
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import OutOfSpace, StoreError

PART = ".part"
"""The ending of a file that is not finished; its name begins as the finished one's does."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ENTRY = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def atomic_file(path: Path, *, needed_bytes: int | None = None, read_only: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends well and is removed when it does not.

    It is on the disk (fsync), with its name, when this returns. Raises: OutOfSpace, StoreError.
    """
    part = path.parent / part_name(path.name)
    with file_errors(path.parent, needed_bytes=needed_bytes):
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                if read_only:
                    os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode & 0o555)  # keeps what umask took away
                os.fsync(file.fileno())
            part.replace(path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise


@contextmanager
def file_errors(folder: Path, *, needed_bytes: int | None = None) -> Iterator[None]:
    """Turn the operating system's refusals to work in a folder into ours."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in _NO_SPACE:
            size = "what had to be written" if needed_bytes is None else f"{needed_bytes} bytes"
            raise OutOfSpace(
                f"no space for {size} in {folder} ({error.strerror}{_free(folder)}): nothing was kept of it. Free some space and try again."
            ) from error
        if error.errno in _NO_ENTRY:
            raise StoreError(
                f"user {user_name()} may not read and write in the folder {folder} ({error.strerror}): change its owner or mode, or choose another"
            ) from error
        raise StoreError(f"cannot work in the folder {folder}: {error.strerror or error}") from error


def user_name() -> str:
    """Who runs this process, for messages: the user's name, else the number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def part_name(name: str) -> str:
    """A new name for a file that will have that name once it is whole."""
    return f"{name[:40]}.{uuid.uuid4().hex}{PART}"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free(folder: Path) -> str:
    with suppress(OSError):
        return f"; {shutil.disk_usage(folder).free} bytes are free"
    return ""
