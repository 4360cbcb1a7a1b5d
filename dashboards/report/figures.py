"""Numbers and names as text for people: three digits with a unit, and nothing that could hide or reorder what is read."""

from __future__ import annotations

import math
import unicodedata

from dashboards.report.page import Figure
from device_profiles.quantity import format_quantity

ABSENT = "–"

_KEPT = frozenset("\u00a0\u202f\u200c\u200d")  # spaces that do not break, and what joins letters and emoji
_FSI, _PDI = "\u2068", "\u2069"


def visible(text: str) -> str:
    """The text with line breaks as spaces and every other character that is not seen (controls, marks that reorder) written out."""
    if text.isprintable():
        return text
    return "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    if char.isprintable() or char in _KEPT:
        return char
    if char in "\t\n\r\u2028\u2029\u0085":
        return " "
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def short(text: str, limit: int) -> str:
    """The visible text in at most about `limit` columns, cut in the middle: what tells names apart is often at their end."""
    text = visible(text)
    if columns(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{_taken(text, limit - 1 - half)}…{_taken(text[::-1], half)[::-1]}"


def _taken(text: str, limit: int) -> str:
    taken = ""
    for char in text:
        if columns(taken + char) > limit:
            break
        taken += char
    return taken


def columns(text: str) -> int:
    """How wide the text is, in Latin letters: Chinese characters and emoji count two, combining marks none."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def isolated(text: str) -> str:
    """The text, set apart with Unicode's isolates (UAX 9, section 2.4) when it holds letters that run from right to left."""
    runs_left = any(unicodedata.bidirectional(char) in {"R", "AL", "AN"} for char in text)
    return f"{_FSI}{text}{_PDI}" if runs_left else text


def quantity(value: float | None, unit: str) -> str:
    """A value in an SI unit: `1.23 ms`, `–` when there is none. Ratios and scores (unit `1`) keep three decimals."""
    if value is None:
        return ABSENT
    if unit == "1":
        return number(value)
    return format_quantity(value, unit).replace(" ", "\u00a0").replace("-", "−")


def number(value: float) -> str:
    """A bare number: `0.987`, four decimals below 0.1, `0` only for zero itself."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    if size >= 1e5 or size < 1e-3:
        text = f"{value:.{3 if size >= 1 else 2}g}"
    else:
        text = f"{value:.{4 if size < 0.1 else 3 if size < 10 else 2 if size < 100 else 0}f}"
    return text.replace("-", "−")


def interval(figure: Figure, unit: str) -> str:
    """The 95 % interval, `1.20 to 1.26 ms`; empty where there is none."""
    if not figure.has_interval:
        return ""
    low, high = quantity(figure.low, unit), quantity(figure.high, unit)
    same_unit = "\u00a0" in low and low.rpartition("\u00a0")[2] == high.rpartition("\u00a0")[2]
    return f"{low.rpartition(chr(0xA0))[0] if same_unit else low}\u00a0to\u00a0{high}"


def share(value: float) -> str:
    """A share as a percentage without needless digits: `12 %`, `0.3 %`."""
    percent = abs(value) * 100
    return f"{percent:.{0 if percent >= 10 else 1 if percent >= 0.95 else 2}f}\u00a0%"


def duration(seconds: float) -> str:
    """How long something took, to the second: `2 min 5 s`, `1 h 3 min`."""
    if seconds < 60:
        return f"{seconds:.0f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min" + (f" {rest}\u00a0s" if rest else "")
    return f"{minutes // 60}\u00a0h" + (f" {minutes % 60}\u00a0min" if minutes % 60 else "")


def moment(iso: str) -> str:
    """A UTC time stamp in ISO 8601 to the second: `2026-11-24 15:42:33`."""
    return iso[:19].replace("T", " ")


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 launch`, `3 launches` (with `many` given)."""
    return f"{count:,}\u00a0{noun if count == 1 else many or noun + 's'}"
