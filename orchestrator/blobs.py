"""Where blobs are kept, each under its sha256: a local folder, or any file system that fsspec reaches."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from orchestrator.atomic_file import PART, atomic_file, file_errors, part_name
from orchestrator.errors import Damaged, Missing, StoreError

CHUNK_BYTES = 2**20
YOUNG_S = 3600.0
"""A blob touched less than this long ago may be about to be named by a record: it is never collected."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[0-9a-f]{40}\.[0-9a-f]{32}" + re.escape(PART))


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One blob, or the unfinished file of one; `modified_at` is in seconds since 1970, None where the store does not say."""

    name: str
    size_bytes: int
    modified_at: float | None

    @property
    def finished(self) -> bool:
        """Whether it is a blob: its name is its sha256."""
        return _SHA256.fullmatch(self.name) is not None

    def is_young(self, *, now: float, age_s: float = YOUNG_S) -> bool:
        """Whether it was touched less than that long ago, or may have been."""
        return self.modified_at is None or now - self.modified_at < age_s


class Blobs(Protocol):
    """A place for blobs. Arguments were checked: each sha256 is 64 hex digits."""

    def find(self, sha256: str, *, refresh: bool = False) -> BlobInfo | None:
        """What is known of a blob, None when it is not there; `refresh` makes it young, or says None when it must be written anew."""

    def write(self, sha256: str, source: BinaryIO, *, size_bytes: int) -> None:
        """Store what a stream gives, if it has that hash. Raises: Damaged, OutOfSpace, StoreError."""

    def open(self, sha256: str) -> BinaryIO:
        """A stream of its bytes, not verified. Raises: Missing, StoreError."""

    def delete(self, name: str, *, unless_young: bool = False) -> bool:
        """Remove what `list` named, unless it is young and that matters; whether anything went. Raises: StoreError."""

    def list(self) -> Iterator[BlobInfo]:
        """All blobs and all unfinished files, in no order. Raises: StoreError."""


class LocalBlobs:
    """Blobs in a folder: `ab/ab12…`, read-only files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Where that blob is or would be."""
        return self.root / sha256[:2] / sha256

    def find(self, sha256: str, *, refresh: bool = False) -> BlobInfo | None:
        """A look at the file; `refresh` sets its time to now."""
        path = self.path(sha256)
        with file_errors(path.parent):
            try:
                if refresh:
                    os.utime(path)
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except PermissionError:
                if not refresh:
                    raise
                return None  # another user's file: written anew, if the folder lets us
        return BlobInfo(sha256, status.st_size, status.st_mtime)

    def write(self, sha256: str, source: BinaryIO, *, size_bytes: int) -> None:
        """Written beside its place, then renamed; read-only."""
        path = self.path(sha256)
        with file_errors(path.parent, needed_bytes=size_bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, needed_bytes=size_bytes, read_only=True) as file:
            for chunk in checked(sha256, source):
                file.write(chunk)

    def open(self, sha256: str) -> BinaryIO:
        """The file."""
        path = self.path(sha256)
        try:
            return path.open("rb")
        except FileNotFoundError as error:
            raise Missing(f"the store {self.root} has no blob {sha256}") from error
        except OSError as error:
            raise StoreError(f"the blob {path} cannot be read: {error.strerror}") from error

    def delete(self, name: str, *, unless_young: bool = False) -> bool:
        """Rename the file to an unfinished one's name and remove that.

        A writer that finds the blob before the renaming makes it young, which is seen after it: the file goes back.
        One that comes later writes it anew. Killed in between, the rest is swept.
        """
        path = self.path(name)
        part = path.parent / part_name(name)
        with file_errors(path.parent):
            try:
                path.rename(part)
                modified_at = part.stat().st_mtime
            except (FileNotFoundError, NotADirectoryError):
                return False
            if unless_young and BlobInfo(name, 0, modified_at).is_young(now=time.time()):
                part.rename(path)
                return False
            part.unlink()
        return True

    def list(self) -> Iterator[BlobInfo]:
        """A walk over the folders."""
        with file_errors(self.root):
            for shard in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
                yield from _folder_entries(shard)


class FsspecBlobs:
    """Blobs on a file system of fsspec, under a root path."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._fs = filesystem
        self._root = root.rstrip("/")

    def find(self, sha256: str, *, refresh: bool = False) -> BlobInfo | None:
        """A look at the object; `refresh` says None of one that is not young, since object stores cannot touch."""
        with self._errors(sha256):
            try:
                found = _info(sha256, self._fs.info(self._path(sha256)))
            except FileNotFoundError:
                return None
        return None if refresh and not found.is_young(now=time.time(), age_s=YOUNG_S / 2) else found

    def write(self, sha256: str, source: BinaryIO, *, size_bytes: int) -> None:
        """Written beside its place, then moved."""
        part = self._path(part_name(sha256))
        with self._errors(f"writing {size_bytes} bytes"):
            self._fs.makedirs(self._fs._parent(part), exist_ok=True)
            try:
                with self._fs.open(part, "wb") as target:
                    for chunk in checked(sha256, source):
                        target.write(chunk)
                self._fs.mv(part, self._path(sha256))
            except FileExistsError:
                self._fs.rm_file(part)  # some file systems do not move over a file: it is the same blob
            except BaseException:
                with suppress(OSError):
                    self._fs.rm_file(part)
                raise

    def open(self, sha256: str) -> BinaryIO:
        """The object."""
        with self._errors(sha256):
            try:
                stream: BinaryIO = self._fs.open(self._path(sha256), "rb")
            except FileNotFoundError as error:
                raise Missing(f"the store {self._root} has no blob {sha256}") from error
            return stream

    def delete(self, name: str, *, unless_young: bool = False) -> bool:
        """Remove the object. Between the look at its age and the removal another host may begin to need it: collect when none writes."""
        with self._errors(name):
            try:
                if unless_young and _info(name, self._fs.info(self._path(name))).is_young(now=time.time()):
                    return False
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return False
        return True

    def list(self) -> Iterator[BlobInfo]:
        """A walk over the listings."""
        with self._errors("listing"):
            self._fs.invalidate_cache()
            entries = self._fs.ls(self._root, detail=True) if self._fs.exists(self._root) else []
            for shard in [entry["name"] for entry in entries if entry["type"] == "directory"]:
                for entry in self._fs.ls(shard, detail=True):
                    name = str(entry["name"]).rsplit("/", 1)[-1]
                    if _SHA256.fullmatch(name) or _PART.fullmatch(name):
                        yield _info(name, entry)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}"

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"the artifact store {self._root} failed ({what}): {error}") from error


def checked(sha256: str, source: BinaryIO) -> Iterator[bytes]:
    """The stream's chunks; at its end an error when they do not have that hash. Raises: Damaged."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise Damaged(f"the bytes of blob {sha256} are not its own: they have the sha256 {digest.hexdigest()}")


def _folder_entries(shard: Path) -> Iterator[BlobInfo]:
    with os.scandir(shard) as entries:
        for entry in entries:
            named = _SHA256.fullmatch(entry.name) or _PART.fullmatch(entry.name)
            if named and entry.name[:2] == shard.name and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # deleted meanwhile
                    status = entry.stat(follow_symlinks=False)
                    yield BlobInfo(entry.name, status.st_size, status.st_mtime)


def _info(name: str, entry: dict[str, Any]) -> BlobInfo:
    moment = next(
        (entry[key] for key in ("LastModified", "updated", "mtime", "last_modified", "modified", "created") if entry.get(key)), None
    )
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime):
        moment = moment.timestamp()
    return BlobInfo(name, int(entry["size"]), moment)


if TYPE_CHECKING:
    _local: Blobs = LocalBlobs(Path())
    _fsspec: Blobs = FsspecBlobs(None, "")
