"""ONNX Runtime's own format: a flatbuffer that loads without parsing protobuf, its graph optimised ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import onnx_ir as ir
import onnxruntime as ort
from pydantic import Field

from optimizers.errors import ModelError, PassFailed, UnsupportedModel
from optimizers.foreign import foreign_as
from optimizers.graph import EXTERNAL_ABOVE_BYTES, write_model
from optimizers.optimizer_pass import Parameters, Pass, Result
from optimizers.ort_format import UnknownFormat, canonical
from optimizers.parity import reference

MAX_ERROR = 1e-3
_TARGETS = {"portable": "any processor", "host": "this machine's processor"}


class CompileOrtParameters(Parameters):
    """`target`: `portable` leaves out what holds on this machine's processor alone; `host` is for runs on this machine."""

    target: Literal["portable", "host"] = Field(default="portable")


class CompileOrt(Pass):
    """Saved with the runtime's extended fusions, the same on all CPUs; the level above chooses memory layouts for one CPU."""

    name = "compile_ort"
    tolerance = 1e-3
    parameters_type = CompileOrtParameters
    comes_last = True

    def call(self, model: ir.Model) -> Result:
        """Raises: UnsupportedModel where the runtime cannot save or load the model so, PassFailed where outputs change."""
        source = write_model(model, self.context.scratch / "source.onnx")
        if source.external is not None:
            raise UnsupportedModel(f"the format keeps all weights in its one file; more than {EXTERNAL_ABOVE_BYTES >> 30} GiB do not fit")
        made = self._save(source.path)
        warnings = (*_in_one_order(made), *self._compare(source.path, made))
        target = cast(CompileOrtParameters, self.parameters).target
        details = {"target": target, "onnx_bytes": source.size_bytes, "ort_bytes": made.stat().st_size}
        return Result(
            model, True, f"saved in ONNX Runtime's own format, its graph optimised for {_TARGETS[target]}", details, warnings, made
        )

    def _save(self, source: Path) -> Path:
        made = self.context.scratch / "model.ort"
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = self.context.intra_op_threads
        options.add_session_config_entry("session.save_model_format", "ORT")
        options.optimized_model_filepath = str(made)
        host = cast(CompileOrtParameters, self.parameters).target == "host"
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if host else level.ORT_ENABLE_EXTENDED
        with foreign_as(UnsupportedModel, "ONNX Runtime cannot save it in its own format"):
            ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"], enable_fallback=0)
        return made

    def _compare(self, source: Path, made: Path) -> tuple[str, ...]:
        threads = self.context.intra_op_threads
        expected = reference(source, self.context.probes, threads=threads, optimize=True)  # integer kernels round as on the device
        try:
            error = expected.difference(made, threads=threads, optimize=True)
        except ModelError as failure:
            raise UnsupportedModel(f"ONNX Runtime cannot use what it saved: {failure}") from failure
        if error > MAX_ERROR:
            raise PassFailed(f"outputs of the file saved in ONNX Runtime's format differ by {error:.1e}, more than {MAX_ERROR:.0e}")
        return (f"outputs could not be compared: {expected.why_not}",) if expected.why_not else ()


def _in_one_order(made: Path) -> list[str]:
    """The same model has the same bytes then; the runtime's own order changes from process to process."""
    try:
        made.write_bytes(canonical(made.read_bytes()))
    except UnknownFormat as error:
        return [f"its bytes, and so its id, differ from run to run: {error}"]
    return []
