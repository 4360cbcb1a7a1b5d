"""Which worker serves which lab host: for display only, the lock in the farm's folder decides."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from orchestrator.canonical import Clock, utc_now, utc_text
from orchestrator.database import reading, writing
from orchestrator.tables import WORKERS


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """The last worker that a lab host had; it runs when its heartbeat is fresh."""

    lab_host: str
    pid: int
    started_at: str
    heartbeat_at: str
    version: str


class Workers:
    """The table of workers."""

    def __init__(self, engine: sa.Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def started(self, lab_host: str, *, pid: int, version: str) -> None:
        """This process is the host's worker from now on; takes the place of the one before."""
        now = utc_text(self._clock())
        row = {"lab_host": lab_host, "pid": pid, "started_at": now, "heartbeat_at": now, "version": version}
        with writing(self._engine) as connection:
            connection.execute(sa.delete(WORKERS).where(WORKERS.c.lab_host == lab_host))
            connection.execute(sa.insert(WORKERS).values(row))

    def beat(self, lab_host: str, *, pid: int) -> bool:
        """It still runs; False when another process has taken its place."""
        statement = sa.update(WORKERS).where(WORKERS.c.lab_host == lab_host, WORKERS.c.pid == pid)
        with writing(self._engine) as connection:
            return connection.execute(statement.values(heartbeat_at=utc_text(self._clock()))).rowcount == 1

    def stopped(self, lab_host: str, *, pid: int) -> None:
        """It ended; a row of another process stays."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(WORKERS).where(WORKERS.c.lab_host == lab_host, WORKERS.c.pid == pid))

    def list(self) -> list[WorkerRow]:
        """All, by lab host."""
        with reading(self._engine) as connection:
            return [WorkerRow(**dict(row._mapping)) for row in connection.execute(sa.select(WORKERS).order_by(WORKERS.c.lab_host))]
