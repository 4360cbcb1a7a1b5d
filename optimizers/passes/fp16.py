"""Half precision: weights and arithmetic in float16 where it holds, float32 elsewhere and at the inputs and outputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from optimizers.crash import crash_on_load
from optimizers.errors import ModelError, UnsupportedModel
from optimizers.foreign import one_line
from optimizers.graph import infer_shapes, is_quantised, opset, unpack_weights, write_model
from optimizers.half import MAX_HALF, Slots, candidates, constants_fit, convert, simulate
from optimizers.optimizer_pass import Feed, Parameters, Pass, Result
from optimizers.parity import Reference, first, reference
from optimizers.ranges import largest_magnitudes

MAX_ERROR = 5e-2
"""How far outputs may be, relative in the 2-norm, from those in float32."""

_HEADROOM = 2.0
_N_FEEDS = 8
_MAX_TRIALS = 48
_MAX_NAMED = 20


class Fp16Parameters(Parameters):
    """None: which operators stay in float32 is found by measuring."""


@dataclass
class _Choice:
    """Operators that compute in half precision, and why others do not."""

    half: dict[int, Slots]
    kept: dict[int, str] = field(default_factory=dict)
    trials: int = 0


class Fp16(Pass):
    """On a processor without half-precision arithmetic the runtime computes in float32 between casts: smaller, not faster."""

    name = "fp16"
    tolerance = 0.1
    parameters_type = Fp16Parameters
    returns_new = True

    def requires(self, model: ir.Model) -> None:
        """Raises: UnsupportedModel for a quantised model, and where no inputs are known on which to measure."""
        if is_quantised(model):
            raise UnsupportedModel(
                "it is quantised already; half precision would come between its scales and take its integer kernels away"
            )
        if not self.context.probes:
            raise UnsupportedModel("it runs neither on calibration samples nor on random inputs, so what overflows cannot be measured")

    def call(self, model: ir.Model) -> Result:
        """Raises: UnsupportedModel where outputs break however much stays in float32."""
        model = model.clone()
        given = write_model(model, self.context.scratch / "given.onnx")
        expected = reference(given.path, self.context.probes, threads=self.context.intra_op_threads)
        if expected.why_not is not None:
            raise UnsupportedModel(f"what half precision does to it cannot be measured: {expected.why_not}")
        unpack_weights(model)
        model = infer_shapes(model)
        choice = _Choice(candidates(model))
        warnings = self._drop_overflowing(model, choice)
        error = self._search(model, choice, expected)
        if not choice.half:
            return Result(model, False, f"no operator of it can compute in half precision{_why(choice)}{_untyped(model)}")
        made = model.clone()
        convert(made, choice.half)
        return self._result(infer_shapes(made), choice, error, model, warnings)

    def _drop_overflowing(self, model: ir.Model, choice: _Choice) -> list[str]:
        nodes = list(model.graph)
        feeds, warnings = self._feeds()
        touched = {place: _values(nodes[place], own) for place, own in choice.half.items()}
        names = {str(value.name) for values in touched.values() for value in values}
        largest = largest_magnitudes(model, names, feeds, scratch=self.context.scratch, threads=self.context.intra_op_threads)
        for place, own in list(choice.half.items()):
            peak = max((largest.get(str(value.name), 0.0) for value in touched[place]), default=0.0)
            if not constants_fit(nodes[place], own.inputs):
                _keep(choice, place, "a constant does not fit")
            elif not peak * _HEADROOM <= MAX_HALF:
                _keep(choice, place, "values overflow")
        return warnings

    def _feeds(self) -> tuple[tuple[Feed, ...], list[str]]:
        try:
            feeds = first(self.context.feeds(), _N_FEEDS)
        except UnsupportedModel:
            feeds = ()
        if feeds:
            return feeds, []
        return self.context.probes, ["ranges were measured on random inputs: with real ones, other operators may overflow"]

    def _search(self, model: ir.Model, choice: _Choice, expected: Reference) -> float:
        """Take operators out until outputs hold; halves of the list are tried alone to find which break them."""
        limit = MAX_ERROR
        everything = dict(choice.half)
        error = self._error(model, choice.half, expected, choice)
        while error > MAX_ERROR and limit > MAX_ERROR / 100:
            choice.half = dict(self._harmless(model, list(everything.items()), limit, expected, choice))
            error = self._error(model, choice.half, expected, choice)
            limit /= 4
        if error > MAX_ERROR:
            raise UnsupportedModel(f"outputs would be off by {error:.1e} (at most {MAX_ERROR:.0e}), however much of it stays in float32")
        for place in everything.keys() - choice.half.keys():
            choice.kept[place] = "outputs would be off, or the runtime cannot run it"
        return error

    def _harmless(
        self, model: ir.Model, some: list[tuple[int, Slots]], limit: float, expected: Reference, choice: _Choice
    ) -> list[tuple[int, Slots]]:
        if not some or choice.trials >= _MAX_TRIALS:
            return []
        if self._error(model, dict(some), expected, choice) <= limit:
            return some
        if len(some) == 1:
            return []
        middle = len(some) // 2
        return [
            *self._harmless(model, some[:middle], limit, expected, choice),
            *self._harmless(model, some[middle:], limit, expected, choice),
        ]

    def _error(self, model: ir.Model, half: dict[int, Slots], expected: Reference, choice: _Choice) -> float:
        """The larger of what rounding does to outputs and what this host's runtime makes of it; infinity where it cannot run it."""
        choice.trials += 1
        threads = self.context.intra_op_threads
        trial = model.clone()
        simulate(trial, half)
        error = expected.difference(write_model(trial, self.context.scratch / "rounded.onnx").path, threads=threads)
        if error > MAX_ERROR:
            return error
        trial = model.clone()
        convert(trial, half)
        file = write_model(trial, self.context.scratch / "converted.onnx")
        if crash_on_load(file.path, threads=threads) is not None:
            return float("inf")
        try:
            return max(error, expected.difference(file.path, threads=threads, optimize=True))
        except ModelError:
            return float("inf")  # the runtime has no kernel for one of them

    def _result(self, made: ir.Model, choice: _Choice, error: float, model: ir.Model, warnings: list[str]) -> Result:
        nodes = list(model.graph)
        inner = sum(1 for _ in model.graph.all_nodes()) - len(nodes)
        details: dict[str, Any] = {
            "operators_half": len(choice.half),
            "operators_float": len(nodes) - len(choice.half),
            "operators_in_subgraphs_float": inner,
            "kept_float": {one_line(nodes[place].name, limit=120): why for place, why in sorted(choice.kept.items())[:_MAX_NAMED]},
            "relative_error": error,
        }
        if inner:
            warnings = [*warnings, f"{inner} operators inside If, Loop or Scan stay in float32"]
        summary = f"{len(choice.half)} of {len(nodes)} operators compute in half precision (relative error {error:.1e}){_why(choice)}{_untyped(model)}"
        return Result(made, True, summary, details, tuple(warnings))


def _values(node: ir.Node, own: Slots) -> list[ir.Value]:
    inputs = [node.inputs[place] for place in own.inputs]
    return [value for value in (*inputs, *(node.outputs[place] for place in own.outputs)) if value is not None]


def _keep(choice: _Choice, place: int, why: str) -> None:
    choice.kept[place] = why
    del choice.half[place]


def _why(choice: _Choice) -> str:
    counts = Counter(choice.kept.values())
    return "".join(f"; {count} stay in float32, because {why}" for why, count in sorted(counts.items()))


def _untyped(model: ir.Model) -> str:
    """Where an operator's type is unknown, so are those of all that follow it."""
    unknown = [node for node in model.graph if any(value.dtype is None for value in node.outputs)]
    if not unknown:
        return ""
    first_one = one_line(unknown[0].op_type, limit=40)
    return f"; {len(unknown)} stay in float32, because ONNX cannot tell their types from {first_one} (opset {opset(model)}) on"
