"""Records without what identifies a site: device names, addresses and serial numbers, host names, folders."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_KEYS = {"device": "device", "address": "address", "serial": "serial", "udid": "serial", "lab_host": "host", "hostname": "host"}
"""Keys whose text is replaced as a whole, with the word that takes its place."""

_DEVICE_FOLDERS = {"device", "devices"}  # under these keys, `name` is a device's
_FIXED = {
    "platform",
    "profile",
    "device_profile",
    "kind",
    "role",
    "outcome",
    "model",
    "recipe",
    "provider",
}  # names of kinds, not of a site
_SHORTEST = 5  # shorter names (`host`, `a12`) are words that occur by themselves
_PATH = re.compile(r"(?<![\w.:/])/(?:[^/\s\"'`]+/)+([^/\s\"'`]*)")
_ADDRESS_PARTS = re.compile(r"[:@]")


@dataclass(frozen=True, slots=True)
class Redactor:
    """Replaces the same name by the same pseudonym, `device-1f2e3d4c`, that depends on a secret salt.

    Model names, recipes and measurements stay. Folders of absolute paths become `…`.
    """

    salt: bytes
    names: Mapping[str, str]

    def pseudonym(self, name: str, word: str) -> str:
        """What stands for a name."""
        return f"{word}-{hmac.new(self.salt, name.encode(errors='surrogatepass'), hashlib.sha256).hexdigest()[:8]}"

    def redact(self, value: object, key: str = "", *, under: str = "") -> object:
        """A JSON value without them; `key` is the name it stands under, `under` that of the object it is in."""
        if isinstance(value, Mapping):
            return {self._text(name): self.redact(inner, name, under=key) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.redact(inner, key, under=under) for inner in value]
        if not isinstance(value, str) or key in _FIXED:
            return value
        word = _word(key, under)
        return self.pseudonym(value, word) if word else self._text(value)

    def _text(self, text: str) -> str:
        if text.startswith("/"):
            return f"…/{text.rsplit('/', 1)[-1]}"
        for name, word in self.names.items():
            if name in text:
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", self.pseudonym(name, word), text)
        return _PATH.sub(r"…/\1", text)


def identifying_names(values: Iterable[object]) -> dict[str, str]:
    """Names to look for in free text, longest first, with what each is: those that stand under a telling key."""
    names: dict[str, str] = {}
    for value in values:
        _collect(value, "", "", names)
    return dict(sorted(((name, word) for name, word in names.items() if len(name) >= _SHORTEST), key=lambda item: -len(item[0])))


def _collect(value: object, key: str, under: str, names: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _collect(inner, name, key, names)
    elif isinstance(value, list):
        for inner in value:
            _collect(inner, key, under, names)
    elif isinstance(value, str) and key not in _FIXED and (word := _word(key, under)):
        parts = _ADDRESS_PARTS.split(value)[1:] if key == "address" else []  # what follows the scheme: serial, host, port
        if key != "address" or any(parts):  # `local:` is nobody's
            names.setdefault(value, word)
        for part in parts:
            if not (part.isdigit() and len(part) <= _SHORTEST):
                names.setdefault(part, "serial")


def _word(key: str, under: str) -> str | None:
    return "device" if key == "name" and under in _DEVICE_FOLDERS else _KEYS.get(key)
