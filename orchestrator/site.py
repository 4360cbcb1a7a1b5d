"""A farm, opened: its database, record log, campaigns and artifact store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from orchestrator.campaigns import Campaigns
from orchestrator.database import open_database
from orchestrator.farm import Farm
from orchestrator.records import RecordLog
from orchestrator.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Site:
    """What commands and the worker work with; safe in several threads."""

    farm: Farm
    database: sa.Engine
    log: RecordLog
    campaigns: Campaigns
    store: Store


@contextmanager
def open_site(farm: Farm) -> Iterator[Site]:
    """Open a farm, making its database where there is none yet. Raises: StoreError, ConfigError."""
    database = open_database(farm.database_url)
    try:
        yield Site(farm, database, RecordLog(database), Campaigns(database), open_store(farm.store_url))
    finally:
        database.dispose()
