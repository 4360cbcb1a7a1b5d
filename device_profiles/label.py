"""Names that people give: shown as they are, never used as a path."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from device_profiles.yaml_tree import printable

MAX_LABEL = 64

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def check_label(text: str) -> str:
    """The text, if it is one line of at most 64 characters with nothing that a terminal would obey. Raises: ValueError."""
    for char in text:
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _REORDERING:
            raise ValueError(f"holds the control character U+{ord(char):04X}: a name is one line of printable characters")
    if text != text.strip() or not text:
        raise ValueError("is blank, or has spaces around it: a name begins and ends with a visible character")
    if len(text) > MAX_LABEL:
        raise ValueError(f"is {len(text)} characters long: a name has at most {MAX_LABEL}")
    return text


Label = Annotated[str, AfterValidator(check_label)]
"""A name for people: one line of at most 64 printable characters."""


def check_slug(text: str) -> str:
    """The text, if it can be the name of a file on any system. Raises: ValueError."""
    if not _SLUG.fullmatch(text):
        raise ValueError(f"needs a name of small letters, digits, `.`, `_` and `-` (at most {MAX_LABEL}), not `{printable(text, 40)}`")
    return text


Slug = Annotated[str, AfterValidator(check_slug), WithJsonSchema({"type": "string", "pattern": f"^{_SLUG.pattern}$"})]
"""A name that is also the name of a file: small letters, digits, `.`, `_` and `-`, at most 64."""
