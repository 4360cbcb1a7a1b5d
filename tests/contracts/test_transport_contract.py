"""What every transport promises (`agents.transport.Transport`). A transport joins by one entry in LINKS."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.errors import AgentError, Cancelled, CommandFailed, CommandTimeout, TransferError
from agents.host.transport import LocalTransport
from agents.transport import Transport


@dataclass(frozen=True)
class Link:
    """An opened transport with a folder on its device that the test may fill."""

    transport: Transport
    folder: str

    def sh(self, script: str, *arguments: str, timeout_s: float = 20, cancelled: Callable[[], bool] | None = None):
        return self.transport.run(["sh", "-c", script, "sh", *arguments], timeout_s=timeout_s, cancelled=cancelled)

    def alive(self, pid_file: str) -> bool:
        """Whether the process whose number is in that file of the device runs; one that ended and was not reaped does not."""
        state = self.sh('read -r pid < "$1" || exit 9; sed -n "s/^State:[[:space:]]*//p" "/proc/$pid/status"', f"{self.folder}/{pid_file}")
        assert state.exit_code != 9, "the command did not get as far as saying its number"
        return state.stdout[:1] not in (b"", b"Z", b"X")


@contextmanager
def local_link(tmp_path: Path) -> Iterator[Link]:
    folder = tmp_path / "device"
    folder.mkdir()
    yield Link(LocalTransport(), str(folder))


LINKS: Mapping[str, Callable[[Path], AbstractContextManager[Link]]] = {"local": local_link}


@pytest.fixture(params=LINKS)
def link(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Link]:
    with LINKS[request.param](tmp_path) as opened:
        yield opened
        opened.transport.close()


def at_the_fourth_question() -> Callable[[], bool]:
    """Asks to stop, but only after a few questions: by then the command has begun."""
    asked = itertools.count(1)
    return lambda: next(asked) >= 4


def test_a_command_gives_its_exit_code_and_both_outputs(link: Link) -> None:
    done = link.sh("echo out; echo err >&2; exit 7")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_a_signal_is_a_negative_exit_code(link: Link) -> None:
    assert link.sh("kill -KILL $$").exit_code == -9


def test_the_cpu_time_is_the_commands_own(link: Link) -> None:
    done = link.sh("i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done")
    assert done.cpu_s is None or 0 < done.cpu_s < 20


@pytest.mark.parametrize("text", ["", "two words", "$(echo no)", "`id`", "'\"\\", "a\nb", "*", "-n", "é 😀", "; true"])
def test_arguments_arrive_as_they_are(link: Link, text: str) -> None:
    assert link.sh('printf "%s" "$1"', text).stdout == text.encode()


def test_standard_input_is_empty(link: Link) -> None:
    assert link.sh("cat; echo end").stdout == b"end\n"


def test_output_of_any_bytes_and_some_size_is_whole(link: Link) -> None:
    done = link.sh("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2")
    assert done.stdout == done.stderr == bytes(300000)


def test_a_command_that_is_not_there_fails(link: Link) -> None:
    with pytest.raises(CommandFailed, match="no-such-command"):
        link.transport.run(["/no-such-command"], timeout_s=10)


def test_a_command_that_writes_without_end_is_ended(link: Link) -> None:
    with pytest.raises(CommandFailed, match="wrote more"):
        link.sh("echo $$ > $1/pid; exec yes", link.folder)
    assert not link.alive("pid")


def test_a_deadline_ends_the_command_with_its_children(link: Link) -> None:
    with pytest.raises(CommandTimeout) as caught:
        link.sh("sleep 1000 & echo $! > $1/child; echo $$ > $1/pid; echo said; wait", link.folder, timeout_s=0.5)
    assert caught.value.stdout == b"said\n"
    assert caught.value.timeout_s == 0.5
    assert not link.alive("pid")
    assert not link.alive("child")


def test_a_request_to_stop_ends_the_command_with_its_children(link: Link) -> None:
    with pytest.raises(Cancelled):
        link.sh("sleep 1000 & echo $! > $1/child; wait", link.folder, cancelled=at_the_fourth_question())
    assert not link.alive("child")


def test_a_command_that_ignores_sigterm_is_killed(link: Link) -> None:
    with pytest.raises(Cancelled):
        link.sh(
            'trap "" TERM; echo $$ > $1/pid; while :; do sleep 0.05; done',
            link.folder,
            cancelled=at_the_fourth_question(),
        )
    assert not link.alive("pid")


def test_sigterm_comes_first(link: Link) -> None:
    with pytest.raises(CommandTimeout):
        link.sh('trap "echo asked > $1/asked; exit" TERM; while :; do sleep 0.05; done', link.folder, timeout_s=0.5)
    assert link.sh('cat "$1/asked"', link.folder).stdout == b"asked\n"


def test_what_a_command_leaves_in_the_background_is_ended(link: Link) -> None:
    done = link.sh("sleep 1000 & echo $! > $1/child; echo over", link.folder)
    assert done.stdout == b"over\n"
    assert not link.alive("child")


def test_an_error_in_the_question_whether_to_stop_leaves_nothing(link: Link) -> None:
    stop = at_the_fourth_question()

    def broken() -> bool:
        if stop():
            raise ZeroDivisionError
        return False

    with pytest.raises(ZeroDivisionError):
        link.sh("echo $$ > $1/pid; exec sleep 1000", link.folder, cancelled=broken)
    assert not link.alive("pid")


@pytest.mark.parametrize("size", [0, 1, 3 * 2**20 + 17])
@pytest.mark.parametrize("name", ["plain.bin", "deep er/é 'quoted\"/x.onnx", "-rf", "a\nb"])
def test_files_go_there_and_back(link: Link, tmp_path: Path, size: int, name: str) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(size))
    link.transport.push(source, f"{link.folder}/{name}", timeout_s=30)
    link.transport.pull(f"{link.folder}/{name}", back, timeout_s=30)
    assert back.read_bytes() == source.read_bytes()


def test_a_push_replaces_what_is_there_and_leaves_no_other_file(link: Link, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for content in (b"first and longer", b"second"):
        source.write_bytes(content)
        link.transport.push(source, f"{link.folder}/new/file", timeout_s=30)
    assert link.sh('ls -a "$1"; cat "$1/file"', f"{link.folder}/new").stdout.split() == [b".", b"..", b"file", b"second"]


def test_a_push_of_nothing_fails(link: Link, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="gone"):
        link.transport.push(tmp_path / "gone", f"{link.folder}/x", timeout_s=30)
    assert link.sh('ls -A "$1"', link.folder).stdout == b""


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_pull_that_fails_leaves_what_was_here(link: Link, tmp_path: Path, what: str) -> None:
    link.sh('mkdir "$1/folder"', link.folder)
    here = tmp_path / "here"
    here.mkdir()
    (here / "kept").write_bytes(b"old")
    with pytest.raises(TransferError):
        link.transport.pull(f"{link.folder}/{what}", here / "kept", timeout_s=30)
    assert [path.read_bytes() for path in here.iterdir()] == [b"old"]


@pytest.mark.parametrize("remote", ["relative/path", "/tmp/../etc/passwd", "", "/a\0b"])
def test_a_path_is_absolute_and_goes_straight_down(link: Link, tmp_path: Path, remote: str) -> None:
    with pytest.raises(AgentError):
        link.transport.pull(remote, tmp_path / "back", timeout_s=30)
    with pytest.raises(AgentError):
        link.transport.remove(remote, timeout_s=30)


def test_remove_takes_files_and_folders_and_is_content_with_nothing(link: Link) -> None:
    link.sh('mkdir -p "$1/a/b/c" && echo x > "$1/a/b/file" && echo y > "$1/one"; ln -s "$1/one" "$1/a/link"', link.folder)
    link.transport.remove(f"{link.folder}/a", timeout_s=30)
    link.transport.remove(f"{link.folder}/a", timeout_s=30)
    assert link.sh('ls -A "$1"', link.folder).stdout == b"one\n"
    link.transport.remove(f"{link.folder}/one", timeout_s=30)
    assert link.sh('ls -A "$1"', link.folder).stdout == b""


def test_removing_a_link_keeps_what_it_points_to(link: Link) -> None:
    link.sh('mkdir "$1/real" && echo x > "$1/real/file" && ln -s "$1/real" "$1/link"', link.folder)
    link.transport.remove(f"{link.folder}/link", timeout_s=30)
    assert link.sh('ls "$1/real"; ls "$1"', link.folder).stdout == b"file\nreal\n"


def test_closing_twice_is_fine(link: Link) -> None:
    link.transport.close()
    link.transport.close()
