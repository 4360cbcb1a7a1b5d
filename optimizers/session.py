"""ONNX Runtime sessions on this host's CPU: opened quietly, with their inputs and outputs as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from device_profiles.field_errors import did_you_mean
from optimizers.errors import ModelError, UnsupportedModel
from optimizers.foreign import foreign_as, one_line
from optimizers.optimizer_pass import Feed

ELEMENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "float": "float32",
        "float16": "float16",
        "double": "float64",
        "bfloat16": "bfloat16",
        "int8": "int8",
        "uint8": "uint8",
        "int16": "int16",
        "uint16": "uint16",
        "int32": "int32",
        "uint32": "uint32",
        "int64": "int64",
        "uint64": "uint64",
        "bool": "bool",
    }
)
"""ONNX Runtime's words for element types to ours; what is missing cannot be fed by the runner."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output as the runtime declares it.

    `dtype` is None for what is not a tensor of plain numbers (`type_text` says what it is). A dimension is its size, its
    symbolic name, or None. The runtime cannot tell a scalar from an unknown rank: both have an empty `shape`.
    """

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...]
    type_text: str

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Raises: UnsupportedModel where numpy has no such type."""
        if self.dtype is None or self.dtype == "bfloat16":
            raise UnsupportedModel(
                f"`{one_line(self.name, limit=80)}` is a {one_line(self.type_text, limit=80)}, which cannot be fed or read here"
            )
        return np.dtype(self.dtype)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives; initialisers that are also listed as inputs are not among its inputs."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def input(self, name: str) -> TensorInfo:
        """Raises: ModelError naming the nearest input."""
        return _named(name, self.inputs, "input")

    def output(self, name: str) -> TensorInfo:
        """Raises: ModelError naming the nearest output."""
        return _named(name, self.outputs, "output")


@dataclass(frozen=True, slots=True)
class Session:
    """An open model."""

    signature: Signature
    path: Path
    _session: Any

    def run(self, feed: Feed, outputs: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
        """The outputs asked for (all by default) by name. Raises: ModelError."""
        names = list(outputs) if outputs is not None else [output.name for output in self.signature.outputs]
        with foreign_as(ModelError, f"onnxruntime could not run {_short(self.path)}"):
            return dict(zip(names, self._session.run(names, dict(feed)), strict=True))


def open_session(path: Path, *, intra_op_threads: int = 1, optimize: bool = True) -> Session:
    """A session on the CPU provider. `optimize=False` runs no part of the graph ahead of time. Raises: ModelError."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    with foreign_as(ModelError, f"onnxruntime cannot load {_short(path)}"):
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0)
        inputs = tuple(_tensor_info(node) for node in session.get_inputs())
        return Session(Signature(inputs, tuple(_tensor_info(node) for node in session.get_outputs())), path, session)


def _tensor_info(node: Any) -> TensorInfo:
    text = str(node.type)
    dtype = ELEMENT_TYPES.get(text.removeprefix("tensor(").removesuffix(")")) if text.startswith("tensor(") else None
    shape = tuple(size if isinstance(size, int) and size >= 0 else size if isinstance(size, str) else None for size in node.shape or ())
    return TensorInfo(node.name, dtype, shape, text)


def _named(name: str, among: tuple[TensorInfo, ...], noun: str) -> TensorInfo:
    for info in among:
        if info.name == name:
            return info
    hint = did_you_mean(name, [one_line(info.name, limit=80) for info in among], noun=f"{noun}s")
    raise ModelError(f"the model has no {noun} `{one_line(name, limit=80)}`: {hint}")


def _short(path: Path) -> str:
    return one_line(path.name, limit=100)
