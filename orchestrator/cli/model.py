"""`thresher model`: look at a model before a campaign does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import FormatOption
from orchestrator.cli.output import Column, Format, note, print_record, print_table, say

if TYPE_CHECKING:
    from optimizers.inspect_model import ModelInfo, Port
    from optimizers.model_file import ModelFile

app = typer.Typer(no_args_is_help=True, help="Look at a model: a model.yaml, or a bare .onnx or .ort file.")

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A model.yaml, or an .onnx or .ort file.")]


@app.command(epilog="Example:  thresher model show model.yaml")
def show(model: ModelPath, format: FormatOption = Format.TABLE) -> None:
    """Show what a model takes and gives, its operators, weights and peculiarities. It is not run."""
    file, info = _inspect(model, run=False)
    if format is Format.JSON:
        print_record("model", {"name": file.name, "path": str(file.path), "metric": file.metric, **info.model_dump(mode="json")})
        return
    say(
        f"{file.name}: {file.path.name}, {info.format}, {info.size_bytes / 1e3:.1f} kB, {info.parameters} parameters, made by {info.producer or 'unknown'}"
    )
    say(
        f"opsets {', '.join(f'{name} {number}' for name, number in info.opsets.items())}; IR version {info.ir_version}; metric {file.metric}"
    )
    ports = [["input", *_port(port)] for port in info.inputs] + [["output", *_port(port)] for port in info.outputs]
    print_table("", [Column(""), Column("name"), Column("type"), Column("shape")], ports)
    ops = sorted(info.ops.items(), key=lambda item: (-item[1], item[0]))
    say("operators: " + ", ".join(f"{name} ×{count}" for name, count in ops[:30]) + (", …" if len(ops) > 30 else ""))
    _warn(info)


@app.command(epilog="Example:  thresher model validate model.yaml")
def validate(model: ModelPath, format: FormatOption = Format.TABLE) -> None:
    """Check that a model can be run here: open it, do one inference, read its samples. Exit code 2 when it cannot."""
    from orchestrator.submit import score_samples

    note("one inference, then all evaluation samples …")
    file, info = _inspect(model, run=True)
    samples = score_samples(file) if not info.problems else None
    if format is Format.JSON:
        fields = {
            "name": file.name,
            "valid": not info.problems,
            "problems": list(info.problems),
            "warnings": list(info.warnings),
            "samples": samples,
        }
        print_record("model", fields)
    else:
        say(f"{file.name}: {'it runs' if not info.problems else 'it cannot be run'}" + (f"; {samples}" if samples else ""))
        _warn(info)
    if info.problems:
        raise typer.Exit(2)


def _inspect(path: Path, *, run: bool) -> tuple[ModelFile, ModelInfo]:
    from optimizers.model_file import bare_model_file, load_model_file
    from orchestrator.errors import ChildError, UsageError
    from orchestrator.submit import inspect_model_file

    file = bare_model_file(path) if path.suffix in {".onnx", ".ort"} else load_model_file(path)
    try:
        return file, inspect_model_file(file.path, run=run)
    except ChildError as error:
        raise UsageError(f"the model {file.path} cannot be used: {error}") from error


def _port(port: Port) -> list[str]:
    shape = "undeclared" if port.shape is None else " × ".join("?" if size is None else str(size) for size in port.shape) or "scalar"
    return [port.name, port.dtype or port.type_text, shape]


def _warn(info: ModelInfo) -> None:
    for warning in info.warnings:
        note(f"warning: {warning}")
    for problem in info.problems:
        note(f"problem: {problem}")
