from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.canonical import canonical_json, sha256_hex, utc_text
from orchestrator.database import open_database, reading, writing
from orchestrator.errors import NotFound, StoreError
from orchestrator.records import Link, NewRecord, RecordKind, RecordLog, Relation


def note(record_id: str, body: dict[str, object] | None = None, **columns: object) -> NewRecord:
    return NewRecord(record_id, RecordKind.NOTE, canonical_json(body or {"n": 1}), **columns)


def test_a_record_comes_back_as_it_was_written(engine):
    log = RecordLog(engine, clock=lambda: datetime(2026, 11, 5, 3, 0, 0, 250, tzinfo=UTC))
    links = (Link("b" * 64, Relation.FOLDER), Link("a" * 64))
    new = NewRecord(
        "visit 1/“ü”\n\x1b[31m",
        RecordKind.RUN,
        canonical_json({"naïve": "😀\x00", "x": 0.1}),
        "c",
        "d' --",
        "m",
        "v",
        schema_version=3,
        links=links,
    )
    assert log.append(new)
    record = log.get(new.id)
    assert (record.seq, record.kind, record.schema_version, record.created_at) == (1, RecordKind.RUN, 3, "2026-11-05T03:00:00.000250Z")
    assert (record.campaign_id, record.device, record.model, record.variant_id) == ("c", "d' --", "m", "v")
    assert json.loads(record.body) == {"naïve": "😀\x00", "x": 0.1}
    assert record.body_sha256 == sha256_hex(new.body)
    assert record.links == tuple(sorted(links))


def test_appending_again_changes_nothing_and_another_body_is_refused(engine):
    log = RecordLog(engine)
    assert log.append(note("a"))
    assert not log.append(note("a"))
    with pytest.raises(StoreError, match="another body"):
        log.append_many([note("b"), note("a", {"n": 2})])
    assert log.count() == 1, "a refused batch leaves nothing"
    assert log.append_many([note("b"), note("b"), note("a"), note("c")]) == 2
    with pytest.raises(StoreError, match="another body"):
        log.append_many([note("d"), note("d", {"n": 2})])
    assert [record.id for record in log.read()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET body = '{}'",
        "DELETE FROM records",
        "UPDATE record_blobs SET relation = 'x'",
        "DELETE FROM record_blobs",
    ],
)
def test_the_database_refuses_every_change(engine, statement):
    refuses(engine, statement)


def test_sqlite_refuses_to_replace_which_fires_no_trigger_of_deletion(sqlite_engine):
    columns = "id, kind, 1, created_at, NULL, NULL, NULL, NULL, '{}', '', '', ''"
    refuses(sqlite_engine, f"INSERT OR REPLACE INTO records SELECT 2, {columns} FROM records")
    refuses(sqlite_engine, f"INSERT OR REPLACE INTO records SELECT 1, 'x' || {columns} FROM records")


def test_postgresql_refuses_to_truncate(postgresql_engine):
    refuses(postgresql_engine, "TRUNCATE records CASCADE")


def refuses(engine, statement):
    log = RecordLog(engine)
    log.append(note("a", links=(Link("a" * 64),)))
    before = log.get("a")
    with pytest.raises(StoreError, match=r"append-only|exists"), writing(engine) as connection:
        connection.exec_driver_sql(statement)
    assert list(log.read()) == [before]


def test_reads_filter_limit_and_go_on_after_a_seq(engine):
    log = RecordLog(engine)
    kinds = list(RecordKind)
    new = [
        NewRecord(
            f"r{i}", kinds[i % 5], canonical_json({"i": i}), campaign_id=f"c{i % 3}", device=f"d{i % 2}", model="m", variant_id=f"v{i % 7}"
        )
        for i in range(350)
    ]
    assert log.append_many(new) == 350
    assert [record.seq for record in log.read()] == list(range(1, 351))
    assert [record.seq for record in log.read(after_seq=340)] == list(range(341, 351))
    assert [record.seq for record in log.read(limit=250)] == list(range(1, 251))
    assert list(log.read(limit=0)) == []
    chosen = [i + 1 for i in range(350) if i % 5 == 0 and i % 3 == 1 and i % 2 == 0]
    where = {"kind": RecordKind.RUN, "campaign_id": "c1", "device": "d0", "model": "m"}
    assert [record.seq for record in log.read(**where)] == chosen
    assert log.count(**where) == len(chosen)
    assert log.count(after_seq=300, variant_id="v0") == len([i for i in range(300, 350) if i % 7 == 0])
    assert [record.seq for record in log.newest(3, **where)] == chosen[-3:]
    assert [record.seq for record in log.newest(260)] == list(range(91, 351))
    assert log.last_seq() == 350


