"""Records as files for other tools: Parquet and CSV with one row a launch, JSON lines with everything."""

from __future__ import annotations

import csv
import io
import json
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, assert_never

import numpy as np

from agents.run import TraceRef
from orchestrator.atomic_file import atomic_file
from orchestrator.canonical import canonical_json
from orchestrator.errors import Damaged, Missing, UsageError
from orchestrator.iterations import NANOSECONDS
from orchestrator.record import HASHED
from orchestrator.records import Record, RecordKind, RecordLog, Where
from orchestrator.redact import Redactor, identifying_names
from orchestrator.run_columns import ITERATIONS_COLUMN, LOG_COLUMNS, Cell, CellType, Column, run_cells, run_columns
from orchestrator.run_records import record_to_run
from orchestrator.store import Store

MAX_TRACE_BYTES = 256 * 2**20
_ROWS = 200
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class ExportFormat(StrEnum):
    """How records are written."""

    PARQUET = "parquet"  # one row a launch, typed columns
    CSV = "csv"  # the same as text
    JSONL = "jsonl"  # any record, lossless: one canonical JSON object a line


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written; `traces_absent` counts those that the store does not hold any more, whose cells are empty."""

    records: int
    traces: int = 0
    traces_absent: int = 0


def export_records(
    log: RecordLog, path: Path | str, *, form: ExportFormat, where: Where | None = None, traces: Store | None = None, redact: bool = False
) -> Exported:
    """Write the records that match to a file, whole or not at all; `-` is standard output.

    Parquet and CSV hold launches only (`where` without a kind means those). With `traces`, the raw times of the iterations in
    nanoseconds are taken from that store. `redact` replaces names and addresses of devices and hosts by pseudonyms (new ones in each
    export) and leaves out the hashes, which would not hold any more.
    Raises: UsageError when the form or the place cannot be; StoreError, OutOfSpace.
    """
    where = Where(**where) if where else Where()
    if form is not ExportFormat.JSONL:
        if where.get("kind") not in {None, RecordKind.RUN}:
            raise UsageError(f"{form} holds launches, one a row: for records of kind {where['kind']} choose jsonl")
        where["kind"] = RecordKind.RUN
    source = _Source(log, where, traces, _redactor(log, where) if redact else None)
    with _destination(path, form) as file:
        match form:
            case ExportFormat.PARQUET:
                _write_parquet(source, file)
            case ExportFormat.CSV:
                _write_csv(source, file)
            case ExportFormat.JSONL:
                _write_jsonl(source, file)
            case _:
                assert_never(form)
    return Exported(source.records, source.found, source.absent)


class _Source:
    """The records with their traces, counted as they go by."""

    def __init__(self, log: RecordLog, where: Where, traces: Store | None, redactor: Redactor | None) -> None:
        self._log, self._where, self._traces, self._redactor = log, where, traces, redactor
        self.records = self.found = self.absent = 0

    def columns(self) -> tuple[Column, ...]:
        return (*LOG_COLUMNS, *run_columns(), *((ITERATIONS_COLUMN,) if self._traces else ()))

    def rows(self) -> Iterator[dict[str, Cell]]:
        """Launches by column name."""
        columns = run_columns()
        for record in self._read():
            run = record_to_run(record)
            plain = self._redacted(run.model_dump(mode="json"))
            row: dict[str, Cell] = {"seq": record.seq, "record_id": record.id, "created_at": record.created_at, **run_cells(plain, columns)}
            if self._traces:
                row[ITERATIONS_COLUMN.name] = self._nanoseconds(run.traces)
            yield row

    def objects(self) -> Iterator[dict[str, object]]:
        """Records with all their columns, their body as JSON."""
        for record in self._read():
            entry: dict[str, object] = {name: getattr(record, name) for name in (*HASHED, "record_sha256")}
            entry |= {"body": json.loads(record.body), "links": [[link.sha256, link.relation.value] for link in record.links]}
            if self._redactor:
                entry = self._redacted({name: value for name, value in entry.items() if not name.endswith("_sha256")}) | {"redacted": True}
            if self._traces and record.kind is RecordKind.RUN:
                entry[ITERATIONS_COLUMN.name] = self._nanoseconds(record_to_run(record).traces)
            yield entry

    def _read(self) -> Iterator[Record]:
        for record in self._log.read(**self._where):
            self.records += 1
            yield record

    def _redacted(self, value: dict[str, Any]) -> dict[str, Any]:
        redacted = self._redactor.redact(value) if self._redactor else value
        assert isinstance(redacted, dict)
        return redacted

    def _nanoseconds(self, traces: Iterable[TraceRef]) -> list[int] | None:
        """The times of all iterations that the traces hold, in order; None when there are none or one of them is gone."""
        parts: list[int] = []
        wanted = [trace for trace in traces if trace.encoding == NANOSECONDS]
        for trace in wanted:
            data = self._trace(trace.sha256)
            if data is None or len(data) != 8 * trace.count:
                self.absent += 1
                return None
            self.found += 1
            parts += np.frombuffer(data, dtype="<i8").tolist()
        return parts if wanted else None

    def _trace(self, sha256: str) -> bytes | None:
        assert self._traces is not None
        try:
            return self._traces.read_bytes(sha256) if self._traces.size(sha256) <= MAX_TRACE_BYTES else None
        except (Missing, Damaged):
            return None


def _redactor(log: RecordLog, where: Where) -> Redactor:
    values = ({"device": record.device, "body": json.loads(record.body)} for record in log.read(**where))
    return Redactor(secrets.token_bytes(32), identifying_names(values))


@contextmanager
def _destination(path: Path | str, form: ExportFormat) -> Iterator[BinaryIO]:
    if str(path) == "-":
        if form is ExportFormat.PARQUET:
            raise UsageError("a Parquet file cannot be written to standard output: name a file, or choose csv or jsonl")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the file to write")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist: make it first, or name another file")
    with atomic_file(path) as file:
        yield file


def _write_jsonl(source: _Source, file: BinaryIO) -> None:
    for entry in source.objects():
        file.write(canonical_json(entry).encode() + b"\n")


def _write_csv(source: _Source, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    try:
        names = [column.name for column in source.columns()]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        for row in source.rows():
            writer.writerow([_csv_cell(row[name]) for name in names])
        text.flush()
    finally:
        text.detach()


def _csv_cell(value: Cell) -> str:
    """Text of a cell. A text that a spreadsheet would run as a formula gets a quote before it (OWASP, "CSV Injection")."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(map(str, value))
    if not isinstance(value, str):
        return repr(value)
    value = f"'{value}" if value.startswith(_FORMULA) else value
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)


def _write_parquet(source: _Source, file: BinaryIO) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UsageError("Parquet needs pyarrow: pip install 'thresher[export]' (csv and jsonl need nothing more)") from error
    types = {
        CellType.TEXT: pa.string(),
        CellType.INTEGER: pa.int64(),
        CellType.REAL: pa.float64(),
        CellType.FLAG: pa.bool_(),
        CellType.JSON: pa.string(),
        CellType.INTEGERS: pa.list_(pa.int64()),
    }
    schema = pa.schema([(column.name, types[column.type]) for column in source.columns()], metadata={"thresher": "launches, version 1"})
    rows = source.rows()
    with parquet.ParquetWriter(file, schema) as writer:
        while batch := list(islice(rows, _ROWS)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
