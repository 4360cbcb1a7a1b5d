"""What comes back from a device is checked before it is believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.errors import RunnerOutputError
from agents.runner.output import MAX_LINES, find_line, last_line, parse_lines, read_iterations
from agents.runner.wire import End, Failed, First, Loaded

FIRST = b'{"kind":"first","latency_s":0.5}\n'
END = b'{"kind":"end","reason":"complete","peak_rss_bytes":1}\n'


def test_lines_in_order() -> None:
    lines = parse_lines(FIRST + FIRST.replace(b"0.5", b"0.25") + END)

    assert [type(line) for line in lines] == [First, First, End]
    assert find_line(lines, First).latency_s == 0.5
    assert find_line(lines, Loaded) is None
    assert last_line(lines) == lines[-1]


def test_a_launch_that_was_killed_has_no_last_line() -> None:
    assert last_line(parse_lines(FIRST)) is None
    assert parse_lines(b"") == ()
    assert last_line(()) is None


def test_how_a_launch_failed() -> None:
    failed = last_line(parse_lines(b'{"kind":"error","stage":"run","message":"m"}\n'))
    assert failed == Failed(kind="error", stage="run", message="m")


@pytest.mark.parametrize(
    ("stdout", "words"),
    [
        (FIRST + b"\x1b[31mhello\n" + END, r"line 2 .*\\x1b\[31mhello"),
        (FIRST + b"\n", "line 2"),
        (FIRST + b'{"kind":"first","latency_s":NaN}\n', "line 2"),
        (FIRST + b'{"kind":"first"}\n', r"line 2 .*latency_s"),
        (FIRST + b'{"kind":"first","latency_s":1,"more":1}\n', r"line 2 .*more"),
        (b'{"kind":"none"}\n', "line 1"),
        (FIRST + END[:-1], "line 2 .*cut off"),
        (END + FIRST, "line 1 .*more follows"),
        (b'{"kind":"error","stage":"run","message":"' + b"m" * (2 << 20) + b'"}\n', "line 1 .*bytes"),
        (FIRST * (MAX_LINES + 1), "more than"),
        (b"\0" * (65 << 20), "bytes of lines"),
    ],
)
def test_output_that_is_not_the_runners(stdout: bytes, words: str) -> None:
    with pytest.raises(RunnerOutputError, match=words):
        parse_lines(stdout)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=30).map(lambda junk: FIRST + junk + END))
def test_any_bytes_are_lines_or_an_error(stdout: bytes) -> None:
    try:
        lines = parse_lines(stdout)
    except RunnerOutputError:
        return
    assert len(lines) == stdout.count(b"\n")


def test_times(tmp_path: Path) -> None:
    path = tmp_path / "iterations.bin"
    np.array([3, 1, 2], "<i8").tofile(path)
    times = read_iterations(path, iterations=3)

    assert (times.tolist(), times.dtype) == ([3, 1, 2], np.int64)
    for iterations in (0, 2, 4, -1, 10**12):
        with pytest.raises(RunnerOutputError):
            read_iterations(path, iterations=iterations)
    with pytest.raises(RunnerOutputError, match="No such file"):
        read_iterations(tmp_path / "none", iterations=1)
    np.array([3, -1], "<i8").tofile(path)
    with pytest.raises(RunnerOutputError, match="negative"):
        read_iterations(path, iterations=2)


def test_no_times(tmp_path: Path) -> None:
    path = tmp_path / "iterations.bin"
    path.touch()
    assert read_iterations(path, iterations=0).shape == (0,)
