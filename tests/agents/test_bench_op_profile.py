"""ONNX Runtime's profile, read from literal lines as the runtime (1.32) writes them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.bench.op_profile import read_profile
from agents.errors import RunnerOutputError


def node(name: str, op: str, ts: int, dur: int, provider: str = "CPUExecutionProvider") -> dict:
    args = {"op_name": op, "provider": provider, "node_index": "0", "output_type_shape": [{"float": [1, 4]}], "thread_scheduling_stats": ""}
    return {"cat": "Node", "pid": 1, "tid": 1, "dur": dur, "ts": ts, "ph": "X", "name": f"{name}_kernel_time", "args": args}


def session(name: str, ts: int, dur: int) -> dict:
    return {"cat": "Session", "pid": 1, "tid": 1, "dur": dur, "ts": ts, "ph": "X", "name": name, "args": {}}


def profile(tmp_path: Path, *events: dict) -> Path:
    path = tmp_path / "profile.json"
    path.write_text("[\n" + ",\n".join(json.dumps(event) for event in events) + "\n]\n")
    return path


def test_times_are_means_over_the_inferences_after_the_warm_up(tmp_path: Path) -> None:
    path = profile(
        tmp_path,
        session("session_initialization", 0, 4000),
        node("conv", "Conv", 5000, 900), session("model_run", 4990, 950),
        node("conv", "Conv", 6000, 100), node("relu", "Relu", 6100, 10), session("model_run", 5990, 130),
        node("conv", "Conv", 7000, 120), node("relu", "Relu", 7120, 20), session("model_run", 6990, 150),
    )  # fmt: skip
    read = read_profile(path, skip_inferences=1)
    assert [(op.name, op.op_type, op.calls) for op in read.ops] == [("conv", "Conv", 2), ("relu", "Relu", 2)]
    assert [op.mean_s for op in read.ops] == [pytest.approx(110e-6), pytest.approx(15e-6)]
    assert read.placement == {"CPUExecutionProvider": 2}
    assert (read.inferences, read.inference_s, read.events) == (2, pytest.approx(140e-6), 9)


def test_the_nodes_of_a_subgraph_belong_to_the_node_that_holds_it(tmp_path: Path) -> None:
    path = profile(
        tmp_path,
        node("e", "Exp", 4492, 59), node("in_Sin", "Sin", 4562, 29), session("SequentialExecutor::Execute", 4561, 36),
        node("if", "If", 4557, 45), session("SequentialExecutor::Execute", 4490, 116), session("model_run", 4481, 128),
    )  # fmt: skip
    read = read_profile(path, skip_inferences=0)
    assert [(op.name, op.mean_s) for op in read.ops] == [("e", pytest.approx(59e-6)), ("if", pytest.approx(45e-6))]


def test_a_node_that_runs_several_times_an_inference_adds_up(tmp_path: Path) -> None:
    path = profile(tmp_path, node("x", "Add", 1, 2), node("x", "Add", 4, 3), session("model_run", 0, 9))
    (op,) = read_profile(path, skip_inferences=0).ops
    assert (op.calls, op.mean_s) == (2, pytest.approx(5e-6))


def test_placement_counts_nodes_by_provider(tmp_path: Path) -> None:
    nodes = [
        node("a", "Conv", 1, 1, "XnnpackExecutionProvider"),
        node("b", "Conv", 3, 1, "XnnpackExecutionProvider"),
        node("c", "Cast", 5, 1),
    ]
    read = read_profile(profile(tmp_path, *nodes, session("model_run", 0, 9)), skip_inferences=0)
    assert read.placement == {"CPUExecutionProvider": 1, "XnnpackExecutionProvider": 2}


def test_a_profile_of_warm_up_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunnerOutputError, match="no inference after the first 5"):
        read_profile(profile(tmp_path, session("model_run", 0, 9)), skip_inferences=5)


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "[" * 100_000, '{"cat": NaN', "\x00\xff"])
def test_a_line_that_is_no_event_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(f"[\n{text}\n]\n", encoding="latin-1")
    with pytest.raises(RunnerOutputError):
        read_profile(path, skip_inferences=0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["cat", "name", "ts", "dur", "args"]), st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.just("Node"), st.just("model_run"), st.just("Session"), st.lists(st.integers(), max_size=2),
)), max_size=6))  # fmt: skip
def test_events_of_any_form_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, events: list[dict]) -> None:
    path = profile(tmp_path_factory.mktemp("events"), *events)
    with contextlib.suppress(RunnerOutputError):
        assert read_profile(path, skip_inferences=0).inferences > 0
