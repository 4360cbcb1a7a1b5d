"""`thresher compare`: is one variant faster than another, on this device, beyond doubt?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.options import AcceptDisturbedOption, FarmOption, FormatOption
from orchestrator.cli.output import Format, note, print_record, say


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
    from orchestrator.cli.campaign_view import follow_campaign, ranged
    from orchestrator.farm import find_farm
    from orchestrator.submit import submit
    from orchestrator.submit_compare import CompareOptions, comparison_of, plan_compare

    site_farm = find_farm(Path.cwd(), override=farm)
    options = CompareOptions(
        device=device,
        config=RunConfig(threads=threads),
        protocol=ProtocolFile(name=protocol, accept_disturbed=accept_disturbed),
        blocks=blocks,
    )
    spec = plan_compare(site_farm, (a, b), model, options)
    submit(site_farm, spec)
    ended = follow_campaign(site_farm, spec.id, format)
    if ended.stopped:
        note(f"comparison {spec.id} was stopped; go on with: thresher campaign resume {spec.id}")
        raise typer.Exit(130)
    result = comparison_of(site_farm, spec.id)
    if format is Format.JSON:
        print_record("comparison", {"a": a, "b": b, **result.model_dump(mode="json")})
    else:
        say(f"{b} against {a} on {result.device}: {result.verdict or 'inconclusive'}")
        say(f"  ratio of p50 (B ÷ A, below 1 is faster): {ranged(result.ratio, result.ratio_ci, 1)}  [95 %]")
        say(f"  p50: A {ranged(result.a_p50_s, None, 1e3)} ms, B {ranged(result.b_p50_s, None, 1e3)} ms; {result.why}")
    raise typer.Exit(result.exit_code)
