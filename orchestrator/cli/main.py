"""`thresher`: the command line. A command loads, calls one function and prints; what is slow to import waits until it runs."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from orchestrator.cli.bench import bench
from orchestrator.cli.campaign import app as campaign_app
from orchestrator.cli.compare import compare
from orchestrator.cli.device_profile import app as device_profile_app
from orchestrator.cli.model import app as model_app
from orchestrator.cli.record import app as record_app
from orchestrator.cli.runner import app as runner_app
from orchestrator.cli.setup import demo, doctor, init
from orchestrator.cli.store import app as store_app
from orchestrator.cli.worker import worker

app = typer.Typer(
    name="thresher",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Optimise machine-learning models for phones, measure every variant on real devices, choose the one to ship.\n\n"
    "Try first:  thresher bench MODEL.onnx\n\nThen:  thresher init my-farm && cd my-farm && thresher campaign run campaign.yaml",
    epilog="Exit codes: 0 fine · 1 ran, and found a slower variant or none within budget · 2 usage or configuration · 3 failure.",
)

for command in (init, doctor, demo, bench, compare, worker):
    app.command()(command)
for name, noun in (
    ("campaign", campaign_app),
    ("model", model_app),
    ("device-profile", device_profile_app),
    ("record", record_app),
    ("store", store_app),
    ("runner", runner_app),
):
    app.add_typer(noun, name=name)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"thresher {version('thresher')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to standard error.")] = False,
) -> None:
    """Options before the command."""
    if verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)


def main() -> None:
    """The console script: turns errors into one clear paragraph and an exit code."""
    _have_streams()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that temporary folders go and children end
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read the output is gone; nothing more can be said there
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the command line's own edge
        sys.exit(_explain(error))


def _have_streams() -> None:
    """A stream that was closed by whoever started us takes everything and keeps nothing."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue  # it fills the gap, so that no file of ours becomes standard output
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _explain(error: Exception) -> int:
    from agents.errors import AgentError
    from dashboards.errors import DashboardError
    from device_profiles.errors import ProfileError
    from optimizers.errors import OptimizerError
    from orchestrator.cli.output import error as show
    from orchestrator.errors import OrchestratorError, UsageError

    if os.environ.get("THRESHER_DEBUG"):
        import traceback

        traceback.print_exc()
    match error:
        case UsageError() | ProfileError() | OptimizerError():
            show(str(error))
            return 2
        case OrchestratorError() | AgentError() | DashboardError():
            show(str(error))
            return 3
        case OSError():
            show(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
            return 3
        case _:
            show(f"{type(error).__name__}: {error}. This is a fault of Thresher's; THRESHER_DEBUG=1 shows where.")
            return 3
