"""Dynamic quantisation: 8-bit weights, activations quantised as they come. It needs no samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import onnx_ir as ir
from pydantic import Field

from optimizers.calibration.collect import float_tensors
from optimizers.errors import UnsupportedModel
from optimizers.foreign import foreign_as
from optimizers.graph import opset
from optimizers.optimizer_pass import Parameters, Pass, Result
from optimizers.quantization.cpu import saturates_u8s8
from optimizers.quantization.dynamic_writer import DynamicFormat, choose, write_dynamic
from optimizers.quantization.plan import Skips, kept
from optimizers.quantization.prepare import prepare, refuse_quantised
from optimizers.quantization.report import layers_before, nothing, report

MIN_OPSET = 11
"""DynamicQuantizeLinear came with it."""

Layer = Literal["MatMul", "Gemm", "Attention", "LSTM", "Conv"]


class QuantizeDynamicParameters(Parameters):
    """`op_types` are the layers to quantise; Conv is left out because ONNX Runtime's dynamic convolution is 5 to 10 times slower than float.

    `skip_layers` are names or shell patterns of layers kept in float. `reduce_range` takes 7-bit weights; `auto` does so
    for int8 weights where this host's processor has no VNNI. LSTM weights are int8 always.
    """

    op_types: tuple[Layer, ...] = Field(default=("MatMul", "Gemm", "Attention", "LSTM"), min_length=1)
    weight: Literal["int8", "uint8"] = "int8"
    per_channel: bool = True
    skip_layers: tuple[str, ...] = ()
    reduce_range: bool | Literal["auto"] = "auto"
    sqnr_samples: int = Field(default=128, ge=1, le=100_000, description="feeds on which the SQNR is measured, where there are any")

    @property
    def format(self) -> DynamicFormat:
        """What the writer needs."""
        reduce = self.weight == "int8" and saturates_u8s8() if self.reduce_range == "auto" else self.reduce_range
        return DynamicFormat(self.weight, self.per_channel, reduce)


class QuantizeDynamic(Pass):
    """8-bit weights for matrix products, attention and LSTM; their inputs are quantised at each inference."""

    name = "quantize_dynamic"
    tolerance = 0.1
    parameters_type = QuantizeDynamicParameters
    returns_new = True

    def requires(self, model: ir.Model) -> None:
        """Raises: UnsupportedModel."""
        refuse_quantised(model)
        if 0 < opset(model) < MIN_OPSET:
            raise UnsupportedModel(
                f"it uses opset {opset(model)}, and dynamic quantisation came with opset {MIN_OPSET}: put `simplify` before this pass"
            )

    def call(self, model: ir.Model) -> Result:
        """Raises: UnsupportedModel, PassFailed, RecipeError (`skip_layers` names nothing that exists)."""
        parameters = cast(QuantizeDynamicParameters, self.parameters)
        with foreign_as(UnsupportedModel, "it cannot be made ready for quantisation"):
            work, unpacked = prepare(model, parameters.op_types)
        skips = Skips(parameters.skip_layers, ())
        warnings = skips.check(model.graph.all_nodes())
        chosen, floats = choose(work.graph, parameters.op_types, skips)
        computed = [value.name for node in work.graph for value in node.outputs if value.name]
        known = float_tensors(ir.to_proto(work), computed, self.context.scratch / "typed.onnx") if chosen else set()
        known |= {value.name or "" for value in work.graph.inputs if value.dtype == ir.DataType.FLOAT}
        other = [node for node in chosen if node.inputs[0] is None or node.inputs[0].name not in known]
        chosen, floats = (
            [node for node in chosen if node not in other],
            [*floats, *(kept(node, "its input is not float32") for node in other)],
        )
        if not chosen:
            result = nothing(model, floats, f"the model has none of the layers {', '.join(parameters.op_types)}")
            return replace(result, warnings=tuple(warnings))
        layers = layers_before(work, chosen, floats)
        quantised = write_dynamic(work, chosen, known, parameters.format)
        extra = {"weights_unpacked": unpacked, "weight_bits": 7 if parameters.format.reduce_range else 8}
        result = report(model, quantised, layers, self.context, most_feeds=parameters.sqnr_samples, extra=extra)
        return replace(result, warnings=(*warnings, *result.warnings))
