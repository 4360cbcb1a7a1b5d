from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.blobs import BlobInfo
from orchestrator.campaigns import Campaigns, CampaignStatus
from orchestrator.canonical import canonical_json, utc_text
from orchestrator.errors import Damaged, UsageError
from orchestrator.records import Link, NewRecord, RecordKind, RecordLog, Relation
from orchestrator.retention import Keep, Need, RetentionPolicy, choose, plan_gc, run_gc
from orchestrator.store import open_store
from orchestrator.verify import verify_log

NOW = datetime(2026, 11, 5, tzinfo=UTC)
POLICY = RetentionPolicy(keep_traces_days=30, keep_variants_days=100)


def blob(name: str, *, age_h: float = 1000.0, size: int = 1) -> BlobInfo:
    return BlobInfo(name * 64, size, NOW.timestamp() - age_h * 3600)


def need(name: str, days: float, kind: RecordKind = RecordKind.RUN, campaign: str | None = "c", variant: str | None = "v") -> Need:
    return Need(name * 64, kind, utc_text(NOW - timedelta(days=days)), campaign, variant)


def going(plan):
    return {info.name[0] for info in plan.expired}, {info.name[0] for info in plan.orphans}


def test_traces_go_after_their_days_and_variants_after_theirs():
    needs = [need("a", 29.9), need("b", 30.1), need("c", 99, RecordKind.VARIANT), need("d", 101, RecordKind.VARIANT)]
    plan = choose([blob(name, size=7) for name in "abcde"], needs, keep=Keep(), policy=POLICY, now=NOW)
    assert going(plan) == ({"b", "d"}, {"e"})
    assert (plan.kept, plan.kept_bytes, plan.size_bytes) == (2, 14, 21)


def test_one_record_that_still_needs_a_blob_is_enough():
    needs = [need("a", 500), need("a", 1), need("b", 500), need("b", 500, RecordKind.CAMPAIGN)]
    assert going(choose([blob("a"), blob("b")], needs, keep=Keep(), policy=POLICY, now=NOW)) == (set(), set())


def test_what_is_kept_whatever_its_age():
    needs = [
        need("a", 500, campaign="open"),
        need("b", 500, variant="incumbent"),
        need("c", 500, RecordKind.VARIANT, variant="chosen"),
        need("d", 500, variant="chosen"),  # an old trace of a chosen variant: its artifact stays, its trace goes
        need("e", 500),
    ]
    keep = Keep(campaigns={"open"}, variants={"chosen"}, protected={"incumbent", "e" * 64})
    assert going(choose([blob(name) for name in "abcde"], needs, keep=keep, policy=POLICY, now=NOW)) == ({"d"}, set())


def test_a_young_blob_and_one_of_unknown_age_stay():
    blobs = [blob("a", age_h=0.9), blob("b", age_h=1.1), BlobInfo("c" * 64, 1, None)]
    assert going(choose(blobs, [], keep=Keep(), policy=POLICY, now=NOW)) == (set(), {"b"})


def test_a_policy_without_days_keeps_for_ever_and_absurd_days_are_refused():
    for_ever = RetentionPolicy(keep_traces_days=None, keep_variants_days=None)
    needs = [need("a", 5000), need("b", 5000, RecordKind.VARIANT)]
    assert going(choose([blob("a"), blob("b")], needs, keep=Keep(), policy=for_ever, now=NOW)) == (set(), set())
    for days in (-1, float("nan"), float("inf"), 1e9):
        with pytest.raises(UsageError, match="0 to 36500"):
            RetentionPolicy(keep_traces_days=days)


class Farm:
    """A log, campaigns and a store whose clock the test sets."""

    def __init__(self, engine, root) -> None:
        self.now = NOW - timedelta(days=400)
        self.log = RecordLog(engine, clock=lambda: self.now)
        self.campaigns = Campaigns(engine, clock=lambda: self.now)
        self.store = open_store(str(root / "store"))
        self.root = root

    def campaign(self, name: str, *, days_ago: float, status=CampaignStatus.DONE, verdict=True, device="phone") -> dict[str, str]:
        """One campaign with a variant and a run; gives its blobs by what they are."""
        self.now = NOW - timedelta(days=days_ago)
        self.campaigns.create(name, name=name, lab_host="lab", spec="{}")
        self.campaigns.set_status(name, status)
        blobs = {kind: self.put(f"{name} {kind}") for kind in ("artifact", "trace", "samples")}
        common = {"campaign_id": name, "model": "m"}
        records = [
            NewRecord(f"{name}/c", RecordKind.CAMPAIGN, "{}", links=(Link(blobs["samples"]),), **common),
            NewRecord(f"{name}/v", RecordKind.VARIANT, "{}", variant_id=f"{name} v", links=(Link(blobs["artifact"]),), **common),
            NewRecord(f"{name}/r", RecordKind.RUN, "{}", variant_id=f"{name} v", device=device, links=(Link(blobs["trace"]),), **common),
        ]
        self.log.append_many(records + ([NewRecord(f"{name}/j", RecordKind.VERDICT, "{}", campaign_id=name)] if verdict else []))
        return blobs

    def put(self, text: str) -> str:
        sha256 = self.store.put_bytes(text.encode())
        self.age(sha256)
        return sha256

    def age(self, sha256: str) -> None:
        os.utime(self.store.open_local(sha256), (0, 0))

    def gone(self, *blobs: dict[str, str]) -> list[set[str]]:
        return [{kind for kind, sha256 in each.items() if not self.store.has(sha256)} for each in blobs]

    def collect(self, **options):
        plan = plan_gc(self.log, self.store, POLICY, now=NOW, **options)
        return run_gc(self.log, self.store, plan, now=NOW, dry_run=False)


