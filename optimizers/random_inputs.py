"""Inputs for a model that came without samples: random, the same every time, within what the model accepts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import ModelError
from optimizers.foreign import one_line
from optimizers.inputs import InputPlan
from optimizers.samples import shape_text
from optimizers.session import Session, TensorInfo

OPEN_SIZES = (64, 224, 16, 1)
"""What a dimension that the model leaves open is set to: the first with which the model runs. Batch axes are 1."""
INTEGER_BOUNDS = (100, 2, 1)
"""Integers are below the first of these with which the model runs: an index past the end of a table is refused."""
MAX_VALUES = 1 << 28

_BATCH = re.compile(r"n|none|.*batch.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RandomInputs:
    """`feeds` hold the inputs that samples would feed; `description` says what is in them."""

    feeds: tuple[dict[str, NDArray[Any]], ...]
    description: str


def random_inputs(session: Session, plan: InputPlan, *, input_shapes: Mapping[str, Sequence[int]], count: int) -> RandomInputs:
    """`count` inferences' inputs. The model is run to find out what it accepts. Raises: ModelError."""
    failure: ModelError | None = None
    for shapes, bound in _attempts(session, plan, input_shapes):
        random = np.random.RandomState(0)  # a frozen stream (NEP 19): the same numbers with every numpy
        feeds = tuple({info.name: _values(random, info, shapes[info.name], bound) for info in plan.sampled} for _ in range(count))
        try:
            for feed in feeds:
                session.run({**plan.constants, **plan.zeros, **feed})
        except ModelError as error:
            failure = failure or error
        else:
            return RandomInputs(feeds, _description(plan, shapes, bound))
    raise ModelError(f"the model does not run on random inputs: {failure}. Give the shapes of its inputs, or a model.yaml with samples")


def _attempts(
    session: Session, plan: InputPlan, input_shapes: Mapping[str, Sequence[int]]
) -> Iterator[tuple[dict[str, tuple[int, ...]], int]]:
    for name in input_shapes:
        session.signature.input(name)
    is_open = any(not isinstance(size, int) for info in plan.sampled if info.name not in input_shapes for size in info.shape[1:])
    has_integers = any(info.numpy_dtype.kind in "iu" for info in plan.sampled)
    for size in OPEN_SIZES if is_open else OPEN_SIZES[:1]:
        shapes = {info.name: fixed_shape(info, input_shapes.get(info.name), plan.batch or 1, size) for info in plan.sampled}
        if sum(math.prod(shape) for shape in shapes.values()) > MAX_VALUES:
            raise ModelError(f"the model's inputs hold more than {MAX_VALUES} values: give smaller shapes")
        for bound in INTEGER_BOUNDS if has_integers else INTEGER_BOUNDS[:1]:
            yield shapes, bound


def fixed_shape(info: TensorInfo, given: Sequence[int] | None, batch: int, size: int) -> tuple[int, ...]:
    """The input's shape with its open dimensions set. Raises: ModelError where `given` does not fit the model."""
    if given is not None:
        fits = len(given) == len(info.shape) and all(not isinstance(e, int) or e == g for e, g in zip(info.shape, given, strict=True))
        if info.shape and not fits:
            name = one_line(info.name, limit=80)
            raise ModelError(f"the shape {shape_text(given)} does not fit the input `{name}`, which is {shape_text(info.shape)}")
        return tuple(given)
    return tuple(one if isinstance(one, int) else batch if _is_batch(axis, one) else size for axis, one in enumerate(info.shape))


def _is_batch(axis: int, name: int | str | None) -> bool:
    return axis == 0 or (isinstance(name, str) and _BATCH.fullmatch(name) is not None)


def _values(random: np.random.RandomState, info: TensorInfo, shape: tuple[int, ...], bound: int) -> NDArray[Any]:
    dtype = info.numpy_dtype
    if dtype.kind == "f":
        return np.asarray(random.standard_normal(shape), dtype)
    if dtype.kind == "b":
        return np.asarray(random.randint(0, 2, shape), dtype)
    whole_range = dtype.itemsize == 1 and bound == INTEGER_BOUNDS[0]
    limits = np.iinfo(dtype)
    low, high = (int(limits.min), int(limits.max) + 1) if whole_range else (0, bound)
    values = np.asarray(random.randint(low, high, shape), dtype)
    values.reshape(-1)[:1] = high - 1  # so that trying one feed tries the bound itself
    return values


def _description(plan: InputPlan, shapes: Mapping[str, tuple[int, ...]], bound: int) -> str:
    listed = "; ".join(f"{one_line(info.name, limit=60)} {info.dtype} {shape_text(shapes[info.name])}" for info in plan.sampled[:5])
    more = f"; and {len(plan.sampled) - 5} more" if len(plan.sampled) > 5 else ""
    kinds = {info.numpy_dtype.kind for info in plan.sampled}
    drawn = ["floats from N(0, 1)"] if "f" in kinds else []
    if any(info.numpy_dtype.kind in "iu" and info.numpy_dtype.itemsize > 1 for info in plan.sampled):
        drawn.append(f"integers from 0 to {bound - 1}")
    if any(info.numpy_dtype.kind in "iu" and info.numpy_dtype.itemsize == 1 for info in plan.sampled):
        drawn.append("8-bit integers over their whole range" if bound == INTEGER_BOUNDS[0] else f"8-bit integers from 0 to {bound - 1}")
    return f"random inputs ({', '.join(drawn)}): {listed}{more}" if plan.sampled else "the model takes no inputs that vary"
