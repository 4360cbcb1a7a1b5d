"""What is concluded of a campaign: rows, budgets, the Pareto front, the chosen variants."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agents.run import Outcome, RunConfig


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval in the unit of what it goes with."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; `interval` is None where there is too little to give one (`why` says so)."""

    value: float
    interval: Interval | None
    why: str | None = None


class Limit(StrEnum):
    """What a budget limits."""

    LATENCY_P50_S = "latency_p50_s"
    LATENCY_P90_S = "latency_p90_s"
    PEAK_MEMORY_BYTES = "peak_memory_bytes"
    SIZE_BYTES = "size_bytes"
    ENERGY_PER_INFERENCE_J = "energy_per_inference_j"
    ACCURACY_DROP = "accuracy_drop"


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits that hold (`constraints`, each an upper bound in SI units) and what to minimise, in order of importance.

    `sources` says for each limit where it was written: "campaign", "model" or "device profile".
    """

    constraints: tuple[tuple[Limit, float], ...] = ()
    objectives: tuple[Limit, ...] = (Limit.LATENCY_P50_S,)
    sources: tuple[tuple[Limit, str], ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetCheck:
    """One constraint on one row: `met` is None when undecided; `why` says what it would take to decide."""

    limit: Limit
    bound: float
    value: float | None
    worst: float | None
    met: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in one configuration on one device. Absent values are None, the reason in `why`."""

    model: str
    variant: str
    recipe: str
    role: str
    device: str
    device_profile: str
    config: RunConfig
    job_id: str
    outcome: Outcome
    why: str | None
    size_bytes: int
    accuracy: float | None
    accuracy_metric: str
    accuracy_drop: Estimate | None
    latency_p50_s: Estimate | None
    latency_p90_s: Estimate | None
    ratio: Estimate | None
    peak_memory_bytes: Estimate | None
    memory_definition: str | None
    session_load_s: float | None
    first_inference_s: float | None
    energy_per_inference_j: Estimate | None
    power_source: str | None
    launches_ok: int
    launches_bad: int
    tainted: int
    checks: tuple[BudgetCheck, ...]
    meets_budget: bool | None
    on_front: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen variant of a model on a device kind, or None with the reason."""

    model: str
    device_profile: str
    variant: str | None
    recipe: str | None
    job_id: str | None
    why: str


class Comparison(StrEnum):
    """What a paired comparison of two variants shows: of B relative to A."""

    FASTER = "faster"  # the interval of the ratio excludes 1 and the effect exceeds the minimum that is called
    SLOWER = "slower"  # likewise, the other way
    NO_DIFFERENCE_SHOWN = "no difference shown"  # neither; says nothing about differences smaller than the interval
