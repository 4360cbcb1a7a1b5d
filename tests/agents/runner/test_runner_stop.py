"""SIGTERM at any moment: the runner ends soon, with exit code 143 and what was measured."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from agents.runner.output import find_line, parse_lines, read_iterations
from agents.runner.wire import End, InputTensor, OutputInfo, TimedDone, WarmedUp, Warmup
from agents.runner.wire import Timed as Section

DEADLINE_S = 30.0
LONG = Section(min_iterations=1, min_s=600, max_s=600)
X = InputTensor(name="x", dtype="float32", shape=(1, 4))


class Running:
    """A runner that was started and is then stopped."""

    def __init__(self, rig, spec) -> None:
        self.out = rig.out
        self.process = subprocess.Popen([rig.runner, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.seen = b""
        if spec is not None:
            self.process.stdin.write(spec.model_dump_json().encode())
            self.process.stdin.close()

    def wait_for(self, kind: str) -> None:
        """Until that line was written."""
        while f'"kind":"{kind}"'.encode() not in self.seen:
            line = self.process.stdout.readline()
            assert line, self.seen
            self.seen += line

    def wait_until(self, condition: Callable[[psutil.Process], bool]) -> None:
        process, deadline = psutil.Process(self.process.pid), time.monotonic() + DEADLINE_S
        while not condition(process):
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def stop(self, number: int = signal.SIGTERM):
        """The lines, once it has ended by itself."""
        self.process.send_signal(number)
        self.seen += self.process.stdout.read()
        assert self.process.wait(DEADLINE_S) == 143
        lines = parse_lines(self.seen)
        assert lines[-1] == End(kind="end", reason="sigterm", peak_rss_bytes=lines[-1].peak_rss_bytes)
        return lines


@pytest.fixture
def start(rig):
    started = []

    def begin(spec) -> Running:
        started.append(Running(rig, spec))
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        running.process.wait()
        running.process.stdout.close()
        running.process.stdin.close()


def value(name, shape, element=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


def cpu_seconds(process: psutil.Process) -> float:
    return process.cpu_times().user + process.cpu_times().system


def blocks_sigterm(process: psutil.Process) -> bool:
    """The runner has got as far as to take care of signals."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(mask >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_in_the_timed_loop(rig, start, number: int) -> None:
    running = start(rig.spec(rig.identity(), [X], timed=LONG))
    running.wait_for("warmed-up")
    began = cpu_seconds(psutil.Process(running.process.pid))
    running.wait_until(lambda process: cpu_seconds(process) > began + 0.02)
    lines = running.stop(number)

    done = find_line(lines, TimedDone)
    assert done.iterations > 100
    assert read_iterations(running.out / "iterations.bin", iterations=done.iterations).min() >= 0


def test_in_a_long_pause_between_paced_inferences(rig, start) -> None:
    """The main thread sleeps: what it measured is written for it."""
    running = start(rig.spec(rig.identity(), [X], timed=LONG.model_copy(update={"interval_s": 300})))
    running.wait_for("warmed-up")
    running.wait_until(lambda process: process.status() == psutil.STATUS_SLEEPING)
    lines = running.stop()

    assert find_line(lines, TimedDone).iterations == len(read_iterations(running.out / "iterations.bin", iterations=1)) == 1


def test_in_one_long_inference(rig, start) -> None:
    """A loop of a billion steps inside the model: the runtime is told to give up."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Mul", ["a", "a"], ["b"])],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("a", [1, 4])],
        [value("go_on", [], TensorProto.BOOL), value("b", [1, 4])],
    )
    weights = [numpy_helper.from_array(np.array(10**9), "n"), numpy_helper.from_array(np.array(True), "yes")]
    model = rig.save(
        [helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=body)], [value("x", [1, 4])], [value("y", [1, 4])], weights=weights
    )
    running = start(rig.spec(model, [X], timed=LONG))
    running.wait_for("loaded")
    lines = running.stop()

    assert [line.kind for line in lines] == ["start", "loaded", "end"]
    assert not list(running.out.iterdir())


def test_in_the_warm_up(rig, start) -> None:
    running = start(rig.spec(rig.identity(), [X], warmup=Warmup(min_s=600, max_s=600)))
    running.wait_for("first")
    lines = running.stop()

    assert find_line(lines, WarmedUp).duration_s < 600
    assert find_line(lines, TimedDone) is None
    assert not list(running.out.iterdir())


def test_before_it_has_its_spec(rig, start) -> None:
    running = start(None)
    running.wait_until(blocks_sigterm)
    assert [line.kind for line in running.stop()] == ["end"]


def test_while_it_reads_a_model_that_never_comes(rig, start) -> None:
    """Between its first line and the last: whatever it does then, it ends."""
    running = start(rig.spec(rig.identity(), [X], timed=LONG))
    running.wait_for("start")
    assert running.stop()[0].kind == "start"


def test_in_golden_mode(rig, start) -> None:
    spec = rig.spec(rig.identity(), [X], "golden", golden_count=1_000_000)
    running = start(spec)
    running.wait_for("loaded")
    began = cpu_seconds(psutil.Process(running.process.pid))
    running.wait_until(lambda process: cpu_seconds(process) > began + 0.02)
    lines = running.stop()

    info = find_line(lines, OutputInfo)
    assert 0 < info.count < 1_000_000
    assert (running.out / "golden-0.bin").stat().st_size == 16 * info.count


@pytest.mark.parametrize("mode", ["memory", "clock", "profile"])
def test_in_the_other_modes(rig, start, mode: str) -> None:
    running = start(rig.spec(rig.identity(), [X], mode, timed=LONG))
    running.wait_for("warmed-up")
    lines = running.stop()

    assert not (running.out / "iterations.bin").exists()
    assert (running.out / "profile.json").exists() == (mode == "profile")
    if mode == "memory":
        assert [line.stage for line in lines if line.kind == "memory"] == ["baseline", "loaded", "peak", "retained"]
