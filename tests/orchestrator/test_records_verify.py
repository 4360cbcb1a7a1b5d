from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from orchestrator.canonical import canonical_json
from orchestrator.database import writing
from orchestrator.records import Link, NewRecord, RecordKind, RecordLog, Relation
from orchestrator.store import open_store
from orchestrator.verify import verify_log


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def fill(engine, store, tmp_path, records=250):
    """Records that share blobs, one with a folder."""
    log = RecordLog(engine)
    shared = store.put_bytes(b"shared")
    log.append_many(
        NewRecord(
            f"r{i}", RecordKind.RUN, canonical_json({"i": i}), device="d", links=(Link(store.put_bytes(b"%d" % (i % 20))), Link(shared))
        )
        for i in range(records)
    )
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.onnx").write_bytes(b"graph")
    (tmp_path / "model" / "a.data").write_bytes(b"weights")
    folder = store.put_folder(tmp_path / "model")
    log.append(NewRecord("variant", RecordKind.VARIANT, "{}", links=(Link(folder, Relation.FOLDER),)))
    return log, shared, folder


def tamper(engine, *statements):
    """Change the log as a broken disk or a person with a tool would: past its triggers and foreign keys."""
    if engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(engine.url.database)) as connection, connection:  # foreign keys are off unless asked for
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                connection.execute(statement)
        return
    with writing(engine) as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in statements:
            connection.exec_driver_sql(statement)


def rot(store, sha256, data):
    path = store.open_local(sha256)
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_whole_log_has_no_problems_and_tells_its_progress(engine, store, tmp_path):
    log, *_ = fill(engine, store, tmp_path)
    told: list[tuple[int, int]] = []
    assert list(verify_log(log, store, progress=lambda done, total: told.append((done, total)))) == []
    assert told == [(done, 251 + 22) for done in range(1, 251 + 22 + 1)]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE records SET body = '{\"i\":0}' WHERE seq = 120", [(120, "body is damaged")]),
        ("UPDATE records SET device = 'another' WHERE seq = 120", [(120, "columns or its list of blobs")]),
        ("UPDATE records SET device = NULL WHERE seq = 120", [(120, "columns or its list of blobs")]),
        ("UPDATE records SET kind = 'hologram' WHERE seq = 120", [(120, "columns or its list of blobs")]),
        ("DELETE FROM record_blobs WHERE record_seq = 120", [(120, "columns or its list of blobs")]),
        ("DELETE FROM records WHERE seq BETWEEN 101 AND 119", [(120, "records 101 to 119 are missing")]),
        (
            f"UPDATE records SET record_sha256 = '{'0' * 64}' WHERE seq = 120",
            [(120, "columns or its list of blobs"), (121, "does not follow")],
        ),
        ("UPDATE records SET seq = -5 WHERE seq = 1", [(-5, "before the first"), (-5, "columns"), (2, "missing")]),
    ],
)
def test_a_changed_log_is_told_by_record(engine, store, tmp_path, statement, found):
    log, *_ = fill(engine, store, tmp_path)
    tamper(engine, statement)
    problems = list(verify_log(log, store))
    assert [problem.seq for problem in problems][: len(found)] == [seq for seq, _ in found]
    for problem, (_, what) in zip(problems, found, strict=False):
        assert what in problem.what
    assert problems[0].record_id == ("r119" if found[0][0] == 120 else "r0")


def test_bytes_that_are_no_text_are_found_too(sqlite_engine, store, tmp_path):
    log, *_ = fill(sqlite_engine, store, tmp_path, records=3)
    tamper(sqlite_engine, "UPDATE records SET body = CAST(x'7BFF7D' AS TEXT) WHERE seq = 2")
    assert [(problem.seq, problem.record_id) for problem in verify_log(log, store)] == [(2, "r1")]


def test_each_bad_blob_is_named_once_with_who_needs_it(engine, store, tmp_path):
    log, shared, folder = fill(engine, store, tmp_path)
    gone = store.put_bytes(b"7")
    weights = store.folder(folder).files["a.data"]
    rot(store, shared, b"sharee")
    rot(store, weights, b"weightz")
    store.delete(gone)
    problems = {problem.sha256: problem for problem in verify_log(log, store)}
    assert set(problems) == {shared, gone, weights}
    assert (problems[shared].seq, problems[shared].record_id) == (1, "r0")
    assert "damaged" in problems[shared].what
    assert "2, 3, 4, 5 and more" in problems[shared].what
    assert (problems[gone].seq, "missing" in problems[gone].what) == (8, True)
    assert problems[weights].record_id == "variant"
    assert folder in problems[weights].what


def test_what_retention_collected_is_not_missing_until_it_is_needed_again(engine, store):
    log = RecordLog(engine)
    blob = store.put_bytes(b"trace")
    log.append(NewRecord("run", RecordKind.RUN, "{}", links=(Link(blob),)))
    store.delete(blob)
    assert [problem.record_id for problem in verify_log(log, store)] == ["run"]
    log.append(NewRecord("gc", RecordKind.NOTE, "{}", links=(Link(blob, Relation.COLLECTED),)))
    assert list(verify_log(log, store)) == []
    log.append(NewRecord("run again", RecordKind.RUN, "{}", links=(Link(blob),)))
    assert [problem.record_id for problem in verify_log(log, store)] == ["run again"]
