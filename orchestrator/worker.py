"""The worker of a lab host and farm: who it is, and what runs in it.

An flock on a file in the farm decides who is the worker; it falls with its process, however that ends. The row in the
database is only for display.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.campaigns import OVER, CampaignStatus
from orchestrator.errors import Busy, StoreError
from orchestrator.farm import Farm
from orchestrator.work import Work, lab_host_key

if TYPE_CHECKING:
    from orchestrator.engine import Engine

_POLL_S = 0.1
_HEARTBEAT_S = 1.0


class WorkerLock:
    """The lock that makes a process the worker of its lab host on this farm: a context manager. Raises: Busy."""

    def __init__(self, farm: Farm) -> None:
        self._path = farm.state_dir / f"worker-{lab_host_key(farm.lab_host)}.lock"
        self._lab_host = farm.lab_host
        self._fd = -1

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror}. The farm's folder must be writable by whoever runs it"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            self._fd = -1
            raise Busy(
                f"process {holder or 'unknown'} is already the worker of lab host {self._lab_host!r} on this farm; "
                "there can be one. `thresher campaign run` hands it the campaign and follows"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


@dataclass(frozen=True, slots=True)
class Ended:
    """How following a campaign ended: `stopped` when the caller asked to before the campaign came to its end."""

    status: CampaignStatus
    stopped: bool = False


def work_on(farm: Farm, campaign_id: str | None, *, stopping: threading.Event, tick: Callable[[], None] = lambda: None) -> None:
    """Be the worker, until the campaign has ended (or for good where None is given) or `stopping` is set.

    What a killed worker left is taken up first. `tick` is called about ten times a second.
    Raises: Busy when another process is the worker.
    """
    from orchestrator.engine import Engine  # slow to import: only where the engine runs

    with WorkerLock(farm), Work(farm) as work:
        work.take_over()
        with Engine(work, database_url=farm.database_url, lab_host=farm.lab_host) as engine:
            if campaign_id is not None:
                engine.submit(campaign_id)
            try:
                _serve(work, engine, campaign_id, stopping=stopping, tick=tick)
            finally:
                work.stop()
        work.leave()


def _serve(work: Work, engine: Engine, campaign_id: str | None, *, stopping: threading.Event, tick: Callable[[], None]) -> None:
    beat = 0.0
    while not stopping.is_set() and not (campaign_id is not None and engine.ended(campaign_id)):
        if time.monotonic() - beat > _HEARTBEAT_S:
            beat = time.monotonic()
            work.heartbeat()
            _mark_failures(work, engine)
            for queued in work.queued() if campaign_id is None else ():
                engine.submit(queued)
        tick()
        stopping.wait(_POLL_S)
    _mark_failures(work, engine)


def _mark_failures(work: Work, engine: Engine) -> None:
    for campaign_id in work.running():
        if engine.ended(campaign_id) and (why := engine.failure(campaign_id)):
            work.fail(campaign_id, why)


def follow(farm: Farm, campaign_id: str, *, stopping: threading.Event, tick: Callable[[], None] = lambda: None) -> Ended:
    """See a campaign to its end: as the worker when nobody else is, else by watching the one that is.

    When that one dies, this process takes its place.
    """
    from orchestrator.campaigns import Campaigns
    from orchestrator.database import open_database

    engine = open_database(farm.database_url)
    campaigns = Campaigns(engine)
    try:
        while True:
            status = campaigns.get(campaign_id).status
            if status in OVER:
                return Ended(status)
            if stopping.is_set():
                return Ended(status, stopped=True)
            try:
                work_on(farm, campaign_id, stopping=stopping, tick=tick)
            except Busy:
                tick()
                stopping.wait(_POLL_S * 3)
    finally:
        engine.dispose()
