"""Whether the files that a campaign was submitted with are still the same when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from agents.run import Value
from optimizers.model_file import ModelFile
from orchestrator.errors import ConfigError


class Fingerprint(Value):
    """One file as it was: its content, and what the file system said of it (the content is hashed again only where that changed)."""

    path: Path
    sha256: str
    stat: tuple[int, int, int, int]


def fingerprints(model: ModelFile, *, external: Iterable[str] = ()) -> tuple[Fingerprint, ...]:
    """Of the model, its external data (names beside it), samples and calibration. Raises: ConfigError when one cannot be read."""
    return tuple(_fingerprint(path) for path in _files(model, external))


def check_unchanged(model: ModelFile, before: Iterable[Fingerprint]) -> None:
    """Raises: ConfigError, naming the file of the model that is not what it was when the campaign was submitted."""
    for known in before:
        if _stat(known.path) == known.stat:
            continue
        if _fingerprint(known.path).sha256 != known.sha256:
            raise ConfigError(
                f"{known.path} of model {model.name} changed since the campaign was submitted, and one campaign measures one model: "
                "run the campaign anew"
            )


def _files(model: ModelFile, external: Iterable[str]) -> Iterator[Path]:
    yield model.path
    yield from (model.path.parent / name for name in sorted(external))
    for path in (model.samples, model.calibration):
        if isinstance(path, Path):
            yield from sorted(path.glob("*.npz")) if path.is_dir() else (path,)


def _fingerprint(path: Path) -> Fingerprint:
    try:
        with path.open("rb") as file:
            return Fingerprint(path=path, stat=_stat(path), sha256=hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _stat(path: Path) -> tuple[int, int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read any more: {error.strerror or error}") from error
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
