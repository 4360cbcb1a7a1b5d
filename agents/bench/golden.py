"""Golden outputs: what the device computed for a few fixed inputs, against what the host computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agents.device import TensorFile
from agents.errors import RunnerOutputError
from agents.runner.wire import OutputInfo

_CHUNK = 2**20
_FILE_TYPES: Mapping[str, str] = {
    "float32": "<f4", "float16": "<f2", "float64": "<f8", "bfloat16": "<u2",
    "int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2", "int32": "<i4", "uint32": "<u4",
    "int64": "<i8", "uint64": "<u8", "bool": "u1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """`error`: ‖device - reference‖₂ / ‖reference‖₂ of the worst output, None where it is no number; `wrong`: why it fails, or None."""

    error: float | None
    wrong: str | None


def tensor_bytes(dtype: str, shape: Sequence[int], count: int) -> int:
    """Bytes of `count` samples of `shape` in a tensor file."""
    return count * math.prod(shape) * np.dtype(_FILE_TYPES[dtype]).itemsize


def compare_golden(reference: Sequence[TensorFile], outputs: Mapping[str, tuple[OutputInfo, Path]], *, tolerance: float) -> GoldenResult:
    """The device's outputs (by name: what the runner says of the file, and the file) against the reference ones.

    Raises: RunnerOutputError (a file has not the size that its line says), OSError.
    """
    worst: float | None = 0.0
    for expected in reference:
        if expected.name not in outputs:
            return GoldenResult(None, f"the device gave no output `{expected.name}`")
        info, path = outputs[expected.name]
        if wrong := _differs_in_form(expected, info):
            return GoldenResult(None, wrong)
        error, wrong = _compare_one(expected, info, path)
        if wrong is None and error is not None and error > tolerance:
            wrong = f"output `{expected.name}` differs from the reference by {error:.3g} of its norm; this variant may differ by {tolerance:.3g}"
        if wrong is not None:
            return GoldenResult(error, wrong)
        worst = max(worst or 0.0, error or 0.0)
    return GoldenResult(worst, None)


def relative_error(device: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Squared norms (of the difference, of the reference) over the finite values of two arrays of one shape.

    Values that are not finite count as equal where both are the same one, else as infinitely wrong.
    """
    same = (device == reference) | (np.isnan(device) & np.isnan(reference))
    finite = np.isfinite(device) & np.isfinite(reference)
    if not np.all(finite | same):
        return math.inf, float(np.sum(np.square(reference[np.isfinite(reference)])))
    difference = device[finite] - reference[finite]
    return float(np.dot(difference, difference)), float(np.dot(reference[finite], reference[finite]))


def _differs_in_form(expected: TensorFile, info: OutputInfo) -> str | None:
    for what, wanted, got in (
        ("type", expected.dtype, info.dtype),
        ("shape", expected.shape, info.shape),
        ("number of samples", expected.count, info.count),
    ):
        if wanted != got:
            return f"output `{expected.name}` has the {what} {got} on the device and {wanted} in the reference"
    return None


def _compare_one(expected: TensorFile, info: OutputInfo, path: Path) -> tuple[float | None, str | None]:
    """The relative error of one output, and why it is wrong whatever the tolerance."""
    size = tensor_bytes(info.dtype, info.shape, info.count)
    for file, whose in ((path, "the device's"), (expected.path, "the reference's")):
        if file.stat().st_size != size:
            raise RunnerOutputError(f"{whose} output `{expected.name}` has {file.stat().st_size} bytes instead of {size}", stage="output")
    squared_difference = squared_norm = 0.0
    with path.open("rb") as ours, expected.path.open("rb") as theirs:
        while True:
            device, reference = _read(ours, info.dtype), _read(theirs, info.dtype)
            if reference.size == 0:
                break
            difference, norm = relative_error(device, reference)
            squared_difference += difference
            squared_norm += norm
    if math.isinf(squared_difference):
        return None, f"output `{expected.name}` is not a number (or infinite) where the reference is not, or the other way round"
    if squared_difference == 0:
        return 0.0, None
    if squared_norm == 0:
        return None, f"output `{expected.name}` should be all zeros and is not (its norm is {math.sqrt(squared_difference):.3g})"
    return math.sqrt(squared_difference / squared_norm), None


def _read(file: object, dtype: str) -> npt.NDArray[np.float64]:
    raw = np.fromfile(file, dtype=_FILE_TYPES[dtype], count=_CHUNK)  # type: ignore[call-overload]
    if dtype == "bfloat16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    values: npt.NDArray[np.float64] = raw.astype(np.float64)
    return values
