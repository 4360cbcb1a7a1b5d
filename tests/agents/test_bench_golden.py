"""Golden outputs against the reference."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from agents.bench.golden import compare_golden, relative_error
from agents.device import TensorFile
from agents.errors import RunnerOutputError
from agents.runner.wire import OutputInfo


def compare(tmp_path: Path, device: np.ndarray, reference: np.ndarray, *, tolerance: float = 0.01, dtype: str = "float32"):
    """Arrays of shape (count, *shape), through files as the runner writes them."""
    ours, theirs = tmp_path / "ours.bin", tmp_path / "theirs.bin"
    ours.write_bytes(device.tobytes())
    theirs.write_bytes(reference.tobytes())
    expected = TensorFile("y", dtype, reference.shape[1:], reference.shape[0], theirs, "")
    info = OutputInfo(kind="output", index=0, name="y", dtype=dtype, shape=device.shape[1:], count=device.shape[0])
    return compare_golden([expected], {"y": (info, ours)}, tolerance=tolerance)


def f32(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


def test_equal_outputs_have_no_error(tmp_path: Path) -> None:
    result = compare(tmp_path, f32(1, 2, 3), f32(1, 2, 3))
    assert (result.error, result.wrong) == (0.0, None)


def test_the_error_is_relative_to_the_references_norm(tmp_path: Path) -> None:
    result = compare(tmp_path, f32(3, 4.5), f32(3, 4), tolerance=0.2)
    assert result.error == pytest.approx(0.1)
    assert result.wrong is None


def test_an_error_past_the_tolerance_is_wrong_and_names_the_output(tmp_path: Path) -> None:
    result = compare(tmp_path, f32(3, 4.5), f32(3, 4), tolerance=0.05)
    assert result.error == pytest.approx(0.1)
    assert result.wrong == "output `y` differs from the reference by 0.1 of its norm; this variant may differ by 0.05"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_wrong_however_large_the_tolerance(tmp_path: Path, value: float) -> None:
    for device, reference in ((f32(1, value), f32(1, 2)), (f32(1, 2), f32(1, value))):
        result = compare(tmp_path, device, reference, tolerance=1e9)
        assert result.error is None
        assert "not a number" in (result.wrong or "")


def test_the_same_infinities_in_the_same_places_are_right(tmp_path: Path) -> None:
    values = f32(math.nan, math.inf, -math.inf, 5)
    assert compare(tmp_path, values, values).error == 0.0
    assert compare(tmp_path, f32(math.inf, 1), f32(-math.inf, 1)).wrong


def test_zeros_are_compared_exactly(tmp_path: Path) -> None:
    assert compare(tmp_path, f32(0, 0), f32(0, 0)).wrong is None
    assert "should be all zeros" in (compare(tmp_path, f32(0, 1e-9), f32(0, 0)).wrong or "")


@pytest.mark.parametrize(("dtype", "numpy"), [("float16", "<f2"), ("int64", "<i8"), ("uint8", "u1"), ("bool", "u1")])
def test_element_types(tmp_path: Path, dtype: str, numpy: str) -> None:
    reference = np.array([[1, 0, 1, 1]], dtype=numpy)
    assert compare(tmp_path, reference, reference, dtype=dtype).error == 0.0
    assert compare(tmp_path, reference[:, ::-1].copy(), reference, dtype=dtype).error == pytest.approx(math.sqrt(2 / 3))


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    reference = np.array([[0x3F80, 0x4000]], dtype="<u2")  # 1, 2
    device = np.array([[0x3F80, 0x4040]], dtype="<u2")  # 1, 3
    assert compare(tmp_path, device, reference, dtype="bfloat16").error == pytest.approx(1 / math.sqrt(5))


def test_another_shape_type_or_count_is_wrong(tmp_path: Path) -> None:
    assert "shape (2,) on the device and (3,)" in (compare(tmp_path, f32(1, 2), f32(1, 2, 3)).wrong or "")
    assert "number of samples 2" in (compare(tmp_path, np.ones((2, 3), "f4"), f32(1, 1, 1)).wrong or "")


def test_a_missing_output_is_wrong(tmp_path: Path) -> None:
    expected = TensorFile("logits", "float32", (1,), 1, tmp_path / "r", "")
    assert compare_golden([expected], {}, tolerance=1).wrong == "the device gave no output `logits`"


def test_a_file_of_another_size_than_it_says_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "short.bin"
    path.write_bytes(b"1234567")
    expected = TensorFile("y", "float32", (2,), 1, path, "")
    info = OutputInfo(kind="output", index=0, name="y", dtype="float32", shape=(2,), count=1)
    with pytest.raises(RunnerOutputError, match="7 bytes instead of 8"):
        compare_golden([expected], {"y": (info, path)}, tolerance=1)


def test_the_worst_output_counts(tmp_path: Path) -> None:
    outputs, reference = {}, []
    for index, error in enumerate((0.001, 0.004, 0.002)):
        ours, theirs = tmp_path / f"o{index}", tmp_path / f"r{index}"
        ours.write_bytes(np.array([1 + error], "<f8").tobytes())
        theirs.write_bytes(np.array([1.0], "<f8").tobytes())
        reference.append(TensorFile(str(index), "float64", (1,), 1, theirs, ""))
        outputs[str(index)] = (OutputInfo(kind="output", index=index, name=str(index), dtype="float64", shape=(1,), count=1), ours)
    result = compare_golden(reference, outputs, tolerance=0.01)
    assert result.error == pytest.approx(0.004)
    assert result.wrong is None


def test_squared_norms_leave_out_what_is_not_finite() -> None:
    difference, norm = relative_error(np.array([math.nan, 3.0, math.inf]), np.array([math.nan, 1.0, math.inf]))
    assert (difference, norm) == (4.0, 1.0)
