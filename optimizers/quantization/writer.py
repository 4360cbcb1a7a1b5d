"""ONNX Runtime's QDQ quantiser with our choice of operators, ranges and weight scales; what it costs for nothing is taken out."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnxruntime.quantization import QDQQuantizer, QuantType, TensorData

from optimizers.calibration.ranges import Range
from optimizers.errors import PassFailed
from optimizers.foreign import foreign_as
from optimizers.quantization.disguise import disguise, reveal
from optimizers.quantization.plan import Plan, gives_integers
from optimizers.quantization.prepare import add_initializer, attribute, constant
from optimizers.quantization.quiet import quiet_quantiser
from optimizers.quantization.tidy import tidy
from optimizers.quantization.weights import own_constants, symmetric_scales


@dataclass(frozen=True, slots=True)
class Format:
    """How integers are written: activations uint8 or int8, weights int8 of 8 or 7 bits, one scale a channel or a tensor."""

    activation: str
    symmetric: bool
    per_channel: bool
    weight_bits: int


def write_qdq(model: ir.Model, plan: Plan, ranges: Mapping[str, Range], how: Format) -> ir.Model:
    """The model with QuantizeLinear and DequantizeLinear around the planned operators; `model` is used up.

    `ranges` has one for each of the plan's activations, by name. Raises: PassFailed.
    """
    planned = {node.name or "": node.op_type for node in plan.nodes}
    integers_only = {node.name or "" for node in plan.nodes if gives_integers(node, set(plan.nodes))}
    scales = {
        weight.value.name or "": _override(weight.value, weight.axis if how.per_channel else None, how)
        for weight in own_constants(plan.nodes)
    }
    proto = ir.to_proto(model)
    with foreign_as(PassFailed, "ONNX Runtime's quantiser failed"), quiet_quantiser():
        proto = _quantise(proto, planned, ranges, scales, how)
    written = ir.from_proto(proto)
    _drop_useless_pairs(written.graph, planned.keys(), integers_only)
    _keep_float_weights(written.graph, planned.keys())
    return tidy(written, model)


def _override(weight: ir.Value, axis: int | None, how: Format) -> list[dict[str, Any]]:
    array = constant(weight)
    assert array is not None
    scales = symmetric_scales(array, axis, bits=how.weight_bits)
    zero = np.zeros((), np.int8)
    if axis is None:
        return [{"quant_type": QuantType.QInt8, "scale": scales, "zero_point": zero}]
    return [{"quant_type": QuantType.QInt8, "axis": axis, "scale": scale, "zero_point": zero} for scale in scales]


def _quantise(
    proto: onnx.ModelProto,
    planned: Mapping[str, str],
    ranges: Mapping[str, Range],
    scales: Mapping[str, list[dict[str, Any]]],
    how: Format,
) -> onnx.ModelProto:
    old = disguise(proto)
    new = {name: short for short, name in old.items()}
    del proto.graph.value_info[:]
    outputs = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    floats = [new[name] for name in ranges if new[name] not in outputs]
    proto.graph.value_info.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in floats)
    metadata = list(proto.metadata_props)
    proto.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")  # else it infers shapes through a file
    quantizer = QDQQuantizer(
        proto,
        per_channel=how.per_channel,
        reduce_range=False,  # the scales given say it all
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if how.activation == "int8" else QuantType.QUInt8,
        tensors_range={new[name]: TensorData(lowest=np.float32(r.low), highest=np.float32(r.high)) for name, r in ranges.items()},
        nodes_to_quantize=sorted(planned),
        nodes_to_exclude=[],
        op_types_to_quantize=sorted(set(planned.values())),
        extra_options={
            "ActivationSymmetric": how.symmetric,
            "TensorQuantOverrides": {new[name]: override for name, override in scales.items()},
        },
    )
    quantised: onnx.ModelProto = quantizer.quantize_model()
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(metadata)
    del quantised.graph.value_info[:]
    reveal(quantised, old)
    return quantised


def _drop_useless_pairs(graph: ir.Graph, planned: Set[str], integers_only: Set[str]) -> None:
    """Where a value exists in float, float operators and outputs take that, not what is left after rounding it to 8 bits."""
    for dequantize in [node for node in graph if node.op_type == "DequantizeLinear"]:
        source = dequantize.inputs[0]
        quantize = None if source is None else source.producer()
        if quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        value, rounded = quantize.inputs[0], dequantize.outputs[0]
        assert value is not None
        producer = value.producer()
        if producer is not None and (producer.name in integers_only or producer.op_type == "DequantizeLinear"):
            continue
        for use in list(rounded.uses()):
            if use.node.name not in planned:
                use.node.replace_input_with(use.idx, value)
        if rounded.is_graph_output() and producer is not None:
            _give(graph, rounded, value)


def _keep_float_weights(graph: ir.Graph, planned: Set[str]) -> None:
    """Keep ONNX Runtime from quantising a layer that was left in float.

    Where the input of a Conv, ConvTranspose or Gemm comes from integers with one scale, it rounds constant weights to one
    scale as it loads the model. With the same scale written once for each channel, it does not.
    """
    for node in list(graph):
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or node.name in planned or node.inputs[0] is None:
            continue
        dequantize, weight = node.inputs[0].producer(), constant(node.inputs[1])
        if dequantize is None or dequantize.op_type != "DequantizeLinear" or weight is None:
            continue
        channels = _input_channels(node, weight)
        if channels > 1:
            node.replace_input_with(0, _dequantized_by_channel(graph, dequantize, node, channels))


def _input_channels(node: ir.Node, weight: NDArray[Any]) -> int:
    """The size of axis 1 of a layer's input; 0 where it is not the axis that a scale may vary along."""
    match node.op_type:
        case "Conv":
            return int(weight.shape[1]) * attribute(node, "group", 1)
        case "ConvTranspose":
            return int(weight.shape[0])
        case _:
            return 0 if attribute(node, "transA", 0) else int(weight.shape[1 if attribute(node, "transB", 0) else 0])


def _dequantized_by_channel(graph: ir.Graph, dequantize: ir.Node, node: ir.Node, channels: int) -> ir.Value:
    quantised, scale, zero = dequantize.inputs
    scales, zeros = (np.repeat(np.atleast_1d(array), channels) for value in (scale, zero) if (array := constant(value)) is not None)
    inputs = [quantised, add_initializer(graph, f"{node.name}_scales", scales), add_initializer(graph, f"{node.name}_zeros", zeros)]
    again = ir.node("DequantizeLinear", inputs, attributes={"axis": 1}, name=f"{node.name}_dequantize", num_outputs=1)
    again.outputs[0].name = f"{node.name}_dequantized"
    graph.insert_before(node, again)
    return again.outputs[0]


def _give(graph: ir.Graph, rounded: ir.Value, value: ir.Value) -> None:
    """Make `value` the graph's output in place of `rounded`, under its name."""
    value.name, rounded.name = rounded.name, value.name
    value.type, value.shape = rounded.type, rounded.shape
    for index, output in enumerate(graph.outputs):
        if output is rounded:
            graph.outputs[index] = value
