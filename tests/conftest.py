"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def missing(what: str) -> None:
    """Skip on a user's machine, fail in CI: what a test needs is not there."""
    if os.environ.get("THRESHER_CI"):
        pytest.fail(f"CI must provide {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models and recordings that is not part of the repository."""
    for candidate in (os.environ.get("THRESHER_SHARED_DATA"), ROOT.parent / "shared" / "data"):
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    missing("the shared data folder (../shared/data or $THRESHER_SHARED_DATA)")
    raise AssertionError


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT
