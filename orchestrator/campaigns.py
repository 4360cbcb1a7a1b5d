"""The campaigns of a farm: where each stands, how far it is, whether somebody asked it to stop."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from orchestrator.canonical import Clock, utc_now, utc_text
from orchestrator.database import reading, writing
from orchestrator.errors import NotFound, StoreError
from orchestrator.tables import CAMPAIGNS


class CampaignStatus(StrEnum):
    """Where a campaign stands."""

    QUEUED = "queued"  # asked for, no worker has taken it up
    RUNNING = "running"  # a worker is at it, or was when it was killed
    DONE = "done"  # every row has its outcome
    PARTIAL = "partial"  # over, some rows without a measurement
    CANCELLED = "cancelled"  # over, since somebody asked for it
    FAILED = "failed"  # over, since it could not go on
    INTERRUPTED = "interrupted"  # stopped cleanly, to be resumed


OVER = frozenset({CampaignStatus.DONE, CampaignStatus.PARTIAL, CampaignStatus.CANCELLED, CampaignStatus.FAILED})
"""The statuses that nothing follows."""


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One campaign; `spec` and `progress` are JSON text that their owners read."""

    id: str
    name: str
    created_at: str
    updated_at: str
    status: CampaignStatus
    lab_host: str
    spec: str
    cancel_requested: bool
    progress: str


class Campaigns:
    """The table of campaigns; safe in several threads and processes."""

    def __init__(self, engine: sa.Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def create(self, campaign_id: str, *, name: str, lab_host: str, spec: str) -> bool:
        """Add a queued campaign; False when it is there already with the same spec. Raises: StoreError when with another."""
        now = utc_text(self._clock())
        row = CampaignRow(campaign_id, name, now, now, CampaignStatus.QUEUED, lab_host, spec, cancel_requested=False, progress="{}")
        with writing(self._engine) as connection:
            known = connection.execute(sa.select(CAMPAIGNS.c.spec).where(CAMPAIGNS.c.id == campaign_id)).scalar()
            if known is None:
                values = {column.name: getattr(row, column.name) for column in CAMPAIGNS.columns}
                connection.execute(sa.insert(CAMPAIGNS).values(values | {"status": row.status.value}))
                return True
        if known != spec:
            raise StoreError(f"campaign {campaign_id!r} exists already with another plan")
        return False

    def get(self, campaign_id: str) -> CampaignRow:
        """One campaign. Raises: NotFound, with the newest campaigns."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id)).first()
        if row is None:
            raise self._not_found(campaign_id)
        return _campaign(row)

    def list(self, *, status: Collection[CampaignStatus] = (), lab_host: str | None = None, limit: int | None = None) -> list[CampaignRow]:
        """Campaigns, newest first; of any status when none is named."""
        query = sa.select(CAMPAIGNS).order_by(CAMPAIGNS.c.created_at.desc(), CAMPAIGNS.c.id.desc()).limit(limit)
        if status:
            query = query.where(CAMPAIGNS.c.status.in_([each.value for each in status]))
        if lab_host is not None:
            query = query.where(CAMPAIGNS.c.lab_host == lab_host)
        with reading(self._engine) as connection:
            return [_campaign(row) for row in connection.execute(query)]

    def set_status(
        self, campaign_id: str, status: CampaignStatus, *, only_from: Collection[CampaignStatus] = tuple(CampaignStatus)
    ) -> bool:
        """Set where it stands, unless it stands elsewhere than in `only_from`: then False. Raises: NotFound."""
        changed = self._update(campaign_id, CAMPAIGNS.c.status.in_([each.value for each in only_from]), status=status.value)
        if not changed:
            self.get(campaign_id)
        return changed

    def set_progress(self, campaign_id: str, progress: str) -> None:
        """Replace the progress (JSON text). Raises: NotFound."""
        if not self._update(campaign_id, progress=progress):
            raise self._not_found(campaign_id)

    def request_cancel(self, campaign_id: str) -> bool:
        """Ask it to stop; False when it is over already. Raises: NotFound."""
        changed = self._update(campaign_id, CAMPAIGNS.c.status.not_in([each.value for each in OVER]), cancel_requested=True)
        if not changed:
            self.get(campaign_id)
        return changed

    def cancel_requested(self, campaign_id: str) -> bool:
        """Whether somebody asked it to stop: one look-up by key, cheap enough to poll. Raises: NotFound."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(CAMPAIGNS.c.cancel_requested).where(CAMPAIGNS.c.id == campaign_id)).scalar()
        if found is None:
            raise self._not_found(campaign_id)
        return bool(found)

    def _update(self, campaign_id: str, *conditions: sa.ColumnElement[bool], **values: object) -> bool:
        statement = sa.update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id, *conditions)
        with writing(self._engine) as connection:
            return connection.execute(statement.values(**values, updated_at=utc_text(self._clock()))).rowcount == 1

    def _not_found(self, campaign_id: str) -> NotFound:
        newest = ", ".join(row.id for row in self.list(limit=5)) or "none yet"
        return NotFound(f"no campaign has the id {campaign_id[:100]!r}; the newest are: {newest}")


def _campaign(row: sa.Row[*tuple[object, ...]]) -> CampaignRow:
    values = dict(row._mapping)
    return CampaignRow(**(values | {"status": CampaignStatus(values["status"]), "cancel_requested": bool(values["cancel_requested"])}))
