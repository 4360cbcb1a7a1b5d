"""Where exceptions of onnx, onnx-ir, onnxscript, onnxruntime and protobuf become ours, once."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from optimizers.errors import OptimizerError

_ORT = (
    ort_errors.EngineError,
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.ModelLoaded,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

FOREIGN: tuple[type[Exception], ...] = (
    *_ORT,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    onnx.version_converter.ConvertError,
    ir.passes.InvariantError,
    DecodeError,
    EncodeError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What those libraries raise on a model that they cannot take. The list is long because they assert and index into what they read.

MemoryError is not among them: it says something about the limits, not about the model.
"""

_NOISE = (
    re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : "),
    re.compile(r"^Load model from .*? failed: ?"),
    re.compile(r"/onnxruntime_src/\S+ \S.*?\)(?: const|::<lambda\(\)>)* (?=\S)"),  # a C++ signature
    re.compile(r"/project/onnx/\S+ "),
    re.compile(r"\b\w+\.cc:\d+ \w+ "),
)
"""What onnxruntime's messages carry that a person has no use for."""


@contextmanager
def foreign_as(error: type[OptimizerError], doing: str) -> Iterator[None]:
    """Turn what a library raises inside the block into `error`, its message led by `doing`; our own errors pass through."""
    try:
        yield
    except FOREIGN as cause:
        raise error(f"{doing}: {one_line(_root(cause))}") from cause


def _root(error: BaseException) -> BaseException:
    """Where it began: libraries wrap errors in others that say less."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def one_line(what: object, *, limit: int = 400) -> str:
    """Text of a library or a file as one printable line: an exception's message without its status prefix and source paths."""
    text = str(what) or type(what).__name__
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 20 * limit]).split())
    for noise in _NOISE:
        text = noise.sub("", text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
