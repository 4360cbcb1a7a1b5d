from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from agents.run import (
    Conditions,
    DeviceRef,
    Latency,
    LaunchKind,
    MemoryStage,
    Outcome,
    ProtocolRef,
    Role,
    RunConfig,
    RunRecord,
    TraceRef,
    VariantRef,
)
from orchestrator.canonical import canonical_json, sha256_hex
from orchestrator.errors import StoreError, UsageError
from orchestrator.export import ExportFormat, export_records
from orchestrator.record import record_sha256
from orchestrator.records import Link, NewRecord, RecordKind, RecordLog
from orchestrator.redact import Redactor, identifying_names
from orchestrator.run_columns import CellType, run_cells, run_columns
from orchestrator.run_records import record_to_run, run_record_id, run_to_record
from orchestrator.store import open_store

PARQUET, CSV, JSONL = ExportFormat.PARQUET, ExportFormat.CSV, ExportFormat.JSONL


def launch(round: int = 0, **changes) -> RunRecord:
    values = {
        "campaign_id": "nightly-1",
        "visit_id": "visit",
        "job_id": "job",
        "round": round,
        "attempt": 0,
        "kind": LaunchKind.TIMED,
        "role": Role.BASELINE,
        "model": "=cmd|' /C calc'!A0",
        "variant": VariantRef(id="v" * 64, recipe="fp32", sha256="a" * 64, size_bytes=1234),
        "device": DeviceRef(name="bench-pixel-7", profile="pixel-7", platform="android", address="adb:28041FDH200ABC@labhost-3:5037"),
        "config": RunConfig(threads=2, affinity=(4, 5), input_shapes={"x": (1, 3)}),
        "protocol": ProtocolRef(name="quick", version=1),
        "outcome": Outcome.OK,
        "started_at": "2026-11-05T02:00:00Z",
        "duration_s": 2,
        "latency": Latency(
            n=50, p50_s=0.001, p90_s=None, p99_s=None, mean_s=0.0011, min_s=0.0009, max_s=0.002, mad_s=0, cv=0.1, outliers=0, duration_s=1.5
        ),
    }
    return RunRecord(**(values | changes))


@pytest.fixture
def log(sqlite_engine):
    return RecordLog(sqlite_engine)


