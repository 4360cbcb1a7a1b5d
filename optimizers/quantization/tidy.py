"""What ONNX Runtime's quantisers leave behind, made small and the same each time."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

_SMALL_ELEMENTS = 1024


def tidy(written: ir.Model, before: ir.Model) -> ir.Model:
    """The quantised model, in place: as the model before it says of itself, integers as raw bytes, equal scales stored once."""
    written.producer_name, written.producer_version = before.producer_name, before.producer_version
    for value in written.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype in (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT32):
            value.const_value = ir.tensor(tensor.numpy(), name=value.name)  # the quantiser writes small ones as varints
    common.RemoveUnusedNodesPass()(written)
    common.DeduplicateInitializersPass(size_limit=_SMALL_ELEMENTS)(written)
    common.RemoveUnusedOpsetsPass()(written)
    written.graph.sort()
    return written
