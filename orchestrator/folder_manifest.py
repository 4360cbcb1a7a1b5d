"""A folder as one blob: a manifest that lists its files by name and sha256 (a model with external data, say)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from orchestrator.canonical import canonical_json
from orchestrator.errors import Damaged, StoreError

MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILES = 10_000
_MAX_DEPTH = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FolderManifest:
    """The files of a folder: name (relative, `/` between folders) to sha256."""

    files: Mapping[str, str]

    def __post_init__(self) -> None:
        """Raises: StoreError for a name that would leave the folder, or that no file can have."""
        if not 1 <= len(self.files) <= MAX_FILES:
            raise StoreError(f"a stored folder has 1 to {MAX_FILES} files, not {len(self.files)}")
        for name in self.files:
            check_file_name(name)
        if clash := next((name for name in self.files for parent in _parents(name) if parent in self.files), None):
            raise StoreError(f"the name {clash!r} in a stored folder lies under a file")
        object.__setattr__(self, "files", MappingProxyType(dict(self.files)))

    def to_json(self) -> bytes:
        """Canonical JSON: the same folder is the same blob."""
        return canonical_json({"thresher_folder": 1, "files": dict(self.files)}).encode()


def parse_manifest(data: bytes) -> FolderManifest:
    """Back from a blob. Raises: Damaged when it is no manifest, StoreError when its names are not to be trusted."""
    try:
        value = json.loads(data) if len(data) <= MAX_MANIFEST_BYTES else None
    except (ValueError, RecursionError):
        value = None
    files = value.get("files") if isinstance(value, dict) and value.get("thresher_folder") == 1 else None
    if not isinstance(files, dict) or not all(isinstance(sha256, str) and _SHA256.fullmatch(sha256) for sha256 in files.values()):
        raise Damaged("the blob is no manifest of a folder")
    return FolderManifest(files)


def check_file_name(name: str) -> None:
    """Refuse a relative file name that could lead out of its folder. Raises: StoreError."""
    parts = name.split("/")
    good = len(parts) <= _MAX_DEPTH and all(part not in {"", ".", ".."} and len(part.encode(errors="replace")) <= 200 for part in parts)
    if not good or any(character in name for character in "\\\0\n\r") or not name.isprintable():
        raise StoreError(
            f"the file name {name[:200]!r} cannot be stored: it must be relative, printable, without `..` and at most {_MAX_DEPTH} folders deep"
        )


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
