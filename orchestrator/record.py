"""One record of the log: what a writer hands in, what a reader gets, and the hash that binds it to the one before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.canonical import canonical_json, checked_sha256, sha256_hex
from orchestrator.errors import StoreError

NO_RECORD_SHA256 = "0" * 64
"""`previous_sha256` of the first record."""

MAX_BODY_BYTES = 16 * 2**20
MAX_TEXT = 400


class RecordKind(StrEnum):
    """What a record is about."""

    RUN = "run"  # one launch on one device: agents.run.RunRecord
    VARIANT = "variant"  # an artifact that a recipe made, with its accuracy
    CAMPAIGN = "campaign"  # a campaign as it was planned
    VERDICT = "verdict"  # what was concluded of a campaign
    NOTE = "note"  # what was done to the farm: a blob collected, say


class Relation(StrEnum):
    """What a record has to do with a blob."""

    FILE = "file"  # needs it
    FOLDER = "folder"  # needs the manifest and every file that it lists
    COLLECTED = "collected"  # says that retention deleted it


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """A blob that a record names, by its sha256."""

    sha256: str
    relation: Relation = Relation.FILE

    def __post_init__(self) -> None:
        """Raises: StoreError when the sha256 is none."""
        checked_sha256(self.sha256)


@dataclass(frozen=True, slots=True)
class NewRecord:
    """What a writer hands in. `id` is the writer's and deterministic: appending it again changes nothing.

    `body` is a JSON object as `canonical_json` writes it; every blob it names is in `links` too. Raises: StoreError.
    """

    id: str
    kind: RecordKind
    body: str
    campaign_id: str | None = None
    device: str | None = None
    model: str | None = None
    variant_id: str | None = None
    schema_version: int = 1
    links: tuple[Link, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what the database could not give back as it was."""
        for name, text in (
            ("id", self.id),
            ("campaign", self.campaign_id),
            ("device", self.device),
            ("model", self.model),
            ("variant", self.variant_id),
        ):
            if text is not None:
                _check_text(name, text)
        if len(self.body) > MAX_BODY_BYTES:
            raise StoreError(f"the body of record {self.id!r} is larger than {MAX_BODY_BYTES} bytes: put raw data in the artifact store")
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise StoreError(f"the body of record {self.id!r} is not JSON: {error}") from error
        if not isinstance(value, Mapping) or canonical_json(value) != self.body:
            raise StoreError(f"the body of record {self.id!r} is not a JSON object written by canonical_json")


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it stands in the log."""

    seq: int
    id: str
    kind: RecordKind
    schema_version: int
    created_at: str
    campaign_id: str | None
    device: str | None
    model: str | None
    variant_id: str | None
    body: str
    body_sha256: str
    previous_sha256: str
    record_sha256: str
    links: tuple[Link, ...]


HASHED = (
    "seq",
    "id",
    "kind",
    "schema_version",
    "created_at",
    "campaign_id",
    "device",
    "model",
    "variant_id",
    "body_sha256",
    "previous_sha256",
)
"""The columns that `record_sha256` covers, beside the links; the body is covered by its own hash."""


def record_sha256(columns: Mapping[str, object], links: Iterable[tuple[str, str]]) -> str:
    """The hash of a record's columns and of its links, given as (sha256, relation)."""
    covered: dict[str, object] = {name: columns[name] for name in HASHED}
    return sha256_hex(canonical_json(covered | {"links": [list(link) for link in sorted(set(links))]}))


def _check_text(name: str, text: str) -> None:
    if not text or len(text) > MAX_TEXT:
        raise StoreError(f"the {name} of a record must have 1 to {MAX_TEXT} characters, not {len(text)}")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise StoreError(f"the {name} {text!r} holds a character that no database can store (NUL, or half of a pair)")
