from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest

from optimizers.quantization import cpu
from optimizers.quantization.disguise import disguise, reveal
from optimizers.quantization.quiet import quiet_quantiser
from optimizers.quantization.weights import symmetric_scales


def test_scales_per_channel_per_tensor_and_of_dead_channels() -> None:
    weight = np.float32([[1, -2], [0, 0], [63.5, 4]])
    np.testing.assert_allclose(symmetric_scales(weight, 0, bits=8), np.float32([2, (2 + 63.5) / 2, 63.5]) / 127)
    np.testing.assert_allclose(symmetric_scales(weight, 1, bits=7), np.float32([63.5, 4]) / 64)
    assert symmetric_scales(weight, None, bits=8) == pytest.approx(0.5)
    assert symmetric_scales(np.zeros((2, 2), np.float32), 0, bits=8).min() > 0


MODEL = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2] v0, bool flag) => (float[2] "a b")
{
  v = Neg (v0)
  "a b" = If (flag) <
    then_branch = yes () => (float[2] t) { t = Neg (v) },
    else_branch = no () => (float[2] e) { e = Add (v0, v) }
  >
}"""


def test_names_are_disguised_and_come_back_in_branches_too() -> None:
    model = onnx.parser.parse_model(MODEL.replace('"a b"', "ab"))
    for value in (*model.graph.output, model.graph.node[1]):
        if isinstance(value, onnx.NodeProto):
            value.output[0] = "a\nb"
        else:
            value.name = "a\nb"
    before = model.SerializeToString(deterministic=True)
    old = disguise(model)
    onnx.checker.check_model(model)
    assert set(old.values()) == {"v0", "flag", "v", "a\nb"}
    assert not {"v0", "v"} & {value.name for value in model.graph.input}
    then = model.graph.node[1].attribute[0].g
    assert old[then.node[0].input[0]] == "v"
    reveal(model, old)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("machine", "text", "saturates"),
    [
        ("x86_64", "processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n", False),
        ("x86_64", "flags : avx2 avx_vnni", False),
        ("x86_64", "flags : fpu sse2 avx2", True),
        ("x86_64", "nothing known", False),
        ("aarch64", "flags : fpu", False),
        ("x86_64", None, False),
    ],
)
def test_which_processors_overflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, text: str | None, saturates: bool
) -> None:
    monkeypatch.setattr(cpu.platform, "machine", lambda: machine)
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert cpu.saturates_u8s8(tmp_path / "cpuinfo") is saturates


def test_only_the_quantisers_lines_are_kept_from_the_root_logger(caplog: pytest.LogCaptureFixture) -> None:
    from onnxruntime.quantization import quant_utils

    with quiet_quantiser():
        exec(compile("import logging; logging.warning('theirs')", quant_utils.__file__, "exec"))
        logging.getLogger("ours").warning("ours")
        logging.getLogger().warning("also ours")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == ["ours", "also ours"]
