"""`thresher init`, `doctor`, `demo`: from nothing to a first result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import FormatOption
from orchestrator.cli.output import Column, Format, note, print_record, print_table, say


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The farm's folder; made where it is not there.")],
    format: FormatOption = Format.TABLE,
) -> None:
    """Write a working farm into DIR: farm.yaml, a trained example model with samples, and a campaign.

    Example:  thresher init my-farm && cd my-farm && thresher campaign run campaign.yaml
    """
    from orchestrator.example import write_example

    written = write_example(directory)
    if format is Format.JSON:
        print_record("farm", {"path": str(directory.absolute()), "files": [path.name for path in written]})
        return
    for path in written:
        say(str(path))
    note(f"next:  cd {directory} && thresher campaign run campaign.yaml")


def doctor(format: FormatOption = Format.TABLE) -> None:
    """Say what this machine lacks for Thresher and how to get it. Exit code 3 when the main job cannot run.

    Example:  thresher doctor
    """
    from orchestrator.doctor import State, examine

    findings = list(examine())
    if format is Format.JSON:
        for finding in findings:
            print_record(
                "finding", {"what": finding.what, "state": finding.state, "detail": finding.detail, "remedy": finding.remedy or None}
            )
    else:
        rows = [[f.state, f.what, f.detail + (f"\n→ {f.remedy}" if f.remedy else "")] for f in findings]
        print_table("", [Column("state"), Column("what"), Column("detail")], [[c.replace("\n", "  ") for c in row] for row in rows])
    if any(finding.state is State.MISSING for finding in findings):
        raise typer.Exit(3)


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="The demo's farm; kept, so that a second run adds to it.")] = Path("demo"),
    format: FormatOption = Format.TABLE,
) -> None:
    """Run the main job on this machine: a trained network in, measured variants and a verdict out (about 2 minutes).

    Example:  thresher demo --dir /tmp/demo
    """
    from orchestrator.cli.demonstration import run_demo

    raise typer.Exit(run_demo(directory, format))
