from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.address import AdbAddress, AdbTcpAddress, Endpoint, LocalAddress, UsbmuxAddress, parse_address
from orchestrator.errors import ConfigError, NotFound
from orchestrator.farm import Farm, FarmDevice, find_farm

HOST = FarmDevice("host", "host", LocalAddress())

FARM = """\
database_env: THRESHER_DATABASE
store: artifacts
lab_host: lab 1
devices:
  - {name: desk phone, profile: pixel-8, address: "adb:0123456789", tags: [desk, nightly]}
  - {name: "<b>☎</b> ../x", profile: galaxy-s23, address: "adb-tcp:10.0.0.7:5555"}
"""
ENVIRONMENT = {"THRESHER_DATABASE": "postgresql://thresher:secret@db.example.org/farm"}


def farm_of(folder: Path, text: str, environment: dict[str, str] | None = None) -> Farm:
    (folder / "farm.yaml").write_text(text, encoding="utf-8")
    return find_farm(folder, environment=environment or {})


def message(folder: Path, text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        farm_of(folder, text, environment)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "# all defaults\n", "{}", "devices: []\n"])
def test_an_empty_file_is_a_farm_with_this_machine(tmp_path: Path, text):
    farm = farm_of(tmp_path, text)
    assert farm.database_url == f"sqlite:///{tmp_path}/.thresher/farm.db"
    assert farm.store_url == f"file://{tmp_path}/.thresher/store"
    assert farm.devices == (HOST,)
    assert farm.state_dir == tmp_path / ".thresher"
    assert farm.lab_host


def test_a_whole_file(tmp_path: Path):
    farm = farm_of(tmp_path, FARM, ENVIRONMENT)
    assert farm == Farm(
        root=tmp_path,
        file=tmp_path / "farm.yaml",
        database_url="postgresql://thresher:secret@db.example.org/farm",
        store_url=f"file://{tmp_path}/artifacts",
        lab_host="lab 1",
        devices=(
            HOST,
            FarmDevice("desk phone", "pixel-8", AdbAddress("0123456789"), ("desk", "nightly")),
            FarmDevice("<b>☎</b> ../x", "galaxy-s23", AdbTcpAddress(Endpoint("10.0.0.7", 5555))),
        ),
    )
    assert farm.device("desk phone").tags == ("desk", "nightly")
    with pytest.raises(NotFound, match="has no device `desk fone`: did you mean `desk phone`"):
        farm.device("desk fone")


def test_this_machine_under_another_name_is_not_added_again(tmp_path: Path):
    farm = farm_of(tmp_path, "devices: [{name: bench, address: 'local:'}]")
    assert farm.devices == (FarmDevice("bench", "host", LocalAddress()),)


@pytest.mark.parametrize(
    ("written", "database", "store"),
    [
        ("database: sqlite:///x.db", "sqlite:///{root}/x.db", "file://{root}/.thresher/store"),
        ("database: 'sqlite:///a?b %20.db'", "sqlite:///{root}/a%3Fb%20%2520.db", "file://{root}/.thresher/store"),
        ("database: sqlite:////srv/x.db\nstore: ../art", "sqlite:////srv/x.db", "file://{parent}/art"),
        ("store: s3://bucket/folder", "sqlite:///{root}/.thresher/farm.db", "s3://bucket/folder"),
        ("store: file:///srv/art\ndatabase: postgresql://u@h/n", "postgresql://u@h/n", "file:///srv/art"),
        ("store_env: STORE", "sqlite:///{root}/.thresher/farm.db", "gs://bucket"),
    ],
)
def test_urls_are_complete(tmp_path: Path, written, database, store):
    farm = farm_of(tmp_path, written, {"STORE": "gs://bucket"})
    assert farm.database_url == database.format(root=tmp_path)
    assert farm.store_url == store.format(root=tmp_path, parent=tmp_path.parent)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("databse: x", "line 1, column 1: `databse` is not a key that belongs here: did you mean `database`?"),
        ("database: postgresql://me:hunter2@h/x", "secrets do not belong in a file"),
        ("database: postgresql://h/x?user=me&password=hunter2", "`database_env: NAME`"),
        ("store: s3://key:hunter2@bucket", "secrets do not belong in a file"),
        ("database: postgresql://h/x?sslpassword=hunter2", "holds a password"),
        ("database: x.db", "write `sqlite:///PATH` or `postgresql://USER@HOST/NAME`"),
        ("database: sqlite://", "needs the path of a file"),
        ("database: 'sqlite:///:memory:'", "needs the path of a file"),
        ("database_env: MISSING", "line 1, column 1: `database_env` names the environment variable MISSING, which is not set"),
        ("database: sqlite:///x\ndatabase_env: D", "both `database` and `database_env` are given"),
        ("database_env: $HOME", "`database_env`"),
        ("devices: [{name: a, address: 'abd:1', profile: pixel-8}]", "did you mean `adb:`?"),
        ("devices: [{name: a, address: 'adb:1'}]", "a device at `adb:1` needs a device profile"),
        ("devices: [{name: a, address: 'local:', profile: pixel-8}]", "needs the profile `host`"),
        ("devices: [{name: a, address: 'adb:1', profile: p}, {name: a, address: 'adb:2', profile: p}]", "two devices have the name `a`"),
        ("devices: [{name: a, address: 'adb:1', profile: p}, {name: b, address: 'adb:1', profile: p}]", "have the address `adb:1`"),
        ("devices: [{name: host, address: 'adb:1', profile: p}]", "`host` is the name of this machine"),
        ('devices: [{name: "a\\x1b[31m", address: "local:"}]', "`devices[0].name` holds the control character U+001B"),
        ('devices: [{name: "a\\nb", address: "local:"}]', "U+000A"),
        (f"devices: [{{name: {'n' * 65}, address: 'local:'}}]", "is 65 characters long"),
        ("devices: [{name: ' a', address: 'local:'}]", "has spaces around it"),
        ("devices: [{name: a, adress: 'local:'}]", "did you mean `address`?"),
    ],
)
def test_a_mistake_is_said_with_its_place(tmp_path: Path, text, part):
    said = message(tmp_path, text)
    assert part in said
    assert "hunter2" not in said


