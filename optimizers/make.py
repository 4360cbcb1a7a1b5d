"""Make a variant: one recipe, one model, one folder. Runs in a child process whose memory, time and file size are limited."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import onnx_ir as ir
from pydantic import Field

from optimizers.errors import ModelError, PassFailed, UnsupportedModel
from optimizers.feeds import calibration_feeds
from optimizers.foreign import foreign_as
from optimizers.graph import (
    EXTERNAL_ABOVE_BYTES,
    Written,
    check_signature,
    file_sha256,
    given_size,
    opset,
    read_model,
    signature,
    write_model,
    written,
)
from optimizers.model_file import ModelFile
from optimizers.optimizer_pass import Context, Feed, Pass, Result
from optimizers.parity import N_PROBES, random_probes
from optimizers.passes.table import PASSES
from optimizers.recipes import check_recipe, parameters_of
from optimizers.session import open_session
from optimizers.variant import ExternalData, PassSpec, Recipe, Step, Value, Variant, variant_id

_SAME_FUNCTION = 1e-3
"""How far two CPUs may be apart, relative in the 2-norm, on a float model that nothing was done to."""

_TOOLS = ("onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy", "thresher")


class MakeRequest(Value):
    """What to make. `out_dir` is an existing empty folder; `model_file` gives calibration samples, None where there are none."""

    model: str
    onnx_path: Path
    recipe: Recipe
    out_dir: Path
    model_file: ModelFile | None = None
    intra_op_threads: int = Field(default=2, ge=1, le=256)
    external_above_bytes: int = Field(
        default=EXTERNAL_ABOVE_BYTES, ge=0, le=EXTERNAL_ABOVE_BYTES, description="more weights than this go into a file beside the model's"
    )


class MakeResult(Value):
    """The variant and its file in `out_dir` (external data beside it), or `why` there is none."""

    variant: Variant | None
    path: Path | None = None
    why: str | None = Field(default=None, description="which pass refused the model or changed nothing, and the reason")
    upgraded_opset: tuple[int, int] | None = Field(default=None, description="from and to, where operators were converted")


class _NoVariant(Exception):
    """The recipe makes nothing of this model; the message says which pass and why."""


@dataclass
class _Making:
    """The model so far, as written, with its lineage."""

    model: ir.Model
    file: Written
    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tolerance: float = _SAME_FUNCTION


def make_variant(request: MakeRequest) -> MakeResult:
    """Run a recipe's passes on a model; the same model and recipe give the same bytes.

    Raises: ModelError for a model that cannot be read or run, RecipeError, PassFailed where a pass broke a promise.
    A model that a pass cannot handle is no error: the result says why there is no variant.
    """
    check_recipe(request.recipe, source=f"recipe {request.recipe.name}")
    with foreign_as(PassFailed, "the variant could not be made"), tempfile.TemporaryDirectory(dir=request.out_dir, prefix=".") as work:
        model = read_model(request.onnx_path)
        open_session(request.onnx_path, intra_op_threads=request.intra_op_threads)
        before = opset(model)
        probes, warnings = _probes(request)
        making = _Making(model, Written(request.onnx_path, None, given_size(model, request.onnx_path)), warnings=warnings)
        try:
            for place, spec in enumerate(request.recipe.passes):
                scratch = Path(work, str(place))
                scratch.mkdir()
                _run_pass(request, spec, Context(scratch, lambda: _feeds(request), request.intra_op_threads, probes), making)
        except _NoVariant as reason:
            return MakeResult(variant=None, why=str(reason), upgraded_opset=_upgrade(before, making))
        if not request.recipe.passes:
            making.file = _as_given(request, making, Path(work))
        return MakeResult(variant=_finish(request, making), path=_final_path(request, making), upgraded_opset=_upgrade(before, making))


def _run_pass(request: MakeRequest, spec: PassSpec, context: Context, making: _Making) -> None:
    kind = PASSES[spec.name]
    ports = signature(making.model)
    began = time.monotonic()
    result = _call(kind(parameters_of(spec, source=f"recipe {request.recipe.name}"), context), making.model)
    if not result.modified and not kind.optional:
        raise _NoVariant(f"{spec.name} changed nothing: {result.summary}")
    check_signature(ports, result.model, who=spec.name)
    file = _write(result, context, request.external_above_bytes, who=spec.name)
    making.steps.append(
        Step(
            pass_name=spec.name,
            parameters=spec.parameters,
            modified=result.modified,
            summary=result.summary,
            size_before_bytes=making.file.size_bytes,
            size_after_bytes=file.size_bytes,
            duration_s=time.monotonic() - began,
            details=result.details,
        )
    )
    making.warnings += [f"{spec.name}: {warning}" for warning in result.warnings]
    making.model, making.file, making.tolerance = result.model, file, max(making.tolerance, kind.tolerance)


def _as_given(request: MakeRequest, making: _Making, folder: Path) -> Written:
    """A copy of the user's file, byte for byte; a model whose weights lie outside it is written anew with all of them."""
    if making.file.size_bytes != request.onnx_path.stat().st_size:
        return write_model(making.model, folder / "model.onnx", external_above_bytes=request.external_above_bytes)
    return written(Path(shutil.copyfile(request.onnx_path, folder / f"model{request.onnx_path.suffix}")))


