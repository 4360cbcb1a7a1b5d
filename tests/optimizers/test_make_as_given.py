"""A recipe without passes: the file as it is, and the user's own file stays where it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from optimizers.make import MakeRequest, make_variant
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
