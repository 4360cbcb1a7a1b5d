"""The durable engine: campaigns and visits as DBOS workflows whose steps are checkpointed. The only module that imports dbos.

What is durable lives in the database; a killed process loses at most the step in progress, which is run again, and
each step's effect is idempotent (`orchestrator.work`). Steps exchange ids and JSON, never pickles.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID
from dbos._serialization import Serializer

from orchestrator.errors import EngineError
from orchestrator.measure import visit_id
from orchestrator.work import Stopping, Work

P = ParamSpec("P")
R = TypeVar("R")

WORKFLOW_VERSION = "1"
"""Changes when the workflows' steps change: DBOS does not resume a workflow of another version."""

_POLL_S = 0.1
_ENDED = frozenset({"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})


class JsonSerializer(Serializer):
    """Values and errors as JSON: what is stored stays readable and can run no code."""

    def serialize(self, data: Any) -> str:
        """JSON text; an error becomes its class name and message."""
        return json.dumps({"__error__": [type(data).__name__, str(data)]} if isinstance(data, BaseException) else data)

    def deserialize(self, serialized_data: str) -> Any:
        """The value; a stored error comes back as EngineError."""
        value = json.loads(serialized_data)
        if isinstance(value, dict) and "__error__" in value:
            return EngineError(": ".join(value["__error__"]))
        return value

    def name(self) -> str:
        """The name DBOS stores beside each value."""
        return "thresher_json"


def campaign_queue(lab_host: str) -> str:
    """The queue of a lab host's campaigns."""
    return f"campaigns@{lab_host}"


def visit_queue(lab_host: str) -> str:
    """The queue of a lab host's visits: one at a time a device (its partition)."""
    return f"visits@{lab_host}"


class Engine:
    """The engine of one worker process: a context manager. One a farm and lab host (`orchestrator.worker` sees to it)."""

    def __init__(self, work: Work, *, database_url: str, lab_host: str) -> None:
        self._work = work
        self._database_url = database_url
        self._lab_host = lab_host

    def __enter__(self) -> Self:
        config: DBOSConfig = {
            "name": "thresher",
            "system_database_url": self._database_url,
            "executor_id": self._lab_host,
            "application_version": WORKFLOW_VERSION,
            "log_level": "CRITICAL",
            "serializer": JsonSerializer(),
            "use_listen_notify": False,
        }
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        DBOS(config=config)
        self._campaign = _register(self._work, self._lab_host)
        DBOS.launch()
        DBOS.register_queue(campaign_queue(self._lab_host), polling_interval_sec=_POLL_S, on_conflict="always_update")
        DBOS.register_queue(visit_queue(self._lab_host), partition_concurrency=1, polling_interval_sec=_POLL_S, on_conflict="always_update")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        DBOS.destroy(destroy_registry=True)

    def submit(self, campaign_id: str) -> None:
        """Queue a campaign; one that is queued, running or done already stays as it is."""
        with SetWorkflowID(campaign_id):
            DBOS.enqueue_workflow(campaign_queue(self._lab_host), self._campaign, campaign_id)

    def ended(self, campaign_id: str) -> bool:
        """Whether the campaign's workflow has come to an end, whatever end."""
        status = DBOS.get_workflow_status(campaign_id)
        return status is not None and status.status in _ENDED

    def failure(self, campaign_id: str) -> str | None:
        """Why the workflow failed, where it did."""
        status = DBOS.get_workflow_status(campaign_id)
        return str(status.error) if status is not None and status.error is not None else None


def _step(name: str, method: Callable[P, R]) -> Callable[P, R]:
    """A checkpointed step under a name that is part of what is stored."""

    @DBOS.step(name=name)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return method(*args, **kwargs)

    return run


def _register(work: Work, lab_host: str) -> Callable[[str], str]:
    """Define the workflows over `work`."""
    begin, make, devices = _step("begin", work.begin), _step("make", work.make), _step("devices", work.devices)
    open_visit, next_launches = _step("open-visit", work.open_visit), _step("next-launches", work.next_launches)
    launch, close_visit = _step("launch", work.launch), _step("close-visit", work.close_visit)
    await_visits, conclude = _step("await-visits", lambda ids: _await(ids, work.stopping)), _step("conclude", work.conclude)

    @DBOS.workflow(name="visit", max_recovery_attempts=None)
    def visit(campaign_id: str, device: str) -> None:
        planned = open_visit(campaign_id, device)
        while planned:
            for each in planned:
                launch(campaign_id, device, each)
            planned = next_launches(campaign_id, device)
        close_visit(campaign_id, device)

    @DBOS.workflow(name="campaign", max_recovery_attempts=None)
    def campaign(campaign_id: str) -> str:
        for model, recipe in begin(campaign_id):
            make(campaign_id, model, recipe)
        ids = []
        for device in devices(campaign_id):
            ids.append(visit_id(campaign_id, device))
            with SetWorkflowID(ids[-1]), SetEnqueueOptions(queue_partition_key=device):
                DBOS.enqueue_workflow(visit_queue(lab_host), visit, campaign_id, device)
        return conclude(campaign_id, await_visits(ids))

    return campaign


def _await(ids: list[str], stopping: threading.Event) -> list[str]:
    """Wait until the visits have ended; gives why those failed that did."""
    waiting, failures = set(ids), []
    while waiting:
        for workflow_id in tuple(waiting):
            status = DBOS.get_workflow_status(workflow_id)
            if status is not None and status.status in _ENDED:
                waiting.discard(workflow_id)
                if status.error is not None:
                    failures.append(f"{workflow_id}: {status.error}")
        if stopping.is_set():
            raise Stopping
        time.sleep(_POLL_S)
    return sorted(failures)
