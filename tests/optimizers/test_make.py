from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from optimizers.errors import ModelError, PassFailed, RecipeError
from optimizers.make import MakeRequest, MakeResult, make_variant
from optimizers.model_file import ModelFile
from optimizers.recipes import find_recipe, parse_recipe
from optimizers.variant import PassSpec, Recipe, variant_id

ROOT = Path(__file__).parents[2]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Two layers of a size at which half precision pays, with a doc string to remove."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 13]> net (float[n, 32] x) => (float[n, 8] y) { a = MatMul(x, w1) r = Relu(a) i = Identity(r) y = MatMul(i, w2) }'
    )
    generator = np.random.default_rng(0)
    for name, shape in (("w1", (32, 64)), ("w2", (64, 8))):
        model.graph.initializer.append(numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name))
    model.graph.node[0].doc_string = "line 1 of /home/me/train.py"
    path = tmp_path / "given model.onnx"
    onnx.save(model, path)
    return path


def make(path: Path, out: Path, recipe: str | dict[str, object] = "fp32", model_file: ModelFile | None = None) -> MakeResult:
    out.mkdir()
    return make_variant(
        MakeRequest(
            model='it\'s a "name"',
            onnx_path=path,
            recipe=parse_recipe(recipe, source="test"),
            out_dir=out,
            model_file=model_file,
            intra_op_threads=1,
        )
    )


@pytest.mark.parametrize("recipe", ["fp32", "fp16", "prune-magnitude-50", "ort-format"])
def test_a_variant_describes_the_file_that_is_there(network: Path, tmp_path: Path, recipe: str) -> None:
    result = make(network, tmp_path / "out", recipe)
    variant, path = result.variant, result.path
    assert variant is not None
    assert path is not None
    assert result.why is None
    assert [one.name for one in (tmp_path / "out").iterdir()] == [variant.file_name]
    assert path == tmp_path / "out" / variant.file_name
    assert path.suffix == (".ort" if recipe == "ort-format" else ".onnx")
    assert variant.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert variant.size_bytes == path.stat().st_size
    assert variant.model_sha256 == hashlib.sha256(network.read_bytes()).hexdigest()
    assert variant.id == variant_id(variant.sha256, find_recipe(recipe))
    assert [step.pass_name for step in variant.steps] == [spec.name for spec in find_recipe(recipe).passes]
    assert variant.steps[0].size_before_bytes == network.stat().st_size
    assert variant.steps[-1].size_after_bytes == variant.size_bytes
    for earlier, later in zip(variant.steps, variant.steps[1:], strict=False):
        assert earlier.size_after_bytes == later.size_before_bytes
    assert all(step.summary and step.duration_s >= 0 for step in variant.steps)
    assert {"onnx", "onnx_ir", "onnxruntime", "numpy", "thresher"} <= set(variant.tools)
    assert 0 < variant.golden_tolerance <= 0.1
    assert MakeResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("recipe", ["fp32", "fp16", "prune-magnitude-50", "ort-format"])
def test_variants_run_and_keep_names_and_types(network: Path, tmp_path: Path, recipe: str) -> None:
    path = make(network, tmp_path / "out", recipe).path
    feed = {"x": np.random.default_rng(1).standard_normal((3, 32)).astype(np.float32)}
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = ort.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    assert [(one.name, one.type) for one in session.get_inputs()] == [("x", "tensor(float)")]
    assert [(one.name, one.type) for one in session.get_outputs()] == [("y", "tensor(float)")]
    got, expected = session.run(None, feed)[0], given.run(None, feed)[0]
    error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    assert error < {"fp32": 1e-5, "fp16": 1e-2, "prune-magnitude-50": 0.6, "ort-format": 1e-5}[recipe]
    assert (error > 0.01) == (recipe == "prune-magnitude-50")


