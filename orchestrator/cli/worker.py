"""`thresher worker`: run the farm's campaigns for good."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.cli.options import FarmOption
from orchestrator.cli.output import note


def worker(farm: FarmOption = None) -> None:
    """Be this lab host's worker until stopped: run queued campaigns one after the other, take up what a killed worker left.

    There can be one worker a lab host and farm. `thresher campaign run` hands it the campaign and follows.
    Ctrl-C or SIGTERM stops cleanly: devices are restored, campaigns can be resumed.

    Example:  thresher worker --farm ~/my-farm
    """
    from orchestrator.cli.signals import stop_on_signals
    from orchestrator.farm import find_farm
    from orchestrator.worker import work_on

    found = find_farm(Path.cwd(), override=farm)
    note(f"worker {os.getpid()} of lab host {found.lab_host} on farm {found.root}; Ctrl-C stops it")
    with stop_on_signals() as stopping:
        work_on(found, None, stopping=stopping)
    note("worker stopped; `thresher campaign resume ID` or the next worker goes on with what was left")
