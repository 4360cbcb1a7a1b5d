from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizers.errors import UnsupportedModel
from optimizers.graph import infer_shapes, read_model, signature, write_model
from optimizers.optimizer_pass import Context, Feed, Result
from optimizers.parity import random_probes
from optimizers.passes.fp16 import Fp16, Fp16Parameters


def half(path: Path, scratch: Path, feeds: list[Feed] | None = None) -> Result:
    model = infer_shapes(read_model(path))

    def calibration() -> Iterator[Feed]:
        if feeds is None:
            raise UnsupportedModel("no samples")
        return iter(feeds)

    probes = tuple(feeds[:2]) if feeds else random_probes(path, threads=1)
    scratch.mkdir(exist_ok=True)
    return Fp16(Fp16Parameters(), Context(scratch, calibration, 1, probes))(model)


def saved(result: Result, tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(write_model(result.model, tmp_path / "out.onnx").path)


def parsed(text: str, path: Path, **weights: np.ndarray) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> net {text}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.save(model, path)
    return path


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def type_of(model: onnx.ModelProto, name: str) -> int:
    """The element type that the runtime gives to a value."""
    inferred = onnx.shape_inference.infer_shapes(model)
    known = (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    types = {value.name: value.type.tensor_type.elem_type for value in known}
    return types[name]


def test_weights_and_arithmetic_are_half_and_the_outside_is_not(tmp_path: Path) -> None:
    path = parsed(
        "(float[n, 64] x) => (float[n, 64] y) { a = MatMul(x, w) r = Relu(a) y = Add(r, b) }",
        tmp_path / "m.onnx",
        w=normal(64, 64),
        b=normal(64),
    )
    result = half(path, tmp_path / "s")
    made = saved(result, tmp_path)
    assert signature(result.model) == signature(read_model(path))
    assert {one.data_type for one in made.graph.initializer} == {TensorProto.FLOAT16}
    assert [node.op_type for node in made.graph.node] == ["Cast", "MatMul", "Relu", "Add", "Cast"]
    assert (tmp_path / "out.onnx").stat().st_size < 0.6 * path.stat().st_size
    assert result.details["operators_half"] == 3
    assert 0 < result.details["relative_error"] < 1e-2
    assert "random inputs" in result.warnings[0]


def test_the_layer_whose_values_overflow_stays_float(tmp_path: Path) -> None:
    text = "(float[1, 16] x) => (float[1, 16] y) { small = MatMul(x, w) large = Mul(small, big) back = Div(large, big) y = Relu(back) }"
    path = parsed(text, tmp_path / "m.onnx", w=normal(16, 16), big=np.full(16, 6e4, np.float32))
    feeds = [{"x": normal(1, 16, seed=seed)} for seed in range(4)]
    result = half(path, tmp_path / "s", feeds)
    made = saved(result, tmp_path)
    assert type_of(made, "large") == TensorProto.FLOAT
    weights = {one.name: one.data_type for one in made.graph.initializer}
    assert weights["w_half"] == TensorProto.FLOAT16
    assert weights["big"] == TensorProto.FLOAT
    assert set(result.details["kept_float"].values()) == {"values overflow"}
    assert not result.warnings
    got = ort.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"]).run(None, feeds[3])[0]
    expected = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds[3])[0]
    np.testing.assert_allclose(got, expected, atol=1e-2)


@pytest.mark.parametrize("constant", [1e-12, 7e4, np.inf, np.nan])
def test_constants_that_half_precision_cannot_hold_stay_float(tmp_path: Path, constant: float) -> None:
    path = parsed(
        "(float[1, 8] x) => (float[1, 8] y) { a = MatMul(x, w) y = Max(a, e) }",
        tmp_path / "m.onnx",
        w=normal(8, 8),
        e=np.array([constant], np.float32),
    )
    result = half(path, tmp_path / "s")
    assert {one.name: one.data_type for one in saved(result, tmp_path).graph.initializer}["e"] == TensorProto.FLOAT
    assert result.details["operators_half"] == 1


def test_what_breaks_outputs_is_found_and_stays_float(tmp_path: Path) -> None:
    """The difference of large, nearly equal numbers: nothing overflows, and half precision keeps nothing of it."""
    text = "(float[1, 64] x) => (float[1, 64] y, float[1, 64] z) { up = Add(x, c) y = Sub(up, c) z = MatMul(x, w) }"
    path = parsed(text, tmp_path / "m.onnx", c=np.full(64, 3e4, np.float32), w=normal(64, 64))
    result = half(path, tmp_path / "s")
    made = saved(result, tmp_path)
    assert {one.name: one.data_type for one in made.graph.initializer} == {"c": TensorProto.FLOAT, "w_half": TensorProto.FLOAT16}
    assert any("outputs would be off" in why for why in result.details["kept_float"].values())
    assert result.details["relative_error"] < 5e-2


def test_subgraphs_stay_float_and_read_what_they_need(tmp_path: Path) -> None:
    inner = [
        helper.make_graph(
            [helper.make_node(op, ["a"], [op.lower()])], op, [], [helper.make_tensor_value_info(op.lower(), TensorProto.FLOAT, [1, 8])]
        )
        for op in ("Relu", "Neg")
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("If", ["flag"], ["b"], name="choice", then_branch=inner[0], else_branch=inner[1]),
        helper.make_node("MatMul", ["b", "w"], ["y"], name="last"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8]), helper.make_tensor_value_info("flag", TensorProto.BOOL, [])]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])], [numpy_helper.from_array(normal(8, 8), "w")]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    result = half(tmp_path / "m.onnx", tmp_path / "s")
    assert result.details["operators_half"] == 2
    assert result.details["operators_in_subgraphs_float"] == 2
    assert any("inside If, Loop or Scan" in warning for warning in result.warnings)
    made = ort.InferenceSession(str(write_model(result.model, tmp_path / "out.onnx").path), providers=["CPUExecutionProvider"])
    given = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    for flag in (True, False):
        feed = {"x": normal(1, 8), "flag": np.array(flag)}
        np.testing.assert_allclose(made.run(None, feed)[0], given.run(None, feed)[0], rtol=2e-2, atol=2e-2)


