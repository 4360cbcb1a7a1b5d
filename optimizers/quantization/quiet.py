"""ONNX Runtime's quantiser logs on the root logger, which would also set logging up: its lines go to ours instead."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


def _not_ours(record: logging.LogRecord) -> bool:
    if "onnxruntime" not in record.pathname:
        return True
    _log.debug("onnxruntime: %s", record.getMessage())
    return False


@contextmanager
def quiet_quantiser() -> Iterator[None]:
    """Keep what the quantiser logs inside the block off the root logger's handlers."""
    root, handler = logging.getLogger(), logging.NullHandler()  # without any handler, logging.warning() would add one
    root.addHandler(handler)
    root.addFilter(_not_ours)
    try:
        yield
    finally:
        root.removeFilter(_not_ours)
        root.removeHandler(handler)
