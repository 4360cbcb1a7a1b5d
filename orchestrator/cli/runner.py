"""`thresher runner`: the on-device runner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.options import FormatOption
from orchestrator.cli.output import Format, note, print_record, say

app = typer.Typer(no_args_is_help=True, help="The program that runs models on a device.")

Target = Literal["host", "x86_64-linux", "aarch64-linux"]


@app.command(epilog="Example:  thresher runner build --target aarch64-linux")
def build(
    target: Annotated[Target, typer.Option(help="What the runner is for.")] = "host",
    cache: Annotated[Path | None, typer.Option(help="Where built runners are kept. Default: the user's cache folder.")] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Build the runner from its C sources, with cc or PyPI's ziglang; nothing is done when it is there already."""
    from agents.runner.build import build_runner, default_cache

    built = build_runner(target, cache=cache or default_cache())
    if format is Format.JSON:
        print_record("runner", {"target": target, "path": str(built.path), "version": built.version, "sha256": built.sha256})
    else:
        say(str(built.path))
        note(f"runner {built.version} for {target}, sha256 {built.sha256[:12]}…")


@app.command(epilog="Example:  $(thresher runner path) --version")
def path(target: Annotated[Target, typer.Option(help="What the runner is for.")] = "host") -> None:
    """Print the path of the runner, building it if needed."""
    from agents.runner.build import build_runner, default_cache

    say(str(build_runner(target, cache=default_cache()).path))
