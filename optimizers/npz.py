"""Arrays of an .npz file, read without trusting it: no pickles, sizes checked before anything is read, rows mapped where possible."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from optimizers.errors import ModelError
from optimizers.foreign import one_line

MAX_MEMBERS = 1000
MAX_INFLATED_BYTES = 4 << 30
_CHUNK = 1 << 22
_LOCAL_HEADER = 30  # bytes before the name (PKWARE APPNOTE 4.3.7)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn what zipfile, zlib and numpy raise on a damaged file into ModelError."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        tokenize.TokenError,
        struct.error,
        EOFError,
        MemoryError,
        OSError,
        OverflowError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
    ) as error:
        raise ModelError(f"{what}: {one_line(error)}") from error


@dataclass(frozen=True, slots=True)
class StoredArray:
    """One array of an .npz file: what its header says, checked against the file. Nothing of its data is read yet."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    crc: int
    fortran: bool
    header_bytes: int
    member: zipfile.ZipInfo

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize

    def load(self) -> NDArray[Any]:
        """The array: mapped read-only where it is stored uncompressed, else inflated. Raises: ModelError."""
        with _reading(f"{_where(self.file, self.name)} cannot be read"):
            if self.nbytes == 0:
                return np.zeros(self.shape, self.dtype)
            if self.member.compress_type == zipfile.ZIP_STORED:
                return self._mapped()
            return self._inflated()

    def check(self) -> None:
        """Compare the data with its checksum. Raises: ModelError."""
        doing = _reading(f"{_where(self.file, self.name)} is damaged")
        with doing, zipfile.ZipFile(self.file) as archive, archive.open(self.member) as stream:
            while stream.read(_CHUNK):
                pass

    def _mapped(self) -> NDArray[Any]:
        with self.file.open("rb") as file:
            file.seek(self.member.header_offset)
            head = file.read(_LOCAL_HEADER)
            if len(head) < _LOCAL_HEADER or head[:4] != b"PK\x03\x04":
                raise ValueError("its place in the archive is not where the archive says")
            name_bytes, extra_bytes = struct.unpack("<HH", head[26:30])
        offset = self.member.header_offset + _LOCAL_HEADER + name_bytes + extra_bytes + self.header_bytes
        if offset + self.nbytes > self.file.stat().st_size:
            raise ValueError("it ends after the end of the file")
        return np.memmap(self.file, self.dtype, "r", offset, self.shape, "F" if self.fortran else "C")

    def _inflated(self) -> NDArray[Any]:
        flat = np.empty(self.nbytes, np.uint8)
        at = 0
        with zipfile.ZipFile(self.file) as archive, archive.open(self.member) as stream:
            stream.read(self.header_bytes)
            while chunk := stream.read(_CHUNK):
                flat[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
                at += len(chunk)
        if at != self.nbytes:
            raise ValueError("it is shorter than its header says")
        return flat.view(self.dtype).reshape(self.shape, order="F" if self.fortran else "C")


def read_index(path: Path) -> dict[str, StoredArray]:
    """The arrays of an .npz file by name, from their headers alone. Raises: ModelError."""
    with _reading(f"{_where(path)} is not an .npz file that can be read"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise ModelError(f"{_where(path)} has {len(members)} members; at most {MAX_MEMBERS} arrays are read")
        found: dict[str, StoredArray] = {}
        for member in members:
            array = _read_header(path, archive, member)
            if array.name in found:
                raise ModelError(f"{_where(path, array.name)} is there twice")
            found[array.name] = array
    inflated = sum(array.nbytes for array in found.values() if array.member.compress_type != zipfile.ZIP_STORED)
    if inflated > MAX_INFLATED_BYTES:
        raise ModelError(
            f"{_where(path)} would take {inflated / 1e9:.1f} GB of memory once decompressed; at most {MAX_INFLATED_BYTES / 1e9:.1f} GB are. "
            "Save it with `numpy.savez` (uncompressed) or split it into shards in a folder"
        )
    if not found:
        raise ModelError(f"{_where(path)} holds no array")
    return found


def _read_header(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> StoredArray:
    name = member.filename.removesuffix(".npy")
    where = _where(path, name)
    if member.flag_bits & 1:
        raise ModelError(f"{where} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"{where} is compressed in a way that numpy does not write")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        header_bytes = stream.tell()
    if dtype.hasobject or dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ModelError(f"{where} holds {one_line(dtype, limit=60)}; only plain numbers and bools are read")
    if any(size < 0 for size in shape) or len(shape) > 16:
        raise ModelError(f"{where} has the impossible shape {one_line(shape, limit=60)}")
    if header_bytes + math.prod(shape) * dtype.itemsize != member.file_size:
        raise ModelError(f"{where} is not as long as its header says: the file is damaged")
    return StoredArray(path, name, tuple(shape), dtype, member.CRC, fortran, header_bytes, member)


def _where(path: Path, name: str = "") -> str:
    return f"{one_line(path, limit=200)}" + (f", array `{one_line(name, limit=80)}`" if name else "")
