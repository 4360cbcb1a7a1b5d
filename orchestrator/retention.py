"""What the store may forget: raw traces and variants after their days, never what something still needs.

The log itself is never shortened: a note says which blobs went, so that verification does not miss them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from orchestrator.blobs import BlobInfo
from orchestrator.campaigns import OVER
from orchestrator.canonical import canonical_json, sha256_hex, utc_text
from orchestrator.database import reading
from orchestrator.errors import Damaged, Missing, StoreError, UsageError
from orchestrator.records import Link, NewRecord, RecordKind, RecordLog, Relation
from orchestrator.store import Store
from orchestrator.tables import CAMPAIGNS, RECORD_BLOBS, RECORDS

NO_PROTECTION: Set[str] = frozenset()
MAX_DAYS = 36_500
_BATCH = 200


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How many days raw traces and variants (with what was stored beside them) stay; None keeps them for ever."""

    keep_traces_days: float | None = 90.0
    keep_variants_days: float | None = 365.0

    def __post_init__(self) -> None:
        """Raises: UsageError for a number of days that is none."""
        for days in (self.keep_traces_days, self.keep_variants_days):
            if days is not None and not 0 <= days <= MAX_DAYS:
                raise UsageError(f"the number of days to keep something is 0 to {MAX_DAYS}, not {days:g}")

    def cutoff(self, kind: RecordKind, now: datetime) -> datetime | None:
        """What records of that kind from before this moment name may go; None: nothing of it may."""
        match kind:
            case RecordKind.RUN:
                days = self.keep_traces_days
            case RecordKind.VARIANT:
                days = self.keep_variants_days
            case RecordKind.CAMPAIGN | RecordKind.VERDICT | RecordKind.NOTE:
                days = None
        return None if days is None else now - timedelta(days=days)


@dataclass(frozen=True, slots=True)
class Need:
    """A record that names a blob."""

    sha256: str
    kind: RecordKind
    created_at: str
    campaign_id: str | None
    variant_id: str | None


