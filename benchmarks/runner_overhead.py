"""The runner against a bare OrtRun loop in C with the same two clock reads, and against Python's `session.run`.

One thread on one CPU, the same model, input and number of inferences for all three, in processes of their own, interleaved in
random order. A figure is the median over rounds of each round's p50; differences and ratios are taken within rounds.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from agents.runner.build import build_runner, default_cache, host_runtime
from agents.runner.wire import InputTensor, RunSpec, Timed, Warmup

ROUNDS = int(os.environ.get("THRESHER_BENCH_ROUNDS", "15"))
HERE = Path(__file__).parent
DIGITS = HERE.parent / "examples" / "digits" / "model.onnx"

PYTHON_LOOP = """
import sys, time
import numpy as np, onnxruntime as ort
model, name, path, warmup, iterations, *shape = sys.argv[1:]
options = ort.SessionOptions(); options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
feeds = {name: np.fromfile(path, np.float32).reshape([int(d) for d in shape])}
times = np.empty(int(iterations), np.int64)
clock = time.perf_counter_ns
for i in range(-int(warmup), int(iterations)):
    begin = clock(); outputs = session.run(None, feeds); end = clock()
    if i >= 0: times[i] = end - begin
sys.stdout.buffer.write(times.tobytes())
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A model with one float32 input and output, and how often to run it."""

    name: str
    model: Path
    input: str
    output: str
    shape: tuple[int, ...]
    warmup: int
    iterations: int


def _identity(folder: Path) -> Case:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "identity.onnx")
    return Case("identity", folder / "identity.onnx", "x", "y", (1, 4), 20_000, 200_000)


def _digits() -> Case:
    graph = onnx.load(DIGITS).graph
    shape = tuple(dim.dim_value or 1 for dim in graph.input[0].type.tensor_type.shape.dim)
    return Case("digits CNN", DIGITS, graph.input[0].name, graph.output[0].name, shape, 2_000, 10_000)


def _build_bare(folder: Path) -> Path:
    """With whatever compiler is there, as the runner is."""
    compiler = next(([found] for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), [sys.executable, "-m", "ziglang", "cc"])
    program = folder / "bare_ort_run"
    subprocess.run([*compiler, "-std=c11", "-O2", str(HERE / "bare_ort_run.c"), "-o", str(program), "-ldl"], check=True)
    return program


def _p50_us(nanoseconds: bytes) -> float:
    return float(np.median(np.frombuffer(nanoseconds, np.int64))) / 1e3


def _runner(case: Case, data: Path, folder: Path) -> float:
    spec = RunSpec(
        runtime=str(host_runtime()),
        model=str(case.model),
        out_dir=str(folder),
        mode="time",
        inputs=(InputTensor(name=case.input, dtype="float32", shape=case.shape, file=str(data)),),
        warmup=Warmup(min_iterations=case.warmup, max_iterations=case.warmup, min_s=0, max_s=600),
        timed=Timed(min_iterations=case.iterations, max_iterations=case.iterations, min_s=0, max_s=600),
    )
    program = build_runner(cache=default_cache()).path
    subprocess.run([program, "-"], input=spec.model_dump_json().encode(), stdout=subprocess.DEVNULL, check=True)
    return _p50_us((folder / "iterations.bin").read_bytes())


def _compare(case: Case, folder: Path, bare: Path) -> dict[str, list[float]]:
    data = folder / "input.bin"
    np.random.default_rng(0).random(case.shape, dtype=np.float32).tofile(data)
    how_often, shape = [str(case.warmup), str(case.iterations)], [str(dim) for dim in case.shape]
    in_c = [str(bare), str(host_runtime()), str(case.model), case.input, case.output, str(data), *how_often, *shape]
    in_python = [sys.executable, "-c", PYTHON_LOOP, str(case.model), case.input, str(data), *how_often, *shape]
    contenders: dict[str, Callable[[], float]] = {
        "runner": lambda: _runner(case, data, folder),
        "bare": lambda: _p50_us(subprocess.run(in_c, capture_output=True, check=True).stdout),
        "python": lambda: _p50_us(subprocess.run(in_python, capture_output=True, check=True).stdout),
    }
    p50_us: dict[str, list[float]] = {name: [] for name in contenders}
    shuffle = random.Random(0).sample  # the order in which they take turns, not a secret
    for _ in range(ROUNDS):
        for name in shuffle(list(contenders), len(contenders)):
            p50_us[name].append(contenders[name]())
    return p50_us


def _report(case: Case, p50_us: dict[str, list[float]]) -> None:
    middle = {name: statistics.median(values) for name, values in p50_us.items()}
    apart = statistics.median(ours - bare for ours, bare in zip(p50_us["runner"], p50_us["bare"], strict=True))
    ratio = statistics.median(ours / bare for ours, bare in zip(p50_us["runner"], p50_us["bare"], strict=True))
    python = statistics.median(theirs / ours for theirs, ours in zip(p50_us["python"], p50_us["runner"], strict=True))
    print(
        f"{case.name}: p50 runner {middle['runner']:.2f} µs, bare OrtRun loop {middle['bare']:.2f} µs, Python session.run {middle['python']:.2f} µs; "
        f"runner - bare {apart:+.3f} µs an inference; ratio runner / bare {ratio:.4f}; Python / runner {python:.2f} "
        f"(medians of {ROUNDS} interleaved rounds of {case.iterations:,} inferences)"
    )


def main() -> None:
    """Prints one line a model."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            bare = _build_bare(folder)
            for case in (_identity(folder), _digits()):
                _report(case, _compare(case, folder, bare))
    finally:
        os.sched_setaffinity(0, allowed)


if __name__ == "__main__":
    main()
