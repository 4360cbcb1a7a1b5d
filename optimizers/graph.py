"""Models as files: read safely, written with the same bytes each time, inputs and outputs compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from optimizers.errors import ModelError, PassFailed, UnsupportedModel
from optimizers.foreign import foreign_as, one_line

EXTERNAL_ABOVE_BYTES = 1 << 30
"""A model with more bytes of weights than this is written with its weights in a file beside it (protobuf ends at 2 GiB)."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a model: its name, onnx type and the sizes of its axes (None where any size will do)."""

    name: str
    type: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Written:
    """A model on disk: bytes of the file and of its external data, if it has any."""

    path: Path
    external: Path | None
    size_bytes: int


def read_model(path: Path) -> ir.Model:
    """Parse an ONNX file; weights outside it stay memory-mapped. Raises: ModelError."""
    with foreign_as(ModelError, f"{one_line(path.name, limit=80)} is not an ONNX model that can be read"):
        proto = onnx.load(path, format="protobuf", load_external_data=False)
        _check_functions(proto)
        _check_types(proto.graph)
        model = ir.from_proto(proto)
        ir.external_data.set_base_dir(model.graph, path.parent)
        for tensor in _tensors(model):
            _check_external(tensor, path.parent)
    return model


def _check_functions(proto: onnx.ModelProto) -> None:
    """A function that calls itself would make every inliner run for ever."""
    calls = {
        (function.domain, function.name): {(node.domain, node.op_type) for node in _nodes(function.node)} for function in proto.functions
    }
    done: set[tuple[str, str]] = set()
    while ready := {name for name in calls.keys() - done if not (calls[name] & calls.keys()) - done}:
        done |= ready
    if stuck := calls.keys() - done:
        raise ModelError(f"its function {one_line(sorted(stuck)[0][1], limit=80)} calls itself, which ONNX does not allow")


def _check_types(graph: onnx.GraphProto) -> None:
    if graph.sparse_initializer:
        raise UnsupportedModel("it has sparse initialisers, which would be lost on the way: export it with dense weights")
    for value in (*graph.input, *graph.output):
        if value.type.HasField("map_type") or value.type.sequence_type.elem_type.HasField("map_type"):
            name = one_line(value.name, limit=80)
            raise UnsupportedModel(
                f"its `{name}` is a map, a type that would be lost: export it with plain tensors (skl2onnx: zipmap=False)"
            )


def _nodes(nodes: object) -> Iterator[onnx.NodeProto]:
    for node in nodes:  # type: ignore[attr-defined]
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        yield from (value.const_value for value in graph.initializers.values() if value.const_value is not None)


def _check_external(tensor: ir.TensorProtocol, folder: Path) -> None:
    if not isinstance(tensor, ir.ExternalTensor):
        return
    if not Path(tensor.path).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the weights {tensor.name} are said to lie in {tensor.location}, outside the model's folder")
    if not Path(tensor.path).is_file():
        raise ValueError(f"its weights lie in {tensor.location}, and there is no such file beside it")
    size = Path(tensor.path).stat().st_size
    end = (tensor.offset or 0) + max(tensor.length or 0, tensor.nbytes)
    if (tensor.offset or 0) < 0 or end > size:
        raise ValueError(f"the weights {tensor.name} should end at byte {end} of {tensor.location}, which has {size}")


def write_model(model: ir.Model, path: Path, *, external_above_bytes: int = EXTERNAL_ABOVE_BYTES) -> Written:
    """Write a model as one file, or with `<name>.data` beside it when its weights are large. Raises: PassFailed.

    Shapes of intermediate values are left out: readers infer them, and in a small model they are a tenth of the file.
    """
    with foreign_as(PassFailed, "the model made cannot be written"):
        weights = sum(tensor.nbytes for tensor in _tensors(model))
        if weights > external_above_bytes:
            model = ir.external_data.unload_from_model(model.clone(), path.parent, f"{path.name}.data", size_threshold_bytes=1024)
        else:
            ir.external_data.load_to_model(model)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(file_bytes(model))
        partial.replace(path)
    return written(path)


