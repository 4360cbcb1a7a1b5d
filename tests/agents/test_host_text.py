"""What Linux says of itself, on recorded text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.host import proc_text
from agents.host.process_tree import Mark, parse_mark, parse_stat
from agents.host.rapl import RaplMeter, rapl_packages
from agents.power import EnergyUsed, counted_up, energy_used

PROC_STAT = """cpu  26473 7 13160 260746 1406 3 107 141 50 9
cpu0 7880 0 5071 137841 81 0 18 73 0 0
intr 479587 0 0
btime 1795531893
"""
CPUINFO_X86 = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nflags\t\t: fpu vme\n\nprocessor\t: 1\nmodel name\t: other\n"
)
CPUINFO_ARM = "processor\t: 0\nBogoMIPS\t: 38.40\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0b\n"
CPUINFO_BOARD = CPUINFO_ARM + "\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4\n"
OS_RELEASE = """PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
# ID=other
ID=debian
"""


def test_cpu_time_counts_stolen_time_as_busy_and_guests_once() -> None:
    times = proc_text.parse_cpu_times(PROC_STAT, ticks_per_s=100)
    assert times is not None
    assert times.busy_s == pytest.approx(398.91)
    assert times.total_s == pytest.approx(398.91 + 2621.52)


@pytest.mark.parametrize("text", ["", "cpu", "cpu 1 2 3\n", "cpu a b c d e f g h\n", "cpu0 1 2 3 4 5 6 7 8\n"])
def test_cpu_time_that_is_not_said_is_unknown(text: str) -> None:
    assert proc_text.parse_cpu_times(text, ticks_per_s=100) is None


def test_counters_and_sizes() -> None:
    text = "MemTotal:       24684096 kB\nHugePages_Total:       3\noom_kill 2\nbad line here\n\n"
    assert proc_text.parse_counters(text) == {"MemTotal": 24684096 * 1024, "HugePages_Total": 3, "oom_kill": 2}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (OS_RELEASE, "Debian GNU/Linux 12 (bookworm)"),
        ("NAME=Void\n", "Void"),
        ("NAME='Alpine Linux'\nVERSION_ID=3.20\n", "Alpine Linux 3.20"),
        ('PRETTY_NAME="never ends\n', '"never ends'),
        ("", None),
    ],
)
def test_os_name(text: str, name: str | None) -> None:
    assert proc_text.os_name(proc_text.parse_os_release(text)) == name


@pytest.mark.parametrize(
    ("text", "model"),
    [(CPUINFO_X86, "AMD EPYC"), (CPUINFO_ARM, "ARM implementer 0x41 part 0xd0b"), (CPUINFO_BOARD, "BCM2835"), ("processor : 0\n", None)],
)
def test_cpu_model(text: str, model: str | None) -> None:
    assert proc_text.parse_cpu_model(text) == model


@pytest.mark.parametrize(("text", "cpus"), [("0-3,8\n", (0, 1, 2, 3, 8)), ("0\n", (0,)), ("", ()), ("2-2", (2,))])
def test_cpu_lists(text: str, cpus: tuple[int, ...]) -> None:
    assert proc_text.parse_cpu_list(text) == cpus


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_text_of_any_kind_is_read(text: str) -> None:
    proc_text.parse_cpu_times(text, ticks_per_s=100)
    proc_text.parse_counters(text)
    proc_text.os_name(proc_text.parse_os_release(text))
    proc_text.parse_cpu_model(text)


def test_a_process_name_may_hold_anything() -> None:
    text = "42 (a) R 1 (b) S 7 42 43 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 98765 0 0\n"
    stat = parse_stat(text)
    assert (stat.state, stat.session, stat.started) == ("S", 43, 98765)


@pytest.mark.parametrize(
    ("environ", "mark"),
    [
        (b"A=1\0THRESHER_COMMAND=12:345:6\0B=2\0", Mark(12, 345, 6)),
        (b"XTHRESHER_COMMAND=12:345:6\0", None),
        (b"THRESHER_COMMAND=12:345\0", None),
        (b"THRESHER_COMMAND=a:b:c\0", None),
        (b"THRESHER_COMMAND=1:2:" + b"9" * 30 + b"\0", None),
        (b"", None),
    ],
)
def test_the_mark_of_a_command(environ: bytes, mark: Mark | None) -> None:
    assert parse_mark(environ) == mark
    if mark is not None:
        assert parse_mark(f"THRESHER_COMMAND={mark.text()}\0".encode()) == mark


def zone(root: Path, name: str, kind: str, energy_uj: int, maximum_uj: int = 999_999) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{maximum_uj}\n")
    return folder


def test_packages_are_summed_and_their_parts_are_not(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:1", "package-1", 200)
    zone(tmp_path, "intel-rapl:0:0", "core", 5)
    zone(tmp_path, "intel-rapl:2", "psys", 5)
    meter = RaplMeter(tmp_path)
    assert meter.read() == (0.0, "measured: RAPL, 2 processor packages")
    zone(tmp_path, "intel-rapl:0", "package-0", 1_100)
    zone(tmp_path, "intel-rapl:1", "package-1", 2_200)
    assert meter.read() == (pytest.approx(3e-3), "measured: RAPL, 2 processor packages")


def test_a_counter_that_wrapped_goes_on(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 999_990)
    meter = RaplMeter(tmp_path)
    meter.read()
    zone(tmp_path, "intel-rapl:0", "package-0", 10)
    assert meter.read() == (pytest.approx(20e-6), "measured: RAPL, 1 processor package")
    assert counted_up(999_990, 10, 999_999) == 20


@pytest.mark.parametrize("there", [False, True])
def test_no_counter_is_said_with_where_it_would_be(tmp_path: Path, there: bool) -> None:
    root = tmp_path / "powercap"
    if there:
        zone(root, "intel-rapl:0", "psys", 5)
    assert rapl_packages(root) == []
    reason = RaplMeter(root).read()
    assert isinstance(reason, str)
    assert str(root) in reason


def test_a_counter_that_says_nonsense_is_no_counter(tmp_path: Path) -> None:
    (zone(tmp_path, "intel-rapl:0", "package-0", 5) / "energy_uj").write_text("many")
    assert "cannot be read" in RaplMeter(tmp_path).read()


@pytest.mark.parametrize(
    ("before", "after", "used"),
    [
        ((1.0, "s"), (3.5, "s"), EnergyUsed(2.5, "s")),
        ("none", (3.5, "s"), "none"),
        ((1.0, "s"), "lost", "the energy counter could not be read after the run: lost"),
        ((1.0, "s"), (3.5, "t"), "the energy source changed during the run, from `s` to `t`"),
        ((3.0, "s"), (1.0, "s"), "the energy counter of `s` went back during the run"),
    ],
)
def test_energy_between_two_readings(before: object, after: object, used: object) -> None:
    assert energy_used(before, after) == used
