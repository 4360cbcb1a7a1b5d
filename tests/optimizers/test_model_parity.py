from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from optimizers.errors import ModelError, PassFailed
from optimizers.foreign import foreign_as, one_line
from optimizers.graph import check_signature, given_size, is_quantised, read_model, real_inputs, signature, unpack_weights, write_model
from optimizers.model_file import ModelFile
from optimizers.optimizer_pass import relative_error
from optimizers.parity import difference, random_probes, reference


def save(text: str, path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 13]> net {text}'), path)
    return path


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=8))
def test_everything_is_equal_to_itself(values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert relative_error(array, array.copy()) == 0
    assert difference([array, [array], {"a": 1.5}], [array, [array], {"a": 1.5}]) == 0


@pytest.mark.parametrize(
    ("got", "expected", "error"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([0.0, 4.0], [3.0, 4.0], 0.6),
        ([0.5, 0.0], [0.0, 0.0], 0.5),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([1.0, 1.0], [np.nan, 1.0], np.inf),
        ([np.inf, 3.0], [np.inf, 4.0], 0.25),
        ([np.inf, 4.0], [-np.inf, 4.0], np.inf),
    ],
)
def test_relative_error(got: list[float], expected: list[float], error: float) -> None:
    assert relative_error(np.array(got), np.array(expected)) == pytest.approx(error)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ([np.zeros(2)], [np.zeros(3)]),
        ([np.zeros(2, np.float32)], [np.zeros(2)]),
        ([np.array(["a"], object)], [np.array(["b"], object)]),
        ([np.array([True])], [np.array([False])]),
        ([[np.zeros(2)]], [np.zeros(2)]),
        ([{"a": 1.0}], [{"b": 1.0}]),
        ([None], [np.zeros(1)]),
        ([], [np.zeros(1)]),
    ],
)
def test_what_is_of_another_kind_is_infinitely_far(got: list[object], expected: list[object]) -> None:
    assert difference(got, expected) == np.inf


def test_random_probes_are_the_same_every_time_and_two_different_ones(tmp_path: Path) -> None:
    path = save("(float[n, c, 8] x, bool[n] b) => (float[n, c, 8] y) { i = Cast<to = 1>(b) y = Add(x, i) }", tmp_path / "m.onnx")
    probes, again = random_probes(path, threads=1), random_probes(path, threads=1)
    assert len(probes) == 2
    assert {name: array.shape for name, array in probes[0].items()} == {"x": (1, 64, 8), "b": (1,)}
    assert not np.array_equal(probes[0]["x"], probes[1]["x"])
    np.testing.assert_array_equal(again[1]["x"], probes[1]["x"])


def test_constants_of_the_model_file_are_not_made_up(tmp_path: Path) -> None:
    """A model that looks past the end of its input unless `many` is 300, which no random number here is."""
    path = save(
        "(float[2, 3] x, int64 many) => (float[1, 3] y) <int64[1] far = {300}> { at = Sub(many, far) y = Gather(x, at) }",
        tmp_path / "m.onnx",
    )
    with pytest.raises(ModelError, match="random inputs"):
        random_probes(path, threads=1)
    probes = random_probes(path, ModelFile(name="m", path=path, constants={"many": 300}), threads=1)
    np.testing.assert_array_equal(probes[0]["many"], 300)


def test_a_reference_tells_models_apart(tmp_path: Path) -> None:
    one = save("(float[2] x) => (float[2] y) { y = Relu(x) }", tmp_path / "a.onnx")
    other = save("(float[2] x) => (float[2] y) { y = Abs(x) }", tmp_path / "b.onnx")
    probes = ({"x": np.array([1, -1], np.float32)},)
    same = reference(one, probes, threads=1)
    assert same.why_not is None
    assert same.difference(one, threads=1) == 0
    assert same.difference(other, threads=1) == pytest.approx(1)
    assert reference(one, (), threads=1).why_not is not None


def test_names_types_and_number_of_outputs_must_stay(tmp_path: Path) -> None:
    base = "(float[n, 2] x) => (float[n, 2] y) { y = Relu(x) }"
    ports = signature(read_model(save(base, tmp_path / "a.onnx")))
    check_signature(ports, read_model(save(base.replace("n, 2", "3, 2"), tmp_path / "b.onnx")), who="it")
    for broken in (
        base.replace("x", "z"),
        base.replace("float", "double"),
        base.replace("[n, 2] y", "[n, 3] y"),
        base.replace("[n, 2] y", "[2] y"),
    ):
        with pytest.raises(PassFailed, match="it changed the model's"):
            check_signature(ports, read_model(save(broken, tmp_path / "c.onnx")), who="it")
    two = "(float[n, 2] x) => (float[n, 2] y, float[n, 2] z) { y = Relu(x) z = Relu(x) }"
    with pytest.raises(PassFailed, match="1 became 2"):
        check_signature(ports, read_model(save(two, tmp_path / "d.onnx")), who="it")


