"""YAML (and JSON) files that people write, read into pydantic schemas with errors that people can act on."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, RootModel, ValidationError

from device_profiles.errors import TextFileError
from device_profiles.field_errors import explain, field_path, find_node, misplaced_flag, nearest
from device_profiles.yaml_tree import Data, MapNode, Mark, Node, fault, parse_tree, plain_data, printable

MAX_BYTES = 1 << 20

T = TypeVar("T", bound=BaseModel)

_FOREIGN_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file that still knows where everything stood: for checks that a schema alone cannot make."""

    root: Node
    source: str

    @property
    def data(self) -> Data:
        """The content as plain Python values."""
        return plain_data(self.root)

    def validate(self, schema: type[T]) -> T:
        """The content as the schema has it. Raises: TextFileError."""
        if not isinstance(self.root, MapNode) and not issubclass(schema, RootModel):
            raise fault(self.source, self.root.mark, "the file must be a mapping: lines of `key: value`")
        try:
            value = schema.model_validate(self.data)
        except ValidationError as error:
            if isinstance(self.root, MapNode) and not self.root.entries:
                raise self._empty(schema) from None
            raise explain(self.root, error, schema=schema, source=self.source) from None
        if (place := misplaced_flag(self.root, schema)) is not None:
            raise self.error(place, "cannot be true or false")
        return value

    def _empty(self, schema: type[BaseModel]) -> TextFileError:
        needed = [f"`{field.alias or name}`" for name, field in schema.model_fields.items() if field.is_required()]
        return fault(self.source, None, "the file is empty" + (f": it needs {', '.join(needed)}" if needed else ""))

    def place(self, location: Sequence[int | str]) -> str:
        """Where a value stands, to put before somebody else's message: `FILE, line 3, column 5, recipes[1]`."""
        _, mark, path = find_node(self.root, location)
        return f"{printable(self.source, 300)}, {mark}" + (f", {field_path(path)}" if path else "")

    def error(self, location: Sequence[int | str], message: str) -> TextFileError:
        """An error about the value at a location such as `("configs", 0, "threads")`."""
        _, mark, path = find_node(self.root, location)
        return fault(self.source, mark, (f"`{field_path(path)}` " if path else "") + printable(message, 1000))


def load_yaml(path: Path, schema: type[T]) -> T:
    """The file as the schema has it. Raises: TextFileError, whose one paragraph says where it is wrong and what to do."""
    return read_document(path).validate(schema)


def parse_yaml(text: str, schema: type[T], *, source: str) -> T:
    """As `load_yaml`, of text; `source` stands for the file in errors. Raises: TextFileError."""
    return parse_document(text, source=source).validate(schema)


def read_document(path: Path) -> Document:
    """The file, parsed but not validated. Raises: TextFileError."""
    return parse_document(decode(read_bounded(path), source=str(path)), source=str(path))


def parse_document(text: str, *, source: str) -> Document:
    """The text, parsed but not validated; nothing but comments is an empty mapping. Raises: TextFileError."""
    if len(text) > MAX_BYTES:
        raise _too_large(source)
    root = parse_tree(text, source=source)
    return Document(MapNode(Mark(1, 1), {}, {}) if root is None else root, source)


def decode(data: bytes, *, source: str) -> str:
    """UTF-8 bytes (with or without a byte order mark) as text. Raises: TextFileError for anything else."""
    if data.startswith(_FOREIGN_MARKS):
        raise fault(source, None, "the file is UTF-16 or UTF-32: save it as UTF-8")
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise fault(source, None, f"there is a NUL byte on line {line}: this is not a text file, or not UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise fault(source, None, f"byte 0x{data[error.start]:02x} on line {line} is not UTF-8: save the file as UTF-8") from None


def read_bounded(path: Path) -> bytes:
    """The bytes of a regular file of at most `MAX_BYTES`. Raises: TextFileError."""
    source = str(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise fault(source, None, "this is a folder: give the file in it")
        if not stat.S_ISREG(mode):
            raise fault(source, None, "this is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise fault(source, None, f"there is no such file{_neighbour(path)}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise fault(source, None, f"the file cannot be read: {printable(reason)}") from None
    if len(data) > MAX_BYTES:
        raise _too_large(source)
    return data


def _too_large(source: str) -> TextFileError:
    return fault(source, None, f"the file is larger than {MAX_BYTES >> 20} MiB: this is not a file that a person wrote")


def _neighbour(path: Path) -> str:
    """Names a file of the same folder that might have been meant."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(1000), strict=False) if Path(entry.name).suffix == path.suffix]
    except OSError:
        return f" (nor a folder {printable(str(path.parent), 200)})"
    guess = nearest(path.name, names)
    return f": did you mean `{printable(guess)}`?" if guess else ""
