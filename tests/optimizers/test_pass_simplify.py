from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizers.graph import file_bytes, operators, opset, read_model, write_model
from optimizers.optimizer_pass import Context, Feed
from optimizers.parity import random_probes
from optimizers.passes.simplify import Simplify, SimplifyParameters


def weights(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32), name)


def conv_with_rests() -> onnx.ModelProto:
    """Conv, BatchNormalization, Identity, a foldable shape; a stack trace, a stale shape and labels in the metadata."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["conv", "scale", "shift", "mean", "variance"], ["normal"], name="norm"),
        helper.make_node("Identity", ["normal"], ["same"], name="identity"),
        helper.make_node("Concat", ["one", "minus"], ["shape"], axis=0, name="concat"),
        helper.make_node("Reshape", ["same", "shape"], ["y"], name="reshape"),
        helper.make_node("Relu", ["conv"], ["unused"], name="dead"),
    ]
    nodes[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File /home/somebody/secret/train.py, line 1")
    nodes[0].doc_string = "/home/somebody/secret/train.py"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 256])],
        [
            weights("w", 4, 3, 3, 3),
            weights("b", 4),
            weights("scale", 4),
            weights("shift", 4),
            weights("mean", 4),
            numpy_helper.from_array(np.full(4, 2.0, np.float32), "variance"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
            numpy_helper.from_array(np.array([-1], np.int64), "minus"),
        ],
        value_info=[helper.make_tensor_value_info("same", TensorProto.FLOAT, [1, 9, 9, 9])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="exporter")
    model.metadata_props.add(key="names", value="cat,dog")
    return model


def simplify(path: Path, scratch: Path, *, probes: tuple[Feed, ...] | None = None, min_opset: int = 13):
    model = read_model(path)
    probes = random_probes(path, threads=1) if probes is None else probes
    scratch.mkdir(exist_ok=True)
    return Simplify(SimplifyParameters(min_opset=min_opset), Context(scratch, lambda: iter(()), 1, probes))(model)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "given.onnx"
    onnx.save(conv_with_rests(), path)
    return path


def run(path: Path, feed: Feed) -> list[np.ndarray]:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, dict(feed))


def test_normalisation_identity_constants_and_dead_operators_go(given: Path, tmp_path: Path) -> None:
    result = simplify(given, tmp_path / "s")
    assert result.modified
    assert operators(result.model) == {"Conv": 1, "Reshape": 1}
    assert not result.warnings
    feed = {"x": np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    written = write_model(result.model, tmp_path / "out.onnx")
    np.testing.assert_allclose(run(written.path, feed)[0], run(given, feed)[0], rtol=1e-4, atol=1e-5)
    assert result.details["nodes_before"] == 6
    assert result.details["nodes_after"] == 2


def test_traces_of_the_author_go_and_the_models_own_words_stay(given: Path, tmp_path: Path) -> None:
    result = simplify(given, tmp_path / "s")
    data = write_model(result.model, tmp_path / "out.onnx").path.read_bytes()
    assert b"secret" in given.read_bytes()
    assert b"secret" not in data
    made = onnx.load(tmp_path / "out.onnx")
    assert {one.key: one.value for one in made.metadata_props} == {"names": "cat,dog"}
    assert made.producer_name == "exporter"
    assert not made.graph.value_info
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_stale_shape_is_inferred_again(given: Path, tmp_path: Path) -> None:
    model = read_model(given)
    assert [tuple(v.shape) for n in model.graph for v in n.outputs if v.name == "same" and v.shape] == [(1, 9, 9, 9)]
    result = simplify(given, tmp_path / "s", probes=())
    assert [v.shape[1:] for n in result.model.graph for v in n.outputs if v.name == "same" and v.shape] == [(4, 8, 8)]
    assert "could not be compared" in result.warnings[0]


def test_twice_changes_nothing_more(given: Path, tmp_path: Path) -> None:
    first = simplify(given, tmp_path / "s")
    path = write_model(first.model, tmp_path / "first.onnx").path
    second = simplify(path, tmp_path / "t")
    assert write_model(second.model, tmp_path / "second.onnx").path.read_bytes() == path.read_bytes()


def test_outputs_that_are_equal_stay_two(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 13]> net (float[2, 3] x) => (float[2, 3] a, float[2, 3] b) { a = Relu(x) b = Relu(x) }'
    )
    onnx.save(model, tmp_path / "two.onnx")
    result = simplify(tmp_path / "two.onnx", tmp_path / "s")
    assert [value.name for value in result.model.graph.outputs] == ["a", "b"]
    feed = {"x": np.array([[1, -1, 2], [3, -3, 0]], np.float32)}
    a, b = run(write_model(result.model, tmp_path / "out.onnx").path, feed)
    np.testing.assert_array_equal(a, np.maximum(feed["x"], 0))
    np.testing.assert_array_equal(a, b)


def test_old_operators_are_converted_and_said_so(shared_data: Path, tmp_path: Path) -> None:
    result = simplify(shared_data / "models/models/mnist_cntk_opset8.onnx", tmp_path / "s")
    assert opset(result.model) == 13
    assert result.details["opset_before"] == 8
    assert "operators converted to opset 13" in result.summary


def test_operators_that_cannot_be_converted_keep_their_opset_with_the_reason(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 4, opset_import: ["" : 8]> net (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) { y = ImageScaler<scale = 2.0, bias = [0.0, 0.0, 0.0]>(x) }'
    )
    onnx.save(model, tmp_path / "old.onnx")
    result = simplify(tmp_path / "old.onnx", tmp_path / "s")
    assert opset(result.model) == 8
    assert any("stays at opset 8" in warning for warning in result.warnings)


def test_small_files_do_not_become_large_ones(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "models/odd/suite_constant_fold_bloater.onnx"
    result = simplify(path, tmp_path / "s")
    assert write_model(result.model, tmp_path / "out.onnx").size_bytes < path.stat().st_size * 1.1
    assert any("would grow" in warning for warning in result.warnings)


def test_random_models_lose_their_metadata_only(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 13]> net (float[2, 3] x) => (float[2, 3] y) { r = RandomNormalLike(x) i = Identity(r) y = Add(x, i) }'
    )
    onnx.save(model, tmp_path / "random.onnx")
    result = simplify(tmp_path / "random.onnx", tmp_path / "s")
    assert operators(result.model) == {"RandomNormalLike": 1, "Identity": 1, "Add": 1}
    assert "differ from one run to the next" in result.warnings[0]


def test_functions_are_inlined(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        net (float[2, 3] x) => (float[2, 3] y) { y = mine.Twice(x) }
        <domain: "mine", opset_import: ["" : 17]> Twice (a) => (b) { b = Add(a, a) }"""
    )
    onnx.save(model, tmp_path / "f.onnx")
    result = simplify(tmp_path / "f.onnx", tmp_path / "s")
    assert not result.model.functions
    assert operators(result.model) == {"Add": 1}
    assert set(result.model.opset_imports) == {""}


def test_the_given_model_is_left_alone(given: Path, tmp_path: Path) -> None:
    model = read_model(given)
    before = file_bytes(model)
    Simplify(SimplifyParameters(), Context(tmp_path, lambda: iter(()), 1, random_probes(given, threads=1)))(model)
    assert isinstance(model, ir.Model)
    assert file_bytes(model) == before
