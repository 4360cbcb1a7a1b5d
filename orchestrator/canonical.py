"""Canonical JSON text, its hash, and UTC time stamps: how a record is written so that equal means equal bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from pydantic import BaseModel

from orchestrator.errors import StoreError

Clock = Callable[[], datetime]
"""Gives the present moment, with its time zone."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def canonical_json(value: BaseModel | Mapping[str, object]) -> str:
    """JSON with sorted keys, no spaces and only ASCII characters: the same value always gives the same text.

    Raises: StoreError when the value holds NaN, an infinity or something that JSON has no word for.
    """
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    try:
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"a record's body cannot be written as JSON: {error}") from error


def sha256_hex(data: bytes | str) -> str:
    """The sha256 of bytes (or of text as UTF-8): 64 lower-case hex digits."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def checked_sha256(text: str) -> str:
    """The same text when it is 64 lower-case hex digits. Raises: StoreError."""
    if not _SHA256.fullmatch(text):
        raise StoreError(f"{text[:80]!r} is not a sha256: 64 hex digits, 0-9 and a-f, are expected")
    return text


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds, `2026-11-05T02:00:00.000000Z`: the order of texts is the order of time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
