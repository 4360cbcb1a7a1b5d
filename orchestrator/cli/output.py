"""What commands print: people's tables or JSON records, never both on one stream; the only module that prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from device_profiles.yaml_tree import printable as _escaped

if TYPE_CHECKING:
    from rich.console import Console

Scalar = str | int | float | bool | None


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"  # for people
    JSON = "json"  # one record a line on standard output, each with `kind`


def printable(text: str) -> str:
    """The text with everything escaped that could move a terminal's cursor, colour it or break a line."""
    return _escaped(text, limit=max(80, len(text)))


def stdout() -> Console:
    """The console for results. Nothing printed through it is read as markup."""
    return _console(stderr=False)


def stderr() -> Console:
    """The console for progress, notes and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else 200
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width, soft_wrap=False)


def print_record(kind: str, fields: Mapping[str, Any]) -> None:
    """One JSON record on a line of standard output."""
    sys.stdout.write(json.dumps({"kind": kind, **fields}, ensure_ascii=False, allow_nan=False, default=str) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for people, on standard error."""
    stderr().print(printable(text), soft_wrap=True)


def say(text: str) -> None:
    """Text for people that is the result, on standard output."""
    for line in text.splitlines():
        stdout().print(printable(line), soft_wrap=True)


def error(text: str) -> None:
    """What went wrong, on standard error."""
    from rich.text import Text

    stderr().print(Text("error: ", style="bold red").append(printable(text), style="default"), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: `right` for figures."""

    title: str
    right: bool = False


def print_table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, caption: str = "") -> None:
    """A table for people on standard output; where it does not fit the terminal, each row becomes a paragraph of its own."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widest = [max(map(len, [column.title, *(row[place] for row in shown)])) for place, column in enumerate(columns)]
    needed = sum(width if column.right else min(width, _FOLDED) for width, column in zip(widest, columns, strict=True)) + 3 * len(columns)
    if needed <= stdout().width:
        _print_grid(title, columns, shown, caption)
    else:
        _print_stacked(title, columns, shown, caption)


_FOLDED = 24  # a column of text that is folded at this width can still be read


def _print_grid(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], caption: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(printable(title), style="bold") if title else None, caption=Text(caption) if caption else None, box=box.SIMPLE_HEAD
    )
    table.title_justify = "left"
    table.caption_justify = "left"
    for column in columns:
        table.add_column(Text(column.title), justify="right" if column.right else "left", no_wrap=column.right, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    stdout().print(table)


def _print_stacked(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], caption: str) -> None:
    say(title)
    width = max(len(column.title) for column in columns)
    for row in rows:
        say(f"• {row[0]}")
        for column, cell in zip(columns[1:], row[1:], strict=True):
            if cell:
                say(f"  {column.title:<{width}}  {cell}")
    say(caption)
