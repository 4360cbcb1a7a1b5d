"""The figures that a row shows: title, unit, definition, how uncertain, measured or modelled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dashboards.report.page import Group
from device_profiles.metrics import METRICS

_LAUNCHES = (
    "95 % interval; the replicate is the launch: a hierarchical bootstrap over launches and the iterations within each, "
    "and never narrower than the exact interval for so few launches"
)


@dataclass(frozen=True, slots=True)
class Column:
    """One figure; `name` is its key in `Row.figures`."""

    name: str
    title: str
    unit: str
    better: Literal["lower", "higher", "the metric's own"]
    definition: str
    uncertainty: str
    source: str


def _of_metric(name: str, title: str, *, uncertainty: str, source: str = "measured") -> Column:
    metric = METRICS[name]
    return Column(name, title, metric.unit, "lower", metric.definition, uncertainty, source)


P50 = _of_metric("latency_p50_s", "p50", uncertainty=_LAUNCHES)
RATIO = Column(
    "ratio",
    "ratio",
    "1",
    "lower",
    "p50 of the variant over p50 of the baseline on the same device in the same configuration; below 1 is faster",
    f"{_LAUNCHES}; launches of the same round are paired, which cancels what drifts",
    "measured",
)
P90 = _of_metric("latency_p90_s", "p90", uncertainty=_LAUNCHES)
ACCURACY = Column(
    "accuracy",
    "accuracy",
    "1",
    "the metric's own",
    METRICS["accuracy"].definition,
    "none given of the score itself; the drop beside it has the interval that matters",
    "measured on this host, on the variant's own file",
)
DROP = _of_metric(
    "accuracy_drop",
    "drop",
    uncertainty="95 % interval: paired bootstrap over the evaluation samples",
    source="measured on this host, on the variant's own file",
)
SIZE = _of_metric("size_bytes", "size", uncertainty="exact")
PEAK = _of_metric(
    "peak_memory_bytes",
    "peak PSS",
    uncertainty="median over the memory launches; its 95 % interval decides the budget, where there are several launches",
)
LOAD = _of_metric("session_load_s", "session load", uncertainty="median over launches; no interval")
FIRST = _of_metric("first_inference_s", "first inference", uncertainty="median over launches; no interval")
ENERGY = _of_metric(
    "energy_per_inference_j", "energy", uncertainty=_LAUNCHES, source="measured or modelled, as each row's power source says"
)

_WITH_UNIT = re.compile(r"_(s|bytes|hz|j|c)$")
_OPTIONAL = frozenset({ENERGY.name, ACCURACY.name, DROP.name})
_ON_DEMAND = frozenset({P90.name})
COLUMNS = (P50, RATIO, P90, ACCURACY, DROP, SIZE, PEAK, LOAD, FIRST, ENERGY)
SPREAD = "each launch's 10th to 90th percentile of its iterations: how much single inferences differ, not how uncertain the median is"


def shown_columns(group: Group) -> tuple[Column, ...]:
    """The columns of a group's table: those that always matter, those that a budget limits, and those optional ones that a row has."""

    def is_shown(name: str) -> bool:
        if name in group.limits or name in group.objectives:
            return True
        return name not in _ON_DEMAND and (name not in _OPTIONAL or any(row.figure(name).value is not None for row in group.rows))

    return tuple(column for column in COLUMNS if is_shown(column.name))


def metric_title(name: str) -> str:
    """A metric's short title, else its name in words without the unit."""
    return next((column.title for column in COLUMNS if column.name == name), _WITH_UNIT.sub("", name).replace("_", " "))


def unit_of(name: str, group: Group | None = None) -> str:
    """The SI unit of a metric; accuracy and its drop have the unit of the group's task metric."""
    if group is not None and name in (ACCURACY.name, DROP.name):
        return group.accuracy_unit
    return METRICS[name].unit if name in METRICS else "1"
