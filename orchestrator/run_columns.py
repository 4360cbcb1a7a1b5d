"""Launches as flat rows: one column for each field of `agents.run.RunRecord`, its unit in its name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from agents.run import RunRecord

Cell = str | int | float | bool | list[int] | None


class CellType(StrEnum):
    """What the cells of a column hold; any may be empty, which is not zero."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    FLAG = "flag"
    JSON = "json"  # JSON text: a list or a mapping
    INTEGERS = "integers"  # a list of 64-bit numbers


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and the way to its value in a record's JSON."""

    name: str
    type: CellType
    path: tuple[str, ...]


LOG_COLUMNS = (
    Column("seq", CellType.INTEGER, ("seq",)),
    Column("record_id", CellType.TEXT, ("id",)),
    Column("created_at", CellType.TEXT, ("created_at",)),
)
"""What the log adds to a launch."""

ITERATIONS_COLUMN = Column("iterations_ns", CellType.INTEGERS, ("iterations_ns",))
"""The raw times of the iterations, where traces are exported too."""

_STAGES = ("baseline", "loaded", "peak", "retained")
_STAGE_FIGURES = ("pss_bytes", "swap_pss_bytes", "rss_bytes")


def run_columns() -> tuple[Column, ...]:
    """The columns of a launch, in the order of `RunRecord`'s fields; nested values are `<field>_<name>`."""
    return tuple(_columns(RunRecord, ()))


def run_cells(run: Mapping[str, object], columns: Sequence[Column]) -> dict[str, Cell]:
    """A launch (its JSON value) by column name; what is absent is None."""
    memory = run.get("memory")
    stages = {str(stage["stage"]): stage for stage in memory} if isinstance(memory, list) else {}
    values: dict[str, object] = {**run, "memory": stages}
    return {column.name: _cell(values, column) for column in columns}


def _columns(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Column]:
    for name, field in model.model_fields.items():
        here = (*path, name)
        kind = _without_none(field.annotation)
        if here == ("memory",):
            for stage in _STAGES:
                yield from (Column(f"memory_{stage}_{figure}", CellType.INTEGER, ("memory", stage, figure)) for figure in _STAGE_FIGURES)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _columns(kind, here)
        else:
            cell_type = _cell_type(kind)
            yield Column("_".join(here) + ("_json" if cell_type is CellType.JSON else ""), cell_type, here)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in {Union, UnionType}:
        return next(option for option in get_args(annotation) if option is not type(None))
    return annotation


def _cell_type(kind: Any) -> CellType:
    if get_origin(kind) is Literal:
        kind = type(get_args(kind)[0])
    if not isinstance(kind, type):
        return CellType.JSON
    for python, cell_type in ((bool, CellType.FLAG), (int, CellType.INTEGER), (float, CellType.REAL), (str, CellType.TEXT)):
        if issubclass(kind, python):
            return cell_type
    return CellType.JSON


def _cell(values: Mapping[str, object], column: Column) -> Cell:
    value: object = values
    for step in column.path:
        value = value.get(step) if isinstance(value, Mapping) else None
    if value is None:
        return None
    if column.type is CellType.JSON:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    if column.type is CellType.REAL and isinstance(value, int):
        return float(value)
    assert isinstance(value, str | int | float | bool)
    return value
