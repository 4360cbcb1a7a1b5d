"""The network of the example, as data, and the ONNX file of it.

    image 1×8×8 ─ stem 3×3 ─ residual 40 ─ residual 40 ─ inverted 40 ─ inverted 48, half the size ─ inverted 48 ─ head 1×1 ─ mean ─ linear ─ logits

A residual block is that of He et al. 2015 (two 3×3 convolutions), an inverted one that of MobileNetV2 (Sandler et al. 2018: 1×1 up,
depthwise 3×3, 1×1 down). Batch normalisation stays in the file as nodes of its own, as most exporters leave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 10
IMAGE_SHAPE = (1, 8, 8)
OPSET = 17
EPSILON = 1e-5

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution without bias, padded to keep the size, then batch normalisation, then an activation.

    Its parameters are `{name}.weight` (out, in / groups, kernel, kernel) and `{name}.bn.weight`, `.bn.bias`, `.bn.running_mean`,
    `.bn.running_var`, each (out,).
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    activation: Literal["Relu", "Relu6", ""] = ""

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(out, in / groups, kernel, kernel)."""
        return (self.outputs, self.inputs // self.groups, self.kernel, self.kernel)


@dataclass(frozen=True, slots=True)
class Block:
    """Convolutions one after the other; with `skip` the block's input is added to their output; then an activation."""

    name: str
    convs: tuple[Conv, ...]
    skip: bool = False
    activation: Literal["Relu", ""] = ""


def residual(name: str, channels: int) -> Block:
    """Two 3×3 convolutions beside a skip connection."""
    first = Conv(f"{name}.conv1", channels, channels, activation="Relu")
    return Block(name, (first, Conv(f"{name}.conv2", channels, channels)), skip=True, activation="Relu")


def inverted(name: str, inputs: int, outputs: int, *, stride: int = 1) -> Block:
    """MobileNetV2's block, three times as wide inside; with a skip connection where the shapes allow it."""
    wide = 3 * inputs
    convs = (
        Conv(f"{name}.expand", inputs, wide, kernel=1, activation="Relu6"),
        Conv(f"{name}.depthwise", wide, wide, stride=stride, groups=wide, activation="Relu6"),
        Conv(f"{name}.project", wide, outputs, kernel=1),
    )
    return Block(name, convs, skip=inputs == outputs and stride == 1)


NETWORK = (
    Block("stem", (Conv("stem.conv", 1, 40, activation="Relu"),)),
    residual("blocks.0", 40),
    residual("blocks.1", 40),
    inverted("blocks.2", 40, 40),
    inverted("blocks.3", 40, 48, stride=2),
    inverted("blocks.4", 48, 48),
    Block("head", (Conv("head.conv", 48, 96, kernel=1, activation="Relu"),)),
)
FEATURES = NETWORK[-1].convs[-1].outputs
CONVS = tuple(conv for block in NETWORK for conv in block.convs)


def initial_parameters(seed: int) -> dict[str, np.ndarray]:
    """What training starts from: He's normal weights, neutral batch normalisation, a linear layer of zeros."""
    random = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for conv in CONVS:
        deviation = np.sqrt(2 / np.prod(conv.weight_shape[1:]))
        arrays[f"{conv.name}.weight"] = random.normal(0, deviation, conv.weight_shape)
        arrays[f"{conv.name}.bn.weight"] = np.ones(conv.outputs)
        arrays[f"{conv.name}.bn.bias"] = np.zeros(conv.outputs)
    arrays["classifier.weight"] = np.zeros((CLASSES, FEATURES))
    arrays["classifier.bias"] = np.zeros(CLASSES)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


class _Graph:
    """Nodes and initialisers in the making, named as exporters name them."""

    def __init__(self, parameters: Arrays) -> None:
        self.parameters = parameters
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def add(self, scope: str, op_type: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """Append a node; an input that names a parameter becomes an initialiser. Returns the name of its output."""
        for name in inputs:
            if name in self.parameters:
                self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(self.parameters[name], np.float32), name)
        name = f"/{scope.replace('.', '/')}/{op_type}" if scope else f"/{op_type}"
        output = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=name, **attributes))
        return output

    def scalar(self, scope: str, value: float) -> str:
        """A Constant node."""
        return self.add(scope, "Constant", value=numpy_helper.from_array(np.array(value, np.float32)))


def _activation(graph: _Graph, scope: str, kind: str, x: str) -> str:
    if kind == "Relu6":
        return graph.add(scope, "Clip", x, graph.scalar(f"{scope}.min", 0.0), graph.scalar(f"{scope}.max", 6.0))
    return graph.add(scope, kind, x) if kind else x


def _conv(graph: _Graph, conv: Conv, x: str) -> str:
    pad = conv.kernel // 2
    x = graph.add(
        conv.name,
        "Conv",
        x,
        f"{conv.name}.weight",
        dilations=[1, 1],
        group=conv.groups,
        kernel_shape=[conv.kernel] * 2,
        pads=[pad] * 4,
        strides=[conv.stride] * 2,
    )
    statistics = [f"{conv.name}.bn.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    x = graph.add(f"{conv.name}.bn", "BatchNormalization", x, *statistics, epsilon=EPSILON)
    return _activation(graph, conv.name, conv.activation, x)


def build(parameters: Arrays) -> onnx.ModelProto:
    """The network with these parameters as an ONNX model: `image` (batch, 1, 8, 8) float32 in, `logits` (batch, 10) out."""
    graph = _Graph(parameters)
    x = "image"
    for block in NETWORK:
        entry = x
        for conv in block.convs:
            x = _conv(graph, conv, x)
        if block.skip:
            x = graph.add(block.name, "Add", x, entry)
        x = _activation(graph, block.name, block.activation, x)
    x = graph.add("", "GlobalAveragePool", x)
    x = graph.add("", "Flatten", x, axis=1)
    graph.add("classifier", "Gemm", x, "classifier.weight", "classifier.bias", output="logits", transB=1)
    body = helper.make_graph(
        graph.nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *IMAGE_SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        initializer=list(graph.initializers.values()),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=8, producer_name="examples/digits/train.py", producer_version="1")
    onnx.checker.check_model(model, full_check=True)
    return model
