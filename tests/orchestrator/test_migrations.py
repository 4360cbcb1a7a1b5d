from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import orchestrator.migrations
from orchestrator.database import open_database, reading, writing
from orchestrator.errors import ConfigError, StoreError
from orchestrator.records import NewRecord, RecordKind, RecordLog
from orchestrator.tables import HEAD, METADATA, VERSION_TABLE

MIGRATIONS = Path(orchestrator.migrations.__file__).parent


def test_the_migrations_make_exactly_the_declared_tables(engine):
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_head_is_the_newest_migration():
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def test_no_name_is_one_of_dbos():
    from dbos._schemas.system_database import SystemSchema

    ours = set(METADATA.tables) | {VERSION_TABLE}
    assert not ours & {table.name for table in SystemSchema.metadata_obj.tables.values()}


def test_opening_again_keeps_what_is_there(database_url):
    for expected in (1, 0):
        engine = open_database(database_url)
        assert RecordLog(engine).append_many([NewRecord("a", RecordKind.NOTE, "{}")]) == expected
        engine.dispose()


def test_sqlite_is_durable_and_checked(sqlite_engine):
    with reading(sqlite_engine) as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 30_000, "synchronous": 2}


def test_processes_that_start_at_once_all_get_the_database(database_url):
    code = (
        "import sys; from orchestrator.database import open_database; from orchestrator.records import *\n"
        "sys.stdin.readline()\n"
        "engine = open_database(sys.argv[1])\n"
        "RecordLog(engine).append(NewRecord(sys.argv[2], RecordKind.NOTE, '{}')); engine.dispose()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, database_url, str(n)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        _, stderr = child.communicate(timeout=60)
        assert child.returncode == 0, stderr
    engine = open_database(database_url)
    assert RecordLog(engine).count() == 4
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(database_url):
    engine = open_database(database_url)
    with writing(engine) as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match=r"9999.*newer Thresher"):
        open_database(database_url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no url", "cannot be read"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:x?mode=memory&uri=true", "names no file"),
        ("mysql://localhost/x", "sqlite and postgresql"),
    ],
)
def test_a_url_that_cannot_be_used(url, message):
    with pytest.raises(ConfigError, match=message):
        open_database(url)


def test_an_unreachable_server_is_named_without_its_password():
    with pytest.raises(StoreError) as caught:
        open_database("postgresql://me:hunter2@127.0.0.1:1/farm")
    assert "127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "farm.db").write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(StoreError, match="damaged or not a database"):
        open_database(f"sqlite:///{tmp_path / 'farm.db'}")


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make the folder"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'farm.db'}")
    (tmp_path / "farm.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        open_database(f"sqlite:///{tmp_path / 'farm.db'}")


def test_an_unwritable_folder_is_named_with_the_user(tmp_path, unprivileged):
    tmp_path.chmod(0o555)
    code = "import sys; from orchestrator.database import open_database; open_database(sys.argv[1])"
    for target in (tmp_path / "farm.db", tmp_path / "new" / "farm.db"):
        done = unprivileged(code, f"sqlite:///{target}")
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("orchestrator.errors.StoreError"), done.stderr
        assert str(tmp_path) in last
        assert "user " in last


def test_a_full_disk_leaves_no_half_record(tmp_path, on_small_disk):
    """Fill a real file system of 1 MB until it refuses; what was there before still reads well."""
    code = """
import sys
from orchestrator.canonical import canonical_json
from orchestrator.database import open_database
from orchestrator.errors import OutOfSpace
from orchestrator.records import NewRecord, RecordKind, RecordLog
engine = open_database(f"sqlite:///{sys.argv[1]}/farm.db")
log = RecordLog(engine)
written = 0
try:
    while written < 1000:
        log.append(NewRecord(f"r{written}", RecordKind.NOTE, canonical_json({"x": str(written) * 20_000})))
        written += 1
except OutOfSpace as error:
    assert sys.argv[1] in str(error), error
    assert [record.id for record in log.read()] == [f"r{i}" for i in range(written)]
    assert written > 0
    print("full after", written)
"""
    done = on_small_disk(code)
    assert done.stdout.startswith("full after"), done.stderr
