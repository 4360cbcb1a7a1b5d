from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from optimizers.calibration import collect as collecting
from optimizers.calibration.collect import collect, float_tensors
from optimizers.errors import ModelError, UnsupportedModel
from optimizers.optimizer_pass import Context

MODEL = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[n, 3] x, int64[m] picks) => (float[n, 3] y, int64[k] s)
    {
      a = Add (x, x)
      s = Shape (a)
      b = Gather <axis = 0> (a, picks)
      r = Relu (b)
      y = Neg (a)
    }
""")
FEEDS = [{"x": np.full((n, 3), n, np.float32), "picks": np.arange(n)} for n in (1, 2, 3)]


def context(folder: Path, feeds: list) -> Context:
    return Context(scratch=folder, feeds=lambda: iter(feeds))


def test_types_are_the_runtimes(tmp_path: Path) -> None:
    assert float_tensors(MODEL, ["a", "s", "b", "r", "y"], tmp_path / "typed.onnx") == {"a", "b", "r", "y"}


@pytest.mark.parametrize("group_bytes", [1, 50, 1 << 20])
def test_it_sees_all_elements_whatever_fits_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_bytes: int) -> None:
    monkeypatch.setattr(collecting, "GROUP_BYTES", group_bytes)
    statistics = collect(MODEL, ["x", "a", "y", "r"], context(tmp_path, FEEDS), most_feeds=100)
    assert statistics.n_feeds == 3
    seen = {name: (h.count, h.minimum, h.maximum) for name, h in statistics.histograms.items()}
    assert seen == {"x": (18, 1, 3), "a": (18, 2, 6), "r": (18, 2, 6), "y": (18, -6, -2)}
    assert not list(tmp_path.iterdir())


def test_it_takes_no_more_feeds_than_asked(tmp_path: Path) -> None:
    statistics = collect(MODEL, ["a"], context(tmp_path, FEEDS), most_feeds=2)
    assert (statistics.n_feeds, statistics.histograms["a"].maximum) == (2, 4.0)


def test_a_model_without_samples_or_with_wrong_ones(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="no calibration sample"):
        collect(MODEL, ["a"], context(tmp_path, []), most_feeds=1)
    with pytest.raises(ModelError):
        collect(MODEL, ["a"], context(tmp_path, [{"x": np.zeros((1, 4), np.float32), "picks": np.arange(1)}]), most_feeds=1)
