"""model.yaml: what is read, what is refused and how."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from device_profiles.errors import TextFileError
from optimizers.errors import ModelError
from optimizers.model_file import METRIC_NAMES, ModelFile, bare_model_file, load_model_file

MINIMAL = "name: digits\npath: model.onnx\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"not looked at")
    (tmp_path / "samples.npz").write_bytes(b"not looked at")
    (tmp_path / "calibration.npz").write_bytes(b"not looked at either")
    return tmp_path


def load(folder: Path, text: str) -> ModelFile:
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    return load_model_file(folder / "model.yaml")


def test_paths_become_absolute_and_defaults_are_stated(folder: Path) -> None:
    model = load(folder, MINIMAL + "samples: samples.npz\n")
    assert model.path == folder / "model.onnx"
    assert model.samples == folder / "samples.npz"
    assert model.python_path == folder
    assert (model.metric, model.golden, model.calibration, model.output) == ("sqnr_db", 4, None, None)


def test_everything_at_once_and_back_through_json(folder: Path) -> None:
    model = load(
        folder,
        MINIMAL
        + "samples: samples.npz\ncalibration: calibration.npz\nmetric: python:my_metrics.f1:score\nclip: [0, 1]\ngolden: 2\n"
        + 'constants: {sr: 8000, scale: [[1.5, 2], [3, 4]]}\nstates: {stateN: state}\nstate_shapes: {state: [2, 1, 128]}\noutput: "y"\n'
        + "budgets: {accuracy_drop: 1%, latency_p50_s: 5ms, size_bytes: minimize}\n",
    )
    assert model.constants == {"sr": 8000, "scale": [[1.5, 2], [3, 4]]}
    assert isinstance(model.constants["sr"], int)
    assert model.budgets.constraints == (("accuracy_drop", 0.01), ("latency_p50_s", 0.005))
    assert ModelFile.model_validate_json(model.model_dump_json()) == model


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_every_metric_by_name(folder: Path, metric: str) -> None:
    assert load(folder, MINIMAL + f"metric: {metric}\n").metric == metric


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "sample: samples.npz\n", "`samples`"),
        (MINIMAL + "metric: top_1\n", "`top1`"),
        (MINIMAL + "metric: python:f1\n", "python:module:function"),
        (MINIMAL + "metric: 'python:os;x:y'\n", "python:module:function"),
        (MINIMAL + "samples: sample.npz\n", "sample.npz, which is not there"),
        ("name: x\npath: .\n", "a regular file"),
        ("path: model.onnx\n", "`name`"),
        (MINIMAL + "samples: samples.npz\ncalibration: ./samples.npz\n", "same file"),
        (MINIMAL + "calibration: 10\n", "no `samples`"),
        (MINIMAL + "samples: samples.npz\ncalibration: -1\n", "calibration"),
        (MINIMAL + "clip: [1, 0]\n", "`clip`"),
        (MINIMAL + "golden: 0\n", "golden"),
        (MINIMAL + "golden: 1.5\n", "whole number"),
        (MINIMAL + "constants: {sr: .nan}\n", "finite"),
        (MINIMAL + "constants: {sr: fast}\n", "finite number"),
        (MINIMAL + "states: {a: x, b: x}\n", "two outputs"),
        (MINIMAL + "states: {a: x}\nconstants: {x: 1}\n", "both"),
        (MINIMAL + "states: {a: x}\nstate_shapes: {y: [1]}\n", "`y`"),
        (MINIMAL + "states: {a: x}\nstate_shapes: {x: [1000000, 1000000]}\n", "large"),
        (MINIMAL + "budgets: {latency: 5ms}\n", "latency_p50_s"),
        ("name: [\n", "line"),
        ("", "empty"),
    ],
)
def test_mistakes_are_told(folder: Path, text: str, said: str) -> None:
    with pytest.raises(TextFileError) as caught:
        load(folder, text)
    assert said in str(caught.value)
    assert "model.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told_with_its_line(folder: Path) -> None:
    with pytest.raises(TextFileError, match=r"line 2.*`path` names .*net\.onnx, which is not there"):
        load(folder, "name: x\npath: net.onnx\n")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", 'a "quoted" name', "<b>bold</b>", "mobilenet 🦊 v1", "👩‍👩‍👧", "$(reboot)", "x" * 200]
)
def test_a_name_is_only_a_label(folder: Path, name: str) -> None:
    assert load(folder, f"name: {json.dumps(name, ensure_ascii=False)}\npath: model.onnx\n").name == name


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "a\x00b", "\u202eevil", "a\u2028b", "", "   ", "x" * 201])
def test_names_that_could_harm_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        ModelFile(name=name, path=Path("m.onnx"))


def test_bare_model_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "my\nnet\x1b[1m.onnx"
    path.write_bytes(b"x")
    model = bare_model_file(path)
    assert model.name == "my_net_[1m"
    assert (model.path, model.samples, model.calibration) == (path, None, None)
    with pytest.raises(ModelError, match="no such file"):
        bare_model_file(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="not a regular file"):
        bare_model_file(tmp_path)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200) | st.from_regex(r"(name|path|metric|clip|states|golden|budgets): [\[\]{}a-z0-9:, .-]{0,30}\n", fullmatch=True))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "model.yaml").write_text(MINIMAL + text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(TextFileError):  # model.onnx is not there, so even what can be read ends here
        load_model_file(folder / "model.yaml")
