"""Which variant of a model a device kind should get, and why. Pure.

Among the variants within budget on all devices of the kind, objectives decide in the order written:

    latency   A ├──●──┤
              B  ├──●──┤          A and B are not shown to differ: the next objective decides between them,
              C          ├─●──┤   C is slower and out                      then the smaller file, and the baseline last
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.run import Outcome, Role
from device_profiles.quantity import format_quantity
from orchestrator.budgets_check import shown
from orchestrator.compare_plan import SMALLEST_EFFECT
from orchestrator.statistics import Launch, ratio
from orchestrator.verdict import Budget, Choice, Estimate, Limit, Row


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant in one configuration: its rows on all devices of the kind, and the timed launches of each row."""

    rows: tuple[Row, ...]
    launches: tuple[tuple[Launch, ...], ...]

    @property
    def row(self) -> Row:
        """One of its rows: what does not depend on the device is the same in all."""
        return self.rows[0]

    def value(self, limit: Limit) -> float | None:
        """Its figure on the device where it is worst; None when a device has none."""
        values = [estimate.value if (estimate := figure(row, limit)) else None for row in self.rows]
        return None if None in values else max(value for value in values if value is not None)


def choose(rows: Sequence[Row], budget: Budget, *, launches: Mapping[str, tuple[Launch, ...]], seed: int = 0) -> Choice:
    """The choice for one model on one device kind: `rows` are all of theirs (at least one), `launches` by job. Figures of several devices: the worst."""
    first = rows[0]
    within = [each for each in _candidates(rows, launches) if _within(each, rows)]
    if not within:
        return Choice(first.model, first.device_profile, None, None, None, _why_none(rows))
    tied, notes = within, []
    for objective in budget.objectives:
        known = {index: value for index, each in enumerate(tied) if (value := each.value(objective)) is not None}
        if not known:
            notes.append(f"{objective} was not measured")
            continue
        best = tied[min(known, key=lambda index: known[index])]
        tied = [tied[index] for index in known if not _shown_worse(tied[index], best, objective, seed=seed)]
    winner = min(tied, key=lambda each: (each.row.size_bytes, each.row.role == Role.BASELINE, each.row.recipe, each.row.variant))
    row = winner.row
    why = _why(winner, tied, budget, within=len(within), of=len(_candidates(rows, launches)))
    return Choice(row.model, row.device_profile, row.variant, row.recipe, row.job_id, "; ".join([why, *notes]))


def figure(row: Row, limit: Limit) -> Estimate | None:
    """What a row says of a limited quantity."""
    match limit:
        case Limit.SIZE_BYTES:
            return Estimate(row.size_bytes, None, None)
        case _:
            estimate: Estimate | None = getattr(row, limit.value)
            return estimate


def _candidates(rows: Sequence[Row], launches: Mapping[str, tuple[Launch, ...]]) -> list[Candidate]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.variant, row.config.model_dump_json()), []).append(row)
    return [Candidate(tuple(group), tuple(launches.get(row.job_id, ()) for row in group)) for group in groups.values()]


def _within(candidate: Candidate, rows: Sequence[Row]) -> bool:
    everywhere = {row.device for row in candidate.rows} == {row.device for row in rows}
    return everywhere and all(row.outcome is Outcome.OK and row.meets_budget is True for row in candidate.rows)


def _shown_worse(one: Candidate, best: Candidate, limit: Limit, *, seed: int) -> bool:
    """Whether `one` is shown to be worse than `best` on the device where `one` is worst."""
    if one is best:
        return False
    values = [estimate.value if (estimate := figure(row, limit)) else 0.0 for row in one.rows]
    return _worse_on(one, best, values.index(max(values)), limit, seed=seed)


def _worse_on(one: Candidate, best: Candidate, index: int, limit: Limit, *, seed: int) -> bool:
    row = one.rows[index]
    other = next(place for place, candidate in enumerate(best.rows) if candidate.device == row.device)
    ours, theirs = one.launches[index], best.launches[other]
    if limit is Limit.LATENCY_P50_S and ours and theirs:
        compared, against = ratio(ours, theirs, rng=np.random.default_rng(seed)), Estimate(1.0, None)
    else:
        a, b = figure(row, limit), figure(best.rows[other], limit)
        if a is None or b is None:
            return False
        compared, against = a, b
    exact = limit in {Limit.SIZE_BYTES, Limit.ACCURACY_DROP}
    apart = abs(compared.value - against.value) > (0 if exact else SMALLEST_EFFECT * abs(against.value))
    return compared.value > against.value and apart and not _holds(compared, against.value) and not _holds(against, compared.value)


def _holds(estimate: Estimate, value: float) -> bool:
    return estimate.interval is not None and estimate.interval.low <= value <= estimate.interval.high


def _why(winner: Candidate, tied: Sequence[Candidate], budget: Budget, *, within: int, of: int) -> str:
    row = winner.row
    facts = []
    for objective in budget.objectives:
        value = winner.value(objective)
        if value is not None:
            facts.append(f"{_noun(objective)} {shown(objective, value)}")
    if row.ratio is not None and row.role != Role.BASELINE:
        facts.append(f"{row.ratio.value:.3f} × the baseline's latency{_interval(row.ratio)}")
    if Limit.SIZE_BYTES not in budget.objectives:
        facts.append(format_quantity(row.size_bytes, "B"))
    where = f" (the worst of {len(winner.rows)} devices)" if len(winner.rows) > 1 else ""
    text = f"{row.recipe}: {', '.join(facts)}{where}; {within} of {of} meet the budget"
    others = [each.row for each in tied if each is not winner]
    if others:
        names = ", ".join(each.recipe for each in others)
        noun = " and ".join(map(_noun, budget.objectives))
        smaller = row.size_bytes < min(each.size_bytes for each in others)
        text += f"; not shown to differ in {noun} from {names}{', and the smaller file' if smaller else ''}"
    return text


def _why_none(rows: Sequence[Row]) -> str:
    """Which constraints stood in the way, the one that broke most rows first."""
    broken = Counter(check.limit for row in rows for check in row.checks if check.met is False)
    reasons = []
    for limit, count in broken.most_common():
        checks = [check for row in rows for check in row.checks if check.limit is limit and check.met is False]
        least, bound = min(check.value for check in checks if check.value is not None), checks[0].bound
        reasons.append(
            f"{limit} is broken by {count} of {len(rows)} (the least of them {shown(limit, least)}, the limit {shown(limit, bound)})"
        )
    possible = [row for row in rows if row.outcome is Outcome.OK and row.meets_budget is None]
    for row in possible:
        open_checks = "; ".join(f"{check.limit}: {check.why}" for check in row.checks if check.met is None)
        reasons.append(f"{row.recipe} on {row.device} is undecided ({open_checks})")
    bad = Counter(row.outcome for row in rows if row.outcome is not Outcome.OK)
    reasons += [f"{count} of {len(rows)} ended {outcome}" for outcome, count in bad.most_common()]
    return f"no variant is known to meet the budget: {'; '.join(reasons) or 'none was measured on all devices'}"


def _noun(limit: Limit) -> str:
    return limit.value.removesuffix("_s").removesuffix("_bytes").removesuffix("_j").replace("_", " ")


def _interval(estimate: Estimate) -> str:
    if estimate.interval is None:
        return ""
    return f" (95 %: {estimate.interval.low:.3f} to {estimate.interval.high:.3f})"
