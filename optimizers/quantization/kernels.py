"""How many operators ONNX Runtime really runs on integers, seen in the graph that it would execute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnxruntime as ort

from optimizers.errors import PassFailed
from optimizers.foreign import foreign_as
from optimizers.graph import operators, read_model

_INTEGER = frozenset(
    {"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QGemm", "QAttention"}
)
_FLOAT = frozenset(
    {
        *("Conv", "FusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "Gemm", "FusedGemm"),
        *("LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"),
    }
)


@dataclass(frozen=True, slots=True)
class Kernels:
    """Operators on integers by name, and layers (convolutions, matrix products, recurrence, attention) still in float by name."""

    integer: Mapping[str, int]
    floating: Mapping[str, int]

    @property
    def integer_ops(self) -> int:
        """Operators on integers."""
        return sum(self.integer.values())

    @property
    def float_ops(self) -> int:
        """Layers in float."""
        return sum(self.floating.values())


def count_kernels(path: Path, scratch: Path, *, threads: int) -> Kernels:
    """Count them in the graph as the runtime optimises it (extended level, which brings in no layouts of this
    host's own; which integer forms have kernels still depends on its kind of processor). Raises: PassFailed."""
    target = scratch / "as_executed.onnx"
    with foreign_as(PassFailed, "the quantised model does not load"):
        ort.InferenceSession(str(path), _options(target, threads), providers=["CPUExecutionProvider"])
    counts: Counter[str] = Counter()
    for name, count in operators(read_model(target)).items():
        counts[name.rpartition(":")[2]] += count
    target.unlink()
    return Kernels(
        MappingProxyType({name: counts[name] for name in sorted(counts) if name in _INTEGER or name.startswith("QLinear")}),
        MappingProxyType({name: counts[name] for name in sorted(counts) if name in _FLOAT}),
    )


def _options(target: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    return options
