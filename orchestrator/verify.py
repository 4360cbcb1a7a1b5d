"""Verification: every record and every blob that a record needs is hashed again; what is damaged or missing is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from orchestrator.canonical import sha256_hex
from orchestrator.database import reading
from orchestrator.errors import Damaged, Missing, StoreError
from orchestrator.record import NO_RECORD_SHA256, Relation, record_sha256
from orchestrator.records import RecordLog
from orchestrator.store import Store
from orchestrator.tables import RECORD_BLOBS, RECORDS

Progress = Callable[[int, int], None]
"""Told how many of how many records and blobs were looked at."""

_PAGE = 100
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """Something damaged or missing: the first record that it concerns, and the hash that does not hold."""

    seq: int
    record_id: str
    sha256: str
    what: str


def verify_log(log: RecordLog, store: Store, *, progress: Progress | None = None) -> Iterator[Problem]:
    """Look at everything, a page at a time; yields what is wrong, nothing when all is well.

    The end of the log has no record after it that could vouch for it: records cut off there are noticed only
    by who remembers the last seq. Raises: StoreError when the database cannot be read.
    """
    done, total = 0, log.count() + _count_blobs(log.engine)
    for batch in (_verify_records(log.engine), _verify_blobs(log.engine, store)):
        for problem in batch:
            if problem is None:
                done += 1
                if progress is not None:
                    progress(done, max(total, done))
            else:
                yield problem


def _verify_records(engine: sa.Engine) -> Iterator[Problem | None]:
    """The problems of each record, then None once it was looked at."""
    expected_seq, previous = 1, NO_RECORD_SHA256
    for row, links in _rows(engine):
        seq, name = int(row["seq"]), str(row["id"])  # type: ignore[call-overload]
        if seq < expected_seq:
            yield Problem(seq, name, previous, "it stands before the first record: nothing can have been appended there")
        elif seq > expected_seq:
            yield Problem(seq, name, previous, f"records {expected_seq} to {seq - 1} are missing before it")
        elif row["previous_sha256"] != previous:
            yield Problem(seq, name, previous, "it does not follow the record before it: one of the two was changed")
        if sha256_hex(str(row["body"]).encode(errors="surrogatepass")) != row["body_sha256"]:
            yield Problem(seq, name, str(row["body_sha256"]), "its body is damaged: the bytes do not have their hash")
        if record_sha256(row, links) != row["record_sha256"]:
            yield Problem(seq, name, str(row["record_sha256"]), "its columns or its list of blobs are damaged: they do not have their hash")
        expected_seq, previous = seq + 1, str(row["record_sha256"])
        yield None


def _rows(engine: sa.Engine) -> Iterator[tuple[dict[str, object], list[tuple[str, str]]]]:
    """Raw rows with their links, in order: nothing is parsed that might be damaged."""
    after = -(2**62)
    while True:
        with reading(engine) as connection:
            query = sa.select(RECORDS).where(RECORDS.c.seq > after).order_by(RECORDS.c.seq).limit(_PAGE)
            rows = [dict(row._mapping) for row in connection.execute(query)]
            seqs = [row["seq"] for row in rows]
            links: dict[object, list[tuple[str, str]]] = {}
            for link in connection.execute(sa.select(RECORD_BLOBS).where(RECORD_BLOBS.c.record_seq.in_(seqs))) if rows else ():
                links.setdefault(link.record_seq, []).append((str(link.sha256), str(link.relation)))
        yield from ((row, links.get(row["seq"], [])) for row in rows)
        if len(rows) < _PAGE:
            return
        after = seqs[-1]


def _verify_blobs(engine: sa.Engine, store: Store) -> Iterator[Problem | None]:
    """Each blob once, whatever number of records need it."""
    for sha256, relation in _needed(engine):
        for damaged, what in _check(store, sha256, folder=relation == Relation.FOLDER):
            problem = _blame(engine, sha256, damaged, what)
            if problem is not None:
                yield problem
        yield None


def _check(store: Store, sha256: str, *, folder: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with a blob and, of a folder, with each file in it: its hash and why."""
    try:
        store.verify(sha256)
        members = sorted(set(store.folder(sha256).files.values())) if folder else []
    except Missing:
        yield sha256, "missing"
        return
    except Damaged as error:
        yield sha256, f"damaged: {error}"
        return
    except StoreError as error:
        yield sha256, f"unreadable: {error}"
        return
    for member in members:
        yield from _check(store, member, folder=False)


def _blame(engine: sa.Engine, named: str, damaged: str, what: str) -> Problem | None:
    """The problem, with the records that need the blob; None when retention collected it after the last of them."""
    needs = [RECORD_BLOBS.c.sha256 == named, RECORD_BLOBS.c.relation != Relation.COLLECTED.value]
    collected = sa.select(sa.func.max(RECORD_BLOBS.c.record_seq)).where(
        RECORD_BLOBS.c.sha256 == damaged, RECORD_BLOBS.c.relation == Relation.COLLECTED.value
    )
    with reading(engine) as connection:
        if what == "missing":
            needs.append(RECORD_BLOBS.c.record_seq > (connection.execute(collected).scalar() or 0))
        query = sa.select(RECORDS.c.seq, RECORDS.c.id).join(RECORD_BLOBS, RECORD_BLOBS.c.record_seq == RECORDS.c.seq).where(*needs)
        rows = connection.execute(query.order_by(RECORDS.c.seq).limit(_NAMED + 1)).all()
    if not rows:
        return None
    others = (
        f" (records {', '.join(str(row[0]) for row in rows[1:_NAMED])}{' and more' if len(rows) > _NAMED else ''} need it too)"
        if rows[1:]
        else ""
    )
    part = "" if damaged == named else f" of the folder {named}"
    return Problem(int(rows[0][0]), str(rows[0][1]), damaged, f"the blob {damaged}{part} is {what}{others}")


def _needed(engine: sa.Engine) -> Iterator[tuple[str, str]]:
    """Distinct (sha256, relation) that some record needs, a page at a time."""
    columns = (RECORD_BLOBS.c.sha256, RECORD_BLOBS.c.relation)
    after = ("", "")
    while True:
        query = sa.select(*columns).distinct().where(sa.tuple_(*columns) > after, RECORD_BLOBS.c.relation != Relation.COLLECTED.value)
        with reading(engine) as connection:
            page = [(str(row[0]), str(row[1])) for row in connection.execute(query.order_by(*columns).limit(_PAGE))]
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]


def _count_blobs(engine: sa.Engine) -> int:
    pairs = sa.select(RECORD_BLOBS.c.sha256, RECORD_BLOBS.c.relation).distinct().where(RECORD_BLOBS.c.relation != Relation.COLLECTED.value)
    with reading(engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(pairs.subquery())).scalar_one())
