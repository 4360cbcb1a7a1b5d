"""ONNX Runtime's profile: time and provider of each node (Chrome trace events, one a line as the runtime writes them)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeGuard

from agents.errors import RunnerOutputError
from agents.run import OpTime

MAX_PROFILE_BYTES = 512 * 2**20

_MAX_LINE_BYTES = 2**20
_MAX_OPEN_EVENTS = 1_000_000
_US_PER_S = 1e6
_KERNEL = "_kernel_time"
_HOLDS_SUBGRAPH = frozenset(("If", "Loop", "Scan", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"))


@dataclass(frozen=True, slots=True)
class OpProfile:
    """Nodes of the top-level graph, the slowest first; `placement` counts them by provider; `inference_s` is the median inference.

    `events` counts the profile's events, all of them.
    """

    ops: tuple[OpTime, ...]
    placement: dict[str, int]
    inferences: int
    inference_s: float
    events: int


@dataclass(frozen=True, slots=True)
class _NodeEvent:
    key: tuple[str, str, str]  # name, op type, provider
    start_us: int
    duration_us: int


@dataclass(slots=True)
class _Totals:
    skip: int
    events: int = 0
    runs_us: list[int] = field(default_factory=list)
    duration_us: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    open: list[_NodeEvent] = field(default_factory=list)  # nodes of the inference that has not ended yet


def read_profile(path: Path, *, skip_inferences: int) -> OpProfile:
    """The profile but for its first inferences (the first one and the warm-up), which say little of the rest.

    Nodes inside a control-flow node belong to that node's time and are left out. Raises: RunnerOutputError, OSError.
    """
    if path.stat().st_size > MAX_PROFILE_BYTES:
        raise RunnerOutputError(f"the profile has {path.stat().st_size} bytes; at most {MAX_PROFILE_BYTES} are read", stage="output")
    totals = _Totals(skip_inferences)
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE_BYTES):
            text = line.strip().rstrip(b",")
            if text not in (b"", b"[", b"]"):
                _add(totals, _event(text))
    if not totals.runs_us:
        raise RunnerOutputError(f"the profile holds no inference after the first {skip_inferences}", stage="output")
    return _result(totals)


def _event(text: bytes) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunnerOutputError(f"the profile has a line that is not a JSON event: {text[:80]!r}", stage="output") from error
    if not isinstance(event, dict):
        raise RunnerOutputError(f"the profile has a line that is not an event: {text[:80]!r}", stage="output")
    return event


def _add(totals: _Totals, event: dict[str, Any]) -> None:
    totals.events += 1
    name, start_us, duration_us = event.get("name"), event.get("ts"), event.get("dur")
    if not isinstance(name, str) or not _is_microseconds(start_us) or not _is_microseconds(duration_us):
        return
    if event.get("cat") == "Session" and name == "model_run":
        _end_inference(totals, duration_us)
    elif event.get("cat") == "Node" and name.endswith(_KERNEL):
        _add_node(totals, name.removesuffix(_KERNEL), event.get("args"), start_us, duration_us)


def _is_microseconds(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value < 2**63


def _add_node(totals: _Totals, name: str, args: object, start_us: int, duration_us: int) -> None:
    values = args if isinstance(args, dict) else {}
    op_type, provider = str(values.get("op_name", "")), str(values.get("provider", ""))
    if op_type in _HOLDS_SUBGRAPH:  # the nodes of its subgraph ended before it and began after it
        while totals.open and totals.open[-1].start_us >= start_us:
            totals.open.pop()
    totals.open.append(_NodeEvent((name, op_type, provider), start_us, duration_us))
    if len(totals.open) > _MAX_OPEN_EVENTS:
        raise RunnerOutputError(f"the profile has more than {_MAX_OPEN_EVENTS} nodes in one inference", stage="output")


def _end_inference(totals: _Totals, duration_us: int) -> None:
    if totals.skip > 0:
        totals.skip -= 1
    else:
        totals.runs_us.append(duration_us)
        for node in totals.open:
            totals.duration_us[node.key] += node.duration_us
            totals.calls[node.key] += 1
    totals.open.clear()


def _result(totals: _Totals) -> OpProfile:
    inferences = len(totals.runs_us)
    ops = [
        OpTime(name=name, op_type=op_type, provider=provider, mean_s=totals.duration_us[key] / inferences / _US_PER_S, calls=calls)
        for key, calls in totals.calls.items()
        for name, op_type, provider in (key,)
    ]
    nodes: defaultdict[str, int] = defaultdict(int)
    for op in ops:
        nodes[op.provider] += 1
    return OpProfile(
        ops=tuple(sorted(ops, key=lambda op: (-op.mean_s, op.name))),
        placement=dict(sorted(nodes.items())),
        inferences=inferences,
        inference_s=median(totals.runs_us) / _US_PER_S,
        events=totals.events,
    )
