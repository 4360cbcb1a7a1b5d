"""Half precision on a graph: which operators can compute in float16, and the casts around those that shall."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from optimizers.graph import opset

MAX_HALF = 65504.0
"""The largest finite float16 (IEEE 754-2008 binary16)."""

_FLOAT, _HALF = "tensor(float)", "tensor(float16)"
_STAY_FLOAT = frozenset({"Range", "CumSum", "RoiAlign", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
"""Counters, coordinates and scales, for which 11 bits are too few."""

_ANY_TYPE = frozenset({"Shape", "Size"})
"""Operators to which the values do not matter: they take what there is, without a cast."""


@dataclass(frozen=True, slots=True)
class Slots:
    """The inputs and outputs of an operator that become float16, by position."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def slots(node: ir.Node, version: int) -> Slots | None:
    """What of an operator can be float16 by its schema, None where it cannot compute so or has no float output."""
    if node.domain != "" or node.op_type in _STAY_FLOAT or any(_is_graph(attribute) for attribute in node.attributes.values()):
        return None
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        return None
    variables = {one.type_param_str for one in schema.type_constraints if {_FLOAT, _HALF} <= set(one.allowed_type_strs)}
    inputs = [(place, _formal(schema.inputs, place)) for place, value in enumerate(node.inputs) if value is not None and _is_float(value)]
    outputs = [(place, _formal(schema.outputs, place)) for place, value in enumerate(node.outputs) if _is_float(value)]
    bound = {formal for _, formal in inputs} & variables
    if not outputs or any(formal not in bound for _, formal in outputs):
        return None
    return Slots(tuple(place for place, formal in inputs if formal in variables), tuple(place for place, _ in outputs))


def _is_graph(attribute: ir.Attr) -> bool:
    return attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT


def _formal(formals: Sequence[onnx.defs.OpSchema.FormalParameter], place: int) -> str:
    return str(formals[min(place, len(formals) - 1)].type_str) if formals else ""


def candidates(model: ir.Model) -> dict[int, Slots]:
    """The operators of the main graph that can compute in float16, by their position."""
    version = opset(model)
    found = {place: slots(node, version) for place, node in enumerate(model.graph)}
    own = set(model.graph.outputs)
    return {
        place: one
        for place, (node, one) in enumerate(zip(model.graph, found.values(), strict=True))
        if one is not None and all(not value.is_graph_output() or value in own for value in node.outputs)
    }


def constants_fit(node: ir.Node, places: Collection[int]) -> bool:
    """Whether the constant inputs survive: no overflow, and no lone number (an epsilon, say) that becomes zero."""
    for place in places:
        value = node.inputs[place]
        tensor = None if value is None else ir.convenience.get_const_tensor(value)
        if tensor is None or tensor.size == 0:
            continue
        numbers = np.abs(tensor.numpy())
        if not numbers.max() <= MAX_HALF or (tensor.size == 1 and numbers.max() > 0 and numbers.astype(np.float16).max() == 0):
            return False
    return True


def convert(model: ir.Model, chosen: Mapping[int, Slots]) -> None:
    """Make the operators at these positions compute in float16, in place; what others and the outputs read stays float32."""
    nodes = {node: chosen[place] for place, node in enumerate(model.graph) if place in chosen}
    for node, own in nodes.items():
        for place in own.outputs:
            _output_to_half(model.graph, node.outputs[place], nodes)
    halves: dict[ir.Value, ir.Value] = {}
    for node, own in nodes.items():
        for place in own.inputs:
            value = node.inputs[place]
            if value is not None and value.dtype != ir.DataType.FLOAT16:
                if value not in halves:
                    halves[value] = _half_of(model.graph, value)
                node.replace_input_with(place, halves[value])
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)


def simulate(model: ir.Model, chosen: Mapping[int, Slots]) -> None:
    """Compute in float32, in place, and round to float16 all that the operators at these positions take and give.

    This is what half precision does to a model on processors that have it. On those that lack it the runtime drops the
    rounding between operators, so that a converted model looks better there than it is.
    """
    nodes = {node: chosen[place] for place, node in enumerate(model.graph) if place in chosen}
    rounded: dict[ir.Value, ir.Value] = {}
    for node, own in nodes.items():
        for place in own.outputs:
            value = node.outputs[place]
            name, uses = value.name, tuple(value.uses())
            value.name = f"{name}_exact"
            rounded[value] = _rounded(model.graph, value)
            rounded[value].name = name
            for use in uses:
                use.node.replace_input_with(use.idx, rounded[value])
            for where, output in enumerate(model.graph.outputs):
                if output is value:
                    model.graph.outputs[where] = rounded[value]
    own_results = set(rounded.values())
    for node, own in nodes.items():
        for place in own.inputs:
            given = node.inputs[place]
            if given is not None and given not in own_results:
                if given not in rounded:
                    rounded[given] = _rounded(model.graph, given)
                node.replace_input_with(place, rounded[given])
    common.NameFixPass()(model)


def _rounded(graph: ir.Graph, value: ir.Value) -> ir.Value:
    half = _half_of(graph, value)
    single = _cast(half, ir.DataType.FLOAT, f"{value.name}_rounded")
    single.shape = value.shape
    producer = half.producer()
    if producer is None:
        graph.insert_before(graph[0], _producer(single))
    else:
        graph.insert_after(producer, _producer(single))
    return single


def _output_to_half(graph: ir.Graph, value: ir.Value, nodes: dict[ir.Node, Slots]) -> None:
    """The value becomes float16; a cast back feeds those that want float32, under the old name."""
    name, shape = value.name, value.shape
    value.type = ir.TensorType(ir.DataType.FLOAT16)  # never `dtype =`: clones share the type object
    wants_float = [
        use
        for use in value.uses()
        if not (use.node in nodes and use.idx in nodes[use.node].inputs) and not (use.node.op_type in _ANY_TYPE and use.node.domain == "")
    ]
    if not wants_float and not value.is_graph_output():
        return
    value.name = f"{name}_half"
    single = _cast(value, ir.DataType.FLOAT, name)
    single.shape = shape
    for use in wants_float:
        use.node.replace_input_with(use.idx, single)
    for place, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[place] = single
    producer = value.producer()
    assert producer is not None
    graph.insert_after(producer, _producer(single))


def _half_of(graph: ir.Graph, value: ir.Value) -> ir.Value:
    tensor = None if value.is_graph_input() else ir.convenience.get_const_tensor(value)
    if tensor is not None:
        half = ir.Value(name=f"{value.name}_half", const_value=ir.tensor(tensor.numpy().astype(np.float16), name=f"{value.name}_half"))
        half.type, half.shape = ir.TensorType(ir.DataType.FLOAT16), value.shape
        graph.register_initializer(half)
        return half
    half = _cast(value, ir.DataType.FLOAT16, f"{value.name}_half")
    half.shape = value.shape
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], _producer(half))
    else:
        graph.insert_after(producer, _producer(half))
    return half


def _cast(value: ir.Value, to: ir.DataType, name: str | None) -> ir.Value:
    cast = ir.node("Cast", [value], attributes={"to": int(to)}, name=f"cast_{name}")
    cast.outputs[0].name = name
    cast.outputs[0].type = ir.TensorType(to)
    return cast.outputs[0]


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node