def _call(one: Pass, model: ir.Model) -> Result:
    try:
        with foreign_as(PassFailed, f"{one.name} failed on this model"):
            return one(model)
    except UnsupportedModel as error:
        raise _NoVariant(f"{one.name} cannot be used on this model: {error}") from error


def _write(result: Result, context: Context, external_above_bytes: int, *, who: str) -> Written:
    """The pass's result on disk, which the runtime must be able to load."""
    if result.artifact is not None:
        file = written(result.artifact)
    else:
        file = write_model(result.model, context.scratch / "model.onnx", external_above_bytes=external_above_bytes)
    try:
        open_session(file.path, intra_op_threads=context.intra_op_threads)
    except ModelError as error:
        raise PassFailed(f"{who} made a model that cannot be used: {error}") from error
    return file


def _probes(request: MakeRequest) -> tuple[tuple[Feed, ...], list[str]]:
    """Feeds to compare outputs on, and what there is to say of them."""
    file = request.model_file
    if file is not None and (file.samples is not None or file.calibration is not None):
        try:
            return tuple(_feeds(request, limit=N_PROBES)), []
        except UnsupportedModel as error:
            return (), [f"outputs could not be compared on the way: {error}"]
    try:
        return random_probes(request.onnx_path, file, threads=request.intra_op_threads), []
    except ModelError as error:
        return (), [f"outputs could not be compared on the way: {error}"]


def _feeds(request: MakeRequest, *, limit: int | None = None) -> Iterator[Feed]:
    if request.model_file is None:
        raise UnsupportedModel("it needs calibration samples, and a bare ONNX file has none: write a model.yaml that names some")
    return calibration_feeds(request.model_file, request.onnx_path, limit=limit, intra_op_threads=request.intra_op_threads)


def _upgrade(before: int, making: _Making) -> tuple[int, int] | None:
    after = opset(making.model)
    return (before, after) if after != before else None


def _final_path(request: MakeRequest, making: _Making) -> Path:
    return request.out_dir / f"model{making.file.path.suffix}"


def _finish(request: MakeRequest, making: _Making) -> Variant:
    """Move the files to their place and describe them."""
    final = _final_path(request, making)
    external = None
    if making.file.external is not None:
        beside = request.out_dir / making.file.external.name
        making.file.external.replace(beside)
        external = ExternalData(file_name=beside.name, sha256=file_sha256(beside), size_bytes=beside.stat().st_size)
    making.file.path.replace(final)
    sha256 = file_sha256(final)
    return Variant(
        id=variant_id(sha256, request.recipe, external_sha256=external.sha256 if external else None),
        model=request.model,
        recipe=request.recipe,
        sha256=sha256,
        size_bytes=making.file.size_bytes,
        file_name=final.name,
        external=external,
        model_sha256=file_sha256(request.onnx_path),
        steps=tuple(making.steps),
        warnings=tuple(making.warnings),
        tools=_tools(),
        golden_tolerance=making.tolerance,
    )


def _tools() -> dict[str, str]:
    found = {}
    for name in _TOOLS:
        try:
            found[name.replace("-", "_")] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name.replace("-", "_")] = "unknown: it runs from its sources, not installed"
    return found