def test_another_process_makes_the_same_bytes(shared_data: Path, tmp_path: Path) -> None:
    """Hash tables are ordered anew in each process, in Python and in the runtime."""
    recipe = {"name": "all", "passes": ["simplify", {"prune_magnitude": {"sparsity": 0.3}}, "fp16", "compile_ort"]}
    path = shared_data / "models/models/mnist_cntk_opset8.onnx"
    here = make(path, tmp_path / "here", recipe)
    (tmp_path / "there").mkdir()
    request = MakeRequest(
        model="m", onnx_path=path, recipe=parse_recipe(recipe, source="test"), out_dir=tmp_path / "there", intra_op_threads=1
    )
    code = "import sys; from optimizers.make import *; print(make_variant(MakeRequest.model_validate_json(sys.stdin.read())).model_dump_json())"
    done = subprocess.run(
        [sys.executable, "-c", code], input=request.model_dump_json(), capture_output=True, text=True, check=True, cwd=ROOT
    )
    there = MakeResult.model_validate_json(done.stdout)
    assert here.variant is not None
    assert there.variant is not None
    assert there.variant.sha256 == here.variant.sha256
    assert there.variant.id == here.variant.id
    assert here.upgraded_opset == there.upgraded_opset == (8, 13)


def test_a_pass_that_changes_nothing_makes_no_variant(network: Path, tmp_path: Path) -> None:
    result = make(network, tmp_path / "out", {"passes": ["simplify", "fp16", "fp16"]})
    assert result.variant is None
    assert result.path is None
    assert result.why is not None
    assert result.why.startswith("fp16 changed nothing: no operator of it can compute in half precision")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_baseline_is_made_of_a_model_that_is_simple_already(network: Path, tmp_path: Path) -> None:
    first = make(network, tmp_path / "first")
    assert first.path is not None
    second = make(first.path, tmp_path / "second")
    assert second.variant is not None
    assert not second.variant.steps[0].modified
    assert "nothing to simplify" in second.variant.steps[0].summary
    assert second.variant.sha256 == first.variant.sha256  # type: ignore[union-attr]


def test_a_refusal_names_the_pass_and_the_reason(shared_data: Path, tmp_path: Path) -> None:
    result = make(shared_data / "models/models/kws_mlperf_dscnn_qdq_int8.onnx", tmp_path / "out", "fp16")
    assert result.variant is None
    assert result.why is not None
    assert result.why.startswith("fp16 cannot be used on this model: it is quantised already")


def test_calibration_samples_are_what_outputs_are_compared_on(shared_data: Path, tmp_path: Path) -> None:
    """silero-vad runs only with its own sample rate and states, which the model file gives."""
    source = np.load(shared_data / "models/data/vad_8k.npz")["audio"][:4, : 256 * 6].astype(np.float32) / 32768
    padded = np.pad(source, ((0, 0), (32, 0)))
    np.savez(tmp_path / "samples.npz", input=np.stack([padded[:, q * 256 : q * 256 + 288] for q in range(6)], axis=1))
    path = shared_data / "models/models/silero_vad.onnx"
    model_file = ModelFile(
        name="silero",
        path=path,
        samples=tmp_path / "samples.npz",
        calibration=2,
        constants={"sr": 8000},
        states={"stateN": "state"},
        state_shapes={"state": (2, 1, 128)},
    )
    with_samples = make(path, tmp_path / "with", "fp32", model_file)
    without = make(path, tmp_path / "without", "fp32")
    assert with_samples.variant is not None
    assert without.variant is not None
    assert not any("compared" in warning for warning in with_samples.variant.warnings)
    assert any("could not be compared" in warning for warning in without.variant.warnings)
    assert with_samples.variant.steps[0].details["nodes_after"] < without.variant.steps[0].details["nodes_after"]