def _drop_shapes(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            for subgraph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _drop_shapes(subgraph)


def file_bytes(model: ir.Model) -> bytes:
    """What is written of a model: the same bytes for the same model; weights that are external stay references."""
    proto = ir.to_proto(model)
    _drop_shapes(proto.graph)
    return bytes(proto.SerializeToString(deterministic=True))


def written(path: Path) -> Written:
    """A model file with what lies beside it."""
    external = path.with_name(f"{path.name}.data")
    size = path.stat().st_size
    if external.exists():
        return Written(path, external, size + external.stat().st_size)
    return Written(path, None, size)


def given_size(model: ir.Model, path: Path) -> int:
    """Bytes of a model file just read, with the weights outside it that it refers to, whatever their file's name."""
    external = [tensor for tensor in _tensors(model) if isinstance(tensor, ir.ExternalTensor)]
    return path.stat().st_size + sum(tensor.length or tensor.nbytes for tensor in external)


def file_sha256(path: Path) -> str:
    """The sha256 of a file: 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def opset(model: ir.Model) -> int:
    """The version of the standard operators that the model uses; 0 where it uses none."""
    return model.opset_imports.get("", 0)


def real_inputs(model: ir.Model) -> list[ir.Value]:
    """The inputs that must be fed: those that no initialiser gives a value (old files list weights as inputs too)."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def signature(model: ir.Model) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs in order."""
    return tuple(map(_port, real_inputs(model))), tuple(map(_port, model.graph.outputs))


def _port(value: ir.Value) -> Port:
    shape = None if value.shape is None else tuple(axis if isinstance(axis, int) else None for axis in value.shape)
    return Port(value.name or "", str(value.type), shape)


def check_signature(before: tuple[tuple[Port, ...], tuple[Port, ...]], model: ir.Model, *, who: str) -> None:
    """Inputs and outputs must be what they were; sizes that were open may have become known. Raises: PassFailed."""
    after = signature(model)
    for kind, old, new in zip(("inputs", "outputs"), before, after, strict=True):
        if len(old) != len(new):
            raise PassFailed(f"{who} changed how many {kind} the model has: {len(old)} became {len(new)}")
        for one, other in zip(old, new, strict=True):
            if not _compatible(one, other):
                raise PassFailed(f"{who} changed the model's {kind}: {_text(one)} became {_text(other)}")


def _compatible(old: Port, new: Port) -> bool:
    if old.name != new.name or old.type not in (new.type, "None"):
        return False
    if old.shape is None or new.shape is None:
        return True
    return len(old.shape) == len(new.shape) and all(a is None or b is None or a == b for a, b in zip(old.shape, new.shape, strict=True))


def _text(port: Port) -> str:
    return one_line(f"{port.name} {port.type} {list(port.shape) if port.shape is not None else 'of any shape'}", limit=120)


def infer_shapes(model: ir.Model) -> ir.Model:
    """Types and shapes of all values, as far as they follow from the inputs."""
    return common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model).model


def operators(model: ir.Model) -> dict[str, int]:
    """How many nodes of each operator, subgraphs included."""
    counts: dict[str, int] = {}
    for node in model.graph.all_nodes():
        key = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        counts[key] = counts.get(key, 0) + 1
    return counts


_QUANTISERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "MatMulNBits"})
_QUANTISED_PREFIXES = ("QLinear", "QGemm", "QAttention", "QEmbed", "DynamicQuantize")


def is_quantised(model: ir.Model) -> bool:
    """Whether the model computes with quantised activations (weights alone stored as integers do not count)."""
    return any(node.op_type in _QUANTISERS or node.op_type.startswith(_QUANTISED_PREFIXES) for node in model.graph.all_nodes())


def unpack_weights(model: ir.Model, *, read_by: Callable[[ir.Node], bool] = lambda _: True) -> int:
    """Replace `DequantizeLinear` of constant weights by the float weights it gives: the same function, more bytes.

    `read_by` says which operators' weights to unpack. Returns how many. For passes that work on float weights; per axis and blocked scales are left as they are unless
    numpy broadcasting says it all: (x - zero point) × scale with the scale along `axis`.
    """
    unpacked = 0
    for node in list(model.graph):
        if node.op_type == "DequantizeLinear" and node.domain == "" and not node.outputs[0].is_graph_output():
            weights = _dequantised(node) if any(map(read_by, node.outputs[0].consumers())) else None
            if weights is not None:
                value = ir.Value(name=f"{node.outputs[0].name}", const_value=ir.tensor(weights, name=node.outputs[0].name))
                value.dtype, value.shape = ir.DataType.from_numpy(weights.dtype), ir.Shape(weights.shape)
                node.outputs[0].name = None
                node.outputs[0].replace_all_uses_with(value)
                model.graph.remove(node, safe=True)
                model.graph.register_initializer(value)
                unpacked += 1
    common.RemoveUnusedNodesPass()(model)
    return unpacked


def _dequantised(node: ir.Node) -> NDArray[Any] | None:
    constants = [None if value is None else ir.convenience.get_const_tensor(value) for value in node.inputs]
    if node.attributes.get("block_size") is not None or constants[0] is None or constants[1] is None:
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None and constants[2] is None:
        return None
    quantised, scale = constants[0].numpy(), constants[1].numpy()
    zero = constants[2].numpy() if len(constants) > 2 and constants[2] is not None else np.zeros((), np.int32)
    if scale.ndim == 1 and scale.size > 1:
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
        along = [1] * quantised.ndim
        along[axis] = scale.size
        scale, zero = scale.reshape(along), zero.reshape(along) if zero.size > 1 else zero
    difference = quantised.astype(np.int32) - zero.reshape(zero.shape if zero.ndim != 1 or zero.size > 1 else ()).astype(np.int32)
    return np.asarray(difference.astype(scale.dtype) * scale.reshape(scale.shape if scale.size > 1 else ()), scale.dtype)
