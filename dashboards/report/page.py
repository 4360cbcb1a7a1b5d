"""What a report shows, as values: plain text and numbers in SI units, already translated from records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """A number in SI units with its 95 % interval. `value` None is absent: `why` says why. With a value, `why` is a remark."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str | None = None

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return self.value is not None and self.low is not None and self.high is not None


@dataclass(frozen=True, slots=True)
class Check:
    """One limit of the budget on one row; `metric` is a name of METRICS, `source` says who set the limit."""

    metric: str
    bound: float
    value: float | None
    worst: float | None
    met: bool | None
    why: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """One process on the device. `offset_s` is since the group's first launch; `counts` is false for one set aside (`outcome`, `why`).

    `p10_s` to `p90_s` are of its iterations; None where it timed nothing or too little.
    """

    kind: str
    round: int
    attempt: int
    started_at: str
    offset_s: float
    outcome: str
    why: str | None = None
    counts: bool = True
    iterations: int | None = None
    p10_s: float | None = None
    p50_s: float | None = None
    p90_s: float | None = None
    session_load_s: float | None = None
    first_inference_s: float | None = None
    others_busy: float | None = None
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in one configuration on one device. `number` names it in its group's charts; `figures` is by metric name."""

    number: int
    recipe: str
    role: str
    config: str
    variant: str | None
    outcome: str
    why: str | None
    figures: Mapping[str, Figure]
    checks: tuple[Check, ...] = ()
    meets_budget: bool | None = None
    on_front: bool = False
    chosen: bool = False
    power_source: str | None = None
    memory_definition: str | None = None
    launches: tuple[Launch, ...] = ()
    also: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure:
        """The figure of that name; an absent one where there is none."""
        return self.figures.get(name, Figure(why=self.why))

    @property
    def timed(self) -> tuple[Launch, ...]:
        """Its launches that gave a latency, in order of time."""
        return tuple(launch for launch in self.launches if launch.p50_s is not None and launch.kind == "timed")


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for a model on a device kind; `recipe` None: nothing, `why` says why."""

    device_profile: str
    recipe: str | None
    variant: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Group:
    """All rows of one model on one device. `limits` are the constraints of its budget, by metric name; `objectives` what to minimise."""

    model: str
    device: str
    device_profile: str
    accuracy_metric: str | None
    accuracy_unit: str
    accuracy_better: str
    rows: tuple[Row, ...]
    choice: Choice | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    objectives: tuple[str, ...] = ()
    samples: int | None = None
    inputs: str | None = None
    virtual: bool = False

    @property
    def baseline(self) -> Row | None:
        """The row of the model as given, if it was measured; the chosen one's configuration where there are several."""
        found = [row for row in self.rows if row.role == "baseline"]
        wanted = self.chosen.config if self.chosen else None
        return next((row for row in found if row.config == wanted), found[0] if found else None)

    @property
    def only_config(self) -> str | None:
        """The configuration, where all rows have the same."""
        known = {row.config for row in self.rows if row.config}
        return known.pop() if len(known) == 1 else None

    @property
    def chosen(self) -> Row | None:
        """The row that was chosen, if one was on this device."""
        return next((row for row in self.rows if row.chosen), None)


@dataclass(frozen=True, slots=True)
class Refused:
    """A recipe that gave no variant of a model."""

    model: str
    recipe: str
    why: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass did to the model."""

    name: str
    parameters: str
    modified: bool
    summary: str
    size_before_bytes: int
    size_after_bytes: int
    duration_s: float
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a variant comes from."""

    model: str
    recipe: str
    description: str
    role: str
    variant: str
    sha256: str
    size_bytes: int
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]
    tools: tuple[tuple[str, str], ...]
    accuracy: str
    golden: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """A launch that did not count, and why."""

    started_at: str
    device: str
    model: str
    recipe: str
    kind: str
    round: int
    attempt: int
    outcome: str
    why: str


@dataclass(frozen=True, slots=True)
class Absence:
    """A figure that was not measured; `count` launches or rows of `where` lack it for that reason."""

    metric: str
    why: str
    count: int
    where: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """One device and the software on it; `launches` ran with exactly this."""

    device: str
    launches: int
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Command:
    """What to type to get something again."""

    gives: str
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A in paired blocks: `ratio` is p50 of B ÷ p50 of A, `verdict` None where nothing could be concluded.

    `floor` is the effect below which nothing is called, `resolves` the smallest change that would have been called in 9 of 10 cases.
    """

    a: str
    b: str
    verdict: str | None
    ratio: Figure
    a_p50_s: float | None
    b_p50_s: float | None
    blocks: int
    floor: float | None
    resolves: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """A whole page. `concluded` is false for a campaign without a verdict yet: `standing` says where it is."""

    campaign_id: str
    name: str
    status: str
    concluded: bool
    standing: str
    created_at: str
    written_at: str
    thresher_version: str
    groups: tuple[Group, ...]
    refused: tuple[Refused, ...] = ()
    lineages: tuple[Lineage, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    absences: tuple[Absence, ...] = ()
    provenances: tuple[Provenance, ...] = ()
    protocol: tuple[tuple[str, str], ...] = ()
    commands: tuple[Command, ...] = ()
    comparison: Comparison | None = None
    damaged: tuple[str, ...] = ()
