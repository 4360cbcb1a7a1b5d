"""Simplify: what every recipe begins with. Smaller and faster, and the same function.

Each step works on a copy that is kept only if its outputs are the model's, it loads, and it did not grow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx_ir.passes import common
from pydantic import Field

from optimizers.errors import OptimizerError, PassFailed
from optimizers.foreign import foreign_as
from optimizers.graph import check_signature, file_bytes, infer_shapes, operators, opset, read_model, signature, write_model
from optimizers.optimizer_pass import Parameters, Pass, Result
from optimizers.parity import Reference, reference
from optimizers.session import open_session

MAX_ERROR = 1e-4
"""How far outputs may differ, relative in the 2-norm, before a step is undone."""

_GROWTH_BYTES = 4096
_GROWTH = 1.05
_STANDARD_DOMAINS = frozenset({"", "ai.onnx.ml"})
_FOLD_OUTPUT_ELEMENTS = 1 << 18


class SimplifyParameters(Parameters):
    """`min_opset`: an older model is converted to this version of the operators (13 has quantisation per channel)."""

    min_opset: int = Field(default=13, ge=7, le=21)


@dataclass(frozen=True, slots=True)
class _Step:
    """One thing to do: what was done when it worked, and what to say when it could not be kept."""

    done: str
    left_out: str
    apply: Callable[[ir.Model], ir.Model]


@dataclass
class _Progress:
    """The model so far with its size on disk, and what was done."""

    model: ir.Model
    size_bytes: int
    done: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Simplify(Pass):
    """Metadata out, operators brought up to date, constants folded, the runtime's basic fusions; outputs compared after each."""

    name = "simplify"
    tolerance = 1e-3
    parameters_type = SimplifyParameters
    returns_new = True
    optional = True

    def call(self, model: ir.Model) -> Result:
        """Raises: PassFailed where the model given cannot be written or loaded."""
        given = write_model(model, self.context.scratch / "given.onnx")
        same = reference(given.path, self.context.probes, threads=self.context.intra_op_threads)
        before, before_opset = file_bytes(model), opset(model)
        progress = _Progress(model.clone(), given.size_bytes)
        for step in self._steps(model, compared=same.why_not is None):
            self._attempt(step, progress, same)
        if same.why_not is not None:
            progress.warnings.append(f"only metadata was removed, because outputs could not be compared: {same.why_not}")
        return self._result(model, before, before_opset, progress)

    def _steps(self, model: ir.Model, *, compared: bool) -> list[_Step]:
        minimum = cast(SimplifyParameters, self.parameters).min_opset
        steps = [_Step("metadata removed", "metadata was kept", _strip)]
        if not compared:
            return steps
        if model.functions:
            steps.append(_Step("functions inlined", "functions were not inlined", _inline))
        if 0 < opset(model) < minimum:
            kept = f"the model stays at opset {opset(model)}, it could not be converted to {minimum}"
            steps.append(_Step(f"operators converted to opset {minimum}", kept, lambda older: _convert(older, minimum)))
        return [
            *steps,
            _Step("constants folded", "constants were not folded", _fold),
            _Step("the runtime's basic fusions", "the runtime's basic fusions were left out", self._fuse),
            _Step("leftovers removed", "leftovers were kept", _tidy),
        ]

    def _attempt(self, step: _Step, progress: _Progress, same: Reference) -> None:
        try:
            with foreign_as(PassFailed, "it failed"):
                candidate = _canonical(step.apply(progress.model.clone()), progress.model)
            if file_bytes(candidate) == file_bytes(progress.model):
                progress.model = candidate  # its shapes may be better known
                return
            size = self._checked_size(candidate, progress, same)
        except (OptimizerError, MemoryError) as error:
            progress.warnings.append(f"{step.left_out}: {error}")
            return
        progress.done.append(step.done)
        progress.model, progress.size_bytes = candidate, size

    def _checked_size(self, candidate: ir.Model, progress: _Progress, same: Reference) -> int:
        check_signature(signature(progress.model), candidate, who="it")
        made = write_model(candidate, self.context.scratch / "candidate.onnx")
        if made.size_bytes > progress.size_bytes * _GROWTH + _GROWTH_BYTES:
            raise PassFailed(f"the file would grow from {progress.size_bytes} to {made.size_bytes} bytes")
        error = same.difference(made.path, threads=self.context.intra_op_threads)
        if error > MAX_ERROR:
            raise PassFailed(f"outputs would differ by {error:.1e} (at most {MAX_ERROR:.0e} is allowed)")
        open_session(made.path, intra_op_threads=self.context.intra_op_threads)
        return made.size_bytes

    def _fuse(self, model: ir.Model) -> ir.Model:
        """ONNX Runtime's graph optimisations that hold on any target, saved as ONNX."""
        if any(value.dtype == ir.DataType.FLOAT16 for node in model.graph.all_nodes() for value in node.outputs):
            return model  # the runtime would save the casts that this host's missing half-precision kernels need
        source = write_model(model, self.context.scratch / "unfused.onnx")
        target = self.context.scratch / "fused.onnx"
        options = _save_options(target, self.context.intra_op_threads)
        ort.InferenceSession(str(source.path), options, providers=["CPUExecutionProvider"])
        fused = read_model(target)
        ir.external_data.load_to_model(fused)
        fused.ir_version = model.ir_version
        common.RemoveUnusedOpsetsPass()(fused)
        allowed = _STANDARD_DOMAINS | set(model.opset_imports)
        if foreign := {node.domain for node in fused.graph.all_nodes()} - allowed:
            raise PassFailed(f"it brings in operators of {', '.join(sorted(foreign))}, which other runtimes lack")
        return fused

    def _result(self, model: ir.Model, before: bytes, before_opset: int, progress: _Progress) -> Result:
        old, new = operators(model), operators(progress.model)
        modified = file_bytes(progress.model) != before
        details: dict[str, Any] = {
            "nodes_before": sum(old.values()),
            "nodes_after": sum(new.values()),
            "operators": new,
            "steps": progress.done,
            "opset": opset(progress.model),
        }
        if opset(progress.model) != before_opset:
            details["opset_before"] = before_opset
        summary = "nothing to simplify: the model is as simple as it gets"
        if modified:
            summary = f"{details['nodes_before']} operators became {details['nodes_after']} ({', '.join(progress.done)})"
        return Result(progress.model, modified, summary, details, tuple(progress.warnings))


