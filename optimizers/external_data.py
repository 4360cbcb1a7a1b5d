"""Weights that an ONNX file keeps in other files: where they may be, and whether they are there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from optimizers.errors import ModelError
from optimizers.foreign import one_line

_WHOLE = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ExternalFile:
    """A file beside the model: `location` as the model has it."""

    location: str
    size_bytes: int


def external_files(tensors: Iterable[onnx.TensorProto], folder: Path, *, claimed: dict[str, int]) -> tuple[list[ExternalFile], list[str]]:
    """The files that the tensors use, and what is wrong with them. `claimed` is each tensor's size by its shape.

    A file must be a regular one inside the model's folder, links followed, and hold all that the tensor says it does.
    """
    found: dict[str, ExternalFile] = {}
    problems: list[str] = []
    for tensor in tensors:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        try:
            file = _resolve(entries.get("location", ""), folder)
            _check_extent(entries, file, claimed.get(tensor.name))
        except ModelError as error:
            problems.append(f"the weight `{one_line(tensor.name, limit=80)}` is kept in another file, which cannot be used: {error}")
        else:
            found[file.location] = file
    return list(found.values()), problems


def _resolve(location: str, folder: Path) -> ExternalFile:
    shown = one_line(location, limit=120)
    if not location:
        raise ModelError("the model does not say which")
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    if posix.is_absolute() or windows.is_absolute() or windows.drive or "\\" in location:
        raise ModelError(f"`{shown}` is not a path relative to the model")
    if ".." in posix.parts:
        raise ModelError(f"`{shown}` leads out of the model's folder")
    try:
        real = (folder / location).resolve(strict=True)
        inside = real.is_relative_to(folder.resolve())
        size = real.stat().st_size
    except (OSError, ValueError, RuntimeError):
        raise ModelError(f"`{shown}` is not there; put it beside the model") from None
    if not inside:
        raise ModelError(f"`{shown}` is a link that leads out of the model's folder")
    if not real.is_file():
        raise ModelError(f"`{shown}` is not a regular file")
    return ExternalFile(location, size)


def _check_extent(entries: dict[str, str], file: ExternalFile, claimed: int | None) -> None:
    numbers: dict[str, int] = {}
    for key in ("offset", "length"):
        if key in entries:
            if not _WHOLE.fullmatch(entries[key]):
                raise ModelError(f"its {key} `{one_line(entries[key], limit=40)}` is not a whole number")
            numbers[key] = int(entries[key])
    offset = numbers.get("offset", 0)
    length = numbers.get("length", claimed if claimed is not None else 0)
    if claimed is not None and length != claimed:
        raise ModelError(f"it takes {length} bytes of `{one_line(file.location, limit=120)}`, and its shape needs {claimed}")
    if offset + length > file.size_bytes:
        raise ModelError(
            f"it needs bytes {offset} to {offset + length} of `{one_line(file.location, limit=120)}`, which has {file.size_bytes}"
        )
