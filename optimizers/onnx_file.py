"""An .onnx file read without running it: parsed within bounds, its graphs walked, its weights counted."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from optimizers.errors import ModelError
from optimizers.foreign import foreign_as, one_line

MAX_FILE_BYTES = 2**31 - 1  # protobuf's limit for one message
MAX_VALUES = 2**48
MAX_RANK = 64

_BITS: dict[int, int] = {
    onnx.TensorProto.FLOAT: 32,
    onnx.TensorProto.UINT8: 8,
    onnx.TensorProto.INT8: 8,
    onnx.TensorProto.UINT16: 16,
    onnx.TensorProto.INT16: 16,
    onnx.TensorProto.INT32: 32,
    onnx.TensorProto.INT64: 64,
    onnx.TensorProto.BOOL: 8,
    onnx.TensorProto.FLOAT16: 16,
    onnx.TensorProto.DOUBLE: 64,
    onnx.TensorProto.UINT32: 32,
    onnx.TensorProto.UINT64: 64,
    onnx.TensorProto.COMPLEX64: 64,
    onnx.TensorProto.COMPLEX128: 128,
    onnx.TensorProto.BFLOAT16: 16,
    onnx.TensorProto.FLOAT8E4M3FN: 8,
    onnx.TensorProto.FLOAT8E4M3FNUZ: 8,
    onnx.TensorProto.FLOAT8E5M2: 8,
    onnx.TensorProto.FLOAT8E5M2FNUZ: 8,
    onnx.TensorProto.UINT4: 4,
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.FLOAT4E2M1: 4,
}
_NOT_ONNX = (
    (b"version https://git-lfs", "it is a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (b"<", "it is a web page or XML, perhaps an error page saved by a download"),
    (b"PK\x03\x04", "it is a ZIP archive (PyTorch and Keras files are): export the model to ONNX"),
    (b"\x1f\x8b", "it is compressed: unpack it first"),
    (b"\xfd7zXZ", "it is compressed: unpack it first"),
    (b"\x89HDF", "it is an HDF5 file (Keras): export the model to ONNX"),
)


@dataclass(frozen=True, slots=True)
class Weights:
    """Initialisers and constants over all graphs. `external` are those kept in other files; `claimed` their bytes by shape."""

    parameters: int
    stored_bytes: int
    external: tuple[onnx.TensorProto, ...]
    claimed: dict[str, int]
    problems: tuple[str, ...]


def read_onnx(path: Path) -> tuple[onnx.ModelProto, str]:
    """The model without its external data, and the sha256 of the file. Raises: ModelError for what is no ONNX model."""
    shown = one_line(path.name, limit=100)
    with foreign_as(ModelError, f"{shown} cannot be read"):
        if not path.is_file():
            raise ModelError(f"{shown}: there is no such file" if not path.exists() else f"{shown} is not a regular file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{shown} is larger than 2 GiB, which no ONNX file can be: keep its weights as external data")
        data = path.read_bytes()
    if not data:
        raise ModelError(f"{shown} is empty")
    for start, what in _NOT_ONNX:
        if data[:100].lstrip().startswith(start):
            raise ModelError(f"{shown} is not an ONNX model: {what}")
    with foreign_as(ModelError, f"{shown} is not an ONNX model, or is damaged"):
        model = onnx.ModelProto.FromString(data)
    if not model.HasField("graph"):
        raise ModelError(f"{shown} is not an ONNX model: it has no graph")
    if not _is_text(model):
        raise ModelError(f"{shown} is damaged: a name in it is not UTF-8 text")
    return model, hashlib.sha256(data).hexdigest()


def _is_text(model: onnx.ModelProto) -> bool:
    """Whether every string is UTF-8: protobuf hands out the others as bytes, which nothing downstream expects."""
    waiting: list[Any] = [model]
    while waiting:
        for field, value in waiting.pop().ListFields():
            values = value if field.is_repeated else [value]
            if field.type == field.TYPE_MESSAGE:
                waiting += values
            elif field.type == field.TYPE_STRING and not all(isinstance(one, str) for one in values):
                return False
    return True


def all_graphs(model: onnx.ModelProto) -> Iterator[tuple[list[onnx.NodeProto], onnx.GraphProto | None]]:
    """Nodes of the graph, of every subgraph and of every function (whose graph is None)."""
    waiting: list[tuple[list[onnx.NodeProto], onnx.GraphProto | None]] = [(list(model.graph.node), model.graph)]
    waiting += [(list(function.node), None) for function in model.functions]
    while waiting:
        nodes, graph = waiting.pop()
        yield nodes, graph
        for node in nodes:
            for attribute in node.attribute:
                inner = [attribute.g] if attribute.HasField("g") else []
                waiting += [(list(one.node), one) for one in (*inner, *attribute.graphs)]


def count_ops(model: onnx.ModelProto) -> dict[str, int]:
    """Nodes by type, subgraphs and functions included; types of other domains than ONNX's as `domain::Type`."""
    counts = Counter(op_name(node) for nodes, _ in all_graphs(model) for node in nodes)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def op_name(node: onnx.NodeProto) -> str:
    """`Conv`, `com.microsoft::MatMulNBits`."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def calls_itself(model: onnx.ModelProto) -> str | None:
    """A model-local function that, directly or not, calls itself: runtimes crash on it."""
    names = {(function.domain, function.name) for function in model.functions}
    calls = {(f.domain, f.name): {key for nodes, key in _calls(f) for key in nodes} & names for f in model.functions}
    alive = set(calls)
    while True:  # leaves are taken away until none is left: what stays is on, or leads to, a cycle
        leaves = {name for name in alive if not calls[name] & alive}
        if not leaves:
            break
        alive -= leaves
    return next((f"{domain}::{name}" for domain, name in sorted(alive)), None)


def _calls(function: onnx.FunctionProto) -> Iterator[tuple[set[tuple[str, str]], None]]:
    wrapped = onnx.ModelProto(functions=[function])
    for nodes, _ in all_graphs(wrapped):
        yield {(node.domain, node.op_type) for node in nodes}, None


def weigh(model: onnx.ModelProto) -> Weights:
    """Count the weights by their shapes; nothing is allocated from what a file claims."""
    parameters = stored = 0
    external: list[onnx.TensorProto] = []
    claimed: dict[str, int] = {}
    problems: list[str] = []
    for tensor in _tensors(model):
        name = one_line(tensor.name, limit=80)
        if len(tensor.dims) > MAX_RANK:
            problems.append(f"the weight `{name}` has {len(tensor.dims)} dimensions")
            continue
        if any(size < 0 for size in tensor.dims):
            problems.append(f"the weight `{name}` has a negative dimension")
            continue
        count = math.prod(tensor.dims)
        if count > MAX_VALUES:
            problems.append(f"the weight `{name}` claims more values than any file can hold")
            continue
        bits = _BITS.get(tensor.data_type)
        size_bytes = (count * bits + 7) // 8 if bits is not None else None
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            external.append(tensor)
            if size_bytes is not None:
                claimed[tensor.name] = size_bytes
        elif size_bytes is not None and size_bytes > MAX_FILE_BYTES:
            problems.append(f"the weight `{name}` claims {count} values, more than the file can hold")
            continue
        elif size_bytes is not None and tensor.HasField("raw_data") and len(tensor.raw_data) != size_bytes:
            problems.append(f"the weight `{name}` has {len(tensor.raw_data)} bytes of data, and its shape needs {size_bytes}")
            continue
        parameters += count
        stored += size_bytes or 0
    return Weights(parameters, stored, tuple(external), claimed, tuple(problems))


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for nodes, graph in all_graphs(model):
        if graph is not None:
            yield from graph.initializer
            yield from (sparse.values for sparse in graph.sparse_initializer)
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                if attribute.HasField("sparse_tensor"):
                    yield attribute.sparse_tensor.values
                yield from attribute.tensors
