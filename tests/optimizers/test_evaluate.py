"""Evaluation from model file to accuracy, drop and workload: on small models with known answers, and on real ones."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from optimizers.errors import ModelError, UnsupportedModel
from optimizers.evaluate import EvaluateRequest, Evaluation, evaluate
from optimizers.golden import TensorData
from optimizers.model_file import ModelFile, bare_model_file, load_model_file

SCORES = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[{batch}, 4] x) => (float[{batch}, 4] y) <float[4] w = {{{weights}}}> {{ y = Mul (x, w) }}"""
COUNTER = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 1] x, float[1, 1] s, int64 k) => (float[1, 1] y, float[1, 1] t) {
  kf = Cast <to = 1> (k)
  u = Mul (x, kf)
  t = Add (s, u)
  y = Identity (t)
}"""
IMAGES = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[n, 1, h, w] x) => (float[n, 1, h, w] y) { y = Relu (x) }"""


def save(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture
def scores(tmp_path: Path) -> tuple[ModelFile, Path]:
    """A model whose four outputs are its inputs, right on 30 of 40 samples; and a variant that zeroes one class."""
    x = np.random.RandomState(0).random((40, 4)).astype(np.float32)
    labels = x.argmax(1)
    labels[:10] = (labels[:10] + 1) % 4
    np.savez(tmp_path / "s.npz", x=x, labels=labels)
    path = save(tmp_path / "model.onnx", SCORES.format(batch="n", weights="1, 1, 1, 1"))
    variant = save(tmp_path / "variant.onnx", SCORES.format(batch="n", weights="1, 1, 1, 0"))
    return ModelFile(name="m", path=path, samples=tmp_path / "s.npz", calibration=0, metric="top1", golden=3), variant


def run(model: ModelFile, variant: Path, out: Path, **fields) -> Evaluation:
    result = evaluate(EvaluateRequest(model=model, variant_path=variant, out_dir=out, **fields))
    assert Evaluation.model_validate_json(result.model_dump_json()) == result
    return result


def read(folder: Path, tensor: TensorData) -> np.ndarray:
    data = (folder / tensor.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == tensor.sha256
    return np.frombuffer(data, np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.count, *tensor.shape)


def test_accuracy_and_paired_drop(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, variant = scores
    base = run(model, model.path, tmp_path / "a", baseline_path=model.path)
    assert (base.accuracy, base.unit, base.better, base.n_samples) == (0.75, "1", "higher", 40)
    assert (base.accuracy_drop, base.accuracy_drop_low, base.accuracy_drop_high) == (0.0, 0.0, 0.0)
    assert base.statistics is not None
    worse = run(model, variant, tmp_path / "b", baseline_path=model.path, baseline_statistics=tmp_path / "a" / base.statistics)
    with np.load(tmp_path / "s.npz") as stored:
        hits = (stored["x"] * [1, 1, 1, 0]).argmax(1) == stored["labels"]
    assert worse.accuracy == hits.mean()
    assert worse.accuracy_drop == pytest.approx(0.75 - hits.mean())
    assert worse.accuracy_drop_low is not None and worse.accuracy_drop_high is not None
    assert 0 <= worse.accuracy_drop_low < worse.accuracy_drop < worse.accuracy_drop_high
    assert worse.changed_samples is not None and worse.changed_samples >= round(40 * worse.accuracy_drop)


def test_a_drop_needs_the_same_samples_and_metric(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, variant = scores
    assert run(model, variant, tmp_path / "a").accuracy_drop_why == "there is no baseline to compare with"
    for other in (model.model_copy(update={"calibration": 5}), model.model_copy(update={"clip": (0.0, 1.0)})):
        with pytest.raises(ModelError, match="other samples or with another metric"):
            run(other, variant, tmp_path / "b", baseline_statistics=tmp_path / "a" / "statistics.npz")


def test_sqnr_is_null_for_the_baseline_and_a_distance_for_others(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, variant = scores
    model = model.model_copy(update={"metric": "sqnr_db"})
    base = run(model, model.path, tmp_path / "a", baseline_path=model.path)
    assert base.accuracy is None
    assert base.accuracy_why is not None and "this is it" in base.accuracy_why
    other = run(model, variant, tmp_path / "b", baseline_path=model.path)
    with np.load(tmp_path / "s.npz") as stored:
        x = stored["x"].astype(np.float64)
    assert other.accuracy == pytest.approx(10 * np.log10((x**2).sum() / (x[:, 3] ** 2).sum()))
    assert other.accuracy_drop is None
    assert other.accuracy_drop_why is not None


def test_labels_are_asked_for_where_the_metric_needs_them(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, _ = scores
    np.savez(tmp_path / "u.npz", x=np.zeros((5, 4), np.float32))
    with pytest.raises(ModelError, match=r"no array `labels`.*sqnr_db"):
        run(model.model_copy(update={"samples": tmp_path / "u.npz"}), model.path, tmp_path / "a")


def test_nan_outputs_are_said_not_scored(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, _ = scores
    np.savez(tmp_path / "r.npz", x=np.ones((9, 4), np.float32), labels=np.ones((9, 4), np.float32))
    text = SCORES.format(batch="n", weights="1, 1, 1, 1").replace("Mul (x, w)", "Sqrt (z)").replace("{ y =", "{ z = Sub (x, w3) y =")
    broken = save(tmp_path / "nan.onnx", text.replace("<float[4] w = {1, 1, 1, 1}>", "<float[4] w3 = {3, 3, 3, 3}>"))
    result = run(model.model_copy(update={"samples": tmp_path / "r.npz", "metric": "mse"}), broken, tmp_path / "a")
    assert result.accuracy is None
    assert result.accuracy_why == "9 of 9 samples give NaN or infinite values"
    assert result.workload.reference == ()
    assert "NaN" in result.workload.left_out["y"]


def test_clip_comes_before_the_metric(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, _ = scores
    np.savez(tmp_path / "c.npz", x=np.full((3, 4), 7, np.float32), labels=np.ones((3, 4), np.float32))
    model = model.model_copy(update={"samples": tmp_path / "c.npz", "metric": "mse", "clip": (0.0, 2.0)})
    assert run(model, model.path, tmp_path / "a").accuracy == 1.0


def test_a_metric_in_python_gets_all_outputs(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, variant = scores
    body = "def score(outputs, labels):\n    assert outputs['y'].shape == (40, 4)\n    return outputs['y'].argmax(1) == labels\n"
    (tmp_path / "user_metric_evaluate.py").write_text(body)
    model = model.model_copy(update={"metric": "python:user_metric_evaluate:score", "python_path": tmp_path})
    base = run(model, model.path, tmp_path / "a")
    assert base.accuracy == 0.75
    worse = run(model, variant, tmp_path / "b", baseline_statistics=tmp_path / "a" / "statistics.npz")
    assert worse.accuracy_drop_high is not None and worse.accuracy_drop_high > 0


# --- workloads ---


def test_workload_is_the_first_samples_and_what_this_host_gives(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, variant = scores
    work = run(model, variant, tmp_path / "a").workload
    with np.load(tmp_path / "s.npz") as stored:
        x = stored["x"][:3, None]
    assert np.array_equal(read(tmp_path / "a", work.inputs[0]), x)
    assert np.array_equal(read(tmp_path / "a", work.reference[0]), x * np.array([1, 1, 1, 0], np.float32))
    assert (work.states, work.state_inputs, work.left_out) == ((), (), {})
    assert work.source == "the first 3 evaluation samples"


@pytest.mark.parametrize(("batch", "shapes", "shape"), [("2", {}, (2, 4)), ("n", {"x": (5, 4)}, (5, 4)), ("n", {}, (1, 4))])
def test_batches_fill_with_consecutive_samples(scores: tuple[ModelFile, Path], tmp_path: Path, batch: str, shapes, shape) -> None:
    model, _ = scores
    fixed = save(tmp_path / "fixed.onnx", SCORES.format(batch=batch, weights="1, 1, 1, 1"))
    result = run(model, fixed, tmp_path / "a", input_shapes=shapes)
    with np.load(tmp_path / "s.npz") as stored:
        expected = stored["x"][: 3 * shape[0]].reshape(3, *shape)
    assert np.array_equal(read(tmp_path / "a", result.workload.inputs[0]), expected)
    assert result.accuracy == 0.75


def test_states_run_on_from_one_golden_sample_to_the_next(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.array([[1, 2, 3, 4, 5]], np.float32).reshape(1, 5, 1), labels=np.array([[0, 0, 1, 1, -1]]))
    path = save(tmp_path / "model.onnx", COUNTER)
    model = ModelFile(
        name="m", path=path, samples=tmp_path / "s.npz", calibration=0, metric="roc_auc", constants={"k": 2}, states={"t": "s"}, golden=3
    )
    result = run(model, path, tmp_path / "a")
    assert result.accuracy == 1.0
    work = result.workload
    by_name = {tensor.name: read(tmp_path / "a", tensor) for tensor in (*work.inputs, *work.state_inputs, *work.reference)}
    assert {tensor.name: (tensor.dtype, tensor.shape, tensor.count) for tensor in work.inputs} == {
        "x": ("float32", (1, 1), 3),
        "k": ("int64", (), 1),
    }
    assert by_name["k"].tolist() == [2]
    assert by_name["s"].ravel().tolist() == [0]
    assert by_name["y"].ravel().tolist() == by_name["t"].ravel().tolist() == [2, 6, 12]
    assert work.states == (("t", "s"),)


def test_shapes_that_the_samples_do_not_have_are_filled_at_random(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.ones((6, 1, 8, 8), np.float32))
    path = save(tmp_path / "model.onnx", IMAGES)
    model = ModelFile(name="m", path=path, samples=tmp_path / "s.npz", golden=2)
    own = run(model, path, tmp_path / "a", accuracy=False)
    assert (own.accuracy, own.accuracy_why, own.workload.inputs[0].shape) == (None, "not asked for", (1, 1, 8, 8))
    asked = run(model, path, tmp_path / "b", input_shapes={"x": (1, 1, 5, 7)})
    assert asked.workload.inputs[0].shape == (1, 1, 5, 7)
    assert asked.workload.source.startswith("the samples do not have the shapes asked for, so: random")
    with pytest.raises(ModelError, match="does not fit"):
        run(model, path, tmp_path / "c", input_shapes={"x": (1, 3, 5, 7)})
    with pytest.raises(ModelError, match="no input `z`"):
        run(bare_model_file(path), path, tmp_path / "d", input_shapes={"z": (1,)})


def test_a_bare_model_runs_on_the_same_random_inputs_each_time(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", IMAGES)
    first, second = (run(bare_model_file(path), path, tmp_path / name) for name in "ab")
    assert first.workload == second.workload
    assert (first.accuracy, first.accuracy_why) == (None, "the model has no samples")
    assert first.workload.inputs[0].shape == (1, 1, 64, 64)
    assert first.workload.source.startswith("random inputs (floats from N(0, 1)): x float32 [1, 1, 64, 64]")


def test_integers_stay_within_a_table(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    agraph (int64[n, 50] ids) => (float[n, 50, 1] y) <float[3, 1] table = {1, 2, 3}> { y = Gather (table, ids) }"""
    path = save(tmp_path / "model.onnx", text)
    work = run(bare_model_file(path), path, tmp_path / "a").workload
    assert "integers from 0 to 1)" in work.source
    assert set(read(tmp_path / "a", work.inputs[0]).ravel()) == {0, 1}


def test_outputs_that_cannot_be_compared_are_left_out_with_the_reason(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    agraph (float[n, 4] x) => (float[n, 4] same, float[n, 4] dice, int64[a, b] where) {
      same = Relu (x)
      dice = RandomNormalLike (x)
      where = NonZero (same)
    }"""
    path = save(tmp_path / "model.onnx", text)
    work = run(bare_model_file(path), path, tmp_path / "a").workload
    assert [tensor.name for tensor in work.reference] == ["same"]
    assert "not the same when the model runs again" in work.left_out["dice"]
    assert "not the same for every sample" in work.left_out["where"]


def test_strings_are_refused(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> agraph (string[n] x) => (string[n] y) { y = Identity (x) }"""
    path = save(tmp_path / "model.onnx", text)
    with pytest.raises(UnsupportedModel, match=r"tensor\(string\)"):
        run(bare_model_file(path), path, tmp_path / "a")


def test_names_of_tensors_are_never_paths(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(IMAGES)
    hostile = "../../x\n<b>"
    model.graph.input[0].name = model.graph.node[0].input[0] = hostile
    onnx.save(model, tmp_path / "model.onnx")
    work = run(bare_model_file(tmp_path / "model.onnx"), tmp_path / "model.onnx", tmp_path / "a").workload
    assert work.inputs[0].name == hostile
    assert sorted(one.name for one in (tmp_path / "a").iterdir()) == ["input-0.bin", "reference-0.bin"]


def test_ort_format(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, variant = scores
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "variant.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(variant), options, providers=["CPUExecutionProvider"])
    assert run(model, tmp_path / "variant.ort", tmp_path / "a").accuracy == run(model, variant, tmp_path / "b").accuracy


def test_a_damaged_model_is_an_error_of_ours(scores: tuple[ModelFile, Path], tmp_path: Path) -> None:
    model, variant = scores
    variant.write_bytes(variant.read_bytes()[:-3])
    with pytest.raises(ModelError, match=r"onnxruntime cannot load variant\.onnx"):
        run(model, variant, tmp_path / "a")


# --- real models ---


@pytest.fixture(scope="module")
def packs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real networks as the packing tool writes them, with what plain onnxruntime scores."""
    tool = shared_data.parent / "tools" / "pack_models.py"
    if not tool.is_file():
        pytest.skip(f"needs {tool.name} beside the shared data")
    pytest.importorskip("PIL")
    spec = importlib.util.spec_from_file_location("pack_models", tool)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = tmp_path_factory.mktemp("packs")
    names = [
        "kws_mlperf_dscnn",
        "magika_standard_v3_3",
        "tinyllama_stories260k",
        "superres_x3_dynamic",
        "silero_vad",
        "nnsplit_en_lstm_opset9",
    ]
    module.main(str(shared_data / "models"), str(out), *names)
    return out


@pytest.mark.parametrize(
    "name",
    ["kws_mlperf_dscnn", "magika_standard_v3_3", "tinyllama_stories260k", "superres_x3_dynamic", "silero_vad", "nnsplit_en_lstm_opset9"],
)
def test_real_models_score_what_plain_onnxruntime_scores(packs: Path, tmp_path: Path, name: str) -> None:
    expected = json.loads((packs / name / "score.json").read_text())
    model = load_model_file(packs / name / "model.yaml")
    result = run(model, model.path, tmp_path, baseline_path=model.path)
    assert result.n_samples == expected["n_samples"]
    assert result.accuracy == pytest.approx(expected["fp32"], abs=6e-6)
    assert result.workload.left_out == {}
    assert result.workload.reference[0].count == 4
