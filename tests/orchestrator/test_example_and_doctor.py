"""`init`'s example and `doctor`'s findings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from orchestrator.doctor import State, examine
from orchestrator.errors import UsageError
from orchestrator.example import FILES, write_example
from orchestrator.farm import find_farm
from orchestrator.submit import plan_campaign


def test_the_example_is_a_farm_whose_campaign_can_be_planned(tmp_path: Path):
    folder = tmp_path / "my farm"
    assert sorted(path.name for path in write_example(folder)) == sorted(FILES)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    spec = plan_campaign(find_farm(folder), folder / "campaign.yaml")
    assert spec.recipes[0].name == "fp32"
    assert [device.name for device in spec.devices] == ["host"]
    assert spec.protocol.name == "quick"
    assert not (folder / ".thresher").exists()


def test_nothing_of_a_farm_is_overwritten(tmp_path: Path):
    (tmp_path / "farm.yaml").write_text("# mine\n")
    with pytest.raises(UsageError, match=r"farm\.yaml already"):
        write_example(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["farm.yaml"]
    assert (tmp_path / "farm.yaml").read_text() == "# mine\n"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write the farm"):
        write_example(tmp_path / "file" / "farm")


def test_doctor_finds_what_the_tests_run_with():
    found = {finding.what: finding for finding in examine()}
    assert found["python"].state is State.OK
    assert found["ONNX Runtime"].state is State.OK
    assert found["runner"].state is State.OK
    assert all(finding.remedy for finding in found.values() if finding.state is not State.OK)


def test_doctor_says_how_to_get_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a C compiler PyPI's ziglang builds the runner; without that, doctor says how to get either."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "/no/such/compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    finding = next(finding for finding in examine() if finding.what == "runner")
    assert finding.state is (State.MISSING if find_spec("ziglang") is None else State.OK)
    assert ("apt install gcc" in finding.remedy) is (finding.state is State.MISSING)