def _save_options(target: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    return options


def _strip(model: ir.Model) -> ir.Model:
    """No stack traces, paths and stale shapes; what the model's own metadata says (labels, say) stays.

    Exporters leave shapes behind that later edits made wrong; they are inferred again from the inputs.
    """
    common.RemoveInitializersFromInputsPass()(model)
    model.ir_version = max(model.ir_version or 0, 4)  # from 4 on, weights need not be inputs
    common.ClearMetadataAndDocStringPass()(model)
    for graph in model.graphs():
        graph.doc_string = None
        graph.metadata_props.clear()
        _strip_values(graph)
    return infer_shapes(model)


def _strip_values(graph: ir.Graph) -> None:
    kept = {*graph.inputs, *graph.outputs}
    for node in graph:
        for value in node.outputs:
            value.doc_string = None
            value.metadata_props.clear()
            if value not in kept:
                value.shape = None
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.doc_string = None
        value.metadata_props.clear()


def _inline(model: ir.Model) -> ir.Model:
    return infer_shapes(common.InlinePass()(model).model)


def _convert(model: ir.Model, target: int) -> ir.Model:
    """onnx's converter, which knows all versions; onnxscript's begins at 18."""
    metadata = dict(model.metadata_props)
    proto = onnx.version_converter.convert_version(ir.to_proto(ir.external_data.load_to_model(model)), target)
    converted = ir.from_proto(proto)
    converted.ir_version = max(model.ir_version or 0, onnx.helper.find_min_ir_version_for(proto.opset_import))
    converted.metadata_props.update(metadata)
    common.RemoveInitializersFromInputsPass()(converted)
    return converted


def _fold(model: ir.Model) -> ir.Model:
    """Constant folding with a bound on what is stored, and onnxscript's rewrites that hold always."""
    from onnxscript import optimizer

    optimizer.optimize_ir(model, num_iterations=3, output_size_limit=_FOLD_OUTPUT_ELEMENTS, inline=False)
    return model


def _tidy(model: ir.Model) -> ir.Model:
    """What the fusions left over: the runtime gives each user a dequantiser of its own, for one."""
    passes = (
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass(),
    )
    for one in passes:
        one(model)
    return model


def _canonical(model: ir.Model, before: ir.Model) -> ir.Model:
    """The same bytes whatever order a library's hash tables had: nodes sorted, initialisers in order of use, names unique."""
    model.graph.sort()
    _strip_values_metadata(model)
    _sort_initializers(model.graph)
    common.NameFixPass()(model)
    for old, new in zip((*before.graph.inputs, *before.graph.outputs), (*model.graph.inputs, *model.graph.outputs), strict=False):
        if old.name == new.name and old.shape is not None:
            new.shape = old.shape
    model.graph.name = before.graph.name
    model.producer_name, model.producer_version = before.producer_name, before.producer_version
    model.domain, model.model_version, model.doc_string = before.domain, before.model_version, before.doc_string
    model.metadata_props.clear()
    model.metadata_props.update(before.metadata_props)
    return infer_shapes(model)


def _strip_values_metadata(model: ir.Model) -> None:
    common.ClearMetadataAndDocStringPass()(model)
    for graph in model.graphs():
        for node in graph:
            for value in node.outputs:
                value.metadata_props.clear()


def _sort_initializers(graph: ir.Graph) -> None:
    used: dict[str, None] = {}
    for node in ir.traversal.RecursiveGraphIterator(graph):
        used.update((value.name, None) for value in node.inputs if value is not None and value.name and value.name in graph.initializers)
    rest = sorted(name for name in graph.initializers if name not in used)
    values = [graph.initializers[name] for name in (*used, *rest)]
    graph.initializers.clear()
    for value in values:
        graph.register_initializer(value)