@pytest.fixture
def farm(engine, tmp_path):
    return Farm(engine, tmp_path)


def test_old_campaigns_go_and_the_newest_of_each_device_stay(farm):
    old = farm.campaign("old", days_ago=300)
    tablet = farm.campaign("tablet", days_ago=250, device="tablet")
    middle = farm.campaign("middle", days_ago=60)
    judged = farm.campaign("judged", days_ago=50)
    failed = farm.campaign("failed", days_ago=40, status=CampaignStatus.FAILED, verdict=False)
    orphan = farm.put("orphan")
    dry = run_gc(farm.log, farm.store, plan_gc(farm.log, farm.store, POLICY, now=NOW), now=NOW)
    assert farm.store.usage().blobs == 16, "a dry run changes nothing"
    done = farm.collect()
    assert (done.blobs, done.size_bytes) == (dry.blobs, dry.size_bytes)
    assert farm.gone(old, tablet, middle, judged, failed) == [{"trace", "artifact"}, set(), {"trace"}, set(), set()]
    assert not farm.store.has(orphan)
    assert list(verify_log(farm.log, farm.store)) == [], "what was collected is not missing"
    assert farm.collect().blobs == 0


def test_unfinished_campaigns_and_protected_variants_keep_all_they_need(farm):
    running = farm.campaign("running", days_ago=300, status=CampaignStatus.RUNNING)
    interrupted = farm.campaign("interrupted", days_ago=299, status=CampaignStatus.INTERRUPTED)
    incumbent = farm.campaign("incumbent", days_ago=298)
    by_hash = farm.campaign("by hash", days_ago=297)
    plain = farm.campaign("plain", days_ago=296)
    farm.campaign("newest", days_ago=1)
    farm.collect(protected={"incumbent v", by_hash["trace"]})
    assert farm.gone(running, interrupted, incumbent, by_hash, plain) == [set(), set(), set(), {"artifact"}, {"artifact", "trace"}]


def test_the_files_of_a_folder_share_its_fate(farm):
    folders = {}
    for name in ("kept", "protected", "dropped"):
        path = farm.root / name
        path.mkdir()
        (path / "model.onnx").write_text(f"graph {name}")
        (path / "model.data").write_text("the same weights" if name != "dropped" else "other weights")
        folders[name] = farm.store.put_folder(path)
        farm.age(folders[name])
        for member in farm.store.folder(folders[name]).files.values():
            farm.age(member)
    for name, days in (("kept", 5), ("protected", 300), ("dropped", 300)):
        farm.now = NOW - timedelta(days=days)
        farm.log.append(NewRecord(name, RecordKind.VARIANT, "{}", links=(Link(folders[name], Relation.FOLDER),)))
    assert farm.collect(protected={folders["protected"]}).blobs == 3
    for name in ("kept", "protected"):
        farm.store.open_folder(folders[name], farm.root / f"{name} again")
    assert not farm.store.has(folders["dropped"])
    assert list(verify_log(farm.log, farm.store)) == []


def test_nothing_is_collected_while_a_folder_is_damaged(farm):
    (farm.root / "model").mkdir()
    (farm.root / "model" / "a").write_text("a")
    folder = farm.store.put_folder(farm.root / "model")
    farm.log.append(NewRecord("v", RecordKind.VARIANT, "{}", links=(Link(folder, Relation.FOLDER),)))
    path = farm.store.open_local(folder)
    path.chmod(0o644)
    path.write_text("{}")
    with pytest.raises(Damaged, match="nothing is collected"):
        plan_gc(farm.log, farm.store, POLICY, now=NOW)


def test_what_is_needed_again_after_the_plan_stays(farm):
    """Two ways to need a blob again: storing it makes it young, naming it in a record is seen."""
    stored, named, idle = (farm.put(name) for name in ("stored", "named", "idle"))
    plan = plan_gc(farm.log, farm.store, POLICY, now=NOW)
    assert len(plan.orphans) == 3
    farm.store.put_bytes(b"stored")
    farm.log.append(NewRecord("r", RecordKind.RUN, canonical_json({}), links=(Link(named),)))
    assert run_gc(farm.log, farm.store, plan, now=NOW, dry_run=False).blobs == 1
    assert [farm.store.has(sha256) for sha256 in (stored, named, idle)] == [True, True, False]
    assert list(verify_log(farm.log, farm.store)) == []


def test_a_collection_killed_before_it_deleted_is_taken_up_again(farm):
    farm.campaign("old", days_ago=300)
    farm.campaign("new", days_ago=1)
    plan = plan_gc(farm.log, farm.store, POLICY, now=NOW)
    links = tuple(Link(info.name, Relation.COLLECTED) for info in plan.expired)
    farm.log.append(NewRecord("gc", RecordKind.NOTE, "{}", links=links))
    assert list(verify_log(farm.log, farm.store)) == []
    assert farm.collect().blobs == 2
