"""Energy of this machine's processor packages: RAPL counters as Linux shows them in /sys/class/powercap."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agents.power import EnergyReading, counted_up

POWERCAP = Path("/sys/class/powercap")

_J_PER_UJ = 1e-6


def rapl_packages(root: Path) -> list[Path]:
    """The zones of processor packages; their sub-zones (cores, memory) are inside them, or not on every machine."""
    try:
        zones = [zone for zone in root.iterdir() if zone.name.startswith("intel-rapl:") and zone.name.count(":") == 1]
        return sorted(zone for zone in zones if (zone / "name").read_text().startswith("package"))
    except OSError:
        return []


@dataclass(slots=True)
class RaplMeter:
    """Sums the packages' counters. They wrap (after hours at rest, minutes at full load), so each is followed from reading
    to reading: two readings must not lie a whole turn apart. Used by one thread.
    """

    root: Path = POWERCAP
    _last_uj: dict[str, int] = field(default_factory=dict)
    _counted_uj: int = 0

    def read(self) -> EnergyReading:
        """Joules counted since the first reading, with the source, or the reason there are none."""
        packages = rapl_packages(self.root)
        if not packages:
            there = "lists no processor package" if self.root.is_dir() else "is absent"
            return f"no RAPL counter on this machine ({self.root} {there})"
        try:
            for package in packages:
                self._count(package)
        except PermissionError:
            return "the RAPL counters of this machine are readable by root alone (energy_uj in " + str(self.root) + ")"
        except (OSError, ValueError) as error:
            return f"the RAPL counters of this machine cannot be read: {error}"
        return self._counted_uj * _J_PER_UJ, f"measured: RAPL, {len(packages)} processor package{'s' if len(packages) > 1 else ''}"

    def _count(self, package: Path) -> None:
        now_uj = int((package / "energy_uj").read_text())
        maximum_uj = int((package / "max_energy_range_uj").read_text())
        self._counted_uj += counted_up(self._last_uj.get(package.name, now_uj), now_uj, maximum_uj)
        self._last_uj[package.name] = now_uj
