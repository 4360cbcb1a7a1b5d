"""What a model file is, and why it could not be run: for `model show`, `model validate` and every job before it starts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypedDict

import onnx
from pydantic import Field

from optimizers.errors import ModelError
from optimizers.external_data import external_files
from optimizers.foreign import FOREIGN, foreign_as, one_line
from optimizers.inputs import plan_inputs
from optimizers.model_file import bare_model_file
from optimizers.onnx_file import calls_itself, count_ops, read_onnx, weigh
from optimizers.ort_file import read_ort
from optimizers.random_inputs import random_inputs
from optimizers.session import ELEMENT_TYPES, Session, open_session
from optimizers.variant import Value

_KNOWN_DOMAINS = frozenset(
    {"ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc"}
)
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"})
_QUANTIZED = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "GatherBlockQuantized",
        "MatMulBnb4",
        "MatMulInteger",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
        "QuantizeLinear",
    }
)


class InspectRequest(Value):
    """`run`: also do one inference on random inputs (which executes the model: have a time limit)."""

    path: Path
    run: bool = False
    input_shapes: Mapping[str, tuple[int, ...]] = Field(default_factory=dict)
    intra_op_threads: int = Field(default=1, ge=1, le=256)


class Port(Value):
    """An input or output. `dtype` null: not a tensor of plain numbers (see `type_text`). A dimension is a size, a name or null (open)."""

    name: str
    dtype: str | None
    type_text: str
    shape: tuple[int | str | None, ...] | None = Field(description="null: the file declares none")

    @property
    def dynamic_axes(self) -> tuple[int, ...]:
        """Axes whose size the model leaves open."""
        return tuple(axis for axis, size in enumerate(self.shape or ()) if not isinstance(size, int))


class ModelInfo(Value):
    """The file as it is. It can be run by Thresher when `problems` is empty; `warnings` are worth knowing."""

    format: Literal["onnx", "ort"]
    sha256: str
    size_bytes: int = Field(description="with external data")
    ir_version: int
    opsets: Mapping[str, int]
    producer: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    ops: Mapping[str, int] = Field(description="nodes by type, subgraphs and functions included")
    parameters: int
    parameter_bytes: int
    external_files: tuple[str, ...]
    quantized: bool = Field(description="some weights or activations are stored as small integers")
    control_flow: tuple[str, ...]
    custom_domains: tuple[str, ...]
    random_ops: tuple[str, ...] = Field(description="operators whose outputs differ from run to run")
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    ran_on: str | None = Field(default=None, description="the random inputs of the inference that was asked for, if it succeeded")


def inspect_model(request: InspectRequest) -> ModelInfo:
    """Look at a file. Raises: ModelError for what is no model at all; a model that cannot be run says so in `problems`."""
    info, session = _inspect_ort(request) if request.path.suffix == ".ort" else _inspect_onnx(request)
    problems = [*info.problems, *_unfeedable(info.inputs)]
    ran_on = None
    if request.run and session is not None and not problems:
        try:
            ran_on = _run(request)
        except ModelError as error:
            problems.append(str(error))
    warnings = [*info.warnings, *_warnings(info)]
    return info.model_copy(update={"problems": tuple(problems), "warnings": tuple(warnings), "ran_on": ran_on})


def _inspect_onnx(request: InspectRequest) -> tuple[ModelInfo, Session | None]:
    model, sha256 = read_onnx(request.path)
    weights = weigh(model)
    external, problems = external_files(weights.external, request.path.absolute().parent, claimed=weights.claimed)
    session, complaints, warnings = _load(request, model, [*weights.problems, *problems])
    initializers = {tensor.name for tensor in model.graph.initializer} | {one.values.name for one in model.graph.sparse_initializer}
    overridable = sum(one.name in initializers for one in model.graph.input)
    if overridable:
        warnings.append(f"{overridable} weights are also listed as inputs (an old habit); they are not asked for")
    info = ModelInfo(
        format="onnx",
        sha256=sha256,
        size_bytes=request.path.stat().st_size + sum(file.size_bytes for file in external),
        ir_version=model.ir_version,
        opsets={one.domain or "ai.onnx": one.version for one in model.opset_import},
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=tuple(_port(one) for one in model.graph.input if one.name not in initializers),
        outputs=tuple(_port(one) for one in model.graph.output),
        parameters=weights.parameters,
        parameter_bytes=weights.stored_bytes,
        external_files=tuple(file.location for file in external),
        warnings=tuple(warnings),
        problems=tuple(complaints),
        **_op_facts(count_ops(model), own={function.domain for function in model.functions}),
    )
    return info, session


def _load(request: InspectRequest, model: onnx.ModelProto, problems: list[str]) -> tuple[Session | None, list[str], list[str]]:
    """The session, or None with the problems; and the warnings. The runtime never sees what was found bad before."""
    cycle = calls_itself(model)
    if cycle:
        problems = [*problems, f"the function `{one_line(cycle, limit=80)}` calls itself, so the model cannot be run"]
    if problems:
        return None, problems, []
    complaint = _check(model)
    try:
        session = open_session(request.path, intra_op_threads=request.intra_op_threads, optimize=False)
    except ModelError as error:
        return None, [str(error), *([f"onnx's checker objects: {complaint}"] if complaint else [])], []
    return session, [], [f"onnx's checker objects, though onnxruntime does not: {complaint}"] if complaint else []


def _inspect_ort(request: InspectRequest) -> tuple[ModelInfo, Session]:
    session = open_session(request.path, intra_op_threads=request.intra_op_threads, optimize=False)
    with foreign_as(ModelError, f"{one_line(request.path.name, limit=100)} cannot be read"):
        data = request.path.read_bytes()
    facts = read_ort(data, request.path)
    info = ModelInfo(
        format="ort",
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        ir_version=facts.ir_version,
        opsets=facts.opsets,
        producer=facts.producer,
        inputs=tuple(Port(name=one.name, dtype=one.dtype, type_text=one.type_text, shape=one.shape) for one in session.signature.inputs),
        outputs=tuple(Port(name=one.name, dtype=one.dtype, type_text=one.type_text, shape=one.shape) for one in session.signature.outputs),
        parameters=facts.parameters,
        parameter_bytes=facts.parameter_bytes,
        external_files=(),
        warnings=(),
        problems=(),
        **_op_facts(facts.ops, own=set()),
    )
    return info, session


class _OpFacts(TypedDict):
    ops: dict[str, int]
    quantized: bool
    control_flow: tuple[str, ...]
    custom_domains: tuple[str, ...]
    random_ops: tuple[str, ...]


def _op_facts(ops: dict[str, int], *, own: set[str]) -> _OpFacts:
    """What follows from the operators; `own` are the domains of the model's own functions."""
    plain = {op.rsplit("::", 1)[-1] for op in ops}
    domains = {op.rsplit("::", 1)[0] for op in ops if "::" in op}
    return _OpFacts(
        ops=ops,
        quantized=any(op in _QUANTIZED or op.startswith("QLinear") for op in plain),
        control_flow=tuple(sorted(plain & _CONTROL_FLOW)),
        custom_domains=tuple(sorted(domains - _KNOWN_DOMAINS - own)),
        random_ops=tuple(sorted(plain & _RANDOM)),
    )


