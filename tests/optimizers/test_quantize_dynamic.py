from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from pydantic import ValidationError

from optimizers.errors import RecipeError, UnsupportedModel
from optimizers.graph import file_bytes, operators, read_model
from optimizers.optimizer_pass import Context, Feed, Result
from optimizers.passes.quantize_dynamic import QuantizeDynamic, QuantizeDynamicParameters
from optimizers.passes.table import PASSES

RANDOM = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Each test sees the same numbers, whichever others ran before it."""
    RANDOM.bit_generator.state = np.random.default_rng(5).bit_generator.state


def build(text: str, opset: int = 17, **weights: np.ndarray) -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items())
    onnx.checker.check_model(proto, full_check=True)
    return ir.from_proto(proto)


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RANDOM.normal(size=shape) * scale).astype(np.float32)


@pytest.fixture
def quantize(tmp_path: Path) -> Callable[..., Result]:
    def run(model: ir.Model, feeds: list[Any] | None = None, **parameters: Any) -> Result:
        def start() -> Iterator[Feed]:
            if feeds is None:
                raise UnsupportedModel("no samples")
            return iter(feeds)

        context = Context(scratch=tmp_path, feeds=start, intra_op_threads=1)
        return QuantizeDynamic(QuantizeDynamicParameters(**{"reduce_range": False, **parameters}), context)(model)

    return run


def outputs(model: ir.Model, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(file_bytes(model), options, providers=["CPUExecutionProvider"]).run(None, feed)


def close(model: ir.Model, result: Result, feed: dict[str, np.ndarray], share: float = 0.03) -> bool:
    pairs = zip(outputs(model, feed), outputs(result.model, feed), strict=True)
    return all(np.abs(got - expected).max() <= share * np.abs(expected).max() for expected, got in pairs)


def ports(model: ir.Model) -> list[tuple[Any, ...]]:
    return [(v.name, v.dtype, v.shape) for v in (*model.graph.inputs, *model.graph.outputs)]


def classifier() -> ir.Model:
    """A transposed Gemm, a product of a higher rank, a convolution and a product of two computed tensors."""
    return build(
        """net (float[n, 3, 8, 8] x) => (float[n, 5] y, float[n, 6, 6] z)
        {
          [conv] c = Conv (x, w, b)
          m = ReduceMean <axes = [2, 3], keepdims = 0> (c)
          [head] y = Gemm <transB = 1> (m, w1, b1)
          s = Reshape (c, shape)
          [product] p = MatMul (s, w2)
          t = Transpose <perm = [0, 2, 1]> (p)
          [both] z = MatMul (t, p)
        }""",
        w=normal(4, 3, 3, 3),
        b=normal(4),
        w1=normal(5, 4),
        b1=normal(5),
        shape=np.array([0, 4, 36]),
        w2=normal(36, 6),
    )


def image() -> dict[str, np.ndarray]:
    return {"x": normal(1, 3, 8, 8)}


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("weight", ["int8", "uint8"])
def test_products_run_on_integers_and_the_rest_says_why_not(quantize, weight: str, per_channel: bool) -> None:
    model = classifier()
    result = quantize(model.clone(), weight=weight, per_channel=per_channel)
    assert result.details["integer_kernels"] == {"DynamicQuantizeMatMul": 2}
    assert {layer["layer"]: layer["why"] for layer in result.details["layers_kept_float"]} == {
        "conv": "op_types leaves out Conv",
        "both": "its weights are computed, not constant",
    }
    assert result.details["float_ops"] == 2
    assert result.details["sqnr_db"] is None
    assert result.summary == "2 operators run on integers, 2 layers kept in float"
    assert ports(result.model) == ports(model)
    assert close(model, result, image(), 0.06)
    assert not result.warnings


def test_the_noise_is_measured_where_there_are_samples(quantize) -> None:
    result = quantize(classifier(), [image() for _ in range(4)])
    assert result.details["sqnr_db"] > 25
    assert result.summary.endswith("dB SQNR on calibration samples")


def test_stale_shapes_of_a_transposed_gemm(quantize) -> None:
    """Exporters declare shapes for weights, which the quantiser then finds at odds with its transposed copy."""
    proto = ir.to_proto(build("net (float[n, 6] x) => (float[n, 5] y) { y = Gemm <transB = 1> (x, w, b) }", w=normal(5, 6), b=normal(5)))
    proto.graph.value_info.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [5, 6]) for name in ("w", "gone"))
    model = ir.from_proto(proto)
    result = quantize(model.clone())
    assert result.details["integer_kernels"] == {"DynamicQuantizeMatMul": 1}
    assert close(model, result, {"x": normal(2, 6)})


def test_a_gemm_kept_in_float_stays_a_gemm(quantize) -> None:
    model = build(
        "net (float[n, 6] x) => (float[n, 5] y) { [first] h = Gemm (x, w, b)  [second] y = Gemm <transB = 1> (h, v) }",
        w=normal(6, 4),
        b=normal(4),
        v=normal(5, 4),
    )
    result = quantize(model.clone(), skip_layers=["sec*"])
    assert operators(result.model)["Gemm"] == 1
    assert result.details["layers_kept_float"] == [{"layer": "second", "type": "Gemm", "why": "skip_layers names it (sec*)"}]
    assert close(model, result, {"x": normal(2, 6)})
    with pytest.raises(RecipeError, match="no layer `secnod`: did you mean `second`"):
        quantize(model, skip_layers=["secnod"])


def test_weights_with_other_readers_are_left_to_them(quantize) -> None:
    model = build(
        """net (int64[n] tokens, float[n, 4] x) => (float[n, 4] e, float[n, 4] y, float[n, 4] z)
        { e = Gather (w, tokens)  y = Gemm <transB = 1> (x, w, b)  h = MatMul (x, w)  z = Add (h, b) }""",
        w=normal(4, 4),
        b=normal(4),
    )
    feed = {"tokens": np.array([2, 0]), "x": normal(2, 4)}
    result = quantize(model.clone())
    assert result.details["integer_ops"] == 2
    np.testing.assert_array_equal(outputs(model, feed)[0], outputs(result.model, feed)[0])
    assert close(model, result, feed)


def test_lstm_of_both_directions_and_one_that_it_does_not_know(quantize) -> None:
    text = """net (float[t, b, 6] x) => (float[t, 2, b, 4] y, float[2, b, 4] h)
        { [lstm] y, h = LSTM <direction = "bidirectional", hidden_size = 4> (x, w, r, c) }"""
    weights = {"w": normal(2, 16, 6, scale=0.3), "r": normal(2, 16, 4, scale=0.3), "c": normal(2, 32, scale=0.1)}
    model = build(text, **weights)
    for per_channel in (True, False):
        result = quantize(model.clone(), per_channel=per_channel)
        assert result.details["integer_kernels"] == {"DynamicQuantizeLSTM": 1}
        assert close(model, result, {"x": normal(5, 1, 6)}, 0.05)
    batch_first = build(
        text.replace("[t, b, 6]", "[b, t, 6]")
        .replace("[t, 2, b, 4]", "[b, t, 2, 4]")
        .replace("[2, b, 4] h", "[b, 2, 4] h")
        .replace("hidden", "layout = 1, hidden"),
        **weights,
    )
    result = quantize(batch_first)
    assert not result.modified
    assert result.summary == "no layer could be quantised (1 × it is laid out with the batch first, which the quantised LSTM does not know)"


def test_layers_in_branches_stay_in_float(quantize) -> None:
    model = build(
        """net (float[n, 4] x, bool flag) => (float[n, 4] y)
        {
          [seen] h = MatMul (x, w)
          z = If (flag) <
            then_branch = yes () => (float[n, 4] t) { [inner] t = Gemm (h, w, b) },
            else_branch = no () => (float[n, 4] e) { e = Neg (x) }
          >
          y = MatMul (z, w)
        }""",
        w=normal(4, 4),
        b=normal(4),
    )
    result = quantize(model.clone())
    assert {layer["layer"]: layer["why"] for layer in result.details["layers_kept_float"]} == {
        "inner": "it lies in a branch or loop body",
        "seen": "a branch or loop body reads one of its tensors",
    }
    assert result.details["integer_ops"] == 1
    assert operators(result.model)["Gemm"] == 1
    assert all(close(model, result, {"x": normal(2, 4), "flag": np.array(flag)}) for flag in (True, False))


def test_convolutions_on_request(quantize) -> None:
    model = classifier()
    result = quantize(model.clone(), op_types=["Conv"])
    assert result.details["integer_kernels"] == {"ConvInteger": 1}
    assert close(model, result, image(), 0.06)


def test_a_net_without_such_layers_is_not_changed(quantize) -> None:
    model = build("net (float[n, 3, 8, 8] x) => (float[n, 4, 8, 8] y) { y = Conv (x, w) }", w=normal(4, 3, 1, 1))
    result = quantize(model)
    assert (result.modified, result.summary) == (False, "no layer could be quantised (1 × op_types leaves out Conv)")
    assert file_bytes(result.model) == file_bytes(model)
    assert "none of the layers" in quantize(build("net (float[n] x) => (float[n] y) { y = Relu (x) }")).summary


def test_half_precision_is_left_alone(quantize) -> None:
    model = build("net (float16[n, 4] x) => (float16[n, 4] y) { y = MatMul (x, w) }", w=normal(4, 4).astype(np.float16))
    assert quantize(model).summary == "no layer could be quantised (1 × its weights are not float32)"


def test_models_that_it_refuses(quantize) -> None:
    with pytest.raises(UnsupportedModel, match="quantised already"):
        quantize(quantize(classifier()).model)
    with pytest.raises(UnsupportedModel, match=r"opset 9.*put `simplify` before"):
        quantize(build("net (float[n, 4] x) => (float[n, 4] y) { y = MatMul (x, w) }", opset=9, w=normal(4, 4)))


def test_it_is_repeatable_quiet_and_writes_nowhere_else(
    quantize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (cwd := tmp_path / "cwd").mkdir()
    monkeypatch.chdir(cwd)
    root = logging.getLogger()
    before, model = (list(root.handlers), list(root.filters)), classifier()
    made = [hashlib.sha256(file_bytes(quantize(model.clone()).model)).hexdigest() for _ in range(2)]
    assert made[0] == made[1]
    assert (list(root.handlers), list(root.filters)) == before
    assert capfd.readouterr() == ("", "")
    assert not list(cwd.iterdir())


def test_parameters() -> None:
    assert PASSES["quantize_dynamic"] is QuantizeDynamic
    for wrong in ({"op_types": ["Relu"]}, {"op_types": []}, {"weight": "int4"}, {"bits": 8}):
        with pytest.raises(ValidationError):
            QuantizeDynamicParameters(**wrong)


def test_a_real_transformer(quantize, shared_data: Path, repository: Path) -> None:
    x = np.load(repository / "examples/digits/calibration.npz")["image"]
    model = read_model(shared_data / "digits" / "tf.onnx")  # as exported: transposed Gemm, declared shapes
    result = quantize(model.clone(), [{"x": x[i : i + 1]} for i in range(32)])
    assert result.details["integer_ops"] == 14
    assert result.details["sqnr_db"] > 38
