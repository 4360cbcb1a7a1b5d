"""Make a float model ready for ONNX Runtime's quantiser: what it handles wrongly is written in the form that it handles."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from optimizers.errors import UnsupportedModel
from optimizers.graph import is_quantised, operators, unpack_weights

_MOST_BYTES = 2**31 - 2**24


def prepare(model: ir.Model, types: Collection[str]) -> tuple[ir.Model, int]:
    """A copy with the weights of these operators as plain float initialisers, in memory; and how many were stored as integers before.

    Raises: UnsupportedModel for a model too large for one protobuf message, which the quantiser works on.
    """
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    if weights > _MOST_BYTES:
        raise UnsupportedModel(f"its weights take {weights / 2**30:.1f} GiB, and ONNX Runtime's quantiser takes models below 2 GiB")
    work = ir.external_data.load_to_model(model.clone())
    common.RemoveInitializersFromInputsPass()(work)
    if work.functions:
        work = common.InlinePass()(work).model
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(work)
    unpacked = unpack_weights(work, read_by=lambda node: node.op_type in types)
    common.NameFixPass()(work)
    for node in work.graph:
        if node.op_type == "Gemm" and node.domain == "":
            _plain_gemm(node)
    return work, unpacked


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The numbers of an initialiser of the outer graph; None for what is computed."""
    if value is None or not value.is_initializer() or value.is_graph_input() or value.const_value is None:
        return None
    return value.const_value.numpy()


def _plain_gemm(node: ir.Node) -> None:
    """alpha and beta into the constants, a constant C as one number for each column: the form that becomes an integer kernel."""
    weight, bias = constant(node.inputs[1]), constant(node.inputs[2]) if len(node.inputs) > 2 else None
    alpha, beta = _number(node, "alpha"), _number(node, "beta")
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
        return
    if alpha != 1.0:
        _replace(node, 1, weight * np.float32(alpha))
        node.attributes.pop("alpha", None)
    columns = weight.shape[0 if attribute(node, "transB", 0) else 1]
    if bias is not None and bias.dtype == np.float32 and bias.size in (1, columns) and bias.shape[:-1] in ((), (1,)):
        flat = np.broadcast_to(bias.reshape(-1) * np.float32(beta), (columns,))
        if beta != 1.0 or bias.shape != (columns,):
            _replace(node, 2, np.ascontiguousarray(flat))
        node.attributes.pop("beta", None)


def _replace(node: ir.Node, index: int, array: NDArray[Any]) -> None:
    old = node.inputs[index]
    assert old is not None and node.graph is not None
    node.replace_input_with(index, add_initializer(node.graph, f"{old.name}_plain", array))


def add_initializer(graph: Any, name: str, array: NDArray[Any]) -> ir.Value:
    """A new initialiser with that name, or the next free one."""
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    taken |= {value.name for node in graph for value in node.outputs}
    free, number = name, 1
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    value = ir.Value(name=free, const_value=ir.tensor(array, name=free))
    value.dtype, value.shape = ir.DataType.from_numpy(array.dtype), ir.Shape(array.shape)
    graph.register_initializer(value)
    return value


def _number(node: ir.Node, name: str) -> float:
    return float(node.attributes[name].as_float()) if name in node.attributes else 1.0


def attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute of a node."""
    return int(node.attributes[name].as_int()) if name in node.attributes else default


def refuse_quantised(model: ir.Model) -> None:
    """Raises: UnsupportedModel for a model that computes on integers already (weights alone stored as integers are unpacked)."""
    if not is_quantised(model):
        return
    counts = {name: count for name, count in operators(model).items() if "Quantize" in name or "QLinear" in name or "Integer" in name}
    listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1])[:4])
    raise UnsupportedModel(f"it is quantised already ({listed or 'integer operators'}): quantise the float model it was made from")
