"""Where device profiles are found: those that ship with Thresher, and a farm's own in `device_profiles/`, which come first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from device_profiles.errors import TextFileError, UnknownProfile
from device_profiles.field_errors import did_you_mean
from device_profiles.profile import DeviceProfile
from device_profiles.strict_yaml import read_document
from device_profiles.yaml_tree import printable

HOST = "host"
_SHIPPED = Path(__file__).parent / "data"
_ENDINGS = (".yaml", ".yml")
_MAX_FILES = 10_000


def shipped_profiles() -> tuple[DeviceProfile, ...]:
    """The profiles that come with Thresher, by name. `host` is not among them: it is probed from the machine."""
    return tuple(load_file(path) for _, path in sorted(_files(_SHIPPED).items()))


def profile_files(folder: Path | None = None) -> Mapping[str, Path]:
    """The files of all profiles that can be loaded, by name: shipped, and those of `folder`, which win. Nothing is read yet."""
    return dict(sorted((_files(_SHIPPED) | (_files(folder) if folder else {})).items()))


def load_profile(name_or_path: str, *, folder: Path | None = None) -> DeviceProfile:
    """The profile of that name (in `folder`, then among the shipped), or of that file if it is a path.

    Raises: UnknownProfile, with the nearest name; TextFileError for a file that cannot be used.
    """
    if "/" in name_or_path or name_or_path.endswith(_ENDINGS):
        return load_file(Path(name_or_path))
    files = profile_files(folder)
    if path := files.get(name_or_path):
        return load_file(path)
    if name_or_path == HOST:
        raise UnknownProfile(
            "the profile of `host` is probed from this machine, not looked up: `thresher device-profile show host` shows it"
        )
    raise UnknownProfile(
        f"there is no device profile `{printable(name_or_path)}`: {did_you_mean(name_or_path, [*files, HOST], noun='profiles')}; "
        "a file of your own goes into the farm's `device_profiles/` folder"
    )


def load_file(path: Path) -> DeviceProfile:
    """The profile of one file, whose name it must have. Raises: TextFileError."""
    document = read_document(path)
    profile = document.validate(DeviceProfile)
    if profile.name != path.stem:
        raise document.error(("name",), f"is `{profile.name}`, but the file is {path.name}: name the file {profile.name}.yaml")
    if (profile.name == HOST) != (profile.platform == HOST):
        raise document.error(("platform",), "`host` is this machine, whose profile is probed: write `linux`, `android` or `ios`")
    return profile


def _files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    try:
        for number, path in enumerate(sorted(folder.iterdir())):
            if number >= _MAX_FILES:
                raise TextFileError(f"{printable(str(folder), 300)}: more than {_MAX_FILES:,} files in a folder of device profiles")
            if path.suffix in _ENDINGS and not path.name.startswith("."):
                found.setdefault(path.stem, path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TextFileError(f"{printable(str(folder), 300)}: the folder cannot be read: {error.strerror}") from None
    return found
