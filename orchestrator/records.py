"""The record log: what was measured and concluded, appended once and never changed.

`seq` has no gaps and grows in the order of commits, so a reader that remembers the last one it saw misses nothing.
Each record carries the hash of the one before it (`record_sha256` covers its columns, its links and `previous_sha256`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from orchestrator.canonical import Clock, sha256_hex, utc_now, utc_text
from orchestrator.database import reading, writing
from orchestrator.errors import NotFound, StoreError
from orchestrator.record import MAX_TEXT, NO_RECORD_SHA256, Link, NewRecord, Record, RecordKind, Relation, record_sha256
from orchestrator.tables import RECORD_BLOBS, RECORDS

__all__ = ["Link", "NewRecord", "Record", "RecordKind", "RecordLog", "Relation", "Where"]

_PAGE = 100


class Where(TypedDict, total=False):
    """Which records: each key that is given must match; None means any."""

    kind: RecordKind | None
    campaign_id: str | None
    device: str | None
    model: str | None
    variant_id: str | None


class RecordLog:
    """Appends to the log and reads it; safe in several threads and processes."""

    def __init__(self, engine: sa.Engine, *, clock: Clock = utc_now) -> None:
        self.engine = engine
        self._clock = clock

    def append(self, record: NewRecord) -> bool:
        """True when it is new, False when it is there already. Raises: StoreError when its id has another body."""
        return self.append_many([record]) == 1

    def append_many(self, records: Iterable[NewRecord]) -> int:
        """Append all or none, in one transaction; gives how many were new. Raises: StoreError, OutOfSpace."""
        added = 0
        remaining = iter(records)
        with writing(self.engine, append=True) as connection:
            seq, previous = _tip(connection)
            while batch := list(islice(remaining, _PAGE)):
                new = _unknown(connection, batch)
                rows = _chained(new, seq=seq, previous=previous, created_at=utc_text(self._clock()))
                if rows:
                    connection.execute(sa.insert(RECORDS), rows)
                    seq, previous = seq + len(rows), str(rows[-1]["record_sha256"])
                    _insert_links(connection, new, first_seq=seq - len(rows) + 1)
                added += len(rows)
        return added

    def get(self, record_id: str) -> Record:
        """The record of that id. Raises: NotFound."""
        found = self.find(record_id)
        if found is None:
            raise NotFound(f"no record has the id {record_id[:MAX_TEXT]!r}; `thresher record list` shows those there are")
        return found

    def find(self, record_id: str) -> Record | None:
        """The record of that id, or None."""
        with reading(self.engine) as connection:
            rows = connection.execute(sa.select(RECORDS).where(RECORDS.c.id == record_id)).all()
            found = _records(connection, rows)
        return found[0] if found else None

    def read(self, *, after_seq: int = 0, limit: int | None = None, **where: Unpack[Where]) -> Iterator[Record]:
        """The records that match, oldest first, in pages: no transaction stays open while the caller works."""
        left = limit
        while left is None or left > 0:
            query = sa.select(RECORDS).where(RECORDS.c.seq > after_seq, *_conditions(where)).order_by(RECORDS.c.seq)
            size = _PAGE if left is None else min(_PAGE, left)
            with reading(self.engine) as connection:
                page = _records(connection, connection.execute(query.limit(size)).all())
            yield from page
            if len(page) < size:
                return
            after_seq = page[-1].seq
            left = None if left is None else left - len(page)

    def newest(self, limit: int, **where: Unpack[Where]) -> list[Record]:
        """The last `limit` records that match, oldest first."""
        query = sa.select(RECORDS).where(*_conditions(where)).order_by(RECORDS.c.seq.desc()).limit(limit)
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
            starts = range(0, len(rows), _PAGE)
            pages = [_records(connection, rows[::-1][start : start + _PAGE]) for start in starts]
        return [record for page in pages for record in page]

    def count(self, *, after_seq: int = 0, **where: Unpack[Where]) -> int:
        """How many records match."""
        query = sa.select(sa.func.count()).select_from(RECORDS).where(RECORDS.c.seq > after_seq, *_conditions(where))
        with reading(self.engine) as connection:
            return int(connection.execute(query).scalar_one())

    def last_seq(self) -> int:
        """The newest record's seq; 0 when the log is empty."""
        with reading(self.engine) as connection:
            return _tip(connection)[0]


def _conditions(where: Where) -> list[sa.ColumnElement[bool]]:
    return [RECORDS.c[name] == value for name, value in where.items() if value is not None]


def _tip(connection: sa.Connection) -> tuple[int, str]:
    row = connection.execute(sa.select(RECORDS.c.seq, RECORDS.c.record_sha256).order_by(RECORDS.c.seq.desc()).limit(1)).first()
    return (int(row[0]), str(row[1])) if row else (0, NO_RECORD_SHA256)


def _unknown(connection: sa.Connection, batch: Sequence[NewRecord]) -> list[NewRecord]:
    """Those of the batch that the log does not hold. Raises: StoreError for an id with another body."""
    query = sa.select(RECORDS.c.id, RECORDS.c.body_sha256).where(RECORDS.c.id.in_([record.id for record in batch]))
    known = {str(row[0]): str(row[1]) for row in connection.execute(query)}
    new = []
    for record in batch:
        body_sha256 = sha256_hex(record.body)
        if record.id not in known:
            known[record.id] = body_sha256
            new.append(record)
        elif known[record.id] != body_sha256:
            raise StoreError(f"record {record.id!r} exists already with another body: the log is never changed, so nothing was written")
    return new


def _chained(new: Sequence[NewRecord], *, seq: int, previous: str, created_at: str) -> list[dict[str, object]]:
    """Rows for the records, each with its seq and the hash of the one before."""
    rows = []
    for number, record in enumerate(new, start=seq + 1):
        row: dict[str, object] = {
            "seq": number,
            "id": record.id,
            "kind": record.kind.value,
            "schema_version": record.schema_version,
            "created_at": created_at,
            "campaign_id": record.campaign_id,
            "device": record.device,
            "model": record.model,
            "variant_id": record.variant_id,
            "body": record.body,
            "body_sha256": sha256_hex(record.body),
            "previous_sha256": previous,
        }
        previous = record_sha256(row, [(link.sha256, link.relation.value) for link in record.links])
        rows.append(row | {"record_sha256": previous})
    return rows


def _insert_links(connection: sa.Connection, new: Sequence[NewRecord], *, first_seq: int) -> None:
    rows = [
        {"record_seq": seq, "sha256": link.sha256, "relation": link.relation.value}
        for seq, record in enumerate(new, start=first_seq)
        for link in sorted(set(record.links))
    ]
    if rows:
        connection.execute(sa.insert(RECORD_BLOBS), rows)


def _records(connection: sa.Connection, rows: Sequence[sa.Row[*tuple[Any, ...]]]) -> list[Record]:
    links: dict[int, list[Link]] = {}
    query = sa.select(RECORD_BLOBS).where(RECORD_BLOBS.c.record_seq.in_([row.seq for row in rows]))
    for link in connection.execute(query) if rows else ():
        links.setdefault(link.record_seq, []).append(Link(link.sha256, Relation(link.relation)))
    return [_record(row, tuple(sorted(links.get(row.seq, ())))) for row in rows]


def _record(row: sa.Row[*tuple[Any, ...]], links: tuple[Link, ...]) -> Record:
    values = dict(row._mapping)
    try:
        return Record(**(values | {"kind": RecordKind(values["kind"]), "links": links}))
    except ValueError as error:
        raise StoreError(f"record {values['seq']} is of a kind that this Thresher does not know: {values['kind']!r}") from error