def test_a_farm_is_found_upwards_and_overridden(tmp_path: Path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "farm.yaml").write_text("lab_host: outer")
    (other / "site.yaml").write_text("lab_host: named")
    (other / "farm.yaml").write_text("lab_host: other")
    assert find_farm(deep, environment={}).lab_host == "outer"
    assert find_farm(deep / "not there yet", environment={}).root == tmp_path
    assert find_farm(deep, override=other, environment={}).lab_host == "other"
    assert find_farm(deep, override=other / "site.yaml", environment={}).lab_host == "named"
    with pytest.raises(ConfigError, match="there is no such file"):
        find_farm(deep, override=tmp_path / "gone.yaml", environment={})


def test_no_farm_at_all():
    with pytest.raises(ConfigError, match=r"there is no farm\.yaml in /proc or above it: `thresher init DIR`"):
        find_farm(Path("/proc"), environment={})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("local:", LocalAddress()),
        ("adb:R58M123ABC", AdbAddress("R58M123ABC")),
        ("adb:192.168.1.5:5555@lab-2:5037", AdbAddress("192.168.1.5:5555", Endpoint("lab-2", 5037))),
        ("adb:adb-R5 (2)._adb-tls-connect._tcp", AdbAddress("adb-R5 (2)._adb-tls-connect._tcp")),
        ("adb-tcp:[::1]:5555", AdbTcpAddress(Endpoint("::1", 5555))),
        ("usbmux:00008110-001A2B3C4D5E801E@127.0.0.1:27015", UsbmuxAddress("00008110-001A2B3C4D5E801E", Endpoint("127.0.0.1", 27015))),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "local",
        "local:x",
        "adb:",
        "adb:-s",
        "adb:a@",
        "adb:a@h",
        "adb:a@h:0",
        "adb:a@h:99999",
        "adb:a@-h:1",
        "adb-tcp:5555",
        "adb-tcp:[::g]:1",
        "usbmux:../x",
        "ssh:h:22",
        "adb:a;b",
        "adb:$(x)",
        "adb:a\n",
        "adb-tcp:h:١",
    ],
)
def test_what_is_not_an_address(text):
    with pytest.raises(ValueError, match="is not an address") as caught:
        parse_address(text)
    assert str(caught.value).isprintable()


@given(st.text(max_size=60))
@settings(max_examples=50, deadline=None)
def test_any_text_is_an_address_that_reads_back_or_is_refused(text):
    try:
        assert parse_address(str(parse_address(text))) == parse_address(text)
    except ValueError as error:
        assert str(error).isprintable()


@given(st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mistyped_farm_is_read_or_refused(tmp_path: Path, data):
    at = data.draw(st.integers(0, len(FARM)))
    text = FARM[:at] + data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=6)) + FARM[at + data.draw(st.integers(0, 9)) :]
    try:
        farm_of(tmp_path, text, ENVIRONMENT)
    except ConfigError as error:
        assert str(error).isprintable()
        assert "secret" not in str(error)


def test_importing_the_farm_is_light():
    code = "import sys, orchestrator.farm; print(*sorted({'onnx', 'dbos', 'numpy', 'sqlalchemy', 'typer', 'rich', 'fsspec'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
