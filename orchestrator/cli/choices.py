"""Words from a closed set, given as text."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from device_profiles.field_errors import did_you_mean
from orchestrator.errors import UsageError

E = TypeVar("E", bound=StrEnum)


def one_of(kind: type[E], text: str, *, what: str) -> E:
    """The member of that name. Raises: UsageError with the nearest."""
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{text!r} is no {what}: {did_you_mean(text, list(kind), noun=what)}") from None
