"""The file as it is: a recipe without passes, and what equal answers say of accuracy."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest

from optimizers.evaluate import EvaluateRequest, evaluate
from optimizers.make import MakeRequest, make_variant
from optimizers.model_file import load_model_file
from optimizers.variant import Recipe


def test_the_users_file_stays_and_the_variant_has_its_bytes(repository: Path, tmp_path: Path):
    model = tmp_path / "model.onnx"
    model.write_bytes((repository / "examples" / "digits" / "model.onnx").read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    made = make_variant(MakeRequest(model="digits", onnx_path=model, recipe=Recipe(name="as-given", passes=()), out_dir=out))
    assert made.variant is not None and made.path is not None
    assert made.variant.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert made.path.read_bytes() == model.read_bytes()
    assert made.variant.steps == ()


def test_no_changed_sample_is_not_certainty(repository: Path, tmp_path: Path):
    """Other bytes, the same answers on all 669 images: the drop is 0, and 669 images cannot exclude 0.45 %."""
    digits = load_model_file(repository / "examples" / "digits" / "model.yaml")
    other = tmp_path / "other.onnx"
    model = onnx.load(digits.path)
    model.doc_string = "the same network"
    onnx.save(model, other)
    first = evaluate(EvaluateRequest(model=digits, variant_path=digits.path, baseline_path=digits.path, out_dir=tmp_path / "a"))
    assert (first.accuracy_drop, first.accuracy_drop_low, first.accuracy_drop_high) == (0.0, 0.0, 0.0)
    second = evaluate(
        EvaluateRequest(
            model=digits,
            variant_path=other,
            baseline_path=digits.path,
            baseline_statistics=tmp_path / "a" / str(first.statistics),
            out_dir=tmp_path / "b",
        )
    )
    assert second.accuracy_drop == 0.0
    assert second.changed_samples == 0
    assert second.accuracy_drop_high == pytest.approx(3 / 669, rel=0.01)
    assert second.accuracy_drop_low == -second.accuracy_drop_high
