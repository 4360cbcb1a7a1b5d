"""`thresher device-profile`: kinds of devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import FarmOption, FormatOption
from orchestrator.cli.output import Column, Format, print_record, print_table, say

if TYPE_CHECKING:
    from device_profiles.profile import DeviceProfile

app = typer.Typer(no_args_is_help=True, help="Kinds of devices: what they have, and where that is known from.")


@app.command("list", epilog="Example:  thresher device-profile list")
def list_profiles(farm: FarmOption = None, format: FormatOption = Format.TABLE) -> None:
    """List the device profiles that ship, and the farm's own. `host` is probed from this machine."""
    from device_profiles.load import load_profile, profile_files

    folder = _own(farm)
    profiles = [_probe(), *(load_profile(name, folder=folder) for name in profile_files(folder))]
    if format is Format.JSON:
        for profile in profiles:
            print_record("device-profile", profile.model_dump(mode="json"))
        return
    rows = [
        [p.name, p.platform, p.soc or "unknown", "unknown" if p.memory_bytes is None else f"{p.memory_bytes / 2**30:.1f}", p.description]
        for p in profiles
    ]
    print_table("", [Column("name"), Column("platform"), Column("SoC"), Column("memory GiB", right=True), Column("description")], rows)


@app.command(epilog="Example:  thresher device-profile show pixel-8")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A profile's name or file; `host` is this machine.")],
    farm: FarmOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show a device profile: every fact with its source; what is not known says so."""
    from device_profiles.load import load_profile

    profile = _probe() if name == "host" else load_profile(name, folder=_own(farm))
    if format is Format.JSON:
        print_record("device-profile", profile.model_dump(mode="json"))
        return
    rows = [[field, _text(value), _sources(profile, field)] for field, value in profile if field not in {"sources"}]
    print_table("", [Column("fact"), Column("value"), Column("source")], rows)


@app.command(epilog="Example:  thresher device-profile validate device_profiles/my-phone.yaml")
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Profile files.")], format: FormatOption = Format.TABLE
) -> None:
    """Check profile files. Exit code 2 at the first that cannot be used, with line and field."""
    from device_profiles.load import load_file

    for file in files:
        profile = load_file(file)
        if format is Format.JSON:
            print_record("device-profile", {"path": str(file), "name": profile.name, "valid": True})
        else:
            say(f"{file}: {profile.name} is valid")


def _own(farm: Path | None) -> Path | None:
    """The folder of the farm's own profiles, where there is a farm."""
    from orchestrator.errors import ConfigError
    from orchestrator.farm import find_farm

    try:
        return find_farm(Path.cwd(), override=farm).profiles_dir
    except ConfigError:
        if farm is not None:
            raise
        return None


def _probe() -> DeviceProfile:
    from agents.host.probe import probe_host

    return probe_host()


def _text(value: object) -> str:
    from pydantic import BaseModel

    match value:
        case None:
            return "unknown"
        case BaseModel():
            parts = [f"{key} {_text(part)}" for key, part in value.model_dump(mode="json").items() if part is not None]
            return ", ".join(parts) or "none"
        case list() | tuple():
            return "; ".join(map(_text, value)) or "none"
        case dict():
            return ", ".join(f"{key} {_text(part)}" for key, part in value.items()) or "none"
        case _:
            return str(value)


def _sources(profile: DeviceProfile, field: str) -> str:
    found = profile.sources.get(field, "")
    return found if isinstance(found, str) else " ".join(found)
