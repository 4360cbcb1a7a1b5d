"""The house itself: whose packages are imported, what the command line costs and teaches."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

PACKAGES = ("orchestrator", "agents", "optimizers", "dashboards", "device_profiles")
SLOW = {"numpy", "onnx", "onnxruntime", "onnx_ir", "dbos", "sqlalchemy", "alembic", "rich", "altair", "psutil", "fsspec"}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_imported_package_is_ours(name: str, repository: Path):
    found = importlib.import_module(name).__file__
    assert found is not None
    assert Path(found).resolve() == repository / name / "__init__.py"
    assert (repository / name / "__init__.py").read_text() == ""


def test_help_imports_nothing_slow():
    code = "import sys, orchestrator.cli.main; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert SLOW & set(loaded) == set()


def _commands() -> list[tuple[str, object]]:
    from orchestrator.cli.main import app

    root = get_command(app)
    found: list[tuple[str, object]] = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [(f"{name} {sub}", each) for sub, each in inner.items()] if inner else [(name, command)]
    return found


@pytest.mark.parametrize(("name", "command"), _commands())
def test_every_command_teaches_with_an_example(name: str, command):
    text = f"{command.help or ''}\n{command.epilog or ''}"
    assert "Example:  thresher" in text or "Example:  $(thresher" in text, name
    assert len((command.help or "").split()) >= 5, name
    for parameter in command.params:
        assert getattr(parameter, "help", None) or parameter.name in {"help"}, f"{name}: {parameter.name} has no help"
