"""The raw iterations of a timed launch, from the store."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.run import RunRecord
from orchestrator.errors import Damaged
from orchestrator.store import Store

NANOSECONDS = "int64-le-ns"


def read_iterations(store: Store, run: RunRecord) -> NDArray[np.float64]:
    """Seconds of each iteration of a timed launch, in order of time, (n,). Raises: Damaged, Missing."""
    trace = next((trace for trace in run.traces if trace.encoding == NANOSECONDS), None)
    if trace is None:
        raise Damaged(f"launch {run.job_id}/{run.kind}/{run.round} has no raw iterations")
    data = store.read_bytes(trace.sha256)
    if len(data) != 8 * trace.count:
        raise Damaged(f"the trace {trace.sha256} holds {len(data)} bytes, not {trace.count} iterations as its record says")
    return np.frombuffer(data, "<i8") / 1e9
