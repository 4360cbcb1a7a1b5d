from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from orchestrator.database import open_database
from orchestrator.records import RecordLog
from orchestrator.store import open_store
from orchestrator.verify import verify_log

WRITER = """
import os, sys
from pathlib import Path
from orchestrator.canonical import canonical_json
from orchestrator.database import open_database
from orchestrator.records import Link, NewRecord, RecordKind, RecordLog
from orchestrator.store import open_store
database, folder, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
log, store = RecordLog(open_database(database)), open_store(str(folder))
for number in range(first, first + 100_000):
    source = folder.parent / "source"
    source.write_bytes(number.to_bytes(8, "little") * 20_000)
    records = [
        NewRecord(f"{number}/{part}", RecordKind.RUN, canonical_json({"n": number, "text": "x" * 5000}), links=(Link(blob),))
        for part, blob in enumerate([store.put_file(source), store.put_bytes(b"%d" % number)])
    ]
    log.append_many(records)
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_records_and_blobs(tmp_path: Path, database_url: str):
    """Ten writers, one after the other, each killed with SIGKILL while it writes as fast as it can.

    When it dies is set by how many writes it reported, and by how much of the next one's work the system let it do.
    """
    chance = random.Random(20261105)
    reported: list[int] = []
    for _ in range(10):
        first = reported[-1] + 1 if reported else 0  # it may be written already, not yet reported: then again
        command = [sys.executable, "-c", WRITER, database_url, str(tmp_path / "store"), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            reported += [int(writer.stdout.readline()) for _ in range(chance.randint(1, 6))]
            for _ in range(chance.randint(0, 30_000)):
                pass  # somewhere within the next write, not right after a report
            writer.kill()
            reported += [int(line) for line in writer.stdout.read().split()]
            assert writer.wait(timeout=30) == -9
    engine = open_database(database_url)
    log, store = RecordLog(engine), open_store(str(tmp_path / "store"))
    records = list(log.read())
    ids = {record.id for record in records}
    assert list(verify_log(log, store)) == []
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    numbers = range(len(ids) // 2)
    assert ids == {f"{number}/{part}" for number in numbers for part in (0, 1)}, "each batch whole, none missing"
    assert reported == sorted(set(reported))
    assert set(reported) <= set(numbers)
    for blob in store.list():
        store.verify(blob.name)
    engine.dispose()