def rows(path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def test_a_launch_becomes_a_record_and_comes_back(log):
    run = launch(traces=(TraceRef(sha256="b" * 64, encoding="int64-le-ns", count=50),))
    log.append(run_to_record(run))
    record = log.get(run_record_id("nightly-1", "visit", "job", kind=LaunchKind.TIMED, round=0, attempt=0))
    assert record_to_run(record) == run
    assert (record.device, record.model, record.variant_id, record.campaign_id) == ("bench-pixel-7", run.model, "v" * 64, "nightly-1")
    assert record.links == (Link("b" * 64),)
    log.append(NewRecord("note", RecordKind.NOTE, "{}"))
    with pytest.raises(StoreError, match="not a run"):
        record_to_run(log.get("note"))
    log.append(NewRecord("newer", RecordKind.RUN, "{}", schema_version=2))
    with pytest.raises(StoreError, match="install a newer one"):
        record_to_run(log.get("newer"))
    log.append(NewRecord("broken", RecordKind.RUN, "{}"))
    with pytest.raises(StoreError, match="cannot be read as a run"):
        record_to_run(log.get("broken"))


def test_every_field_of_a_launch_has_one_column_with_its_unit():
    columns = run_columns()
    names = [column.name for column in columns]
    assert len(names) == len(set(names))
    for name in (
        "latency_p50_s",
        "variant_size_bytes",
        "config_threads",
        "memory_peak_pss_bytes",
        "before_available_memory_bytes",
        "energy_j",
        "why",
    ):
        assert name in names
    assert {column.type for column in columns} == set(CellType) - {CellType.INTEGERS}
    cells = run_cells(launch().model_dump(mode="json"), columns)
    assert (cells["duration_s"], type(cells["duration_s"])) == (2.0, float)
    assert json.loads(cells["config_affinity_json"]) == [4, 5]


def test_csv_and_parquet_hold_the_same_and_absent_is_empty(log, tmp_path):
    memory = (MemoryStage(stage="peak", pss_bytes=7, swap_pss_bytes=0, rss_bytes=9),)
    log.append_many(
        [run_to_record(launch(0)), run_to_record(launch(1, latency=None, memory=memory, before=Conditions(at="t", throttled=False)))]
    )
    log.append(NewRecord("note", RecordKind.NOTE, "{}"))
    assert export_records(log, tmp_path / "runs.csv", form=CSV).records == 2
    assert export_records(log, tmp_path / "runs.parquet", form=PARQUET).records == 2
    table = parquet.read_table(tmp_path / "runs.parquet")
    first, second = rows(tmp_path / "runs.csv")
    assert list(first) == table.column_names
    assert str(table.schema.field("latency_p50_s").type) == "double"
    assert str(table.schema.field("latency_n").type) == "int64"
    assert float(first["latency_p50_s"]) == table["latency_p50_s"][0].as_py() == 0.001
    for name in ("latency_p90_s", "peak_rss_bytes", "energy_j", "memory_peak_pss_bytes", "before_throttled", "why"):
        assert first[name] == ""
        assert table[name][0].as_py() is None
    assert (
        second["latency_p50_s"],
        second["memory_peak_pss_bytes"],
        second["memory_peak_swap_pss_bytes"],
        second["memory_loaded_pss_bytes"],
    ) == ("", "7", "0", "")
    assert (second["before_throttled"], table["before_throttled"][1].as_py()) == ("false", False)


def test_csv_runs_no_formula_and_shows_no_control_sequence(log, tmp_path):
    for number, why in enumerate(
        ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1", "\x1b[31mred\x07", "two\nlines", 'quote", "comma', "\r\n=1", "naïve 😀"]
    ):
        log.append(run_to_record(launch(number, outcome=Outcome.ERROR, why=why)))
    export_records(log, tmp_path / "x.csv", form=CSV)
    found = [row["why"] for row in rows(tmp_path / "x.csv")]
    assert found == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@SUM(A1)",
        "'\t=1",
        "'＝1",
        "\\x1b[31mred\\x07",
        "two\nlines",
        'quote", "comma',
        "'\\x0d\n=1",
        "naïve 😀",
    ]
    assert all(row["model"].startswith("'=cmd") for row in rows(tmp_path / "x.csv"))


def test_jsonl_is_lossless(log, tmp_path):
    log.append_many(
        [
            run_to_record(launch(0, why=None)),
            NewRecord("n\x1b", RecordKind.NOTE, canonical_json({"a": [1, None, "é"]}), links=(Link("c" * 64),)),
        ]
    )
    assert export_records(log, tmp_path / "x.jsonl", form=JSONL).records == 2
    for line, record in zip((tmp_path / "x.jsonl").read_bytes().splitlines(), log.read(), strict=True):
        assert line.isascii()
        entry = json.loads(line)
        assert canonical_json(entry["body"]) == record.body
        assert sha256_hex(record.body) == entry["body_sha256"]
        assert record_sha256(entry, [tuple(link) for link in entry["links"]]) == record.record_sha256


def test_filters_and_kinds(log, tmp_path):
    log.append_many([run_to_record(launch(i, campaign_id=f"c{i}")) for i in range(3)])
    log.append(NewRecord("note", RecordKind.NOTE, "{}", campaign_id="c1"))
    assert export_records(log, tmp_path / "x.csv", form=CSV, where={"campaign_id": "c1"}).records == 1
    assert export_records(log, tmp_path / "x.jsonl", form=JSONL, where={"campaign_id": "c1"}).records == 2
    assert export_records(log, tmp_path / "x.parquet", form=PARQUET, where={"campaign_id": "none"}).records == 0
    assert parquet.read_table(tmp_path / "x.parquet").num_rows == 0
    with pytest.raises(UsageError, match="choose jsonl"):
        export_records(log, tmp_path / "y.csv", form=CSV, where={"kind": RecordKind.NOTE})
    assert not (tmp_path / "y.csv").exists()


def test_raw_iterations_come_from_the_store_or_stay_empty(log, tmp_path):
    store = open_store(str(tmp_path / "store"))
    raw = b"".join(value.to_bytes(8, "little", signed=True) for value in (1, -2, 3_000_000_000))
    there, gone = store.put_bytes(raw), "d" * 64
    traces = [((there, 3),), ((gone, 3),), (), ((there, 2),)]
    for number, refs in enumerate(traces):
        log.append(
            run_to_record(launch(number, traces=tuple(TraceRef(sha256=sha256, encoding="int64-le-ns", count=n) for sha256, n in refs)))
        )
    done = export_records(log, tmp_path / "x.csv", form=CSV, traces=store)
    assert (done.traces, done.traces_absent) == (1, 2)
    assert [row["iterations_ns"] for row in rows(tmp_path / "x.csv")] == ["1 -2 3000000000", "", "", ""]
    export_records(log, tmp_path / "x.parquet", form=PARQUET, traces=store)
    assert parquet.read_table(tmp_path / "x.parquet")["iterations_ns"].to_pylist() == [[1, -2, 3_000_000_000], None, None, None]
    export_records(log, tmp_path / "x.jsonl", form=JSONL, traces=store)
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])["iterations_ns"] == [1, -2, 3_000_000_000]
    export_records(log, tmp_path / "x.csv", form=CSV)
    assert "iterations_ns" not in rows(tmp_path / "x.csv")[0]


