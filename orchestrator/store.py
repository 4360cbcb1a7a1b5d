"""The artifact store: models, tensors and raw traces, each kept once under the sha256 of its bytes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.atomic_file import PART, atomic_file, file_errors, part_name
from orchestrator.blobs import CHUNK_BYTES, BlobInfo, Blobs, FsspecBlobs, LocalBlobs, checked
from orchestrator.canonical import checked_sha256
from orchestrator.errors import ConfigError, Damaged, Missing, StoreError
from orchestrator.folder_manifest import MAX_FILES, MAX_MANIFEST_BYTES, FolderManifest, check_file_name, parse_manifest

_VIEWS = "views"


@dataclass(frozen=True, slots=True)
class Usage:
    """What the store holds; `unfinished_bytes` is what writers have begun, or left when they were killed."""

    blobs: int
    size_bytes: int
    unfinished: int
    unfinished_bytes: int


class Store:
    """Blobs by sha256; safe in several threads and processes.

    `local` is where files on this host come from: the blobs themselves, or a cache of remote ones.
    """

    def __init__(self, blobs: Blobs, *, local: LocalBlobs) -> None:
        self._blobs = blobs
        self._local = local
        self._views = local.root / _VIEWS

    def put_bytes(self, data: bytes) -> str:
        """Store bytes; gives their sha256. Raises: OutOfSpace, StoreError."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self._holds(sha256, size_bytes=len(data)):
            self._blobs.write(sha256, io.BytesIO(data), size_bytes=len(data))
        return sha256

    def put_file(self, path: Path) -> str:
        """Store a copy of a file; gives its sha256. Raises: OutOfSpace, StoreError (when it changes meanwhile, too)."""
        with _readable(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.tell()
            if not self._holds(sha256, size_bytes=size_bytes):
                file.seek(0)
                try:
                    self._blobs.write(sha256, file, size_bytes=size_bytes)
                except Damaged as error:
                    raise StoreError(f"{path} changed while it was being stored: nothing was kept of it") from error
        return sha256

    def put_folder(self, folder: Path) -> str:
        """Store every file of a folder and a manifest of them; gives the manifest's sha256. Raises: OutOfSpace, StoreError."""
        names = _file_names(folder)
        for name in names:
            check_file_name(name)
        manifest = FolderManifest({name: self.put_file(folder / name) for name in names})
        return self.put_bytes(manifest.to_json())

    def open_local(self, sha256: str, *, name: str | None = None) -> Path:
        """A verified file on this host with those bytes, read-only; the store's own, so never to be changed.

        With `name` the path ends in it: runtimes go by `.onnx` and `.ort`. Raises: Missing, Damaged, StoreError.
        """
        path = self._verified(checked_sha256(sha256))
        return path if name is None else self._view(path, name)

    def open_folder(self, sha256: str, into: Path) -> Path:
        """Lay out a stored folder as `into`, read-only files; it may be there already, if it is the same.

        Raises: Missing, Damaged, StoreError.
        """
        manifest = self.folder(sha256)
        part = into.parent / part_name(into.name)
        with file_errors(into.parent):
            try:
                for name, member in manifest.files.items():
                    target = part / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link_or_copy(self._verified(member), target)
                if not _renamed(part, into) and not _is_laid_out(manifest, into):
                    raise StoreError(f"{into} exists already and holds something else than the stored folder {sha256}")
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return into

    def folder(self, sha256: str) -> FolderManifest:
        """What a stored folder consists of. Raises: Missing, Damaged when it is no folder."""
        if self.size(sha256) > MAX_MANIFEST_BYTES:
            raise Damaged(f"blob {sha256} is no manifest of a folder: it is larger than {MAX_MANIFEST_BYTES} bytes")
        try:
            return parse_manifest(self.read_bytes(sha256))
        except StoreError as error:
            raise type(error)(f"blob {sha256}: {error}") from error

    def read_bytes(self, sha256: str) -> bytes:
        """All of a blob, verified. Raises: Missing, Damaged, StoreError."""
        with self._blobs.open(checked_sha256(sha256)) as source:
            return b"".join(checked(sha256, source))

    def has(self, sha256: str) -> bool:
        """Whether it is there (not whether it is undamaged: `verify` says that)."""
        return self._blobs.find(checked_sha256(sha256)) is not None

    def size(self, sha256: str) -> int:
        """Its size in bytes. Raises: Missing."""
        found = self._blobs.find(checked_sha256(sha256))
        if found is None:
            raise Missing(f"the artifact store has no blob {sha256}")
        return found.size_bytes

    def verify(self, sha256: str) -> None:
        """Hash it again. Raises: Missing, Damaged, StoreError."""
        with self._blobs.open(checked_sha256(sha256)) as source:
            for _ in checked(sha256, source):
                pass

    def delete(self, sha256: str, *, unless_young: bool = False) -> bool:
        """Remove a blob, here and from this host's cache; for retention only. Whether it was there (and old, if that matters)."""
        gone = self._blobs.delete(checked_sha256(sha256), unless_young=unless_young)
        if gone:
            self._local.delete(sha256)
            shutil.rmtree(self._views / sha256, ignore_errors=True)
        return gone

    def list(self) -> Iterator[BlobInfo]:
        """All blobs, in no order."""
        return (entry for entry in self._blobs.list() if entry.finished)

    def sweep(self) -> int:
        """Remove what killed writers left unfinished an hour ago or earlier; how many bytes that was."""
        now, freed = time.time(), 0
        for entry in [entry for entry in self._blobs.list() if not entry.finished and not entry.is_young(now=now)]:
            self._blobs.delete(entry.name)
            freed += entry.size_bytes
        return freed

    def usage(self) -> Usage:
        """How much there is."""
        sizes: dict[bool, list[int]] = {True: [0, 0], False: [0, 0]}
        for entry in self._blobs.list():
            sizes[entry.finished][0] += 1
            sizes[entry.finished][1] += entry.size_bytes
        return Usage(*sizes[True], *sizes[False])

    def _holds(self, sha256: str, *, size_bytes: int) -> bool:
        """Whether a blob need not be written; it is young then, so that no collection takes it before a record names it."""
        found = self._blobs.find(sha256, refresh=True)
        return found is not None and found.size_bytes == size_bytes

    def _verified(self, sha256: str) -> Path:
        """The file on this host, fetched when it is not here or damaged here."""
        path = self._local.path(sha256)
        if self._local is self._blobs:
            self.verify(sha256)
        elif self._local.find(sha256) is None or not _matches(path, sha256):
            with self._blobs.open(sha256) as source:
                self._local.write(sha256, source, size_bytes=self.size(sha256))
        return path

    def _view(self, path: Path, name: str) -> Path:
        """The same bytes under a name of the caller's: a hard link, or a copy where the file system has none."""
        check_file_name(name)
        if "/" in name:
            raise StoreError(f"{name!r} is no name of a file: it holds a `/`")
        view = self._views / path.name / name
        if view.exists() and (view.samefile(path) or _matches(view, path.name)):
            return view
        with file_errors(view.parent, needed_bytes=path.stat().st_size):
            view.parent.mkdir(parents=True, exist_ok=True)
            part = view.parent / f"{uuid.uuid4().hex}{PART}"
            try:
                _link_or_copy(path, part)
                part.replace(view)
            finally:
                part.unlink(missing_ok=True)  # renaming one link over another of the same file leaves both
        return view


def open_store(url: str, *, cache: Path | None = None) -> Store:
    """The store at a path or an fsspec URL (`file:///…`, `s3://bucket/prefix`, `gs://…`); a folder is made when it is first written to.

    `cache` is where remote blobs are kept on this host; by default the user's cache folder.
    Raises: ConfigError when the URL cannot be used or needs a package that is not installed.
    """
    if "://" not in url or url.startswith("file://"):
        local = LocalBlobs(Path(url.removeprefix("file://")).expanduser().absolute())
        return Store(local, local=local)
    import fsspec  # only remote stores need it

    protocol = url.split("://", 1)[0]
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ConfigError(f"the artifact store {protocol}://… needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise ConfigError(f"the artifact store's URL begins with {protocol!r}, which fsspec does not know: {error}") from error
    return Store(FsspecBlobs(filesystem, root), local=LocalBlobs((cache or _user_cache()) / hashlib.sha256(url.encode()).hexdigest()[:16]))


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thresher" / "blobs"


@contextmanager
def _readable(path: Path) -> Iterator[io.BufferedReader]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise StoreError(f"{path} cannot be read to be stored: {error.strerror}") from error
    with file:
        yield file


def _file_names(folder: Path) -> list[str]:
    """Relative names of all files under a folder. Raises: StoreError for links and special files, which have no bytes of their own."""
    names = []
    for parent, folders, files in os.walk(folder, onerror=_walk_error):
        for name in [*folders, *files]:
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise StoreError(f"{path} is neither a file nor a folder (a link?): only those can be stored")
        names += [Path(parent, name).relative_to(folder).as_posix() for name in files]
        if len(names) > MAX_FILES:
            raise StoreError(f"the folder {folder} holds more than {MAX_FILES} files")
    return sorted(names)


def _walk_error(error: OSError) -> None:
    raise StoreError(f"{error.filename} cannot be read to be stored: {error.strerror}") from error


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links, or too many of them
        with atomic_file(target, needed_bytes=source.stat().st_size, read_only=True) as file, source.open("rb") as original:
            shutil.copyfileobj(original, file, CHUNK_BYTES)


def _renamed(source: Path, target: Path) -> bool:
    """Whether the folder could take the name: it can over nothing and over an empty folder."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            return False
        raise
    return True


def _is_laid_out(manifest: FolderManifest, folder: Path) -> bool:
    if not folder.is_dir() or _file_names(folder) != sorted(manifest.files):
        return False
    return all(_matches(folder / name, sha256) for name, sha256 in manifest.files.items())


def _matches(path: Path, sha256: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
