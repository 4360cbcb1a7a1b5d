"""The measurement protocols by name: how many launches of which kind, how warm, how long.

A name and a version are part of a series' identity (`ProtocolRef`), so whatever changes what a figure means changes the
name too: `quick` is a series of its own, and so is `standard+timed10s`. More launches than the protocol's do not change
what one launch means, and keep the name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from agents.errors import ProtocolError
from agents.run import LaunchKind, ProtocolRef
from agents.runner.wire import Timed, Warmup

MAX_LAUNCHES = 1000
MAX_SECTION_S = 3600.0

_EVERY_KIND = tuple(LaunchKind)
_NO_LIMIT = 1_000_000  # iterations: a section is bounded in seconds, since 100 iterations of a fast model are over at once


@dataclass(frozen=True, slots=True)
class Protocol:
    """One measurement protocol. Sections of a launch are given in the runner's own terms (`Warmup`, `Timed`).

    `untimed` is how long memory launches iterate, `profiled` profile launches; both warm up by `brief_warmup` (the profile of a
    whole second of inferences would be huge). Clocks are sampled at `sample_hz`, memory at `memory_sample_hz`. `allowance_s` is what a launch may take for
    everything but its sections (start, loading the model, one slow inference); `golden_s` bounds a golden launch's inferences.
    `attempts` is how often a launch is made at most when it was disturbed; with `accept_disturbed` one that others on the
    machine disturbed, or that never settled, counts as it is. `minimum_launches` is what `with_overrides` accepts at least.
    """

    name: str
    version: int
    launches: int
    minimum_launches: int
    warmup: Warmup
    brief_warmup: Warmup
    timed: Timed
    clocked: Timed
    profiled: Timed
    untimed: Timed
    kinds: tuple[LaunchKind, ...] = _EVERY_KIND
    paced_interval_s: float | None = None
    memory_launches: int = 3
    sample_hz: float = 10.0
    memory_sample_hz: float = 100.0
    attempts: int = 3
    accept_disturbed: bool = False
    allowance_s: float = 120.0
    golden_s: float = 600.0

    @property
    def ref(self) -> ProtocolRef:
        """Its name and version, as records carry them."""
        return ProtocolRef(name=self.name, version=self.version)

    def with_overrides(
        self,
        *,
        launches: int | None = None,
        timed_s: float | None = None,
        warmup_s: float | None = None,
        paced_interval_s: float | None = None,
        kinds: tuple[LaunchKind, ...] | None = None,
        accept_disturbed: bool = False,
    ) -> Protocol:
        """This protocol with other settings, under another name where they change what its figures mean.

        `timed_s` and `warmup_s` are the least that those sections take. `kinds` leaves launches out, never the golden check. Raises: ProtocolError.
        """
        changed = self
        if launches is not None:
            changed = changed._with_launches(launches)
        if timed_s is not None and timed_s != changed.timed.min_s:
            _check(timed_s, "timed_s")
            changed = changed._renamed(f"timed{timed_s:g}s", timed=_at_least(changed.timed, timed_s))
        if warmup_s is not None and warmup_s != changed.warmup.min_s:
            _check(warmup_s, "warmup_s")
            longest_s = max(changed.warmup.max_s, warmup_s)
            warmup = changed.warmup.model_copy(update={"min_s": warmup_s, "max_s": longest_s})
            changed = changed._renamed(f"warmup{warmup_s:g}s", warmup=warmup)
        if paced_interval_s is not None and paced_interval_s != changed.paced_interval_s:
            _check(paced_interval_s, "paced_interval_s")
            changed = changed._renamed(f"paced{paced_interval_s:g}s", paced_interval_s=paced_interval_s)
        if accept_disturbed and not changed.accept_disturbed:
            changed = changed._renamed("disturbed", accept_disturbed=True)
        if kinds is not None:
            changed = replace(changed, kinds=tuple(kind for kind in LaunchKind if kind is LaunchKind.GOLDEN or kind in kinds))
        return changed

    def _with_launches(self, launches: int) -> Protocol:
        if not self.minimum_launches <= launches <= MAX_LAUNCHES:
            raise ProtocolError(
                f"the protocol `{self.name}` takes {self.minimum_launches} to {MAX_LAUNCHES} launches, not {launches}: a launch is "
                f"what repeats, and an interval needs several (`{QUICK.name}` takes as few as {QUICK.minimum_launches})"
            )
        if launches < self.launches:
            return self._renamed(f"launches{launches}", launches=launches)
        return replace(self, launches=launches)

    def _renamed(self, suffix: str, **changes: object) -> Protocol:
        return replace(self, name=f"{self.name}+{suffix}", **changes)  # type: ignore[arg-type]


def _check(value_s: float, field: str) -> None:
    if not 0 < value_s <= MAX_SECTION_S:
        raise ProtocolError(f"{field} is {value_s:g}: it takes more than 0 and at most {MAX_SECTION_S:g} seconds")


def _at_least(timed: Timed, timed_s: float) -> Timed:
    return timed.model_copy(update={"min_s": timed_s, "max_s": max(timed.max_s, timed_s)})


STANDARD = Protocol(
    name="standard",
    version=1,
    launches=5,
    minimum_launches=5,
    warmup=Warmup(min_iterations=10, min_s=1.0, max_iterations=_NO_LIMIT, max_s=10.0, tolerance=0.02),
    brief_warmup=Warmup(min_iterations=10, min_s=0.0, max_iterations=10, max_s=10.0),
    timed=Timed(min_iterations=50, min_s=5.0, max_iterations=_NO_LIMIT, max_s=60.0),
    clocked=Timed(min_iterations=10, min_s=5.0, max_iterations=_NO_LIMIT, max_s=60.0),
    profiled=Timed(min_iterations=60, min_s=0.0, max_iterations=60, max_s=10.0),
    untimed=Timed(min_iterations=20, min_s=0.3, max_iterations=_NO_LIMIT, max_s=10.0),
)

QUICK = replace(
    STANDARD,
    name="quick",
    launches=3,
    minimum_launches=1,
    attempts=2,
    warmup=Warmup(min_iterations=10, min_s=0.1, max_iterations=_NO_LIMIT, max_s=1.0, tolerance=0.02),
    timed=Timed(min_iterations=50, min_s=0.5, max_iterations=_NO_LIMIT, max_s=5.0),
    clocked=Timed(min_iterations=10, min_s=0.5, max_iterations=_NO_LIMIT, max_s=5.0),
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in (STANDARD, QUICK)})


def protocol_named(name: str) -> Protocol:
    """The protocol of that name. Raises: ProtocolError."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else "there are " + " and ".join(f"`{known}`" for known in PROTOCOLS)
    raise ProtocolError(f"there is no measurement protocol {name!r}: {hint}")


def plan_launches(protocol: Protocol) -> tuple[tuple[LaunchKind, int], ...]:
    """The launches of one job as (kind, round), rounds from 0: first the golden check, without which no figure is published."""
    counts = {LaunchKind.TIMED: protocol.launches, LaunchKind.MEMORY: protocol.memory_launches}
    if protocol.paced_interval_s is not None:
        counts[LaunchKind.PACED] = protocol.launches
    else:
        counts[LaunchKind.PACED] = 0
    return tuple((kind, number) for kind in LaunchKind if kind in protocol.kinds for number in range(counts.get(kind, 1)))