@pytest.mark.parametrize("form", list(ExportFormat))
def test_redaction_leaves_no_name_of_the_site(log, tmp_path, form):
    why = "push to adb:28041FDH200ABC@labhost-3:5037 failed (28041FDH200ABC) on bench-pixel-7: see /home/jo/farm/log.txt"
    log.append(run_to_record(launch(0, outcome=Outcome.DEVICE_LOST, why=why, absent={"energy_j": "labhost-3 has no meter"})))
    log.append(run_to_record(launch(1)))
    body = {
        "devices": [{"name": "bench-pixel-7", "platform": "android"}],
        "lab_host": "labhost-3",
        "models": [{"path": "/home/jo doe/net.onnx"}],
    }
    log.append(NewRecord("c", RecordKind.CAMPAIGN, canonical_json(body), campaign_id="nightly-1"))
    path = tmp_path / "x"
    export_records(log, path, form=form, redact=True)
    text = "\n".join(map(str, parquet.read_table(path).to_pylist())) if form is PARQUET else path.read_text()
    for secret in ("28041FDH200ABC", "labhost-3", "bench-pixel-7", "/home", "jo doe"):
        assert secret not in text
    assert text.count("android") == (3 if form is JSONL else 2)
    assert "pixel-7" in text, "the device kind stays"
    names = set(re.findall(r"device-[0-9a-f]{8}", text))
    assert len(names) == 1, "the same device has the same pseudonym everywhere"
    if form is JSONL:
        entry = json.loads(path.read_text().splitlines()[0])
        assert entry["redacted"] is True
        assert not [name for name in entry if name.endswith("sha256")]
        assert "log.txt" in entry["body"]["why"]


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.text(max_size=20) | st.integers() | st.none(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["device", "name", "why", "address"]), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.from_regex(r"[A-Z0-9]{8}", fullmatch=True),
)
def test_redaction_keeps_the_shape_and_hides_a_serial_anywhere(value, serial):
    whole = {"address": f"adb:{serial}", "inner": value, "why": f"lost {serial}!"}
    redacted = Redactor(b"salt", identifying_names([whole])).redact(whole)
    assert serial not in json.dumps({key: redacted[key] for key in ("address", "why")})
    assert redacted["why"].startswith("lost serial-")
    assert redacted["why"].endswith("!")
    assert set(redacted) == set(whole)


def test_short_device_names_do_not_eat_words():
    run = launch(
        device=DeviceRef(name="host", profile="host", platform="host", address="local:"),
        outcome=Outcome.ERROR,
        why="the host said: local: no",
    )
    value = run.model_dump(mode="json")
    redacted = Redactor(b"salt", identifying_names([value])).redact(value)
    assert (redacted["device"]["platform"], redacted["device"]["profile"], redacted["why"]) == ("host", "host", run.why)
    assert redacted["device"]["name"].startswith("device-")


def test_standard_output(log, capfdbinary):
    log.append(run_to_record(launch()))
    export_records(log, "-", form=JSONL)
    assert json.loads(capfdbinary.readouterr().out)["kind"] == "run"
    export_records(log, "-", form=CSV)
    assert capfdbinary.readouterr().out.startswith(b"seq,record_id,created_at,")
    with pytest.raises(UsageError, match="standard output"):
        export_records(log, "-", form=PARQUET)


def test_places_that_cannot_be_written(log, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        export_records(log, tmp_path / "folder", form=CSV)
    with pytest.raises(UsageError, match="does not exist"):
        export_records(log, tmp_path / "absent" / "x.csv", form=CSV)


def test_a_failed_export_leaves_what_was_there(log, tmp_path):
    (tmp_path / "x.csv").write_text("keep")
    log.append_many([run_to_record(launch()), NewRecord("broken", RecordKind.RUN, "{}")])
    for form in (CSV, PARQUET):
        with pytest.raises(StoreError, match="cannot be read as a run"):
            export_records(log, tmp_path / "x.csv", form=form)
    assert [(path.name, path.read_text()) for path in tmp_path.glob("x*")] == [("x.csv", "keep")]


def test_without_pyarrow_the_error_names_the_command(log, tmp_path, sqlite_engine):
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from orchestrator.database import open_database; from orchestrator.records import RecordLog; from orchestrator.export import *\n"
        "export_records(RecordLog(open_database(sys.argv[1])), sys.argv[2], form=ExportFormat.PARQUET)"
    )
    command = [sys.executable, "-c", code, str(sqlite_engine.url), tmp_path / "x.parquet"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert "UsageError: Parquet needs pyarrow: pip install 'thresher[export]'" in done.stderr
    assert not list(tmp_path.glob("*parquet*"))