def test_overridable_weights_are_no_inputs(shared_data: Path) -> None:
    model = read_model(shared_data / "models/odd/o03_ir3_init_inputs.onnx")
    assert [value.name for value in real_inputs(model)] == ["x"]
    assert len(model.graph.inputs) > 1


def quantised_weight(
    scale: list[float] | float, zero: list[int] | int, attributes: dict[str, int], shape: tuple[int, ...]
) -> onnx.ModelProto:
    numbers = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], **attributes), helper.make_node("Mul", ["x", "w"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(numbers, "q"),
            numpy_helper.from_array(np.array(scale, np.float32), "s"),
            numpy_helper.from_array(np.array(zero, np.int8), "z"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    ("scale", "zero", "attributes", "shape"),
    [
        (0.1, 3, {}, (2, 3)),
        ([0.1], [-5], {}, (4,)),
        ([0.1, 0.2, 0.3], [1, 2, 3], {}, (2, 3, 5)),
        ([0.1, 0.2], [0, 9], {"axis": 0}, (2, 3)),
        ([0.1, 0.2, 0.4], [0, 9, -9], {"axis": -1}, (2, 3)),
    ],
)
def test_unpacked_weights_are_what_the_runtime_makes_of_them(tmp_path: Path, scale, zero, attributes, shape) -> None:
    onnx.save(quantised_weight(scale, zero, attributes, shape), tmp_path / "q.onnx")
    model = read_model(tmp_path / "q.onnx")
    assert not is_quantised(model)
    same = reference(tmp_path / "q.onnx", ({"x": np.ones(1, np.float32)},), threads=1)
    assert unpack_weights(model) == 1
    assert [node.op_type for node in model.graph] == ["Mul"]
    assert same.difference(write_model(model, tmp_path / "f.onnx").path, threads=1) < 1e-7


def test_blocked_scales_are_left_to_the_runtime(shared_data: Path) -> None:
    model = ir.from_proto(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 21]> net (float[1] x) => (float[4, 2] y) '
            "<int8[4, 2] q = {1, 2, 3, 4, 5, 6, 7, 8}, float[2, 2] s = {1, 2, 3, 4}> { w = DequantizeLinear<axis = 0, block_size = 2>(q, s) y = Mul(x, w) }"
        )
    )
    assert unpack_weights(model) == 0


def test_weights_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["w"], ["y"])],
            "g",
            [],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [16])],
            [numpy_helper.from_array(np.zeros(16, np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location="../secret.bin")
    model.graph.initializer[0].ClearField("raw_data")
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="outside the model's folder"):
        read_model(folder / "m.onnx")
    model.graph.initializer[0].external_data[0].value = "w.bin"
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    (folder / "w.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ModelError, match="outside the model's folder"):
        read_model(folder / "m.onnx")
    (folder / "w.bin").unlink()
    (folder / "w.bin").write_bytes(bytes(64))
    assert given_size(read_model(folder / "m.onnx"), folder / "m.onnx") == (folder / "m.onnx").stat().st_size + 64


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_or_a_model_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.onnx"
    path.write_bytes(data)
    try:
        read_model(path)
    except ModelError as error:
        assert str(error).isprintable()


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=600), st.integers(10, 200))
def test_foreign_text_is_one_printable_line(text: str, limit: int) -> None:
    line = one_line(text, limit=limit)
    assert len(line) <= limit
    assert line.isprintable()


def test_foreign_errors_become_ours_with_their_first_cause() -> None:
    with pytest.raises(ModelError, match=r"^reading it: the first cause$") as caught, foreign_as(ModelError, "reading it"):
        try:
            raise ValueError("the first cause")
        except ValueError as error:
            raise RuntimeError("wrapped") from error
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(PassFailed), foreign_as(ModelError, "reading it"):
        raise PassFailed("ours stay as they are")
    with pytest.raises(MemoryError), foreign_as(ModelError, "reading it"):
        raise MemoryError
