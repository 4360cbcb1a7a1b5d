"""The timing lock of the machine: one holder at a time, whoever it is, however it ends."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from agents.errors import Cancelled, TimingLockError
from agents.host import timing_lock as module
from agents.host.timing_lock import holder, own_path, shared_path, timing_lock

HOLD = """
import sys
from pathlib import Path
from agents.host.timing_lock import timing_lock
with timing_lock(path=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "timing.lock"


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


def test_it_is_held_and_let_go(lock_file: Path) -> None:
    for _ in range(2):
        with timing_lock(path=lock_file) as used:
            assert used == lock_file
            assert holder(lock_file).startswith(f"process {os.getpid()} (")
    assert lock_file.stat().st_mode & 0o777 == 0o666


def test_another_process_waits_and_is_told_who_holds_it(lock_file: Path) -> None:
    other = hold(lock_file)
    asked = iter([False, False, True])
    with pytest.raises(Cancelled, match=f"process {other.pid} "), timing_lock(path=lock_file, cancelled=lambda: next(asked)):
        pytest.fail("two holders")
    stop(other)
    with timing_lock(path=lock_file):
        pass


def test_a_killed_holder_holds_no_more(lock_file: Path) -> None:
    other = hold(lock_file)
    other.send_signal(signal.SIGKILL)
    with timing_lock(path=lock_file):
        pass
    stop(other)


def test_threads_exclude_each_other(lock_file: Path) -> None:
    events: queue.Queue[str] = queue.Queue()

    def second() -> None:
        with timing_lock(path=lock_file, cancelled=lambda: events.put("waits") or False):
            events.put("second")

    with timing_lock(path=lock_file):
        thread = threading.Thread(target=second)
        thread.start()
        assert events.get(timeout=30) == "waits"
        events.put("first lets go")
    thread.join(timeout=30)
    said = list(events.queue)
    assert said.index("first lets go") < said.index("second")


def test_a_lock_file_that_was_deleted_while_waiting_is_not_taken_for_the_lock(lock_file: Path) -> None:
    other = hold(lock_file)

    def delete_and_end() -> bool:
        if lock_file.exists():
            lock_file.unlink()
            stop(other)
        return False

    with timing_lock(path=lock_file, cancelled=delete_and_end):
        assert holder(lock_file).startswith(f"process {os.getpid()} ")  # the new file, not the one that was waited for


def test_it_does_not_follow_links(lock_file: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    lock_file.symlink_to(victim)
    with pytest.raises(TimingLockError, match="cannot be opened"), timing_lock(path=lock_file):
        pytest.fail("followed")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_no_lock(lock_file: Path, kind: str) -> None:
    if kind == "folder":
        lock_file.mkdir()
    else:
        os.mkfifo(lock_file)
    with pytest.raises(TimingLockError), timing_lock(path=lock_file):
        pytest.fail("locked")


@pytest.mark.parametrize("text", [b"", b"abc", b"99999999999999999999\n", b"\x1b[31m1\n", b"1\n2\n", b"4194999\n"])
def test_what_the_file_says_is_only_believed_if_it_is_a_number(lock_file: Path, text: bytes) -> None:
    lock_file.write_bytes(text)
    assert holder(lock_file) in ("another process", "process 4194999")


def test_it_locks_a_file_that_may_only_be_read(lock_file: Path) -> None:
    lock_file.write_bytes(b"")
    lock_file.chmod(0o444)
    with timing_lock(path=lock_file):
        pass


def test_a_shared_file_that_is_in_the_way_gives_a_lock_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shared_path().mkdir()
    with timing_lock() as used:
        assert used == own_path()
    assert "not kept apart from other users" in caplog.text


def test_the_shared_file_is_in_the_systems_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with timing_lock() as used:
        assert used == module.shared_path() == tmp_path / "thresher-timing.lock"
