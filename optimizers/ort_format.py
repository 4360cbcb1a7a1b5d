"""Files in ONNX Runtime's format, written again in one order: the runtime writes them in the order of its hash tables, which changes.

The schema is `ort.fbs` (onnxruntime/core/flatbuffers/schema), format version 6; tables by their slots.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

IDENTIFIER = b"ORTM"

_SCALARS: Mapping[str, str] = MappingProxyType({"i8": "<b", "u8": "<B", "i32": "<i", "u32": "<I", "i64": "<q", "f32": "<f"})

_ARRAYS: Mapping[str, str] = MappingProxyType({"i8": "i1", "u8": "u1", "i32": "<i4", "u32": "<u4", "i64": "<i8", "f32": "<f4"})

_PREPEND: Mapping[str, str] = MappingProxyType(
    {
        "i8": "PrependInt8Slot",
        "u8": "PrependUint8Slot",
        "i32": "PrependInt32Slot",
        "u32": "PrependUint32Slot",
        "i64": "PrependInt64Slot",
        "f32": "PrependFloat32Slot",
    }
)

_SCHEMA: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "InferenceSession": ("str", "Model", "absent", "KernelTypeStrResolver"),
        "Model": ("i64", "[OperatorSetId]", "str", "str", "str", "i64", "str", "Graph", "str", "[StringStringEntry]"),
        "OperatorSetId": ("str", "i64"),
        "StringStringEntry": ("str", "str"),
        "Graph": ("[Tensor]", "[ValueInfo]", "[Node]", "u32", "[NodeEdge]", "[str]", "[str]", "[SparseTensor]", "RuntimeOptimizations"),
        "Node": ("str", "str", "str", "i32", "u32", "str", "i32", "str", "[str]", "[str]", "[Attribute]", "[i32]", "[str]"),
        "NodeEdge": ("u32", "[edge]", "[edge]"),
        "ValueInfo": ("str", "str", "TypeInfo"),
        "TypeInfo": ("str", "u8", "type"),
        "TensorTypeAndShape": ("i32", "Shape"),
        "SequenceType": ("TypeInfo",),
        "MapType": ("i32", "TypeInfo"),
        "Shape": ("[Dimension]",),
        "Dimension": ("DimensionValue", "str"),
        "DimensionValue": ("i8", "i64", "str"),
        "Tensor": ("str", "str", "[i64]", "i32", "[u8]", "[str]", "i64"),
        "SparseTensor": ("Tensor", "Tensor", "[i64]"),
        "Attribute": ("str", "str", "i32", "f32", "i64", "str", "Tensor", "Graph", "[f32]", "[i64]", "[str]", "[Tensor]", "[Graph]"),
        "RuntimeOptimizations": ("absent",),
        "KernelTypeStrResolver": ("[OpIdKernelTypeStrArgsEntry]",),
        "OpIdKernelTypeStrArgsEntry": ("str", "[KernelTypeStrArgsEntry]"),
        "KernelTypeStrArgsEntry": ("str", "[ArgTypeAndIndex]"),
        "ArgTypeAndIndex": ("i8", "u32"),
    }
)

_DEFAULTS: Mapping[tuple[str, int], int] = MappingProxyType({("Tensor", 6): -1})
_TYPES = {1: "TensorTypeAndShape", 2: "SequenceType", 3: "MapType"}

_UNORDERED: frozenset[tuple[str, int]] = frozenset(
    {
        ("Model", 1),  # operator sets by domain
        ("Model", 9),  # metadata by key
        ("Graph", 0),  # initialisers by name
        ("Graph", 1),  # values by name
        ("Graph", 4),  # edges by node
        ("Node", 10),  # attributes by name
        ("NodeEdge", 1),
        ("NodeEdge", 2),
        ("KernelTypeStrResolver", 0),
        ("OpIdKernelTypeStrArgsEntry", 1),
    }
)
"""Vectors that the runtime reads into maps: sorted by their first field."""

_EDGE = struct.Struct("<Iii")
_WEIGHT_ALIGNMENT = 16


class UnknownFormat(Exception):
    """The file has something that this version of the schema has not."""


@dataclass(frozen=True, slots=True)
class _Table:
    kind: str
    fields: tuple[Any, ...]


def canonical(data: bytes) -> bytes:
    """The same model in one order. Raises: UnknownFormat for a newer schema, and for files that are in no such format."""
    if data[4:8] != IDENTIFIER:
        raise UnknownFormat("it does not begin as a file in ONNX Runtime's format does")
    try:
        root = _Reader(data).table(struct.unpack_from("<I", data)[0], "InferenceSession")
    except (struct.error, RecursionError) as error:
        raise UnknownFormat(f"it cannot be followed: {error}") from error
    builder = flatbuffers.Builder(len(data) + (len(data) >> 2) + 1024)
    builder.Finish(_Writer(builder).table(root), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


@dataclass(frozen=True, slots=True)
class _Reader:
    data: bytes

    def _get(self, form: str, position: int) -> Any:
        return struct.unpack_from(form, self.data, position)[0]

    def table(self, position: int, kind: str) -> _Table:
        slots = position - self._get("<i", position)
        count = (self._get("<H", slots) - 4) // 2
        offsets = [self._get("<H", slots + 4 + 2 * slot) for slot in range(count)]
        schema = _SCHEMA[kind]
        if any(offsets[len(schema) :]):
            raise UnknownFormat(f"its {kind} has {count} fields, and {len(schema)} are known")
        fields: list[Any] = []
        for slot, form in enumerate(schema):
            offset = offsets[slot] if slot < count else 0
            known = _TYPES.get(fields[1], "absent") if form == "type" and offset else form
            fields.append(self.field(position + offset, known) if offset else None)
        return _Table(kind, tuple(fields))

    def field(self, position: int, form: str) -> Any:
        if form in _SCALARS:
            return self._get(_SCALARS[form], position)
        target = position + self._get("<I", position)
        if form == "str":
            return self.data[target + 4 : target + 4 + self._get("<I", target)]
        if form.startswith("["):
            return self.vector(target, form[1:-1])
        if form == "absent":
            raise UnknownFormat("it has a field that is not known")
        return self.table(target, form)

    def vector(self, position: int, form: str) -> Any:
        count, start = self._get("<I", position), position + 4
        if form == "edge":
            return list(_EDGE.iter_unpack(self.data[start : start + _EDGE.size * count]))
        if form in _SCALARS:
            return np.frombuffer(self.data, _ARRAYS[form], count, start)
        return [self.field(start + 4 * place, form) for place in range(count)]


@dataclass(frozen=True, slots=True)
class _Writer:
    builder: Any

    def table(self, table: _Table) -> int:
        """Children first, as flatbuffers are built from their end."""
        schema = _SCHEMA[table.kind]
        written = [
            value
            if value is None or schema[slot] in _SCALARS
            else self.child(value, schema[slot], unordered=(table.kind, slot) in _UNORDERED)
            for slot, value in enumerate(table.fields)
        ]
        self.builder.StartObject(len(schema))
        for slot, value in enumerate(written):
            if value is None:
                continue
            form = schema[slot]
            if form in _SCALARS:
                default = _DEFAULTS.get((table.kind, slot), 0)
                getattr(self.builder, _PREPEND[form])(slot, value, default)
            else:
                self.builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return int(self.builder.EndObject())

    def child(self, value: Any, form: str, *, unordered: bool) -> int:
        if isinstance(value, _Table):
            return self.table(value)
        if isinstance(value, bytes):
            return int(self.builder.CreateSharedString(value))
        if isinstance(value, np.ndarray):
            return self.numbers(value, alignment=_WEIGHT_ALIGNMENT if form == "[u8]" else value.itemsize)
        items = sorted(value, key=_key) if unordered else value
        if form == "[edge]":
            return self.numbers(np.array(items, "<i4").reshape(-1), alignment=4, elements=len(items), width=_EDGE.size)
        offsets = [self.child(item, form[1:-1], unordered=False) for item in items]
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def numbers(self, values: NDArray[Any], *, alignment: int, elements: int | None = None, width: int | None = None) -> int:
        data = values.tobytes()
        self.builder.StartVector(width or values.itemsize, values.size if elements is None else elements, alignment)
        head = self.builder.Head() - len(data)
        self.builder.head = head
        self.builder.Bytes[head : head + len(data)] = data
        return int(self.builder.EndVector())


def _key(item: Any) -> Any:
    """What a map is keyed by: a table's first field; an edge's numbers. An absent field is its default."""
    if not isinstance(item, _Table):
        return item
    first = item.fields[0]
    return first if first is not None else 0 if _SCHEMA[item.kind][0] in _SCALARS else b""
