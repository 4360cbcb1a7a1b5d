"""Scales of constant weights: symmetric 8-bit integers, per tensor or per output channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from optimizers.quantization.plan import LAYERS
from optimizers.quantization.prepare import add_initializer, attribute, constant

Role = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant input of a layer: the axis of its output channels, or None where one scale must do."""

    value: ir.Value
    axis: int | None


def own_constants(nodes: list[ir.Node]) -> list[Weight]:
    """The constant weights of layers, after giving each use that needs scales of its own a copy of its own.

    The quantiser keeps one set of scales for a tensor: one that is a weight here and a bias, a table or an operand of a
    float operator there is written twice.
    """
    weights: dict[ir.Value, Weight] = {}
    owner: dict[ir.Value, Role] = {}
    planned = set(nodes)
    for node in nodes:
        for index, given in enumerate(node.inputs):
            array = constant(given)
            if given is None or array is None or array.dtype != np.float32:
                continue
            role = _role(node, index)
            value = _copy(node, index, array) if _shared(given, owner.get(given, role), role, planned) else given
            owner[value] = role
            if role[0] == "weight":
                weights[value] = Weight(value, channel_axis(node, index))
    return list(weights.values())


def _copy(node: ir.Node, index: int, array: NDArray[Any]) -> ir.Value:
    assert node.graph is not None
    value = add_initializer(node.graph, f"{node.name}_own", array)
    node.replace_input_with(index, value)
    return value


def _shared(value: ir.Value, first: Role, role: Role, planned: set[ir.Node]) -> bool:
    if value.is_graph_output() or first != role:
        return True
    return any(use.node not in planned or _role(use.node, use.idx) != role for use in value.uses())


def _role(node: ir.Node, index: int) -> Role:
    if node.op_type not in LAYERS:
        return ("operand",)
    if index == 2:
        return ("bias", node)
    return ("weight", channel_axis(node, index))


def channel_axis(node: ir.Node, index: int) -> int | None:
    """The axis of a weight along which the kernels take a scale each, or None."""
    weight = constant(node.inputs[index])
    assert weight is not None
    match node.op_type:
        case "Conv":
            return 0
        case "ConvTranspose":
            return 1 if attribute(node, "group", 1) == 1 else None
        case "Gemm":
            return 0 if attribute(node, "transB", 0) else 1
        case "MatMul":
            return 1 if index == 1 and weight.ndim == 2 else None
    return None


def symmetric_scales(weight: NDArray[Any], axis: int | None, *, bits: int) -> NDArray[np.float32]:
    """Largest magnitude ÷ 127 (÷ 64 for 7 bits), of the tensor or of each channel: () or (n_channels,).

    A channel of zeros gets the median of the others: with a scale of its own choosing, its bias would have steps so
    wide or so fine that it is lost (biases are stored in steps of input scale × weight scale).
    """
    levels = 127 if bits == 8 else 64
    axes = tuple(i for i in range(weight.ndim) if i != axis) if axis is not None else None
    scales = np.asarray(np.abs(weight).max(axis=axes, initial=0.0) / np.float32(levels), np.float32)
    used = scales[scales >= np.finfo(np.float32).tiny]
    return np.where(scales >= np.finfo(np.float32).tiny, scales, np.median(used) if used.size else np.float32(1 / levels)).astype(
        np.float32
    )
