"""What the local transport does beyond the contract: this machine's files and processes are safe with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agents.errors import AgentError, CommandTimeout, OutOfSpace, TransferError
from agents.host.process_tree import MARK_VARIABLE, end_orphans
from agents.host.transport import LocalTransport

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        os.close(1); os.close(2)
        time.sleep(1000)
    os._exit(0)
os.wait()
while not (os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1])): time.sleep(0.01)
{then}
"""


@pytest.fixture
def transport() -> LocalTransport:
    return LocalTransport()


def running(pid_file: Path) -> bool:
    try:
        return psutil.Process(int(pid_file.read_text())).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_daemon_of_a_command_that_ended_is_ended_too(transport: LocalTransport, tmp_path: Path) -> None:
    done = transport.run([sys.executable, "-c", DAEMON.format(then=""), str(tmp_path / "pid")], timeout_s=30)
    assert done.exit_code == 0, done.stderr
    assert not running(tmp_path / "pid")


def test_a_daemon_of_a_command_that_took_too_long_is_ended_too(transport: LocalTransport, tmp_path: Path) -> None:
    with pytest.raises(CommandTimeout):
        transport.run([sys.executable, "-c", DAEMON.format(then="time.sleep(1000)"), str(tmp_path / "pid")], timeout_s=1)
    assert not running(tmp_path / "pid")


def test_what_a_killed_owner_left_running_is_found_and_ended(tmp_path: Path) -> None:
    owner = f"""
import os, signal, sys
from agents.host.transport import LocalTransport
def kill_myself():
    if os.path.exists({str(tmp_path / "pid")!r}): os.kill(os.getpid(), signal.SIGKILL)
    return False
LocalTransport().run(["sh", "-c", "echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 1000"], timeout_s=60, cancelled=kill_myself)
"""
    killed = subprocess.run([sys.executable, "-c", owner], timeout=60, check=False)
    assert killed.returncode == -9
    assert running(tmp_path / "pid")
    assert int((tmp_path / "pid").read_text()) in end_orphans()
    assert not running(tmp_path / "pid")


def test_orphans_of_living_owners_are_left_alone(transport: LocalTransport, tmp_path: Path) -> None:
    done = transport.run(
        [sys.executable, "-c", "from agents.host.process_tree import end_orphans; end_orphans(); print('lives')"], timeout_s=30
    )
    assert done.stdout == b"lives\n", done.stderr


def test_secrets_of_this_process_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUX_TOKEN", "secret")
    said = LocalTransport(environment={"ORT_SETTING": "1"}).run(["env"], timeout_s=10).stdout.decode()
    assert "secret" not in said
    assert {line.partition("=")[0] for line in said.splitlines()} == {"PATH", "LC_ALL", "ORT_SETTING", MARK_VARIABLE}


def test_files_and_folders_are_for_this_user_alone(transport: LocalTransport, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.write_bytes(b"secret")
    source.chmod(0o644)
    transport.push(source, f"{tmp_path}/visit/artifacts/model", timeout_s=10)
    assert [
        path.stat().st_mode & 0o777 for path in (tmp_path / "visit", tmp_path / "visit/artifacts", tmp_path / "visit/artifacts/model")
    ] == [0o700, 0o700, 0o600]


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_only_regular_files_are_pulled(transport: LocalTransport, tmp_path: Path, kind: str) -> None:
    there = tmp_path / "there"
    if kind == "link":
        there.symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(there)
    else:
        there = Path("/dev/zero")
    with pytest.raises(TransferError):
        transport.pull(str(there), tmp_path / "here", timeout_s=10)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("place", ["/", "/home/..", str(Path.home()), str(Path.home().parent), str(Path.cwd())])
def test_nothing_that_holds_a_users_files_is_removed(transport: LocalTransport, place: str) -> None:
    with pytest.raises(AgentError):
        transport.remove(place, timeout_s=10)
    assert Path.home().is_dir()


def test_a_copy_ends_at_its_deadline_and_leaves_nothing(transport: LocalTransport, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(3 * 2**20))
    (tmp_path / "device").mkdir()
    with pytest.raises(CommandTimeout):
        transport.push(source, f"{tmp_path}/device/file", timeout_s=0)
    assert list((tmp_path / "device").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_transfer_error(transport: LocalTransport, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TransferError, match="could not be copied"):
        transport.push(tmp_path / "file", f"{tmp_path}/file/below/x", timeout_s=10)


def test_a_full_disk_is_out_of_space_and_leaves_nothing(transport: LocalTransport, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(full)], capture_output=True, check=False
    ).returncode == 0  # fmt: skip
    if not mounted:
        pytest.skip("needs root, and leave to mount a small file system")
    try:
        source = tmp_path / "source"
        source.write_bytes(os.urandom(2 * 2**20))
        with pytest.raises(OutOfSpace):
            transport.pull(str(source), full / "here", timeout_s=30)
        with pytest.raises(OutOfSpace):
            transport.push(source, f"{full}/there", timeout_s=30)
        assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)
