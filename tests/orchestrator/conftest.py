"""Databases for the orchestrator's tests: SQLite always, PostgreSQL where $THRESHER_POSTGRES is the URL of a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.database import open_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that is empty, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'farm folder' / 'farm.db'}"
    else:
        with _postgresql() as url:
            yield url


@contextmanager
def _postgresql() -> Iterator[str]:
    server = os.environ.get("THRESHER_POSTGRES")
    if not server:
        pytest.skip("set THRESHER_POSTGRES to the URL of a PostgreSQL server to run this")
    url = sa.make_url(server).set(drivername="postgresql+psycopg")
    name = f"thresher_test_{uuid.uuid4().hex}"
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An open, migrated database of each kind."""
    opened = open_database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """An open, migrated SQLite database."""
    opened = open_database(f"sqlite:///{tmp_path / 'farm.db'}")
    yield opened
    opened.dispose()


@pytest.fixture
def postgresql_engine() -> Iterator[sa.Engine]:
    """An open, migrated PostgreSQL database."""
    with _postgresql() as url:
        opened = open_database(url)
        yield opened
        opened.dispose()


@pytest.fixture
def unprivileged() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code with arguments in a process that permissions bind, which they do not bind root."""
    prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if prefix and not shutil.which("setpriv"):
        pytest.skip("root needs setpriv to give up its privileges")

    def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run Python code with a folder of a file system of 1 MB as its argument (a tmpfs in a name space of its own)."""
    mount = tmp_path / "small disk"
    mount.mkdir()
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    try:
        subprocess.run([*alone, "sh", "-c", script, "sh", mount, "true", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine gives no mount name space to make a small disk in")

    def run(code: str) -> subprocess.CompletedProcess[str]:
        command = [*alone, "sh", "-c", script, "sh", mount, sys.executable, code]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    return run
