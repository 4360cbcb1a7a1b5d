"""The raw iterations of a timed launch, from the store."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.run import RunRecord
from orchestrator.errors import Damaged
from orchestrator.store import Store

NANOSECONDS = "int64-le-ns"


def read_iterations(store: Store, run: RunRecord) -> NDArray[np.float64]:
    """Seconds of each iteration, in order of time, (n,). Raises: Damaged when the trace is not what the record says."""
    trace = next((trace for trace in run.traces if trace.encoding == NANOSECONDS), None)
    if trace is None:
        raise Damaged(f"launch {run.job_id}/{run.kind}/{run.round} has no raw iterations")
    values = np.frombuffer(store.read_bytes(trace.sha256), "<i8")
    if len(values) != trace.count:
        raise Damaged(f"the trace {trace.sha256} holds {len(values)} iterations, its record says {trace.count}")
    return values / 1e9
