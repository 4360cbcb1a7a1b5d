"""Which operators of a graph are to run on integers, which layers stay in float, and why."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import onnx
import onnx_ir as ir

from device_profiles.field_errors import did_you_mean
from optimizers.errors import RecipeError
from optimizers.foreign import one_line
from optimizers.quantization.prepare import attribute, constant

LAYERS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
"""Operators with most of the arithmetic: each is quantised wherever it can be."""

RECURRENT = frozenset({"LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"})
"""Layers that exist in dynamically quantised form only, or in none."""

_FLOAT_RESULT = frozenset({"MatMul", "Gemm"})
"""Integer layers whose kernels can give float results; the rest of `FOLLOWERS` and convolutions give integers."""

CLAMPS = frozenset({"Relu", "Clip"})
"""Their effect is that of the range of the integers before them, so they vanish."""

TABLES = frozenset({"Gather"})
"""Look-ups: a constant table is stored as integers, and what is looked up in it is exact."""

_MIN_TABLE_ELEMENTS = 16_384

FOLLOWERS = CLAMPS | {
    *("Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "MaxPool", "Sigmoid", "LeakyRelu", "Softmax"),
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Resize", "Pad", "Where"),
}
"""Operators with integer kernels that gain from them only between other integer operators."""

_DATA_INPUTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"Add": (0, 1), "Mul": (0, 1), "MatMul": (0, 1), "Gemm": (0, 1), "Conv": (0, 1), "ConvTranspose": (0, 1), "Where": (1, 2)}
)
"""Inputs that carry values to be quantised, biases apart; the first where an operator is not listed, all of Concat's."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A layer that stays in float: its name, operator, and the reason."""

    layer: str
    type: str
    why: str


@dataclass
class Plan:
    """Operators to quantise, in the graph's order, and layers kept in float."""

    nodes: list[ir.Node]
    kept: list[Kept] = field(default_factory=list)

    def drop(self, why: Callable[[ir.Node], str | None]) -> None:
        """Take out the operators for which there is a reason, then those that no longer lie between integer operators."""
        reasons = [(node, why(node)) for node in self.nodes]
        self.kept += [kept(node, reason) for node, reason in reasons if reason is not None and node.op_type in LAYERS]
        self.nodes = _connected([node for node, reason in reasons if reason is None])

    @property
    def activations(self) -> list[ir.Value]:
        """Values to be quantised that are computed or fed, in the graph's order."""
        return list(dict.fromkeys(value for node in self.nodes for value in data_values(node) if not value.is_initializer()))


@dataclass(frozen=True, slots=True)
class Skips:
    """What the user keeps in float: layers by name or pattern (as in a shell), and operators."""

    layers: Sequence[str]
    types: Sequence[str]

    def reason(self, node: ir.Node) -> str | None:
        """Why a node is skipped, or None."""
        for pattern in self.layers:
            if node.name == pattern or fnmatch.fnmatchcase(node.name or "", pattern):
                return f"skip_layers names it ({one_line(pattern, limit=80)})"
        return f"skip_types names {node.op_type}" if node.op_type in self.types else None

    def check(self, nodes: Iterable[ir.Node]) -> list[str]:
        """Warnings for patterns that match nothing. Raises: RecipeError for a name or operator that is nothing at all."""
        names, types = [], set()
        for node in nodes:
            names.append(node.name or "")
            types.add(node.op_type)
        for skipped in self.types:
            if skipped not in types and not any(schema.name == skipped for schema in onnx.defs.get_all_schemas()):
                raise RecipeError(
                    f"skip_types: there is no operator {_quoted(skipped)}: {did_you_mean(skipped, types, noun='operators here')}"
                )
        unmatched = [pattern for pattern in self.layers if not any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in names)]
        for pattern in unmatched:
            if not any(character in pattern for character in "*?["):
                hint = did_you_mean(pattern, [one_line(name, limit=80) for name in names], noun="layers")
                raise RecipeError(f"skip_layers: the model has no layer {_quoted(pattern)}: {hint}")
        return [f"skip_layers: no layer matches {_quoted(pattern)}" for pattern in unmatched]


def make_plan(graph: ir.Graph, skips: Skips) -> Plan:
    """What can be quantised as far as the graph alone tells: types of values and ranges are checked later."""
    captured = captured_values(graph)
    plan = Plan([node for node in graph if node.domain == "" and node.op_type in LAYERS | FOLLOWERS | TABLES])
    plan.kept += [
        kept(node, "recurrent and attention layers have no statically quantised form") for node in graph if node.op_type in RECURRENT
    ]
    plan.kept += [kept(node, "it lies in a branch or loop body") for node in nested_nodes(graph) if node.op_type in LAYERS | RECURRENT]
    plan.drop(lambda node: skips.reason(node) or _obstacle(node, captured))
    return plan


def kept(node: ir.Node, why: str) -> Kept:
    """A layer kept in float for that reason."""
    return Kept(one_line(node.name or "", limit=120), node.op_type, why)


