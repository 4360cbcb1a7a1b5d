"""Magnitude pruning: the smallest weights become zero (Han et al. 2015, Learning both Weights and Connections, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from device_profiles.field_errors import did_you_mean
from optimizers.errors import UnsupportedModel
from optimizers.foreign import one_line
from optimizers.graph import is_quantised, unpack_weights
from optimizers.optimizer_pass import Parameters, Pass, Result

_WEIGHT_INPUTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1)}
"""Which inputs of an operator may be weights; biases are none of them."""

_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE})

_MAX_NAMED = 50


class PruneMagnitudeParameters(Parameters):
    """`scope`: one threshold for the whole model (`global`), or one for each weight (`layer`)."""

    sparsity: float = Field(ge=0, le=1, description="share of the weights that are zero afterwards")
    scope: Literal["global", "layer"] = "global"
    skip_names: tuple[str, ...] = Field(default=(), description="operators left alone, by name")
    skip_types: tuple[str, ...] = Field(default=(), description="operators left alone, by type: Conv, ConvTranspose, Gemm, MatMul")
    include_shared: bool = Field(default=False, description="also weights that other operators use too, such as tied embeddings")


@dataclass(frozen=True, slots=True)
class _Weight:
    value: ir.Value
    users: tuple[ir.Node, ...]
    array: NDArray[Any]


class PruneMagnitude(Pass):
    """Unstructured: single weights, wherever they are. The file is as large and a dense runtime as slow as before."""

    name = "prune_magnitude"
    tolerance = 1e-3
    parameters_type = PruneMagnitudeParameters

    def requires(self, model: ir.Model) -> None:
        """Raises: UnsupportedModel for a quantised model and for names to skip that it does not have."""
        if is_quantised(model):
            raise UnsupportedModel("it is quantised already; prune the float model before it is quantised")
        options = self._options
        names = {node.name for node in model.graph.all_nodes() if node.name}
        for name in options.skip_names:
            if name not in names:
                raise UnsupportedModel(
                    f"it has no operator named `{one_line(name, limit=80)}`: {did_you_mean(name, sorted(names), noun='operators')}"
                )
        for kind in options.skip_types:
            if kind not in _WEIGHT_INPUTS:
                raise UnsupportedModel(f"`{one_line(kind, limit=80)}` is not pruned: {did_you_mean(kind, _WEIGHT_INPUTS, noun='types')}")

    def call(self, model: ir.Model) -> Result:
        """Zero the smallest weights; sparsity is reached to within one weight."""
        options = self._options
        unpacked = unpack_weights(model)
        weights = _weights(model, options)
        if not weights:
            return Result(model, False, "it has no constant weights in Conv, ConvTranspose, Gemm or MatMul that may be pruned")
        groups = [weights] if options.scope == "global" else [[weight] for weight in weights]
        pruned = sum(_prune(group, options.sparsity) for group in groups)
        total = sum(weight.array.size for weight in weights)
        zeros = sum(int(np.count_nonzero(weight.value.const_value.numpy() == 0)) for weight in weights if weight.value.const_value)
        details = {"weights": total, "zeros": zeros, "sparsity": zeros / total, "newly_zero": pruned, "tensors": _per_tensor(weights)}
        if unpacked:
            details["unpacked_weights"] = unpacked
        if not pruned:
            return Result(model, False, f"{zeros / total:.1%} of its {total} weights are zero already", details)
        return Result(
            model,
            True,
            f"{zeros} of {total} weights are zero ({zeros / total:.1%}), {pruned} of them newly; file size and dense latency stay as they were",
            details,
        )

    @property
    def _options(self) -> PruneMagnitudeParameters:
        return cast(PruneMagnitudeParameters, self.parameters)


def _weights(model: ir.Model, options: PruneMagnitudeParameters) -> list[_Weight]:
    found = []
    for value in model.graph.initializers.values():
        uses = tuple(value.uses())
        users = tuple(use.node for use in uses)
        as_weight = [use.idx in _WEIGHT_INPUTS.get(use.node.op_type, ()) and use.node.domain == "" for use in uses]
        skipped = any(node.name in options.skip_names or node.op_type in options.skip_types for node in users)
        usable = any(as_weight) if options.include_shared else bool(as_weight) and all(as_weight)
        tensor = value.const_value
        if tensor is None or tensor.dtype not in _FLOATS or len(tensor.shape) < 2 or value.is_graph_output() or value.is_graph_input():
            continue
        if usable and not skipped:
            found.append(_Weight(value, users, tensor.numpy()))
    return found


def _prune(weights: Sequence[_Weight], sparsity: float) -> int:
    """Zero the smallest of these together; returns how many were not zero before."""
    doomed = _smallest(np.concatenate([np.abs(weight.array).ravel() for weight in weights]), sparsity)
    newly, start = 0, 0
    for weight in weights:
        mask = doomed[start : start + weight.array.size].reshape(weight.array.shape)
        start += weight.array.size
        newly += int(np.count_nonzero(weight.array[mask]))
        kept = np.where(mask, weight.array.dtype.type(0), weight.array)
        weight.value.const_value = ir.tensor(kept, name=weight.value.name)
    return newly


def _smallest(magnitudes: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Which are the smallest; among equals the first ones are, so that every machine prunes the same."""
    count = round(share * magnitudes.size)
    if count == 0:
        return np.zeros(magnitudes.size, bool)
    threshold = np.partition(magnitudes, count - 1)[count - 1]
    chosen = magnitudes < threshold
    equal = np.flatnonzero(magnitudes == threshold)[: count - np.count_nonzero(chosen)]
    chosen[equal] = True
    return np.asarray(chosen, bool)


def _per_tensor(weights: Sequence[_Weight]) -> dict[str, float]:
    return {
        one_line(weight.value.name, limit=120): float(np.mean(weight.value.const_value.numpy() == 0))
        for weight in weights[:_MAX_NAMED]
        if weight.value.const_value is not None
    }
