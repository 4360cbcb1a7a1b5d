"""Whether a row meets its budget: yes, no, or not decided yet and what it would take. Pure.

──────[═══●═══]──────│──────    met: even the unfavourable end is within the bound
──────────────│──[═══●═══]──    not met: even the favourable end is beyond it
──────────[═══●══│]─────────    undecided: more launches (or samples) would tell
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from agents.run import Outcome
from device_profiles.metrics import METRICS
from device_profiles.quantity import format_quantity
from orchestrator.critical_values import student_95
from orchestrator.verdict import Budget, BudgetCheck, Estimate, Limit

SINGLE_MARGIN = 0.1
"""How far from the bound, as a share of it, one memory launch decides: memory differs little between launches."""

_MOST_LAUNCHES = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """What is known of one limited quantity; `count` launches or samples gave it, and `why` says why there is none."""

    estimate: Estimate | None
    why: str | None = None
    count: int = 0
    replicate: Literal["launch", "sample", "none"] = "launch"


def check_budget(budget: Budget, figures: Mapping[Limit, Figure]) -> tuple[BudgetCheck, ...]:
    """One check a constraint, in the order written; a limit without a figure counts as not measured."""
    return tuple(check(limit, bound, figures.get(limit, Figure(None))) for limit, bound in budget.constraints)


def meets_budget(checks: Iterable[BudgetCheck], outcome: Outcome) -> bool | None:
    """False when a constraint is broken, else None when one is undecided or the row is not OK, else True."""
    met = [each.met for each in checks]
    if False in met:
        return False
    return True if outcome is Outcome.OK and None not in met else None


def check(limit: Limit, bound: float, figure: Figure) -> BudgetCheck:
    """One constraint: `worst` is the unfavourable end of the interval, or the value where there is no interval."""
    estimate = figure.estimate
    if estimate is None:
        return BudgetCheck(limit, bound, None, None, None, f"not measured: {figure.why or 'no figure'}")
    interval = estimate.interval
    if interval is None:
        met, why = _without_interval(limit, bound, figure, estimate)
        return BudgetCheck(limit, bound, estimate.value, estimate.value, met, why)
    if interval.high <= bound:
        met, why = True, f"at most {shown(limit, interval.high)} (95 %), within {shown(limit, bound)}"
    elif interval.low > bound:
        met, why = False, f"at least {shown(limit, interval.low)} (95 %), above {shown(limit, bound)}"
    else:
        ends = f"95 %: {shown(limit, interval.low)} to {shown(limit, interval.high)}"
        met, why = None, f"{shown(limit, estimate.value)} ({ends}) around {shown(limit, bound)}; {_what_it_takes(bound, figure, estimate)}"
    return BudgetCheck(limit, bound, estimate.value, interval.high, met, why)


def shown(limit: Limit, value: float) -> str:
    """A value of a limited quantity for people."""
    return format_quantity(value, METRICS[limit.value].unit)


def _without_interval(limit: Limit, bound: float, figure: Figure, estimate: Estimate) -> tuple[bool | None, str]:
    value, met = estimate.value, estimate.value <= bound
    text = f"{shown(limit, value)}, {'within' if met else 'above'} {shown(limit, bound)}"
    if figure.replicate == "none":
        return met, text
    if figure.replicate == "sample":
        return met, f"{text}; by the value alone: {estimate.why or 'there is no interval'}"
    if limit is Limit.PEAK_MEMORY_BYTES and abs(value - bound) >= SINGLE_MARGIN * bound:
        return met, f"{text} by more than {SINGLE_MARGIN:.0%}; one launch, no interval"
    more = max(1, 2 - figure.count)
    return None, f"{shown(limit, value)} from one launch has no interval; {more} more launch would give one"


def _what_it_takes(bound: float, figure: Figure, estimate: Estimate) -> str:
    """About how many replicates would narrow the interval until it leaves the bound out, if the value stayed as it is."""
    assert estimate.interval is not None
    gap = abs(estimate.value - bound)
    half = estimate.interval.high - estimate.value if estimate.value <= bound else estimate.value - estimate.interval.low
    if gap == 0:
        return "the value is the bound itself, and no more measuring decides that"
    if figure.replicate == "sample":
        more = math.ceil(max(1, figure.count) * (half / gap) ** 2) - figure.count
        return f"about {more:,} more samples would decide, if the value stays"
    wanted = launches_for(half, gap, count=figure.count)
    if wanted is None:
        return f"more than {_MOST_LAUNCHES:,} launches would be needed: the value is too near the bound"
    more = wanted - figure.count
    return f"about {more:,} more launch{'es' if more > 1 else ''} would decide, if the value stays"


def launches_for(half: float, gap: float, *, count: int) -> int | None:
    """How many launches bring a half-width of `half` (from `count` of them) down to `gap`; None beyond 1,000."""
    start = max(2, count)

    def width(launches: int) -> float:
        return student_95(launches - 1) / math.sqrt(launches)

    target = width(start) * gap / half
    return next((launches for launches in range(start + 1, _MOST_LAUNCHES + 1) if width(launches) <= target), None)