def test_a_reader_may_append_between_pages(engine):
    log = RecordLog(engine)
    log.append_many(note(f"r{i}") for i in range(150))
    seen = 0
    for record in log.read(limit=400):
        seen += 1
        if record.seq <= 150:
            log.append(note(f"more {record.id}"))
    assert seen == 300


def test_an_empty_log(engine):
    log = RecordLog(engine)
    assert (log.last_seq(), log.count(), list(log.read()), log.newest(5), log.find("x")) == (0, 0, [], [], None)
    with pytest.raises(NotFound, match="no record"):
        log.get("x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ""}, "1 to 400"),
        ({"id": "x" * 401}, "1 to 400"),
        ({"device": "a\0b"}, "no database can store"),
        ({"model": "\ud800"}, "no database can store"),
        ({"body": "[]"}, "JSON object"),
        ({"body": '{"b":1,"a":2}'}, "canonical_json"),
        ({"body": '{"a":NaN}'}, "as JSON"),
        ({"body": '{"a":'}, "not JSON"),
        ({"body": "[" * 100_000}, "not JSON"),
        ({"body": '{"a":"' + "x" * 2**24 + '"}'}, "artifact store"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_the_reason(change, message):
    with pytest.raises(StoreError, match=message):
        NewRecord(**({"id": "a", "kind": RecordKind.NOTE, "body": "{}"} | change))


@pytest.mark.parametrize("text", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_a_link_is_a_sha256(text):
    with pytest.raises(StoreError, match="not a sha256"):
        Link(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_canonical_json_is_ascii_stable_and_lossless(value):
    text = canonical_json(value)
    assert text.isascii()
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    assert canonical_json(dict(reversed(value.items()))) == text


def test_time_stamps_sort_as_time():
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [moment, moment + timedelta(microseconds=1), moment + timedelta(seconds=1), moment.astimezone(), moment + timedelta(days=400)]
    assert sorted(map(utc_text, moments)) == [utc_text(each) for each in sorted(moments)]


def test_writers_in_threads_keep_seq_and_chain_whole(database_url):
    engines = [open_database(database_url) for _ in range(4)]

    def write(number: int) -> None:
        log = RecordLog(engines[number])
        for i in range(15):
            log.append(note(f"{number}/{i}"))
            log.append(note(f"shared/{i}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = list(RecordLog(engines[0]).read())
    assert [record.seq for record in records] == list(range(1, 76))
    assert {record.id for record in records} == {f"{n}/{i}" for n in [0, 1, 2, 3, "shared"] for i in range(15)}
    assert all(after.previous_sha256 == before.record_sha256 for before, after in pairwise(records))
    for engine in engines:
        engine.dispose()


def test_a_kind_from_a_newer_thresher_is_an_error_that_says_so(sqlite_engine):
    log = RecordLog(sqlite_engine)
    log.append(note("a"))
    with writing(sqlite_engine) as connection:
        connection.exec_driver_sql("DROP TRIGGER records_no_update")
        connection.exec_driver_sql("UPDATE records SET kind = 'hologram'")
    with pytest.raises(StoreError, match="hologram"):
        log.get("a")


def test_readers_see_nothing_of_a_batch_before_it_is_whole(engine):
    log = RecordLog(engine)

    def batch():
        yield note("a")
        with reading(engine) as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM records")).scalar() == 0
        yield note("b")

    assert log.append_many(batch()) == 2
