"""The example's files are what its README and model.yaml say, and its code makes that graph."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from onnx import numpy_helper

from optimizers.model_file import load_model_file


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "examples" / "digits"


@pytest.fixture(scope="module")
def network(folder: Path) -> ModuleType:
    """examples/digits/network.py: the folder is no package, so it is loaded from its file."""
    spec = importlib.util.spec_from_file_location("digits_network", folder / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def accuracy(folder: Path) -> tuple[float, int]:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    with np.load(folder / "samples.npz") as samples:
        images, labels = samples["image"], samples["labels"]
    (logits,) = session.run(["logits"], {"image": images})
    return float((logits.argmax(1) == labels).mean()), len(labels)


def test_scores_what_the_readme_says(folder: Path) -> None:
    right, count = accuracy(folder)
    stated = re.search(r"right on (\d+\.\d+) % of (\d+) evaluation images", (folder / "README.md").read_text("utf-8"))
    assert stated is not None
    assert (f"{100 * right:.2f}", str(count)) == stated.groups()
    assert right >= 0.98


def test_model_yaml_names_these_files(folder: Path) -> None:
    model = load_model_file(folder / "model.yaml")
    assert (model.name, model.metric) == ("digits", "top1")
    assert (model.path, model.samples, model.calibration) == tuple(
        folder / name for name in ("model.onnx", "samples.npz", "calibration.npz")
    )


def test_the_campaign_has_every_shipped_recipe_and_the_quick_protocol(folder: Path) -> None:
    campaign = yaml.safe_load((folder / "campaign.yaml").read_text("utf-8"))
    shipped = {"fp32", "fp16", "int8-dynamic", "int8-static", "int8-static-per-tensor", "prune-magnitude-50", "ort-format"}
    assert set(campaign["recipes"]) == shipped
    assert campaign["protocol"] == "quick"


def test_evaluation_and_calibration_are_apart_and_calibration_has_no_labels(folder: Path) -> None:
    with np.load(folder / "samples.npz") as samples, np.load(folder / "calibration.npz") as calibration:
        assert calibration.files == ["image"]
        evaluated = {image.tobytes() for image in samples["image"]}
        used = {image.tobytes() for image in calibration["image"]}
    assert (len(evaluated), len(used)) == (669, 128)  # no image twice, so that "apart" means something
    assert not evaluated & used


def test_everything_is_at_most_one_megabyte(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts and ".thresher" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 1_000_000


def structure(model: onnx.ModelProto) -> list[tuple[object, ...]]:
    nodes = [(n.name, n.op_type, tuple(n.input), tuple(n.output), tuple(sorted(map(str, n.attribute)))) for n in model.graph.node]
    weights = [(w.name, w.data_type, tuple(w.dims)) for w in model.graph.initializer]
    return [*nodes, *weights, *map(str, model.graph.input), *map(str, model.graph.output), *map(str, model.opset_import)]


def test_the_script_builds_the_committed_graph(folder: Path, network: ModuleType) -> None:
    committed = onnx.load(folder / "model.onnx")
    parameters = {weight.name: numpy_helper.to_array(weight) for weight in committed.graph.initializer}
    assert network.build(parameters).SerializeToString() == committed.SerializeToString()
    untrained = network.initial_parameters(seed=0)
    for conv in network.CONVS:
        untrained[f"{conv.name}.bn.running_mean"] = untrained[f"{conv.name}.bn.bias"]
        untrained[f"{conv.name}.bn.running_var"] = untrained[f"{conv.name}.bn.weight"]
    assert structure(network.build(untrained)) == structure(committed)


def test_it_has_what_the_passes_are_for(folder: Path) -> None:
    """Depthwise and ordinary convolutions, skip connections, batch normalisation to fold, a free batch axis."""
    graph = onnx.load(folder / "model.onnx").graph
    weights = {weight.name: weight.dims for weight in graph.initializer}
    count = Counter(node.op_type for node in graph.node)
    convs = [node for node in graph.node if node.op_type == "Conv"]
    depthwise = [node for node in convs if weights[node.input[1]][1] == 1 and weights[node.input[1]][0] > 1 and node.input[0] != "image"]
    assert len(depthwise) == 3
    assert count["Add"] == 4
    assert count["BatchNormalization"] == len(convs) == 15
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
