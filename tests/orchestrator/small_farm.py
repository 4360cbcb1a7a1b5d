"""A farm with a tiny model whose campaign takes seconds, and the command line that runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

THRESHER = str(Path(sys.executable).with_name("thresher"))
CAMPAIGN = """\
name: small
model: model.yaml
recipes: [fp32, fp16]
budgets: {accuracy_drop: 5%, latency_p50_s: 1s}
protocol: {name: quick, launches: 2, timed_s: 50ms, accept_disturbed: true}
"""


def write_small_farm(folder: Path, *, campaign: str = CAMPAIGN) -> Path:
    """farm.yaml, model.yaml, model.onnx, samples.npz and campaign.yaml; gives the campaign's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "farm.yaml").write_text("lab_host: test-host\n")
    write_small_model(folder / "model.onnx")
    write_samples(folder)
    (folder / "model.yaml").write_text("name: small\npath: model.onnx\nsamples: samples.npz\ncalibration: 16\nmetric: top1\n")
    (folder / "campaign.yaml").write_text(campaign)
    return folder / "campaign.yaml"


def write_small_model(path: Path) -> None:
    """A 3x3 convolution, ReLU, global pooling and a Gemm: (n, 1, 16, 16) to (n, 10)."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(8, 1, 3, 3)).astype(np.float32),
        "b": rng.normal(size=8).astype(np.float32),
        "head": rng.normal(size=(8, 10)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def write_samples(folder: Path) -> None:
    """80 random images, labelled with what the model itself says: top1 is 1."""
    import onnxruntime

    images = np.random.default_rng(1).normal(size=(80, 1, 16, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    labels = session.run(None, {"image": images})[0].argmax(1)
    np.savez(folder / "samples.npz", image=images, labels=labels)


def thresher(*arguments: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run([THRESHER, *arguments], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def records(completed: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    """The JSON records that a command printed."""
    return [json.loads(line) for line in completed.stdout.splitlines()]