@dataclass(frozen=True, slots=True)
class Keep:
    """What stays whatever its age.

    All that records of `campaigns` or of `protected` variants name; the artifacts of `variants`; blobs whose sha256 is `protected`.
    """

    campaigns: Set[str] = frozenset()
    variants: Set[str] = frozenset()
    protected: Set[str] = NO_PROTECTION


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What would go: blobs whose time is over (`expired`) and blobs that no record names (`orphans`); made of the log up to `seq`."""

    expired: tuple[BlobInfo, ...]
    orphans: tuple[BlobInfo, ...]
    kept: int
    kept_bytes: int
    policy: RetentionPolicy
    seq: int = 0

    @property
    def size_bytes(self) -> int:
        """How much space it frees."""
        return sum(blob.size_bytes for blob in self.expired + self.orphans)


@dataclass(frozen=True, slots=True)
class Collected:
    """What went, or would have."""

    blobs: int
    size_bytes: int


def choose(blobs: Iterable[BlobInfo], needs: Iterable[Need], *, keep: Keep, policy: RetentionPolicy, now: datetime) -> GcPlan:
    """Which blobs may go. Pure: listings in, plan out; a blob that was touched within the last hour stays."""
    named, needed = set(), set(keep.protected)
    for need in needs:
        named.add(need.sha256)
        if need.sha256 not in needed and _still_needed(need, keep=keep, policy=policy, now=now):
            needed.add(need.sha256)
    expired: list[BlobInfo] = []
    orphans: list[BlobInfo] = []
    kept, kept_bytes = 0, 0
    for blob in blobs:
        if blob.name in needed or blob.is_young(now=now.timestamp()):
            kept, kept_bytes = kept + 1, kept_bytes + blob.size_bytes
        else:
            (expired if blob.name in named else orphans).append(blob)
    return GcPlan(tuple(expired), tuple(orphans), kept, kept_bytes, policy)


def plan_gc(log: RecordLog, store: Store, policy: RetentionPolicy, *, now: datetime, protected: Set[str] = NO_PROTECTION) -> GcPlan:
    """Which blobs may go now.

    Kept beside what the policy keeps: everything that a campaign which is not over names; the same for the newest campaign,
    and the newest one with a verdict, of each model on each device (its chosen variants and baseline are among it);
    and everything that records of `protected` variants name (ids: incumbents, those of open incidents), or blobs and
    folders whose sha256 is in `protected`. Raises: StoreError; Damaged when a folder that is needed cannot be read.
    """
    seq = log.last_seq()
    blobs = list(store.list())
    members = {member for sha256 in protected for member in _members(store, sha256)}
    campaigns = _kept_campaigns(log.engine)
    keep = Keep(campaigns, _variants_of(log.engine, campaigns), protected | members)
    return replace(choose(blobs, _needs(log.engine, store), keep=keep, policy=policy, now=now), seq=seq)


def run_gc(log: RecordLog, store: Store, plan: GcPlan, *, now: datetime, dry_run: bool = True) -> Collected:
    """Carry a plan out, if `dry_run` is False; what a record or a writer has begun to need since the plan stays.

    Each note is written before its blobs go: killed in between, the next collection takes them. Raises: StoreError.
    """
    if dry_run:
        return Collected(len(plan.expired) + len(plan.orphans), plan.size_bytes)
    named_since = {need.sha256 for need in _needs(log.engine, store, after_seq=plan.seq)}
    going = [blob for blob in plan.expired + plan.orphans if blob.name not in named_since]
    gone: list[BlobInfo] = []
    for start in range(0, len(going), _BATCH):
        batch = going[start : start + _BATCH]
        log.append(_note(batch, policy=plan.policy, now=now))
        gone += [blob for blob in batch if store.delete(blob.name, unless_young=True)]
    swept_bytes = store.sweep()
    return Collected(len(gone), sum(blob.size_bytes for blob in gone) + swept_bytes)


def _still_needed(need: Need, *, keep: Keep, policy: RetentionPolicy, now: datetime) -> bool:
    if need.campaign_id in keep.campaigns or need.variant_id in keep.protected:
        return True
    if need.kind is RecordKind.VARIANT and need.variant_id in keep.variants:
        return True
    cutoff = policy.cutoff(need.kind, now)
    return cutoff is None or need.created_at >= utc_text(cutoff)


def _kept_campaigns(engine: sa.Engine) -> set[str]:
    """Campaigns that are not over, and of each model on each device the newest and the newest with a verdict."""
    unfinished = sa.select(CAMPAIGNS.c.id).where(CAMPAIGNS.c.status.not_in([status.value for status in OVER]))
    judged = (
        sa.select(RECORDS.c.campaign_id).distinct().where(RECORDS.c.kind == RecordKind.VERDICT.value, RECORDS.c.campaign_id.is_not(None))
    )
    key = (RECORDS.c.model, RECORDS.c.device, RECORDS.c.campaign_id)
    newest = sa.func.max(RECORDS.c.seq)
    runs = sa.select(*key).where(RECORDS.c.kind == RecordKind.RUN.value, RECORDS.c.campaign_id.is_not(None)).group_by(*key).order_by(newest)
    with reading(engine) as connection:
        kept = {str(row[0]) for row in connection.execute(unfinished)}
        with_verdict = {str(row[0]) for row in connection.execute(judged)}
        last: dict[tuple[object, object, bool], str] = {}
        for model, device, campaign in connection.execute(runs):
            last[model, device, False] = str(campaign)
            if campaign in with_verdict:
                last[model, device, True] = str(campaign)
    return kept | set(last.values())


def _variants_of(engine: sa.Engine, campaigns: Iterable[str]) -> set[str]:
    variants: set[str] = set()
    with reading(engine) as connection:
        for campaign in campaigns:
            query = sa.select(RECORDS.c.variant_id).distinct().where(RECORDS.c.campaign_id == campaign, RECORDS.c.variant_id.is_not(None))
            variants |= {str(row[0]) for row in connection.execute(query)}
    return variants


def _needs(engine: sa.Engine, store: Store, *, after_seq: int = 0) -> Iterator[Need]:
    """Every blob that a record names, the files of folders too, a page at a time."""
    folders: dict[str, tuple[str, ...]] = {}
    place = (RECORD_BLOBS.c.record_seq, RECORD_BLOBS.c.sha256, RECORD_BLOBS.c.relation)
    columns = (*place, RECORDS.c.kind, RECORDS.c.created_at, RECORDS.c.campaign_id, RECORDS.c.variant_id)
    joined = sa.select(*columns).join(RECORDS, RECORDS.c.seq == RECORD_BLOBS.c.record_seq)
    after = (after_seq + 1, "", "")
    while True:
        with reading(engine) as connection:
            query = joined.where(sa.tuple_(*place) > after, RECORD_BLOBS.c.relation != Relation.COLLECTED.value)
            page = connection.execute(query.order_by(*place).limit(_BATCH)).all()
        for row in page:
            names: Sequence[str] = (row.sha256,)
            if row.relation == Relation.FOLDER:
                names = folders.setdefault(row.sha256, (row.sha256, *_members(store, row.sha256, is_folder=True)))
            for name in names:
                yield Need(name, RecordKind(row.kind), row.created_at, row.campaign_id, row.variant_id)
        if len(page) < _BATCH:
            return
        after = (page[-1].record_seq, page[-1].sha256, page[-1].relation)


def _members(store: Store, sha256: str, *, is_folder: bool = False) -> tuple[str, ...]:
    """The files of a folder; none for a plain blob, and none for a folder that was collected."""
    try:
        return tuple(store.folder(sha256).files.values())
    except Missing:
        return ()
    except Damaged as error:
        if is_folder:
            raise Damaged(f"nothing is collected while a stored folder is damaged, since its files are not known: {error}") from error
        return ()
    except StoreError:
        if is_folder:
            raise
        return ()  # an id of a variant


def _note(batch: Sequence[BlobInfo], *, policy: RetentionPolicy, now: datetime) -> NewRecord:
    body = {
        "note": "store gc",
        "at": utc_text(now),
        "keep_traces_days": policy.keep_traces_days,
        "keep_variants_days": policy.keep_variants_days,
        "blobs": {blob.name: blob.size_bytes for blob in batch},
    }
    text = canonical_json(body)
    return NewRecord(f"gc-{sha256_hex(text)}", RecordKind.NOTE, text, links=tuple(Link(blob.name, Relation.COLLECTED) for blob in batch))
