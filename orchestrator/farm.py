"""`farm.yaml`: this site's database, store and devices. The farm is the folder it stands in, found upwards as git finds its own."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from device_profiles.errors import TextFileError
from device_profiles.field_errors import did_you_mean
from device_profiles.label import Label, Slug, check_label
from device_profiles.strict_yaml import Document, read_document
from device_profiles.yaml_tree import printable
from orchestrator.address import Address, LocalAddress, parse_address
from orchestrator.errors import ConfigError, NotFound

FARM_FILE = "farm.yaml"
STATE_FOLDER = ".thresher"
HOST = "host"
"""The name of the implicit device, and of the profile that is probed from the machine."""

_SECRET_WORDS = ("password", "passwd", "pwd", "secret", "token", "key")

VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


def _no_secret(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"`{printable(url)}` is not a URL") from None
    if any(char.isspace() for char in url if char != " ") or not url.isprintable():
        raise ValueError("holds characters that do not belong in a URL")
    named = [name.casefold() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if parts.password is not None or any(word in name for name in named for word in _SECRET_WORDS):
        raise ValueError(
            "holds a password: secrets do not belong in a file. Put the whole URL into an environment variable "
            "and write its name instead, as `database_env: NAME` (or `store_env: NAME`)"
        )
    return url


Url = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_no_secret)]
AddressText = Annotated[str, AfterValidator(lambda text: str(parse_address(text)))]


class DeviceEntry(BaseModel):
    """One device of the site."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Label = Field(description="what the device is called in tables and records")
    address: AddressText = Field(
        description="`local:`, `adb:SERIAL[@HOST:PORT]`, `adb-tcp:HOST:PORT` or `usbmux:UDID[@HOST:PORT]`; "
        "HOST:PORT is the adb server's or usbmuxd's where it is not this machine's own"
    )
    profile: Slug = Field(default=HOST, description="device profile (`thresher device-profile list`); `host` only for `local:`")
    tags: tuple[Label, ...] = Field(default=(), description="words that campaigns can select devices by")

    @model_validator(mode="after")
    def _profile_fits(self) -> DeviceEntry:
        if (self.profile == HOST) != (self.address == str(LocalAddress())):
            wanted = (
                "the profile `host`" if self.profile != HOST else "a device profile (`profile: NAME`; see `thresher device-profile list`)"
            )
            raise ValueError(f"a device at `{self.address}` needs {wanted}")
        return self


class FarmFile(BaseModel):
    """The site: where records and artifacts are kept, and the devices. Every key may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: Url | None = Field(
        default=None, description="`sqlite:///PATH` or `postgresql://USER@HOST/NAME`; default: `.thresher/farm.db` beside this file"
    )
    database_env: VariableName | None = Field(default=None, description="environment variable that holds the database URL")
    store: Url | None = Field(
        default=None,
        description="where artifacts are kept: a folder, or an fsspec URL such as `s3://bucket/folder`; default: `.thresher/store`",
    )
    store_env: VariableName | None = Field(default=None, description="environment variable that holds the store's URL")
    lab_host: Label | None = Field(default=None, description="name of this machine among the lab hosts; default: its host name")
    devices: tuple[DeviceEntry, ...] = Field(default=(), description="the devices; `host`, this machine, is always one of them")

    @field_validator("devices")
    @classmethod
    def _distinct(cls, devices: tuple[DeviceEntry, ...]) -> tuple[DeviceEntry, ...]:
        for what in ("name", "address"):
            seen: set[str] = set()
            for device in devices:
                value = getattr(device, what)
                if value in seen:
                    raise ValueError(f"two devices have the {what} `{value}`: each device is written once")
                seen.add(value)
        named = next((device for device in devices if device.name == HOST and device.profile != HOST), None)
        if named is not None:
            raise ValueError(f"`{HOST}` is the name of this machine: give the device at `{named.address}` another name")
        return devices

    @model_validator(mode="after")
    def _one_source(self) -> FarmFile:
        for name in ("database", "store"):
            if getattr(self, name) is not None and getattr(self, f"{name}_env") is not None:
                raise ValueError(f"both `{name}` and `{name}_env` are given: keep one of them")
        return self


@dataclass(frozen=True, slots=True)
class FarmDevice:
    """A device of the farm: its kind and how to reach it."""

    name: str
    profile: str
    address: Address
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Farm:
    """A farm as it is used: `root` is its folder, all URLs are complete."""

    root: Path
    file: Path
    database_url: str
    store_url: str
    lab_host: str
    devices: tuple[FarmDevice, ...]

    @property
    def state_dir(self) -> Path:
        """Where Thresher keeps its own files of this farm; may not exist yet."""
        return self.root / STATE_FOLDER

    @property
    def profiles_dir(self) -> Path:
        """Where the user's own device profiles are; may not exist."""
        return self.root / "device_profiles"

    def device(self, name: str) -> FarmDevice:
        """The device of that name. Raises: NotFound."""
        for device in self.devices:
            if device.name == name:
                return device
        names = [printable(device.name) for device in self.devices]
        raise NotFound(f"{printable(str(self.file), 300)} has no device `{printable(name)}`: {did_you_mean(name, names, noun='devices')}")