def test_weights_beside_the_file_are_counted_and_taken_in(network: Path, tmp_path: Path) -> None:
    beside = tmp_path / "big"
    beside.mkdir()
    onnx.save(onnx.load(network), beside / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    result, plain = make(beside / "m.onnx", tmp_path / "out"), make(network, tmp_path / "plain")
    assert result.variant is not None
    assert plain.variant is not None
    assert result.variant.external is None
    assert result.variant.steps[0].size_before_bytes == sum(one.stat().st_size for one in beside.iterdir())
    assert result.variant.sha256 == plain.variant.sha256


def test_large_weights_stay_beside_the_file(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    request = MakeRequest(model="m", onnx_path=network, recipe=find_recipe("prune-magnitude-50"), out_dir=out, external_above_bytes=4096)
    result = make_variant(request)
    assert result.variant is not None
    external = result.variant.external
    assert external is not None
    assert external.sha256 == hashlib.sha256((out / external.file_name).read_bytes()).hexdigest()
    assert result.variant.size_bytes == sum(one.stat().st_size for one in out.iterdir())
    assert result.variant.steps[0].size_after_bytes == result.variant.steps[1].size_before_bytes
    assert result.variant.id == variant_id(result.variant.sha256, result.variant.recipe, external_sha256=external.sha256)
    session = ort.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones((1, 32), np.float32)})[0].shape == (1, 8)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "page.onnx").write_text("<html>not found</html>")
    with pytest.raises(ModelError, match=r"page\.onnx is not an ONNX model"):
        make(tmp_path / "page.onnx", tmp_path / "a")
    with pytest.raises(ModelError, match=r"absent\.onnx"):
        make(tmp_path / "absent.onnx", tmp_path / "b")


def test_an_unknown_pass_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    recipe = Recipe(name="r", passes=(PassSpec(name="simplyfy"),))
    with pytest.raises(RecipeError, match="did you mean `simplify`"):
        make_variant(MakeRequest(model="m", onnx_path=tmp_path / "absent.onnx", recipe=recipe, out_dir=tmp_path))


def test_a_folder_that_cannot_be_written_is_one_of_our_errors(network: Path, tmp_path: Path) -> None:
    request = MakeRequest(model="m", onnx_path=network, recipe=find_recipe("fp32"), out_dir=tmp_path / "absent")
    with pytest.raises(PassFailed, match="could not be made"):
        make_variant(request)


SLOW_BY_NATURE = {"b01_endless_loop.onnx", "b03_fold_bloat.onnx", "suite_light_vgg19.onnx"}
MUST_BE_REFUSED = ("m02", "m04", "m06", "m08", "m10", "m12", "m14", "m18", "m20", "m22", "m24", "x02", "x04", "x06")


OURS = {"variant", "none", "ModelError", "UnsupportedModel"}


@pytest.mark.slow
def test_odd_models_make_a_variant_or_an_error_of_ours(shared_data: Path) -> None:
    files = sorted(path for path in (shared_data / "models/odd").rglob("*.onnx") if path.name not in SLOW_BY_NATURE)
    outcomes = forked("60", "4000000000", "fp32", files)
    assert set(outcomes) == {path.name for path in files}
    assert {kind for kind, _ in outcomes.values()} <= OURS, outcomes
    for name, (kind, message) in outcomes.items():
        if name.startswith(MUST_BE_REFUSED):
            assert kind == "ModelError", (name, kind)
            assert message.isprintable()
    assert sum(kind == "variant" for kind, _ in outcomes.values()) >= 25


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["prune-magnitude-50", "ort-format"])
def test_unusual_models_are_handled_or_refused_by_every_pass(shared_data: Path, recipe: str) -> None:
    files = [path for path in sorted((shared_data / "models/odd").glob("*.onnx")) if path.name[0] in "ov"]
    outcomes = forked("60", "4000000000", recipe, files)
    assert {kind for kind, _ in outcomes.values()} <= {"variant", "none"}, outcomes


def test_an_endless_model_ends_at_its_limit(shared_data: Path) -> None:
    assert forked("2", "4000000000", "fp32", [shared_data / "models/odd/b01_endless_loop.onnx"]) == {
        "b01_endless_loop.onnx": ("limit", "time")
    }


def forked(timeout_s: str, memory_bytes: str, recipe: str, files: list[Path]) -> dict[str, tuple[str, str]]:
    program = Path(__file__).with_name("forked_make.py")
    command = [sys.executable, str(program), timeout_s, memory_bytes, recipe, *map(str, files)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"model"')]
    return {row["model"]: (row["outcome"], row["message"]) for row in rows}
