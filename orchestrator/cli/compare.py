"""`thresher compare`: is one variant faster than another, on this device, beyond doubt?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.options import AcceptDisturbedOption, FarmOption, FormatOption, typed
from orchestrator.cli.output import Format


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="What to compare with: a recipe, a variant's id, an ONNX file, or `incumbent`.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What is compared, given likewise.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="The model.yaml (or .onnx) that both are variants of.")],
    device: Annotated[str, typer.Option("--device", "-d", help="A device of the farm; `host` is this machine.")] = "host",
    blocks: Annotated[
        int | None, typer.Option(min=3, max=500, help="ABBA blocks of four launches. Default: enough for a 5 % step.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of one inference.")] = 1,
    protocol: Annotated[
        Literal["quick", "standard"], typer.Option(help="quick: half a second a launch; standard: five and more.")
    ] = "quick",
    accept_disturbed: AcceptDisturbedOption = False,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Write the HTML report there, too.")] = None,
    farm: FarmOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Measure two variants in turn (A B B A, B A A B, ...) and say whether B is faster, slower, or no difference shown.

    A difference is called only when the 95 % interval of the ratio excludes 1 and the effect exceeds the floor.
    Exit code 1 when B is slower.

    Example:  thresher compare fp32 int8-static --model model.yaml
    """
    from agents.run import RunConfig
    from orchestrator.campaign_file import ProtocolFile
    from orchestrator.cli.campaign_view import finish, follow_campaign
    from orchestrator.farm import find_farm
    from orchestrator.submit import submit
    from orchestrator.submit_compare import CompareOptions, plan_compare

    site_farm = find_farm(Path.cwd(), override=farm)
    options = CompareOptions(
        device=device,
        config=RunConfig(threads=threads),
        protocol=ProtocolFile(name=protocol, accept_disturbed=accept_disturbed),
        blocks=blocks,
    )
    spec = plan_compare(site_farm, (a, b), model, options, command=typed())
    submit(site_farm, spec)
    ended = follow_campaign(site_farm, spec.id, format)
    raise typer.Exit(finish(site_farm, spec.id, ended, format=format, report=report))
