"""Errors of orchestrator.

OrchestratorError          exit code 3
├── UsageError             what the user wrote or asked for cannot be used: exit code 2
│   ├── ConfigError        farm.yaml, campaign.yaml or a recipe file
│   ├── NotFound           no campaign, record, device, variant of that name
│   └── Busy               somebody else holds what this needs (a second worker on the farm)
├── StoreError             the artifact store or the database cannot be read or written
│   ├── Damaged            bytes do not match their hash
│   ├── Missing            the store does not hold that blob
│   └── OutOfSpace         the disk is full
├── ChildError             a limited child process failed
│   ├── ChildLimit         it ran past its time or memory limit
│   └── ChildCrashed       it died of a signal
└── EngineError            the engine cannot start or lost its database
"""

from __future__ import annotations


class OrchestratorError(Exception):
    """Root of the errors of orchestrator. The message is one paragraph for a person."""


class UsageError(OrchestratorError):
    """What the user wrote or asked for cannot be used."""


class ConfigError(UsageError):
    """farm.yaml, campaign.yaml or a recipe file cannot be used."""


class NotFound(UsageError):
    """Nothing of that name; the message lists the candidates."""


class Busy(UsageError):
    """Somebody else holds what this needs; the message says who."""


class StoreError(OrchestratorError):
    """The artifact store or the database cannot be read or written."""


class Damaged(StoreError):
    """Bytes do not match their hash."""


class Missing(StoreError):
    """The store does not hold that blob."""


class OutOfSpace(StoreError):
    """The disk is full."""


class ChildError(OrchestratorError):
    """A limited child process failed; `kind` is the class name of the error inside it, if it had one."""

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class ChildLimit(ChildError):
    """The child ran past its time, memory or file-size limit."""


class ChildCrashed(ChildError):
    """The child died of a signal."""


class EngineError(OrchestratorError):
    """The engine cannot start, or lost its database."""