def _check(model: onnx.ModelProto) -> str:
    """What onnx's checker says; empty when it is content."""
    try:
        onnx.checker.check_model(model)
    except FOREIGN as error:
        return one_line(error)
    return ""


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Port(name=value.name, dtype=None, type_text=(kind or "unknown type").removesuffix("_type"), shape=None)
    element = value.type.tensor_type.elem_type
    named = onnx.TensorProto.DataType.Name(element).lower() if element in onnx.TensorProto.DataType.values() else f"type {element}"
    dtype = ELEMENT_TYPES.get(named)
    shape: tuple[int | str | None, ...] | None = None
    if value.type.tensor_type.HasField("shape"):
        shape = tuple(_size(one) for one in value.type.tensor_type.shape.dim)
    return Port(name=value.name, dtype=dtype, type_text=f"tensor({named})", shape=shape)


def _size(dimension: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dimension.WhichOneof("value") == "dim_value":
        return dimension.dim_value if dimension.dim_value >= 0 else None
    return dimension.dim_param or None


def _unfeedable(inputs: tuple[Port, ...]) -> list[str]:
    listed = [
        f"`{one_line(one.name, limit=80)}` ({one_line(one.type_text, limit=60)})" for one in inputs if one.dtype in {None, "bfloat16"}
    ]
    return [f"only tensors of plain numbers can be fed, and these inputs are not: {', '.join(listed[:5])}"] if listed else []


def _warnings(info: ModelInfo) -> list[str]:
    found = []
    if info.random_ops:
        found.append(f"outputs differ from run to run ({', '.join(info.random_ops)}): they cannot be compared between devices")
    if "Loop" in info.control_flow:
        found.append("there is a loop, so the latency may depend on the data")
    if not info.inputs:
        found.append("the model has no inputs")
    open_rank = [one_line(one.name, limit=80) for one in info.inputs if one.shape is None and one.dtype]
    if open_rank:
        found.append(f"no shape is declared for {', '.join(open_rank[:5])}: give samples or input shapes")
    return found


def _run(request: InspectRequest) -> str:
    session = open_session(request.path, intra_op_threads=request.intra_op_threads)
    plan = plan_inputs(bare_model_file(request.path), session.signature)
    return random_inputs(session, plan, input_shapes=request.input_shapes, count=1).description
