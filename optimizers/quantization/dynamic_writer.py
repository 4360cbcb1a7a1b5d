"""ONNX Runtime's dynamic quantiser, kept from the models that it handles wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime.quantization import QuantizationMode, QuantType
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer

from optimizers.errors import PassFailed
from optimizers.foreign import foreign_as
from optimizers.quantization.disguise import disguise, reveal
from optimizers.quantization.plan import LAYERS, RECURRENT, Kept, Skips, captured_values, kept, nested_nodes
from optimizers.quantization.prepare import add_initializer, attribute, constant
from optimizers.quantization.quiet import quiet_quantiser
from optimizers.quantization.tidy import tidy

_HIDDEN = "KeptInFloat"


@dataclass(frozen=True, slots=True)
class DynamicFormat:
    """How weights are written: uint8 or int8 of 8 or 7 bits, one scale a channel or a tensor."""

    weight: str
    per_channel: bool
    reduce_range: bool


def choose(graph: ir.Graph, types: Sequence[str], skips: Skips) -> tuple[list[ir.Node], list[Kept]]:
    """The layers of these operators to quantise, and those kept in float with the reason."""
    captured = captured_values(graph)
    chosen: list[ir.Node] = []
    floats = [kept(node, "it lies in a branch or loop body") for node in nested_nodes(graph) if node.op_type in LAYERS | RECURRENT]
    for node in graph:
        if node.op_type not in LAYERS | RECURRENT:
            continue
        left_out = None if node.op_type in types else f"op_types leaves out {node.op_type}"
        why = left_out or skips.reason(node) or _obstacle(node, captured)
        if why is None:
            chosen.append(node)
        else:
            floats.append(kept(node, why))
    return chosen, floats


def _obstacle(node: ir.Node, captured: set[ir.Value]) -> str | None:
    if node.domain != ("com.microsoft" if node.op_type == "Attention" else ""):
        return f"{node.op_type} of {node.domain or 'ONNX itself'} has no dynamically quantised form"
    weights = [constant(node.inputs[index]) if len(node.inputs) > index else None for index in ((1, 2) if node.op_type == "LSTM" else (1,))]
    if any(weight is None for weight in weights):
        return "its weights are computed, not constant"
    if any(weight.dtype != np.float32 for weight in weights if weight is not None):
        return "its weights are not float32"
    if any(not np.isfinite(weight).all() for weight in weights if weight is not None):
        return "its weights hold NaN or infinities"
    if any(value in captured for value in (*node.inputs, *node.outputs) if constant(value) is None):
        return "a branch or loop body reads one of its tensors"
    return _operator_obstacle(node)


def _operator_obstacle(node: ir.Node) -> str | None:
    match node.op_type:
        case "LSTM" if attribute(node, "layout", 0):
            return "it is laid out with the batch first, which the quantised LSTM does not know"
        case "Gemm" if attribute(node, "transA", 0):
            return "its input is transposed (transA)"
        case "Gemm" if any(name in node.attributes and node.attributes[name].as_float() != 1.0 for name in ("alpha", "beta")):
            return "its factors alpha and beta are not 1"
        case "Attention" if "qkv_hidden_sizes" in node.attributes:
            return "its queries, keys and values differ in size"
        case "Conv" if len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None:
            return "its bias is computed, not constant"
    return None


def write_dynamic(model: ir.Model, chosen: Sequence[ir.Node], float_values: set[str], how: DynamicFormat) -> ir.Model:
    """The model with the chosen layers on 8-bit weights and activations quantised as they come; `model` is used up.

    `float_values` names the computed values known to be float32. Raises: PassFailed.
    """
    names = [node.name or "" for node in chosen if node.op_type != "Gemm"]
    types = sorted({"MatMul" if node.op_type == "Gemm" else node.op_type for node in chosen})
    _own_weights(chosen)
    for node in chosen:
        if node.op_type == "Gemm":
            names.append(_as_product(node))
    proto = ir.to_proto(model)
    metadata = list(proto.metadata_props)
    old = disguise(proto)
    del proto.graph.value_info[:]
    outputs = {value.name for value in proto.graph.output}
    floats = [short for short, name in old.items() if name in float_values and short not in outputs]
    proto.graph.value_info.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in floats)
    _rename_operators(proto.graph, "Gemm", _HIDDEN)  # the quantiser takes every Gemm apart, also those that stay in float
    with foreign_as(PassFailed, "ONNX Runtime's quantiser failed"), quiet_quantiser():
        proto = _quantise(proto, sorted(names), types, how)
    _rename_operators(proto.graph, _HIDDEN, "Gemm")
    del proto.metadata_props[:], proto.graph.value_info[:]
    proto.metadata_props.extend(metadata)
    reveal(proto, old)
    return tidy(ir.from_proto(proto), model)


def _quantise(proto: onnx.ModelProto, names: list[str], types: list[str], how: DynamicFormat) -> onnx.ModelProto:
    quantiser = ONNXQuantizer(
        proto,
        per_channel=how.per_channel,
        reduce_range=how.reduce_range,
        mode=QuantizationMode.IntegerOps,
        static=False,
        weight_qType=QuantType.QUInt8 if how.weight == "uint8" else QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=None,
        nodes_to_quantize=names,
        nodes_to_exclude=[],
        op_types_to_quantize=types,
        extra_options={"MatMulConstBOnly": True},
    )
    quantised: onnx.ModelProto = quantiser.quantize_model()
    return quantised


def _rename_operators(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        if node.op_type == old:
            node.op_type = new
        for attribute_ in node.attribute:
            for nested in (attribute_.g, *attribute_.graphs):
                _rename_operators(nested, old, new)


def _own_weights(chosen: Sequence[ir.Node]) -> None:
    """A copy of a weight that others read too: the quantiser rewrites some weights in place, in a layout of their own."""
    for node in chosen:
        for index in (1, 2) if node.op_type == "LSTM" else (1,):
            value = node.inputs[index]
            array = constant(value)
            if value is None or array is None or node.graph is None:
                continue
            products = all(use.node.op_type == "MatMul" and use.idx == 1 and use.node in chosen for use in value.uses())
            if len(value.uses()) > 1 and not products:
                node.replace_input_with(index, add_initializer(node.graph, f"{node.name}_own", array))


def _as_product(node: ir.Node) -> str:
    """Replace a Gemm by a matrix product and an addition, the form with an integer kernel; the product's name.

    The quantiser would do the same, and trips over the shapes that an exporter declared for the weight before.
    """
    graph, weight = node.graph, constant(node.inputs[1])
    assert graph is not None and weight is not None
    if attribute(node, "transB", 0):
        weight = np.ascontiguousarray(weight.T)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    product = ir.node("MatMul", [node.inputs[0], add_initializer(graph, f"{node.name}_weight", weight)], name=f"{node.name}_product")
    last = product
    graph.insert_before(node, product)
    if bias is not None:
        product.outputs[0].name = f"{node.name}_product"
        last = ir.node("Add", [product.outputs[0], bias], name=f"{node.name}_bias")
        graph.insert_before(node, last)
    old, new = node.outputs[0], last.outputs[0]
    new.name, new.type, new.shape = old.name, old.type, old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return product.name or ""