def test_scales_and_shapes_are_not_cast(tmp_path: Path) -> None:
    text = '(float[1, 2, 4, 4] x) => (float[1, 2, 8, 8] y, int64[4] s) { c = Conv(x, w) e = Constant<value = float[0] {}>() y = Resize<mode = "nearest">(c, e, scales) s = Shape(c) }'
    path = parsed(text, tmp_path / "m.onnx", w=normal(2, 2, 1, 1), scales=np.array([1, 1, 2, 2], np.float32))
    made = saved(half(path, tmp_path / "s"), tmp_path)
    assert {one.name: one.data_type for one in made.graph.initializer}["scales"] == TensorProto.FLOAT
    assert type_of(made, "y") == TensorProto.FLOAT
    assert sum(node.op_type == "Cast" for node in made.graph.node) == 2


def test_an_input_that_is_also_read_as_float(tmp_path: Path) -> None:
    text = "(float[2, 3] x) => (float[2, 3] y, float[2, 3] z, float[2, 3] v) { y = Relu(x) z = Neg(y) v = CumSum(y, axis) }"
    path = parsed(text, tmp_path / "m.onnx", axis=np.array(1, np.int64))
    result = half(path, tmp_path / "s")
    feed = {"x": np.array([[1, 2, -3], [0.5, -1, 4]], np.float32)}
    y, z, v = ort.InferenceSession(str(write_model(result.model, tmp_path / "o.onnx").path), providers=["CPUExecutionProvider"]).run(
        None, feed
    )
    np.testing.assert_array_equal(y, np.maximum(feed["x"], 0))
    np.testing.assert_array_equal(z, -y)
    np.testing.assert_array_equal(v, np.cumsum(y, axis=1))
    assert v.dtype == np.float32


def test_double_and_integer_models_have_nothing_to_convert(tmp_path: Path) -> None:
    path = parsed("(double[2] x) => (double[2] y) { y = Neg(x) }", tmp_path / "m.onnx")
    result = half(path, tmp_path / "s")
    assert not result.modified
    assert "no operator" in result.summary


def test_operators_without_a_type_are_named(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 4, opset_import: ["" : 8]> net (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) { a = ImageScaler<scale = 2.0, bias = [0.0, 0.0, 0.0]>(x) b = Neg(a) y = ImageScaler<scale = 2.0, bias = [0.0, 0.0, 0.0]>(b) }'
    )
    onnx.save(model, tmp_path / "m.onnx")
    result = half(tmp_path / "m.onnx", tmp_path / "s")
    assert not result.modified
    assert "2 stay in float32, because ONNX cannot tell their types from ImageScaler (opset 8) on" in result.summary


def test_quantised_models_are_refused(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="quantised already"):
        half(shared_data / "models/models/kws_mlperf_dscnn_qdq_int8.onnx", tmp_path / "s")


def test_weights_stored_as_integers_become_half(shared_data: Path, tmp_path: Path) -> None:
    result = half(shared_data / "models/models/kws_mlperf_dscnn.onnx", tmp_path / "s")
    assert "DequantizeLinear" not in {node.op_type for node in saved(result, tmp_path).graph.node}
    assert result.details["operators_float"] == 0


def test_without_inputs_to_measure_on_it_is_refused(tmp_path: Path) -> None:
    path = parsed("(float[2] x) => (float[2] y) { y = Neg(x) }", tmp_path / "m.onnx")
    with pytest.raises(UnsupportedModel, match="cannot be measured"):
        Fp16(Fp16Parameters(), Context(tmp_path, lambda: iter(()), 1, ()))(read_model(path))


@pytest.mark.slow
def test_a_crash_of_the_runtime_is_survived(shared_data: Path, tmp_path: Path) -> None:
    """onnxruntime 1.32 crashes on loading this recurrent network with all of it in half precision."""
    result = half(shared_data / "models/models/nnsplit_en_lstm_opset9.onnx", tmp_path / "s")
    assert result.modified
    assert result.details["relative_error"] < 1e-2
