from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.budget import BudgetFile
from device_profiles.errors import ProfileError, TextFileError, UnknownProfile
from device_profiles.load import load_file, load_profile, profile_files, shipped_profiles
from device_profiles.profile import DeviceProfile
from device_profiles.strict_yaml import parse_yaml

MINE = """\
name: board
platform: linux
clusters:
  - {name: little, core: Cortex-A55, cpus: [0, 1, 2, 3], max_frequency_hz: 1.8GHz}
  - {name: big, cpus: [4]}
budgets: {latency_p50_s: 5ms}
measurement: {cluster: big}
sources: {clusters: https://example.org/board}
"""


def test_the_phones_that_ship():
    profiles = {profile.name: profile for profile in shipped_profiles()}
    assert list(profiles) == ["galaxy-s23", "pixel-8"]
    pixel = profiles["pixel-8"]
    assert [(cluster.core, len(cluster.cpus)) for cluster in pixel.clusters or ()] == [
        ("Cortex-A510", 4),
        ("Cortex-A715", 4),
        ("Cortex-X3", 1),
    ]
    assert pixel.memory_bytes == 8 * 1024**3
    assert pixel.thermal_zones is None  # unknown is null, not empty
    assert profiles["galaxy-s23"].cluster("prime").max_frequency_hz == 3_360_000_000


@pytest.mark.parametrize("profile", shipped_profiles(), ids=lambda profile: profile.name)
def test_a_shipped_profile_says_where_it_is_known_from(profile: DeviceProfile):
    for fact in ("clusters", "memory_bytes", "os", "execution_providers"):
        sources = profile.sources[fact]
        assert all(source.startswith(("https://", "http://")) for source in ([sources] if isinstance(sources, str) else sources))
    cpus = sorted(cpu for cluster in profile.clusters or () for cpu in cluster.cpus)
    assert cpus == list(range(len(cpus)))
    assert DeviceProfile.model_validate_json(profile.model_dump_json()) == profile


def test_a_farms_own_profiles_come_first(tmp_path: Path):
    (tmp_path / "board.yaml").write_text(MINE)
    (tmp_path / "pixel-8.yaml").write_text("name: pixel-8\nplatform: android\nmemory_bytes: 1GiB\n")
    (tmp_path / ".hidden.yaml").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert list(profile_files(tmp_path)) == ["board", "galaxy-s23", "pixel-8"]
    board = load_profile("board", folder=tmp_path)
    assert board.budgets == BudgetFile({"latency_p50_s": 0.005})
    assert board.clusters is not None
    assert board.clusters[0].max_frequency_hz == 1_800_000_000
    assert load_profile("pixel-8", folder=tmp_path).memory_bytes == 1024**3
    assert load_profile("pixel-8", folder=tmp_path / "gone").memory_bytes == 8 * 1024**3
    assert load_profile(str(tmp_path / "board.yaml")) == board


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("pixel8", "did you mean `pixel-8`?"),
        ("host", "is probed from this machine"),
        ("", "profiles: galaxy-s23"),
        ("\x1b[31m\n", "`\\x1b[31m\\n`"),
        ("..", "profiles: galaxy-s23"),
    ],
)
def test_a_name_that_is_not_there(name, part):
    with pytest.raises(UnknownProfile) as caught:
        load_profile(name)
    assert part in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("platform: linux", "platform: linx", "line 2, column 1: `platform` cannot be `linx`: did you mean `linux`?"),
        ("platform: linux", "platform: host", "whose profile is probed"),
        ("name: board", "name: bord", "but the file is board.yaml"),
        ("name: board", "name: Board 1", "needs a name of small letters"),
        ("name: board", "name: size_bytes", "the name of a budget limit"),
        ("cpus: [4]", "cpus: [3]", "has CPU 3 in two clusters"),
        ("cpus: [4]", "cpus: []", "`clusters[1].cpus` needs 1 or more entries"),
        ("{name: big,", "{name: little,", "two clusters of the same name"),
        ("cluster: big", "cluster: bigg", "did you mean `big`?"),
        ("1.8GHz", "1.8Gz", "units: Hz, kHz, MHz, GHz"),
        ("sources: {clusters:", "sources: {cluster:", "did you mean `clusters`?"),
        ("latency_p50_s", "latncy_p50_s", "did you mean `latency_p50_s`?"),
    ],
)
def test_a_mistake_in_a_profile(tmp_path: Path, old, new, part):
    path = tmp_path / "board.yaml"
    path.write_text(MINE.replace(old, new))
    with pytest.raises(TextFileError) as caught:
        load_file(path)
    assert part in str(caught.value)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_mistyped_profile_is_read_or_refused(data):
    at = data.draw(st.integers(0, len(MINE)))
    text = MINE[:at] + data.draw(st.text(max_size=5)) + MINE[at + data.draw(st.integers(0, 8)) :]
    try:
        parse_yaml(text, DeviceProfile, source="board.yaml")
    except ProfileError as error:
        assert str(error).isprintable()