def find_farm(start: Path, *, override: Path | None = None, environment: Mapping[str, str] | None = None) -> Farm:
    """The farm of a folder: `farm.yaml` in it or above it, or what `override` names (the file or its folder). Raises: ConfigError."""
    file = _overridden(override) if override is not None else _upwards(start)
    return load_farm(file, environment=os.environ if environment is None else environment)


def load_farm(file: Path, *, environment: Mapping[str, str]) -> Farm:
    """The farm that a `farm.yaml` describes. Raises: ConfigError."""
    file = file.absolute()
    try:
        document = read_document(file)
        written = document.validate(FarmFile)
        return _resolve(written, document, file, environment)
    except TextFileError as error:
        raise ConfigError(str(error)) from None


def _overridden(path: Path) -> Path:
    try:
        return path / FARM_FILE if path.is_dir() else path
    except (OSError, ValueError) as error:
        raise ConfigError(f"the farm {printable(str(path), 300)} cannot be read: {printable(str(error), 200)}") from None


def _upwards(start: Path) -> Path:
    for folder in (start.absolute(), *start.absolute().parents):
        try:
            if (folder / FARM_FILE).is_file():
                return folder / FARM_FILE
        except OSError:  # a folder that may not be searched holds no farm of this user
            continue
    raise ConfigError(
        f"there is no {FARM_FILE} in {printable(str(start.absolute()), 300)} or above it: "
        "`thresher init DIR` makes a farm in a folder, `--farm PATH` names one elsewhere"
    )


def _resolve(written: FarmFile, document: Document, file: Path, environment: Mapping[str, str]) -> Farm:
    root = file.parent
    database = _chosen(document, "database", written.database, written.database_env, environment)
    store = _chosen(document, "store", written.store, written.store_env, environment)
    return Farm(
        root=root,
        file=file,
        database_url=_database_url(document, database, root),
        store_url=_store_url(store, root),
        lab_host=written.lab_host or _host_name(),
        devices=_devices(written.devices),
    )


def _chosen(document: Document, name: str, url: str | None, variable: str | None, environment: Mapping[str, str]) -> str | None:
    if variable is None:
        return url
    value = environment.get(variable, "").strip()
    if not value:
        raise document.error((f"{name}_env",), f"names the environment variable {variable}, which is not set")
    return value


def _database_url(document: Document, url: str | None, root: Path) -> str:
    """A complete URL: a relative SQLite path is relative to the farm."""
    if url is not None and not url.startswith("sqlite:"):
        if "://" not in url:
            raise document.error(("database",), "is not a database URL: write `sqlite:///PATH` or `postgresql://USER@HOST/NAME`")
        return url
    written = f"{STATE_FOLDER}/farm.db" if url is None else url.removeprefix("sqlite:").removeprefix("///")
    if not written or written.startswith("//") or written == ":memory:":
        raise document.error(
            ("database",), "needs the path of a file: `sqlite:///PATH`, relative to this file or absolute with four slashes"
        )
    return f"sqlite:///{quote(os.path.normpath(root / written))}"


def _store_url(url: str | None, root: Path) -> str:
    if url is not None and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url) and not url.startswith("file:"):
        return url
    written = f"{STATE_FOLDER}/store" if url is None else url.removeprefix("file:").removeprefix("//")
    return f"file://{os.path.normpath(root / written)}"


def _host_name() -> str:
    name = socket.gethostname()[:64]
    try:
        return check_label(name)
    except ValueError:
        return "localhost"


def _devices(entries: tuple[DeviceEntry, ...]) -> tuple[FarmDevice, ...]:
    """The devices in the order written, after this machine where it is not one of them."""
    written = tuple(FarmDevice(entry.name, entry.profile, parse_address(entry.address), entry.tags) for entry in entries)
    implicit = () if any(device.profile == HOST for device in written) else (FarmDevice(HOST, HOST, LocalAddress()),)
    return implicit + written
