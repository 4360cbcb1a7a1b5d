"""Options that several commands share."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.output import Format

FarmOption = Annotated[
    Path | None,
    typer.Option(
        "--farm", metavar="PATH", help="The farm: its folder or farm.yaml. Default: found upwards from here.", envvar="THRESHER_FARM"
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="table for people, json for one record a line on standard output.")]
AcceptDisturbedOption = Annotated[
    bool, typer.Option("--accept-disturbed", help="Count launches that other processes disturbed, too: for shared machines.")
]


def typed() -> str:
    """The command as it was typed, to be repeated."""
    return shlex.join(["thresher", *sys.argv[1:]])
