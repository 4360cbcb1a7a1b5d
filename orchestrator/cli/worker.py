"""`thresher worker`: run the farm's campaigns for good."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.options import FarmOption
from orchestrator.cli.output import note

if TYPE_CHECKING:
    from orchestrator.site import Site

_WATCHED = 50


def worker(farm: FarmOption = None) -> None:
    """Be this lab host's worker until stopped: run queued campaigns one after the other, take up what a killed worker left.

    There can be one worker a lab host and farm. `thresher campaign run` hands it the campaign and follows.
    Ctrl-C or SIGTERM stops cleanly: devices are restored, campaigns can be resumed.

    Example:  thresher worker --farm ~/my-farm
    """
    from orchestrator.cli.signals import stop_on_signals
    from orchestrator.farm import find_farm
    from orchestrator.site import open_site
    from orchestrator.worker import work_on

    found = find_farm(Path.cwd(), override=farm)
    with open_site(found) as site, stop_on_signals() as stopping:
        work_on(found, None, stopping=stopping, tick=_Journal(site).tick)
    note("worker stopped; `thresher campaign resume ID` or the next worker goes on with what was left")


class _Journal:
    """Says on standard error what the worker is at: a line when it begins, and one whenever a campaign changes its status."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._seen = {row.id: row.status for row in site.campaigns.list(limit=_WATCHED)}
        self._ticks = 0

    def tick(self) -> None:
        """Called ten times a second; looks once a second."""
        if self._ticks == 0:
            note(f"worker {os.getpid()} of lab host {self._site.farm.lab_host} on farm {self._site.farm.root}; Ctrl-C stops it")
        self._ticks += 1
        if self._ticks % 10:
            return
        for row in reversed(self._site.campaigns.list(limit=_WATCHED)):
            if self._seen.get(row.id) != row.status:
                self._seen[row.id] = row.status
                note(f"{row.updated_at[:19]}Z campaign {row.id} ({row.name}): {row.status}")
