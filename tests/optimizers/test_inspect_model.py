"""What is said of model files: good ones, unusual ones, and ones made to do harm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizers.errors import ModelError, OptimizerError
from optimizers.inspect_model import InspectRequest, ModelInfo, inspect_model

CONV = """<ir_version: 8, opset_import: ["" : 17], producer_name: "by hand", producer_version: "1">
agraph (float[n, 1, 8, 8] x, bool c) => (float[n, a, b, d] y)
<float[2, 1, 3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}>
{
  z = Conv (x, w)
  y = If (c) <then_branch = yes () => (float[n, a, b, d] t) { t = Relu (z) }, else_branch = no () => (float[n, a, b, d] e) { e = Neg (z) }>
}"""


def save(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def look(path: Path, **fields) -> ModelInfo:
    info = inspect_model(InspectRequest(path=path, **fields))
    assert ModelInfo.model_validate_json(info.model_dump_json()) == info
    return info


def test_a_model_with_branches(tmp_path: Path) -> None:
    info = look(save(tmp_path / "m.onnx", CONV), run=True)
    assert (info.problems, info.warnings) == ((), ())
    assert [(one.name, one.dtype, one.shape, one.dynamic_axes) for one in info.inputs] == [
        ("x", "float32", ("n", 1, 8, 8), (0,)),
        ("c", "bool", (), ()),
    ]
    assert info.ops == {"Conv": 1, "If": 1, "Neg": 1, "Relu": 1}
    assert (info.parameters, info.parameter_bytes, info.control_flow, info.quantized) == (18, 72, ("If",), False)
    assert (info.opsets, info.ir_version, info.producer) == ({"ai.onnx": 17}, 8, "by hand 1")
    assert info.size_bytes == (tmp_path / "m.onnx").stat().st_size
    assert info.ran_on is not None and "x float32 [1, 1, 8, 8]" in info.ran_on


def test_ort_format_says_the_same(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(save(tmp_path / "m.onnx", CONV)), options, providers=["CPUExecutionProvider"])
    info, source = look(tmp_path / "m.ort", run=True), look(tmp_path / "m.onnx")
    assert info.format == "ort"
    assert (info.ops, info.parameters, info.parameter_bytes) == (source.ops, source.parameters, source.parameter_bytes)
    assert info.opsets["ai.onnx"] == 17
    assert [one.name for one in info.inputs] == ["x", "c"]
    assert info.ran_on is not None
    (tmp_path / "half.ort").write_bytes((tmp_path / "m.ort").read_bytes()[:200])
    with pytest.raises(ModelError, match=r"cannot load half\.ort"):
        look(tmp_path / "half.ort")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x1f\x8brest", "compressed"),
        (b"\x00\x01\x02\x03", "damaged"),
        (b"\x08\x08", "no graph"),
    ],
)
def test_what_is_no_model_at_all(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        look(tmp_path / "m.onnx")


def test_names_that_are_not_text(tmp_path: Path) -> None:
    raw = save(tmp_path / "m.onnx", CONV).read_bytes()
    (tmp_path / "m.onnx").write_bytes(raw.replace(b"then_branch", b"then\xff\xfebranc"[:11]))
    with pytest.raises(ModelError, match="not UTF-8"):
        look(tmp_path / "m.onnx")


def test_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        look(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="not a regular file"):
        look(tmp_path)


# --- external data ---


def external(folder: Path, **entries: str) -> Path:
    """A model of one weight, 4 x 4 floats, kept where `entries` say."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> agraph (float[n, 4] x) => (float[n, 4] y) <float[4, 4] w = {0}> { y = MatMul (x, w) }'
    )
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "w.bin").write_bytes(bytes(16) + np.eye(4, dtype="<f4").tobytes())
    info = look(external(folder, location="data/w.bin", offset="16", length="64"), run=True)
    assert (info.problems, info.external_files) == ((), ("data/w.bin",))
    assert info.size_bytes == (folder / "m.onnx").stat().st_size + 80
    assert info.ran_on is not None


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"location": "/etc/hostname"}, "not a path relative"),
        ({"location": "C:\\w.bin"}, "not a path relative"),
        ({"location": "..\\w.bin"}, "not a path relative"),
        ({"location": "../secret.bin"}, "leads out"),
        ({"location": "a/../../secret.bin"}, "leads out"),
        ({"location": "link.bin"}, "link that leads out"),
        ({"location": "w.bin", "offset": "8"}, "has 64"),
        ({"location": "w.bin", "offset": "-8"}, "not a whole number"),
        ({"location": "w.bin", "offset": "9" * 30}, "not a whole number"),
        ({"location": "w.bin", "length": "32"}, "its shape needs 64"),
        ({"location": "nowhere.bin"}, "not there"),
        ({"location": "folder"}, "not a regular file"),
        ({"location": "w\x00.bin"}, "not there"),
        ({}, "does not say which"),
    ],
)
def test_external_data_anywhere_else_is_never_opened(tmp_path: Path, entries: dict[str, str], said: str) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (folder / "w.bin").write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    info = look(external(folder, **entries), run=True)
    assert len(info.problems) == 1
    assert said in info.problems[0]
    assert info.ran_on is None


