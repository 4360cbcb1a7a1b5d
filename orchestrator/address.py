"""How a device is reached: `local:`, `adb:SERIAL[@HOST:PORT]`, `adb-tcp:HOST:PORT`, `usbmux:UDID[@HOST:PORT]`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from device_profiles.field_errors import did_you_mean
from device_profiles.yaml_tree import printable

FORMS = ("local:", "adb:SERIAL[@HOST:PORT]", "adb-tcp:HOST:PORT", "usbmux:UDID[@HOST:PORT]")

# Never a leading dash: these become arguments of commands. Blanks and brackets occur in adb's names of wireless devices.
_SERIAL = re.compile(r"[A-Za-z0-9_\[(][A-Za-z0-9._:()\[\] -]{0,127}")
_UDID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP port of a host."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """This machine."""

    def __str__(self) -> str:
        return "local:"


@dataclass(frozen=True, slots=True)
class AdbAddress:
    """A device behind an adb server; `server` None: the one of this machine."""

    serial: str
    server: Endpoint | None = None

    def __str__(self) -> str:
        return f"adb:{self.serial}" + (f"@{self.server}" if self.server else "")


@dataclass(frozen=True, slots=True)
class AdbTcpAddress:
    """A device whose adbd listens on TCP, reached without a server."""

    endpoint: Endpoint

    def __str__(self) -> str:
        return f"adb-tcp:{self.endpoint}"


@dataclass(frozen=True, slots=True)
class UsbmuxAddress:
    """An iOS device behind usbmuxd; `server` None: the one of this machine."""

    udid: str
    server: Endpoint | None = None

    def __str__(self) -> str:
        return f"usbmux:{self.udid}" + (f"@{self.server}" if self.server else "")


Address = LocalAddress | AdbAddress | AdbTcpAddress | UsbmuxAddress


def parse_address(text: str) -> Address:
    """The address that a text means; `str()` of it gives the text again. Raises: ValueError with the forms there are."""
    kind, colon, rest = text.partition(":")
    match kind if colon else None:
        case "local" if not rest:
            return LocalAddress()
        case "adb":
            serial, server = _split(rest, text)
            return AdbAddress(_checked(_SERIAL, serial, text, "a serial number as `adb devices` lists it"), server)
        case "adb-tcp":
            return AdbTcpAddress(_endpoint(rest, text))
        case "usbmux":
            udid, server = _split(rest, text)
            return UsbmuxAddress(_checked(_UDID, udid, text, "a UDID of letters, digits and dashes"), server)
        case _:
            kinds = [form.partition(":")[0] + ":" for form in FORMS]
            raise ValueError(f"`{printable(text)}` is not an address: {did_you_mean(kind + ':', kinds, noun='kinds')} ({', '.join(FORMS)})")


def _split(rest: str, text: str) -> tuple[str, Endpoint | None]:
    name, at, server = rest.rpartition("@")
    return (name, _endpoint(server, text)) if at else (rest, None)


def _checked(pattern: re.Pattern[str], value: str, text: str, wanted: str) -> str:
    if pattern.fullmatch(value) and value == value.strip():
        return value
    raise ValueError(f"`{printable(text)}` is not an address: `{printable(value)}` is not {wanted}")


def _endpoint(value: str, text: str) -> Endpoint:
    host, _, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"`{printable(text)}` is not an address: it needs HOST:PORT with a port from 1 to 65535")
    try:
        host = str(ipaddress.IPv6Address(host[1:-1])) if bracketed else host
    except ValueError:
        raise ValueError(f"`{printable(text)}` is not an address: `{printable(host)}` is not an IPv6 address") from None
    if not bracketed and not _HOST.fullmatch(host):
        raise ValueError(f"`{printable(text)}` is not an address: `{printable(host)}` is not a host name (IPv6 stands in brackets)")
    return Endpoint(host, int(port))
