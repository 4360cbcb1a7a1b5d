"""`thresher bench`: measure one model file, with no other file needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.options import AcceptDisturbedOption, FarmOption, FormatOption, typed
from orchestrator.cli.output import Format, note, print_record, say

if TYPE_CHECKING:
    from orchestrator.farm import Farm
    from orchestrator.result import RowResult


def bench(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX model.")],
    device: Annotated[str, typer.Option("--device", "-d", help="A device of the farm; `host` is this machine.")] = "host",
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of one inference.")] = 1,
    provider: Annotated[str, typer.Option(help="ONNX Runtime execution provider.")] = "CPUExecutionProvider",
    cpu: Annotated[list[int] | None, typer.Option("--cpu", help="Pin to this CPU; may be given several times.")] = None,
    input_shape: Annotated[
        list[str] | None, typer.Option("--input-shape", metavar="NAME=1x3x224x224", help="Fix an input's open dimensions.")
    ] = None,
    protocol: Annotated[
        Literal["quick", "standard"], typer.Option(help="quick: half a second a launch; standard: five and more.")
    ] = "quick",
    launches: Annotated[int | None, typer.Option(min=1, max=1000, help="Timed launches (processes); the replicates.")] = None,
    accept_disturbed: AcceptDisturbedOption = False,
    farm: FarmOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Measure how fast a model is on a device and what memory it needs: no other file is needed.

    Inputs are random numbers (said in the output), so there is no accuracy. In a farm the records are kept there; elsewhere
    nothing is kept.

    Example:  thresher bench mobilenet.onnx --threads 2
    """
    from agents.run import RunConfig
    from orchestrator.campaign_file import ProtocolFile
    from orchestrator.cli.campaign_view import follow_campaign
    from orchestrator.submit import BenchOptions, plan_bench, submit

    config = RunConfig(threads=threads, provider=provider, affinity=tuple(cpu or ()), input_shapes=dict(map(_shape, input_shape or ())))
    options = BenchOptions(
        device=device, config=config, protocol=ProtocolFile(name=protocol, launches=launches, accept_disturbed=accept_disturbed)
    )
    with _farm(farm) as site_farm:
        spec = plan_bench(site_farm, model, options, command=typed())
        submit(site_farm, spec)
        follow_campaign(site_farm, spec.id, Format.JSON)
        row, inputs = _result(site_farm, spec.id)
    if format is Format.JSON:
        print_record("bench", {"model": str(model), "inputs": inputs, "protocol": spec.protocol.name, **row.model_dump(mode="json")})
    else:
        _show(row, inputs, spec.protocol.name)
    raise typer.Exit(0 if row.outcome == "OK" else 3)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, dimensions = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in dimensions.replace("×", "x").replace(",", "x").split("x"))
        if not equals or not name or min(shape) < 1:
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not NAME=1x3x224x224", param_hint="--input-shape") from None
    return name, shape


@contextmanager
def _farm(override: Path | None) -> Iterator[Farm]:
    """The farm here, or one that is gone afterwards."""
    import tempfile

    from orchestrator.errors import ConfigError
    from orchestrator.farm import find_farm, load_farm

    try:
        yield find_farm(Path.cwd(), override=override)
        return
    except ConfigError:
        if override is not None or any((folder / "farm.yaml").exists() for folder in (Path.cwd(), *Path.cwd().parents)):
            raise
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        Path(folder, "farm.yaml").write_text("# a farm for one measurement\n{}\n")
        yield load_farm(Path(folder, "farm.yaml"), environment={})


def _result(farm: Farm, campaign_id: str) -> tuple[RowResult, str]:
    from orchestrator.errors import OrchestratorError
    from orchestrator.made import record_to_made
    from orchestrator.progress import read_progress
    from orchestrator.records import RecordKind
    from orchestrator.result import record_to_result
    from orchestrator.site import open_site

    with open_site(farm) as site:
        found = site.log.newest(1, kind=RecordKind.VERDICT, campaign_id=campaign_id)
        if not found:
            raise OrchestratorError(f"nothing was measured: {read_progress(site.campaigns.get(campaign_id)).what or 'it was stopped'}")
        made = [record_to_made(record) for record in site.log.read(kind=RecordKind.VARIANT, campaign_id=campaign_id)]
    row = record_to_result(found[0]).rows[0]
    return row, next((each.workload(row.config).source for each in made if each.evaluation), "none")


def _show(row: RowResult, inputs: str, protocol: str) -> None:
    from device_profiles.quantity import format_quantity

    def quantity(value: float | None, unit: str) -> str:
        return "–" if value is None else format_quantity(value, unit)

    def interval(pair: tuple[float, float] | None) -> str:
        return f"  [95 %: {quantity(pair[0], 's')} to {quantity(pair[1], 's')}]" if pair else ""

    say(f"{row.model} on {row.device}, {row.config.label}: {row.outcome}")
    if row.why:
        say(f"  {row.why}")
    say(f"  one inference, median (p50)   {quantity(row.latency_p50_s, 's')}{interval(row.latency_ci_s)}")
    say(f"  one inference, p90            {quantity(row.latency_p90_s, 's')}{interval(row.latency_p90_ci_s)}")
    say(f"  first inference in a process  {quantity(row.first_inference_s, 's')}")
    say(f"  session load                  {quantity(row.session_load_s, 's')}")
    say(f"  peak memory                   {quantity(row.peak_memory_bytes, 'B')}  ({row.memory_definition or 'not measured'})")
    say(f"  model file                    {quantity(row.size_bytes, 'B')}")
    say(
        f"  {row.launches_ok} good launches (timed, memory and checks), protocol {protocol}; inputs: {inputs}; no accuracy without labelled samples (write a model.yaml)"
    )
    for name, why in row.notes.items():
        note(f"  {name}: {why}")
