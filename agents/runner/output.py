"""Read what the runner wrote: its lines and its file of times. All of it comes from a device and is checked."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from agents.errors import RunnerOutputError
from agents.runner.wire import LINE, End, Failed, Line

MAX_OUTPUT_BYTES = 64 << 20
MAX_LINE_BYTES = 1 << 20
MAX_LINES = 200_000
MAX_ITERATIONS = 10_000_000  # what the runner itself takes at most

_Kind = TypeVar("_Kind", bound=Line)


def parse_lines(stdout: bytes) -> tuple[Line, ...]:
    """The lines of one launch, in order; a launch that was killed may lack the last one.

    Raises: RunnerOutputError naming the line that is not what `agents.runner.wire` promises.
    """
    if len(stdout) > MAX_OUTPUT_BYTES:
        raise RunnerOutputError(f"the runner wrote {len(stdout)} bytes of lines; at most {MAX_OUTPUT_BYTES} are read")
    texts = stdout.split(b"\n", MAX_LINES + 1)
    rest = texts.pop()
    if len(texts) > MAX_LINES:
        raise RunnerOutputError(f"the runner wrote more than {MAX_LINES} lines")
    if rest:
        raise RunnerOutputError(f"line {len(texts) + 1} of the runner's output is cut off: {_excerpt(rest)}")
    lines = tuple(_parse_line(text, number) for number, text in enumerate(texts, start=1))
    for number, line in enumerate(lines[:-1], start=1):
        if isinstance(line, End | Failed):
            raise RunnerOutputError(f"line {number} of the runner's output is its last (`{line.kind}`), and more follows")
    return lines


def last_line(lines: tuple[Line, ...]) -> End | Failed | None:
    """How the launch ended by its own account; None: it was killed or crashed before it could say."""
    return lines[-1] if lines and isinstance(lines[-1], End | Failed) else None


def find_line(lines: tuple[Line, ...], kind: type[_Kind]) -> _Kind | None:
    """The first line of a kind, or None."""
    return next((line for line in lines if isinstance(line, kind)), None)


def read_iterations(path: Path, *, iterations: int) -> NDArray[np.int64]:
    """Nanoseconds of each timed inference, shape `(iterations,)`, from a launch's iterations.bin.

    Raises: RunnerOutputError when the file is missing or not exactly of that size.
    """
    if not 0 <= iterations <= MAX_ITERATIONS:
        raise RunnerOutputError(f"the runner says {iterations} iterations; it makes at most {MAX_ITERATIONS}")
    try:
        with path.open("rb") as file:
            data = file.read(8 * iterations + 1)
    except OSError as error:
        raise RunnerOutputError(f"the runner's times cannot be read from {path}: {error.strerror or error}") from error
    if len(data) != 8 * iterations:
        found = "more" if len(data) > 8 * iterations else f"{len(data)} bytes"
        raise RunnerOutputError(f"{path} should hold {iterations} times of 8 bytes, and holds {found}")
    times = np.frombuffer(data, dtype="<i8").astype(np.int64)
    if iterations and int(times.min()) < 0:
        raise RunnerOutputError(f"{path} holds a negative time")
    return times


def _parse_line(text: bytes, number: int) -> Line:
    if len(text) > MAX_LINE_BYTES:
        raise RunnerOutputError(f"line {number} of the runner's output has {len(text)} bytes; at most {MAX_LINE_BYTES} are read")
    try:
        return LINE.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise RunnerOutputError(f"line {number} of the runner's output is wrong ({where}: {first['msg']}): {_excerpt(text)}") from error


def _excerpt(text: bytes) -> str:
    """Enough of the text to recognise it, with nothing in it that a terminal would obey."""
    return ascii(text[:160].decode("utf-8", "replace"))
