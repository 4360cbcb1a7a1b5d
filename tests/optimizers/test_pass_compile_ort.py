from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from optimizers.errors import UnsupportedModel
from optimizers.graph import read_model
from optimizers.optimizer_pass import Context
from optimizers.ort_format import UnknownFormat, canonical
from optimizers.parity import random_probes
from optimizers.passes.compile_ort import CompileOrt, CompileOrtParameters


def compiled(path: Path, scratch: Path, **parameters: str) -> Path:
    scratch.mkdir()
    model = read_model(path)
    context = Context(scratch, lambda: iter(()), 1, random_probes(path, threads=1))
    result = CompileOrt(CompileOrtParameters.model_validate(parameters), context)(model)
    assert result.modified
    assert result.warnings == ()
    assert result.artifact is not None
    return result.artifact


MODELS = ("cifar10_resnet8", "cifar10_resnet8_qdq_int8", "mnist_cntk_opset8", "tinyllama_stories260k")


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_the_onnx_files(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / f"models/models/{name}.onnx"
    made = compiled(path, tmp_path / "s")
    assert made.name == "model.ort"
    feed = dict(random_probes(path, threads=1)[0])
    ours = ort.InferenceSession(str(made), providers=["CPUExecutionProvider"]).run(None, feed)
    theirs = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=1e-3, atol=1e-4)


def test_another_process_writes_the_same_bytes(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "models/models/cifar10_resnet8_qdq_int8.onnx"
    made = compiled(path, tmp_path / "s")
    code = (
        "import sys, pathlib; from optimizers.passes.compile_ort import *; from optimizers.optimizer_pass import Context\n"
        "from optimizers.graph import read_model\n"
        "r = CompileOrt(CompileOrtParameters(), Context(pathlib.Path(sys.argv[2]), lambda: iter(()), 1))(read_model(pathlib.Path(sys.argv[1])))\n"
    )
    (tmp_path / "other").mkdir()
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "other")], check=True, cwd=Path(__file__).parents[2])
    assert hashlib.sha256((tmp_path / "other/model.ort").read_bytes()).digest() == hashlib.sha256(made.read_bytes()).digest()


def test_portable_files_have_no_layouts_of_this_processor(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "models/models/cifar10_resnet8.onnx"
    assert b"ReorderOutput" not in compiled(path, tmp_path / "portable").read_bytes()
    on_host = compiled(path, tmp_path / "host", target="host").read_bytes()
    assert (b"ReorderOutput" in on_host) == (platform.machine() == "x86_64")


def test_what_the_runtime_cannot_load_again_is_refused(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="cannot use what it saved"):
        compiled(shared_data / "models/odd/s01_nested_if24.onnx", tmp_path / "s")


def test_the_canonical_form_of_itself_is_itself(shared_data: Path, tmp_path: Path) -> None:
    data = compiled(shared_data / "models/odd/suite_loop.onnx", tmp_path / "s").read_bytes()
    assert canonical(data) == data


@pytest.mark.parametrize("data", [b"", b"\x18\x00\x00\x00ORTM", b"\xff\xff\xff\x7fORTM" + bytes(40), b"PK\x03\x04" + bytes(100)])
def test_other_files_are_not_rewritten(data: bytes) -> None:
    with pytest.raises(UnknownFormat):
        canonical(data)


def test_a_field_of_a_newer_schema_is_not_dropped() -> None:
    builder = flatbuffers.Builder(64)
    version = builder.CreateString("6")
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, version, 0)
    builder.PrependInt32Slot(4, 7, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"ORTM")
    with pytest.raises(UnknownFormat, match="InferenceSession has 5 fields"):
        canonical(bytes(builder.Output()))


def test_weights_beside_the_file_are_taken_in(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 13]> net (float[1, 64] x) => (float[1, 64] y) <float[64, 64] w = {'
        + ", ".join(["0.5"] * 4096)
        + "}> { y = MatMul(x, w) }"
    )
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full((64, 64), 0.5, np.float32), "w"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    made = compiled(tmp_path / "m.onnx", tmp_path / "s")
    (tmp_path / "w.bin").unlink()
    session = ort.InferenceSession(str(made), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": np.ones((1, 64), np.float32)})[0], np.full((1, 64), 32.0))