# --- real and odd files ---


def odd_files(shared_data: Path) -> list[tuple[Path, dict[str, str]]]:
    root = shared_data / "models"
    return [(root / one["file"], one) for one in json.loads((root / "MANIFEST.json").read_text())["odd"]]


def test_odd_files_are_taken_as_their_manifest_says(shared_data: Path) -> None:
    checked = 0
    for path, entry in odd_files(shared_data):
        expect = entry.get("expect")
        try:
            info = look(path)
        except OptimizerError as error:
            assert expect in (None, "reject", "any"), (path.name, error)
            assert "\n" not in str(error) and len(str(error)) < 1000
            continue
        checked += 1
        if expect == "reject":
            assert info.problems, path.name
        if expect in ("accept", "flag", "limit") and path.name != "o13_string_in.onnx":
            assert info.problems == (), path.name
        if expect == "flag":
            assert any("differ from run to run" in one for one in info.warnings)
        if expect is None and entry["ort"] != "ok":
            assert info.problems, path.name
        assert not any("\n" in one for one in (*info.problems, *info.warnings))
    assert checked > 40


def test_strings_are_a_problem_that_is_said(shared_data: Path) -> None:
    info = look(shared_data / "models" / "odd" / "o13_string_in.onnx")
    assert info.problems == ("only tensors of plain numbers can be fed, and these inputs are not: `t` (tensor(string))",)


def test_old_models_are_not_asked_for_their_weights(shared_data: Path) -> None:
    info = look(shared_data / "models" / "odd" / "o03_ir3_init_inputs.onnx", run=True)
    assert [one.name for one in info.inputs] == ["x"]
    assert any("4 weights are also listed as inputs" in one for one in info.warnings)
    assert info.ran_on is not None


def test_real_models_agree_with_their_manifest(shared_data: Path) -> None:
    root = shared_data / "models"
    for entry in json.loads((root / "MANIFEST.json").read_text())["models"]:
        if entry["compression"] is not None:
            continue
        info = look(root / entry["file"])
        assert info.problems == (), entry["name"]
        assert info.sha256 == entry["onnx_sha256"]
        assert [one.name for one in info.inputs] == [one["name"] for one in entry["inputs"]]
        assert info.ir_version == entry["ir_version"]
        if "qdq" in entry["name"]:
            assert info.quantized


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_bytes_are_described_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bits flipped in a good model. What runs in this process is only what onnx's parser and onnxruntime's loader let through."""
    raw = bytearray(onnx.parser.parse_model(CONV).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("fuzz") / "m.onnx"
    path.write_bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))])
    try:
        look(path)
    except OptimizerError:
        return
