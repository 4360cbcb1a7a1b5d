"""The farm's database: opened, migrated, and written to one transaction at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from orchestrator.atomic_file import user_name
from orchestrator.errors import ConfigError, OutOfSpace, StoreError
from orchestrator.tables import HEAD, VERSION_TABLE

BUSY_TIMEOUT_S = 30.0
_MIGRATION_LOCK = 0x7468726573680001  # advisory locks of PostgreSQL are named by a number: "thresh", 1 and 2
_APPEND_LOCK = 0x7468726573680002
_DISK_FULL = {"53100"}  # SQLSTATE disk_full


def open_database(url: str) -> sa.Engine:
    """The database at a URL, made and migrated to the newest version where needed; call `dispose()` on it at the end.

    SQLite (`sqlite:////absolute/path`; the folder is created) and PostgreSQL (`postgresql://…`, by psycopg).
    Several processes may call it at once. Raises: ConfigError for a URL that cannot be used; StoreError, OutOfSpace.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        _make_folder(Path(parsed.database or ""))
    engine = _engine(parsed)
    try:
        with database_errors(engine):
            if engine.dialect.name == "sqlite":
                _use_wal(engine)
            with reading(engine) as connection:
                version = _version(connection)
            if version != HEAD:
                _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection in a transaction that only reads. Raises: StoreError."""
    with database_errors(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine, *, append: bool = False) -> Iterator[sa.Connection]:
    """A transaction that writes; committed when the block ends well.

    With `append` no other appending transaction runs beside it, in any process: SQLite has one writer anyway
    (BEGIN IMMEDIATE, so that the wait for it obeys the busy timeout), PostgreSQL takes an advisory lock.
    Raises: StoreError, OutOfSpace.
    """
    with database_errors(engine), engine.connect().execution_options(thresher_begin="BEGIN IMMEDIATE") as connection, connection.begin():
        if append and connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_APPEND_LOCK)))
        yield connection


@contextmanager
def database_errors(engine: sa.Engine) -> Iterator[None]:
    """Turn the database's errors into ours."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _ours(error, engine.url) from error
    except exc.TimeoutError as error:
        raise StoreError(f"the database {_shown(engine.url)} gave no connection in time: {error}") from error


def _ours(error: exc.DBAPIError, url: sa.URL) -> StoreError:
    where, text = _shown(url), str(error.orig).strip().replace("\n", " ")
    code = getattr(error.orig, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None  # the low byte is the primary result code
    if primary == sqlite3.SQLITE_FULL or getattr(error.orig, "sqlstate", None) in _DISK_FULL:
        return OutOfSpace(f"the disk of the database {where} is full: nothing of this write was kept. Free some space and try again.")
    if primary in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        folder = Path(url.database or "").parent
        return StoreError(
            f"the database {where} cannot be opened for writing by user {user_name()} ({text}): "
            f"the file and its folder {folder} must be writable, since SQLite keeps its journal beside the file"
        )
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreError(
            f"the database {where} stayed locked by another process for {BUSY_TIMEOUT_S:g} s: find what holds it, then try again"
        )
    if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StoreError(f"the database {where} is damaged or not a database ({text}): restore it from a backup")
    return StoreError(f"the database {where} cannot be used: {text}")


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise ConfigError(
            "the database URL cannot be read: it looks like `sqlite:////absolute/path/farm.db` or `postgresql://user@host/name`"
        ) from error
    match parsed.get_backend_name():
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+psycopg")
        case "sqlite" if parsed.database and parsed.database != ":memory:" and not parsed.database.startswith("file:"):
            return parsed
        case "sqlite":
            raise ConfigError("the database URL names no file: several processes share the database, so SQLite needs one")
        case other:
            raise ConfigError(f"the database URL begins with {other!r}: Thresher works with sqlite and postgresql")


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"user {user_name()} cannot make the folder {file.parent} for the database: {error.strerror}") from error


def _engine(url: sa.URL) -> sa.Engine:
    connect_args = {"timeout": BUSY_TIMEOUT_S} if url.get_backend_name() == "sqlite" else {}
    try:
        engine = sa.create_engine(url, connect_args=connect_args, pool_pre_ping=url.get_backend_name() != "sqlite")
    except ModuleNotFoundError as error:
        raise ConfigError(f"the database {_shown(url)} needs psycopg: pip install 'thresher[postgres]'") from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _on_sqlite_connect)
        sa.event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _on_sqlite_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # else sqlite3 sends BEGIN by itself, late, and commits before DDL
    connection.text_factory = _text  # damaged text must not stop the reader that looks for damage
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut too; NORMAL may lose the last ones


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _on_sqlite_begin(connection: sa.Connection) -> None:
    begin = connection.get_execution_options().get("thresher_begin", "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)


def _use_wal(engine: sa.Engine) -> None:
    """Switch the file to write-ahead logging, once; another process that does so at the same time makes this one wait."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    with engine.connect().execution_options(thresher_begin=None) as connection:
        while True:
            try:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                return
            except exc.OperationalError as error:  # the busy timeout does not hold for this statement
                code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def _version(connection: sa.Connection) -> str | None:
    """The database's version; None where there are no tables yet."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant


def _migrate(engine: sa.Engine) -> None:
    from alembic import command  # slow to import, and rarely needed
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        found = _version(connection)
        if found is not None and found not in known:
            raise StoreError(
                f"the database {_shown(engine.url)} has version {found!r}, this Thresher knows only up to {HEAD!r}: "
                "a newer Thresher wrote it; install that one (nothing was changed)"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _shown(url: sa.URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)
