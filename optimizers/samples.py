"""The user's samples: an .npz file or a folder of shards, joined along the first axis and checked against the model."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.field_errors import did_you_mean
from optimizers.errors import ModelError
from optimizers.foreign import one_line
from optimizers.npz import MAX_INFLATED_BYTES, StoredArray, read_index
from optimizers.session import TensorInfo

MAX_SHARDS = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What samples must hold: the inputs they feed, the name of the labels, and what else a name could be mistaken for.

    `streaming` samples are sequences: (n_sequences, n_steps, *input_shape[1:]).
    """

    inputs: tuple[TensorInfo, ...]
    labels: str
    others: Mapping[str, str]
    streaming: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """One array over all shards, joined along its first axis without copying."""

    parts: tuple[NDArray[Any], ...]
    starts: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The joined shape."""
        return (self.starts[-1], *self.parts[0].shape[1:])

    def row(self, index: int) -> NDArray[Any]:
        """One sample, without the first axis."""
        part = bisect_right(self.starts, index) - 1
        return np.asarray(self.parts[part][index - self.starts[part]])


@dataclass(frozen=True, slots=True)
class Samples:
    """`n` samples (or sequences): a row of every input each, labels where there are any. `fingerprint` is equal for equal data."""

    source: Path
    inputs: Mapping[str, Rows]
    labels: Rows | None
    n: int
    fingerprint: str

    @property
    def n_steps(self) -> int:
        """Steps of a sequence (streaming samples only)."""
        return next(iter(self.inputs.values())).shape[1]


def open_samples(path: Path, wanted: Wanted) -> Samples:
    """Map the samples and check names, shapes, lengths and checksums. Raises: ModelError."""
    indexes = [read_index(shard) for shard in _shards(path)]
    for index in indexes:
        _check_names(index, wanted)
    if len({frozenset(index) for index in indexes}) > 1:
        odd = next(index for index in indexes if set(index) != set(indexes[0]))
        raise ModelError(f"{_shown(next(iter(odd.values())).file)} holds other arrays than {_shown(next(iter(indexes[0].values())).file)}")
    inflated = sum(array.nbytes for index in indexes for array in index.values() if array.member.compress_type)
    if inflated > MAX_INFLATED_BYTES:
        raise ModelError(
            f"{_shown(path)}: the shards take {inflated / 1e9:.1f} GB of memory once decompressed; save them with `numpy.savez` (uncompressed)"
        )
    for info in wanted.inputs:
        for index in indexes:
            _check_shape(index[info.name], info, wanted)
    inputs = {info.name: _join([index[info.name] for index in indexes]) for info in wanted.inputs}
    labels = _join([index[wanted.labels] for index in indexes]) if wanted.labels in indexes[0] else None
    n = _equal_length(path, inputs, labels, wanted)
    return Samples(path, inputs, labels, n, _fingerprint(indexes))


def _shards(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(one for one in path.iterdir() if one.suffix == ".npz" and one.is_file())
    if not found:
        raise ModelError(f"{_shown(path)} is a folder without any .npz file")
    if len(found) > MAX_SHARDS:
        raise ModelError(f"{_shown(path)} has {len(found)} shards; at most {MAX_SHARDS} are read")
    return found


def _check_names(index: Mapping[str, StoredArray], wanted: Wanted) -> None:
    file = _shown(next(iter(index.values())).file)
    needed = [info.name for info in wanted.inputs]
    if wanted.labels in needed:
        raise ModelError(
            f"the model has an input named `{wanted.labels}`, so that name cannot also be the labels: name another array in the field `labels`"
        )
    for name in index:
        if name in wanted.others:
            raise ModelError(f"{file} holds an array `{_name(name)}`, but {wanted.others[name]}: leave it out")
        if name not in needed and name != wanted.labels:
            known = [_name(one) for one in (*needed, wanted.labels)]
            raise ModelError(
                f"{file} holds an array `{_name(name)}`, which is no input of the model: {did_you_mean(name, known, noun='known')}"
            )
    for name in needed:
        if name not in index:
            there = ", ".join(f"`{_name(one)}`" for one in index)
            raise ModelError(
                f"{file} has no array for the model's input `{_name(name)}` (it holds {there}): add it, or set it in `constants`"
            )


def _check_shape(array: StoredArray, info: TensorInfo, wanted: Wanted) -> None:
    lead = 2 if wanted.streaming else 1
    pattern = "(n_sequences, n_steps, *input_shape[1:])" if wanted.streaming else "(n_samples, *input_shape[1:])"
    where = f"{_shown(array.file)}, array `{_name(array.name)}`"
    if len(array.shape) < lead:
        raise ModelError(f"{where} has the shape {array.shape}; it must be {pattern}")
    expected, got = info.shape[1:], array.shape[lead:]
    fits = len(expected) == len(got) and all(not isinstance(e, int) or e == g for e, g in zip(expected, got, strict=True))
    if info.shape and not fits:
        raise ModelError(f"{where} has the shape {array.shape}, but the model's input is {shape_text(info.shape)}: arrays are {pattern}")
    if not _convertible(array.dtype, info.numpy_dtype):
        raise ModelError(f"{where} holds {array.dtype}, and the model takes {info.dtype}: converting would lose what is after the point")


def _convertible(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """By kind; whether whole numbers are in range is seen when they are converted."""
    return target.kind == "f" or source.kind in "biu"


def _join(arrays: Sequence[StoredArray]) -> Rows:
    first = arrays[0]
    for array in arrays[1:]:
        if array.shape[1:] != first.shape[1:]:
            raise ModelError(
                f"array `{_name(array.name)}` has the shape {array.shape} in {_shown(array.file)} and {first.shape} in {_shown(first.file)}: "
                "shards may differ in their first axis only"
            )
    for array in arrays:
        if not array.shape:
            raise ModelError(f"{_shown(array.file)}, array `{_name(array.name)}` is a single value, not one a sample")
        array.check()
    return Rows(tuple(array.load() for array in arrays), (0, *accumulate(array.shape[0] for array in arrays)))


def _equal_length(path: Path, inputs: Mapping[str, Rows], labels: Rows | None, wanted: Wanted) -> int:
    if not inputs:
        raise ModelError(f"{_shown(path)}: the model takes no input that samples could feed")
    every = {**inputs, **({wanted.labels: labels} if labels is not None else {})}
    axes = 2 if wanted.streaming else 1
    first, lengths = next((name, rows.shape[:axes]) for name, rows in inputs.items())
    for name, rows in every.items():
        if rows.shape[:1] != lengths[:1] or (name in inputs and rows.shape[:axes] != lengths):
            raise ModelError(f"{_shown(path)}: `{_name(first)}` has {lengths} samples, but `{_name(name)}` has {rows.shape[:axes]}")
    if 0 in lengths:
        raise ModelError(f"{_shown(path)} holds no samples: the shape of `{_name(first)}` begins with {lengths}")
    return lengths[0]


def _fingerprint(indexes: Sequence[Mapping[str, StoredArray]]) -> str:
    """Of names, shapes, types and checksums: data that differ have another one."""
    text = repr([[(name, a.shape, a.dtype.str, a.crc) for name, a in sorted(index.items())] for index in indexes])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def convert(values: NDArray[Any], info: TensorInfo, *, where: str) -> NDArray[Any]:
    """The values in the type that the input takes, C-contiguous. Raises: ModelError where a value does not survive it."""
    target = info.numpy_dtype
    if not _convertible(values.dtype, target):
        raise ModelError(f"{where} holds {values.dtype}, and the model's input `{_name(info.name)}` takes {info.dtype}")
    with np.errstate(over="ignore"):
        converted = np.asarray(values, target, order="C")
    if values.dtype == target:
        return converted
    if target.kind != "f" and not np.array_equal(converted, values):
        raise ModelError(f"{where} holds values that do not fit into {info.dtype}, which the model's input `{_name(info.name)}` takes")
    if target.kind == "f" and not np.array_equal(np.isfinite(converted), np.isfinite(values)):
        raise ModelError(f"{where} holds values too large for {info.dtype}, which the model's input `{_name(info.name)}` takes")
    return converted


def shape_text(shape: Sequence[int | str | None]) -> str:
    """`[N, 3, ?, 224]`."""
    return "[" + ", ".join("?" if size is None else one_line(size, limit=40) for size in shape) + "]"


def _name(name: str) -> str:
    return one_line(name, limit=80)


def _shown(path: Path) -> str:
    return one_line(path, limit=200)