def data_inputs(node: ir.Node) -> list[int]:
    """Indices of the inputs that carry values to be quantised."""
    wanted = range(len(node.inputs)) if node.op_type == "Concat" else _DATA_INPUTS.get(node.op_type, (0,))
    indices = [index for index in wanted if index < len(node.inputs) and node.inputs[index] is not None]
    if node.op_type == "Pad" and len(node.inputs) > 2 and node.inputs[2] is not None:
        indices.append(2)
    return indices


def data_values(node: ir.Node) -> Iterator[ir.Value]:
    """Inputs and outputs that carry values to be quantised."""
    for index in data_inputs(node):
        value = node.inputs[index]
        assert value is not None
        yield value
    yield from (value for value in node.outputs if value.name)


def gives_integers(node: ir.Node | None, planned: set[ir.Node]) -> bool:
    """Whether the result of a node exists only as integers: a kernel's output is quantised before anyone can read it."""
    return node in planned and node is not None and node.op_type not in _FLOAT_RESULT


def _connected(nodes: list[ir.Node]) -> list[ir.Node]:
    """All layers, and those followers that have integers coming in and someone to take integers going out."""
    while True:
        planned = set(nodes)
        left = [node for node in nodes if node.op_type in LAYERS | TABLES or (_fed(node, planned) and _taken(node, planned))]
        if len(left) == len(nodes):
            return left
        nodes = left


def _fed(node: ir.Node, planned: set[ir.Node]) -> bool:
    sources = [value for index in data_inputs(node) if (value := node.inputs[index]) is not None and constant(value) is None]
    if node.op_type in CLAMPS:
        return all(value.producer() in planned for value in sources)
    return bool(sources) and all(gives_integers(value.producer(), planned) for value in sources)


def _taken(node: ir.Node, planned: set[ir.Node]) -> bool:
    """A clamp of what exists only as integers always vanishes; others need an integer operator after them."""
    if node.op_type in CLAMPS and node.inputs[0] is not None and gives_integers(node.inputs[0].producer(), planned):
        return True
    return any(use.node in planned and use.idx in data_inputs(use.node) for value in node.outputs for use in value.uses())


def _obstacle(node: ir.Node, captured: set[ir.Value]) -> str | None:
    if any(value in captured for value in data_values(node) if constant(value) is None):  # constants are copied
        return "a branch or loop body reads one of its tensors"
    match node.op_type:
        case "Conv" | "ConvTranspose" | "Gemm":
            return _layer_obstacle(node)
        case "Clip":
            return _clip_obstacle(node)
        case "Gather":
            table = constant(node.inputs[0])
            return None if table is not None and table.size >= _MIN_TABLE_ELEMENTS else "it is no look-up in a large table"
        case "MatMul" if all(constant(value) is not None for value in node.inputs):
            return "both of its inputs are constants"
    return None


def _layer_obstacle(node: ir.Node) -> str | None:
    weight = constant(node.inputs[1])
    if weight is None:
        return "its weights are computed, not constant"
    if constant(node.inputs[0]) is not None:
        return "its input is constant"
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
        if bias is None:
            return "its bias is computed, not constant"
        if not np.isfinite(bias).all():
            return "its bias holds NaN or infinities"
    if node.op_type == "Gemm":
        return _gemm_obstacle(node, weight.shape[0 if attribute(node, "transB", 0) else 1])
    return None


def _gemm_obstacle(node: ir.Node, columns: int) -> str | None:
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if attribute(node, "transA", 0):
        return "its input is transposed (transA)"
    if bias is not None and bias.shape != (columns,):
        return "its bias differs from row to row"
    return None


def _clip_obstacle(node: ir.Node) -> str | None:
    """A Clip becomes the range of the integers, and that always holds zero."""
    bounds = [constant(value) for value in node.inputs[1:] if value is not None]
    if any(bound is None or bound.size != 1 for bound in bounds):
        return "its bounds are computed"
    low, high = (constant(node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2))
    if (low is not None and low.item() > 0) or (high is not None and high.item() < 0):
        return "its bounds do not hold zero"
    return None


def captured_values(graph: ir.Graph) -> set[ir.Value]:
    """Values of the outer graph that a branch or loop body reads."""
    return {value for node in nested_nodes(graph) for value in node.inputs if value is not None and value.graph is graph}


def nested_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """Nodes of branches and loop bodies."""
    return (node for node in graph.all_nodes() if node.graph is not graph)


def _quoted(name: str) -> str:
    return f"`{one_line(name, limit=80)}`"


def float32_only(names: set[str]) -> Callable[[ir.Node], str | None]:
    """A reason to drop nodes that read or give something other than finite float32; `names` are the computed values known to be."""

    def why(node: ir.Node) -> str | None:
        for value in data_values(node):
            weight = constant(value)
            if (weight.dtype != np.float32) if weight is not None else value.name not in names:
                return "its tensors are not float32"
            if weight is not None and not np.isfinite(weight).all():
                return "its weights hold NaN or infinities"
        return None

    return why
