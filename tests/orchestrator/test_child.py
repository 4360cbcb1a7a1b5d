"""The limited child process: answers, errors, limits, and nothing left behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil
import pytest
from pydantic import BaseModel

from optimizers.evaluate import EvaluateRequest, Evaluation
from optimizers.inspect_model import InspectRequest, ModelInfo
from optimizers.make import MakeRequest, MakeResult
from optimizers.model_file import load_model_file
from optimizers.recipes import RECIPES
from orchestrator.child import Limits, Stopped, run_task
from orchestrator.errors import ChildError, ChildLimit


@pytest.fixture
def digits(repository: Path) -> Path:
    return repository / "examples" / "digits"


def make(digits: Path, out: Path, recipe: str, **options):
    model = load_model_file(digits / "model.yaml")
    request = MakeRequest(model="digits", onnx_path=model.path, recipe=RECIPES[recipe], out_dir=out, model_file=model)
    return run_task("make", request, MakeResult, **{"limits": Limits(), **options})


def test_an_answer_comes_back(digits: Path):
    info = run_task("inspect", InspectRequest(path=digits / "model.onnx"), ModelInfo, limits=Limits())
    assert [port.name for port in info.inputs] == ["image"]
    assert info.problems == ()


def test_the_tasks_own_error_comes_back_by_name(tmp_path: Path):
    (tmp_path / "x.onnx").write_bytes(b"no model at all")
    with pytest.raises(ChildError) as caught:
        run_task("inspect", InspectRequest(path=tmp_path / "x.onnx"), ModelInfo, limits=Limits())
    assert caught.value.kind == "ModelError"
    assert "x.onnx" in str(caught.value)


def test_time_is_limited_and_nothing_is_left(digits: Path, tmp_path: Path):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.raises(ChildLimit, match=r"did not end within 0\.3 s"):
        make(digits, tmp_path, "fp16", limits=Limits(timeout_s=0.3))
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


def test_memory_is_limited(digits: Path, tmp_path: Path):
    with pytest.raises(ChildLimit, match="more memory than its limit"):
        make(digits, tmp_path, "fp32", limits=Limits(memory_bytes=128 * 2**20))


def test_the_size_of_files_is_limited(digits: Path, tmp_path: Path):
    with pytest.raises(ChildError):
        make(digits, tmp_path, "fp32", limits=Limits(file_bytes=100_000))
    assert not list(tmp_path.glob("model.onnx"))


def test_a_request_to_stop_ends_it(digits: Path, tmp_path: Path):
    stop = threading.Event()
    stop.set()
    started = time.monotonic()
    with pytest.raises(Stopped):
        make(digits, tmp_path, "fp16", cancelled=stop.is_set)
    assert time.monotonic() - started < 60


def test_an_unknown_task_is_an_error():
    class Empty(BaseModel):
        pass

    with pytest.raises(ChildError):
        run_task("nonsense", Empty(), Empty, limits=Limits())


def test_what_a_metric_starts_in_a_session_of_its_own_is_ended_too(digits: Path, tmp_path: Path):
    (tmp_path / "metric.py").write_text(
        "import subprocess\ndef f(outputs, labels):\n    subprocess.Popen(['sleep', '98765'], start_new_session=True)\n    return 0.5\n"
    )
    model = load_model_file(digits / "model.yaml").model_copy(update={"metric": "python:metric:f", "python_path": tmp_path})
    request = EvaluateRequest(model=model, variant_path=model.path, baseline_path=model.path, out_dir=tmp_path / "out")
    assert run_task("evaluate", request, Evaluation, limits=Limits()).accuracy == 0.5
    assert not [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "98765"]]


def test_the_runtimes_telemetry_is_off(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    run_task("inspect", InspectRequest(path=digits / "model.onnx", run=True), ModelInfo, limits=Limits())
    assert list(tmp_path.rglob("*")) == []
