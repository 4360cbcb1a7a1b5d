"""Static quantisation: 8-bit weights, and 8-bit activations whose ranges are measured on calibration samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, cast

import onnx_ir as ir
from pydantic import Field, model_validator

from optimizers.calibration.collect import Statistics, collect, float_tensors
from optimizers.calibration.ranges import INT8, INT8_SYMMETRIC, UINT8, Calibrator, Grid, Range, find_range
from optimizers.errors import UnsupportedModel
from optimizers.foreign import foreign_as, one_line
from optimizers.graph import opset
from optimizers.optimizer_pass import Parameters, Pass, Result
from optimizers.quantization.cpu import saturates_u8s8
from optimizers.quantization.plan import CLAMPS, FOLLOWERS, LAYERS, TABLES, Plan, Skips, data_values, float32_only, make_plan
from optimizers.quantization.prepare import prepare, refuse_quantised
from optimizers.quantization.report import layers_before, nothing, report
from optimizers.quantization.writer import Format, write_qdq

MIN_OPSET = 13
"""From 13 on, DequantizeLinear takes a scale for each channel."""

_FIXED_RANGES: Mapping[str, Range] = MappingProxyType(dict.fromkeys(("Softmax", "Sigmoid", "HardSigmoid"), Range(0.0, 1.0)))


class QuantizeStaticParameters(Parameters):
    """`activation` uint8 (U8S8) or int8 (S8S8; `symmetric` then puts the zero point at 0); weights are int8 and symmetric.

    `calibrator` picks activation ranges from at most `calibration_samples` feeds; `percentile` is for the calibrator of
    that name. `skip_layers` are layer names or shell patterns, `skip_types` operators, both kept in float.
    `reduce_range` takes 7-bit weights; `auto` does so for U8S8 where this host's processor has no VNNI.
    """

    activation: Literal["uint8", "int8"] = "uint8"
    weight: Literal["int8"] = "int8"
    per_channel: bool = True
    symmetric: bool = False
    calibrator: Calibrator = "percentile"
    percentile: float = Field(default=99.999, gt=50, le=100)
    calibration_samples: int = Field(default=128, ge=1, le=100_000)
    skip_layers: tuple[str, ...] = ()
    skip_types: tuple[str, ...] = ()
    reduce_range: bool | Literal["auto"] = "auto"

    @model_validator(mode="after")
    def _consistent(self) -> QuantizeStaticParameters:
        if self.symmetric and self.activation != "int8":
            raise ValueError("symmetric activations are for int8: add `activation: int8`, or leave `symmetric` out")
        return self

    @property
    def grid(self) -> Grid:
        """The integers of activations."""
        if self.activation == "uint8":
            return UINT8
        return INT8_SYMMETRIC if self.symmetric else INT8

    @property
    def format(self) -> Format:
        """What the writer needs."""
        reduce = self.reduce_range
        if reduce == "auto":
            reduce = self.activation == "uint8" and saturates_u8s8()
        return Format(self.activation, self.symmetric, self.per_channel, 7 if reduce else 8)


class QuantizeStatic(Pass):
    """Weights and activations in 8 bits, written as QuantizeLinear and DequantizeLinear that runtimes fuse into integer kernels."""

    name = "quantize_static"
    tolerance = 0.1
    parameters_type = QuantizeStaticParameters
    needs_data = True
    returns_new = True

    def requires(self, model: ir.Model) -> None:
        """Raises: UnsupportedModel."""
        refuse_quantised(model)
        if 0 < opset(model) < MIN_OPSET:
            raise UnsupportedModel(
                f"it uses opset {opset(model)}, and scales for each channel came with opset {MIN_OPSET}: put `simplify` before this pass"
            )

    def call(self, model: ir.Model) -> Result:
        """Raises: UnsupportedModel, PassFailed, RecipeError (`skip_layers` or `skip_types` name nothing that exists), ModelError
        where the model does not run on a calibration sample.
        """
        parameters = cast(QuantizeStaticParameters, self.parameters)
        with foreign_as(UnsupportedModel, "it cannot be made ready for quantisation"):
            work, unpacked = prepare(model, LAYERS | FOLLOWERS | TABLES)
        skips = Skips(parameters.skip_layers, parameters.skip_types)
        warnings = skips.check(model.graph.all_nodes())
        plan = make_plan(work.graph, skips)
        ranges, n_feeds = self._calibrate(work, plan) if plan.nodes else ({}, 0)
        if not plan.nodes:
            result = nothing(model, plan.kept, "the model has no convolution or matrix product to quantise")
            return replace(result, warnings=tuple(warnings))
        extra = {"weights_unpacked": unpacked, "weight_bits": parameters.format.weight_bits, "calibration_feeds": n_feeds}
        layers = layers_before(work, plan.nodes, plan.kept)
        quantised = write_qdq(work, plan, ranges, parameters.format)
        most_feeds = parameters.calibration_samples
        result = report(model, quantised, layers, self.context, most_feeds=most_feeds, extra=extra)
        return replace(result, warnings=(*warnings, *result.warnings))

    def _calibrate(self, work: ir.Model, plan: Plan) -> tuple[dict[str, Range], int]:
        """Ranges of the plan's activations, after dropping from it what cannot have one; and the number of feeds."""
        parameters, proto = cast(QuantizeStaticParameters, self.parameters), ir.to_proto(work)
        computed = [value.name or "" for value in plan.activations if not value.is_graph_input()]
        floats = float_tensors(proto, computed, self.context.scratch / "typed.onnx")
        floats |= {value.name or "" for value in work.graph.inputs if value.dtype == ir.DataType.FLOAT}
        plan.drop(float32_only(floats))
        if not plan.nodes:
            return {}, 0
        names = [value.name or "" for value in plan.activations]
        statistics = collect(proto, names, self.context, most_feeds=parameters.calibration_samples)
        plan.drop(_unusable(statistics))
        return {value.name or "": self._range(value, statistics) for value in plan.activations}, statistics.n_feeds

    def _range(self, value: ir.Value, statistics: Statistics) -> Range:
        parameters, producer = cast(QuantizeStaticParameters, self.parameters), value.producer()
        operator = producer.op_type if producer is not None else ""
        if operator in _FIXED_RANGES:
            return _FIXED_RANGES[operator]
        histogram = statistics.histograms[value.name or ""]
        found = find_range(histogram, parameters.grid, parameters.calibrator, percentile=parameters.percentile)
        if found.low < found.high:
            return found
        return Range(0.0 if operator in CLAMPS else -1.0, 1.0)  # always zero so far: any range holds that, and a clamp stays one


def _unusable(statistics: Statistics) -> Callable[[ir.Node], str | None]:
    def why(node: ir.Node) -> str | None:
        for value in data_values(node):
            histogram = statistics.histograms.get(value.name or "")
            if histogram is None:
                continue
            if histogram.non_finite:
                return f"its tensor {one_line(value.name, limit=80)} holds NaN or infinities on calibration samples"
            if not histogram.count:
                return f"its tensor {one_line(value.name, limit=80)} was empty on all calibration samples"
        return None

    return why
