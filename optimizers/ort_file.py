"""What an .ort file (ONNX Runtime's own format, flatbuffers) says of itself; only for one that the runtime has verified."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxruntime.tools.ort_format_model import ort_model_processor

from optimizers.errors import ModelError
from optimizers.foreign import foreign_as, one_line

_FBS = ort_model_processor.fbs
_GRAPH = _FBS.AttributeType.AttributeType.GRAPH


@dataclass(frozen=True, slots=True)
class OrtFacts:
    """Nodes by type (as `onnx_file.count_ops`), and what the file was made from."""

    ops: dict[str, int]
    opsets: dict[str, int]
    ir_version: int
    producer: str
    parameters: int
    parameter_bytes: int


def read_ort(data: bytes, path: Path) -> OrtFacts:
    """Raises: ModelError."""
    with foreign_as(ModelError, f"{one_line(path.name, limit=100)} is not an .ort model, or is damaged"):
        model = _FBS.InferenceSession.InferenceSession.GetRootAsInferenceSession(bytearray(data), 0).Model()
        counts: Counter[str] = Counter()
        parameters = size = 0
        waiting = [model.Graph()]
        while waiting:
            graph = waiting.pop()
            for node in (graph.Nodes(place) for place in range(graph.NodesLength())):
                counts[_op_name(node)] += 1
                attributes = (node.Attributes(place) for place in range(node.AttributesLength()))
                waiting += [attribute.G() for attribute in attributes if attribute.Type() == _GRAPH]
            for tensor in (graph.Initializers(place) for place in range(graph.InitializersLength())):
                count = 1
                for place in range(tensor.DimsLength()):
                    count *= tensor.Dims(place)
                parameters += count
                size += tensor.RawDataLength()
        opsets = [model.OpsetImport(place) for place in range(model.OpsetImportLength())]
        return OrtFacts(
            dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
            {_text(opset.Domain()) or "ai.onnx": int(opset.Version()) for opset in opsets},
            int(model.IrVersion()),
            " ".join(filter(None, (_text(model.ProducerName()), _text(model.ProducerVersion())))),
            parameters,
            size,
        )


def _op_name(node: Any) -> str:
    domain, kind = _text(node.Domain()), _text(node.OpType())
    return kind if domain in ("", "ai.onnx") else f"{domain}::{kind}"


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
