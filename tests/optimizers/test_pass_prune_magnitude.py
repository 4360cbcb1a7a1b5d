from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from optimizers.errors import UnsupportedModel
from optimizers.optimizer_pass import Context, Result
from optimizers.passes.prune_magnitude import PruneMagnitude, PruneMagnitudeParameters


def model_of(text: str, **weights: np.ndarray) -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> net {text}')
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return ir.from_proto(proto)


def prune(model: ir.Model, **parameters: object) -> Result:
    context = Context(Path("unused"), lambda: iter(()), 1)
    return PruneMagnitude(PruneMagnitudeParameters.model_validate(parameters), context)(model)


def weight(model: ir.Model, name: str) -> np.ndarray:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def two_layers(seed: int = 0) -> ir.Model:
    """A convolution with small weights and a Gemm with large ones, both with biases; operators named first and second."""
    generator = np.random.default_rng(seed)
    model = model_of(
        "(float[1, 2, 4, 4] x) => (float[1, 5] y) { c = Conv(x, w1, b1) f = Flatten(c) y = Gemm(f, w2, b2) }",
        w1=generator.standard_normal((4, 2, 1, 1)).astype(np.float32) * 1e-6,
        b1=np.full(4, 1e-9, np.float32),
        w2=generator.standard_normal((64, 5)).astype(np.float32),
        b2=np.full(5, 1e-9, np.float32),
    )
    for node, name in zip(model.graph, ("first", "flat", "second"), strict=True):
        node.name = name
    return model


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.sampled_from(["global", "layer"]), st.integers(0, 2**16))
def test_sparsity_is_reached_and_the_largest_survive_untouched(sparsity: float, scope: str, seed: int) -> None:
    model, original = two_layers(seed), two_layers(seed)
    result = prune(model, sparsity=sparsity, scope=scope)
    zeros = sum(np.count_nonzero(weight(model, name) == 0) for name in ("w1", "w2"))
    assert abs(zeros - sparsity * 328) <= (0.5 if scope == "global" else 1)
    assert result.modified == (zeros > 0)
    for name in ("w1", "w2"):
        before, after = weight(original, name), weight(model, name)
        kept = after != 0
        np.testing.assert_array_equal(after[kept], before[kept])
        if kept.any() and not kept.all():
            assert np.abs(before[kept]).min() >= np.abs(before[~kept]).max()
    np.testing.assert_array_equal(weight(model, "b1"), np.full(4, 1e-9, np.float32))


def test_the_global_threshold_takes_the_small_layer_first_and_layers_share_alike() -> None:
    everywhere, each = two_layers(), two_layers()
    prune(everywhere, sparsity=8 / 328)
    prune(each, sparsity=0.5, scope="layer")
    assert not weight(everywhere, "w1").any()
    assert weight(everywhere, "w2").all()
    assert [np.count_nonzero(weight(each, name)) for name in ("w1", "w2")] == [4, 160]


def test_equal_weights_are_pruned_in_order() -> None:
    model = model_of("(float[1, 4] x) => (float[1, 2] y) { y = MatMul(x, w) }", w=np.array([[1, -1], [1, 1], [-1, 1], [1, 1]], np.float32))
    result = prune(model, sparsity=0.5)
    np.testing.assert_array_equal(weight(model, "w"), [[0, 0], [0, 0], [-1, 1], [1, 1]])
    assert result.details["sparsity"] == 0.5
    assert "dense latency" in result.summary


@pytest.mark.parametrize(("skipped", "expected"), [({"skip_names": ["second"]}, "w2"), ({"skip_types": ["Conv"]}, "w1")])
def test_skipped_operators_keep_their_weights(skipped: dict[str, list[str]], expected: str) -> None:
    model = two_layers()
    prune(model, sparsity=0.9, **skipped)
    assert weight(model, expected).all()
    other = {"w1", "w2"} - {expected}
    assert not weight(model, other.pop()).all()


def test_a_misspelt_name_to_skip_gets_the_nearest() -> None:
    with pytest.raises(UnsupportedModel, match="did you mean `second`"):
        prune(two_layers(), sparsity=0.5, skip_names=["secnod"])
    with pytest.raises(UnsupportedModel, match="did you mean `Conv`"):
        prune(two_layers(), sparsity=0.5, skip_types=["conv"])


def tied() -> ir.Model:
    """One table for looking tokens up and, as it is, for the last product."""
    table = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    return model_of("(int64[1, 3] t) => (float[1, 3, 8] y) { e = Gather(table, t) y = MatMul(e, table) }", table=table)


def test_tied_embeddings_are_pruned_on_request_only() -> None:
    model = tied()
    assert not prune(model, sparsity=0.5).modified
    assert weight(model, "table").all()
    assert prune(model, sparsity=0.5, include_shared=True).modified
    assert np.count_nonzero(weight(model, "table")) == 32


def test_weights_that_are_inputs_or_absent_change_nothing() -> None:
    model = model_of("(float[1, 4] x, float[4, 2] w) => (float[1, 2] y) { y = MatMul(x, w) }")
    result = prune(model, sparsity=0.5)
    assert not result.modified
    assert "no constant weights" in result.summary


def test_zeros_that_were_there_are_counted_and_said() -> None:
    model = model_of("(float[1, 4] x) => (float[1, 2] y) { y = MatMul(x, w) }", w=np.eye(4, 2, dtype=np.float32))
    result = prune(model, sparsity=0.5)
    assert not result.modified
    assert "75.0%" in result.summary


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floats_keep_their_type(kind: type) -> None:
    onnx_type = {np.float16: "float16", np.float64: "double"}[kind]
    model = model_of(f"({onnx_type}[1, 4] x) => ({onnx_type}[1, 4] y) {{ y = MatMul(x, w) }}", w=np.arange(1, 17, dtype=kind).reshape(4, 4))
    prune(model, sparsity=0.25)
    assert weight(model, "w").dtype == kind
    np.testing.assert_array_equal(weight(model, "w")[0], 0)


def test_quantised_models_are_refused() -> None:
    model = model_of("(float[2] x) => (uint8[2] y) { y = QuantizeLinear(x, s, z) }", s=np.array(0.1, np.float32), z=np.array(0, np.uint8))
    with pytest.raises(UnsupportedModel, match="quantised already"):
        prune(model, sparsity=0.5)
