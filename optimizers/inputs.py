"""Where each input of a model comes from: samples, constants, or states that are fed back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import ModelError, UnsupportedModel
from optimizers.foreign import one_line
from optimizers.model_file import ModelFile
from optimizers.samples import Wanted, convert, shape_text
from optimizers.session import Signature, TensorInfo


@dataclass(frozen=True, slots=True)
class InputPlan:
    """Where each input comes from. `batch` is the number of samples of one inference: the model's fixed first axis, else 1;
    None where inputs disagree on it, so that samples cannot be told apart.

    Open batches are run one sample at a time, as on a device: quantisation scales taken over a batch would leak between samples.
    `states` are (output, input) pairs; `zeros` are the states at the start of a sequence.
    """

    sampled: tuple[TensorInfo, ...]
    constants: Mapping[str, NDArray[Any]]
    states: tuple[tuple[str, str], ...]
    zeros: Mapping[str, NDArray[Any]]
    batch: int | None

    @property
    def streaming(self) -> bool:
        """Whether samples are sequences."""
        return bool(self.states)

    @property
    def group(self) -> int:
        """Samples of one inference. Raises: UnsupportedModel where there is no such number."""
        if self.batch is None:
            listed = ", ".join(f"`{_name(info)}` {shape_text(info.shape)}" for info in self.sampled)
            raise UnsupportedModel(f"the first axes of the model's inputs differ ({listed}): put what is not one a sample into `constants`")
        return self.batch

    def wanted(self, labels: str) -> Wanted:
        """What samples must hold. Raises: UnsupportedModel where samples cannot be told apart."""
        _ = self.group  # raises
        others = dict.fromkeys(self.constants, "`constants` sets that input") | dict.fromkeys(self.zeros, "`states` feeds that input")
        return Wanted(self.sampled, labels, others, self.streaming)


def plan_inputs(model: ModelFile, signature: Signature) -> InputPlan:
    """Where each input of the model comes from. Raises: ModelError for a name or shape that does not fit the model."""
    constants = {name: _constant(value, signature.input(name)) for name, value in model.constants.items()}
    zeros = {signature.input(name).name: _zeros(model, signature.input(name)) for name in model.states.values()}
    for output in model.states:
        signature.output(output)
    sampled = tuple(info for info in signature.inputs if info.name not in constants and info.name not in zeros)
    for info in sampled:
        if info.dtype is None:
            raise UnsupportedModel(
                f"the input `{_name(info)}` is a {one_line(info.type_text, limit=80)}: only tensors of numbers can be fed"
            )
    batch = _batch(sampled)
    if zeros and batch != 1:
        raise UnsupportedModel(f"the model has states and a fixed batch of {batch or 'several sizes'}: export it with a batch of 1")
    return InputPlan(sampled, constants, tuple(model.states.items()), zeros, batch)


def _constant(value: Any, info: TensorInfo) -> NDArray[Any]:
    where = f"the constant `{_name(info)}`"
    try:
        array = convert(np.array(value), info, where=where)
    except ValueError:
        raise ModelError(f"{where} has lists of different lengths") from None
    fixed = [size for size in info.shape if isinstance(size, int)]
    if array.ndim == 0 and info.shape and len(fixed) == len(info.shape):
        return np.full(fixed, array)
    fits = len(array.shape) == len(info.shape) and all(
        not isinstance(e, int) or e == g for e, g in zip(info.shape, array.shape, strict=True)
    )
    if info.shape and not fits:
        raise ModelError(f"{where} has the shape {shape_text(array.shape)}, and the model takes {shape_text(info.shape)}")
    return array


def _zeros(model: ModelFile, info: TensorInfo) -> NDArray[Any]:
    shape: Sequence[int | str | None] = model.state_shapes.get(info.name, info.shape)
    if info.name in model.state_shapes and info.shape:
        fits = len(shape) == len(info.shape) and all(not isinstance(e, int) or e == g for e, g in zip(info.shape, shape, strict=True))
        if not fits:
            raise ModelError(f"`state_shapes` gives `{_name(info)}` {shape_text(shape)}, and the model takes {shape_text(info.shape)}")
    sizes = [size for size in shape if isinstance(size, int)]
    if len(sizes) != len(shape):
        raise ModelError(f"the model leaves the shape of the state `{_name(info)}` open ({shape_text(shape)}): give it in `state_shapes`")
    return np.zeros(sizes, info.numpy_dtype)


def _batch(sampled: Sequence[TensorInfo]) -> int | None:
    fixed = {info.shape[0] for info in sampled if info.shape and isinstance(info.shape[0], int)}
    return max(next(iter(fixed), 1), 1) if len(fixed) < 2 else None


def _name(info: TensorInfo) -> str:
    return one_line(info.name, limit=80)
