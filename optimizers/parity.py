"""Whether two models compute the same: sessions, feeds to compare on, the difference of outputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from optimizers.errors import ModelError, UnsupportedModel
from optimizers.graph import real_inputs
from optimizers.optimizer_pass import Feed, relative_error
from optimizers.session import Session, open_session

N_PROBES = 2
_OPEN_SIZES = (32, 8, 64, 128, 256, 1)
"""Sizes tried for axes that may have any size, until the model runs."""


def random_probes(model: ir.Model, path: Path, *, threads: int, fixed: Feed = MappingProxyType({})) -> tuple[Feed, ...]:
    """Feeds of random numbers (fixed seed) and the `fixed` inputs on which the model at `path` runs.

    Raises: UnsupportedModel, saying why there are none.
    """
    session = open_session(path, intra_op_threads=threads, optimize=False)
    inputs = [value for value in real_inputs(model) if value.name not in fixed]
    why: ModelError | None = None
    for size in _OPEN_SIZES:
        feeds = tuple({**_random_feed(inputs, size, np.random.default_rng(seed)), **fixed} for seed in range(N_PROBES))
        try:
            for feed in feeds:
                session.run(feed)
        except ModelError as error:
            why = why or error
            continue
        return feeds
    raise UnsupportedModel(f"it was tried on random inputs: {why}")


def _random_feed(inputs: Sequence[ir.Value], size: int, generator: np.random.Generator) -> Feed:
    return {value.name or "": _random_array(value, size, generator) for value in inputs}


def _random_array(value: ir.Value, size: int, generator: np.random.Generator) -> NDArray[Any]:
    if value.shape is None or value.dtype is None or not isinstance(value.type, ir.TensorType):
        raise UnsupportedModel(f"no random numbers can be made for its input {value.name!r}, which is no tensor of known type and rank")
    shape = [axis if isinstance(axis, int) and axis > 0 else (size if index else 1) for index, axis in enumerate(value.shape)]
    if np.prod(shape, dtype=np.float64) > 1e9:
        raise UnsupportedModel(f"its input {value.name!r} has {shape} elements, too many to make up")
    if value.dtype == ir.DataType.STRING:
        return np.full(shape, "a", dtype=object)
    kind = value.dtype.numpy()
    if value.dtype.is_floating_point():
        return generator.standard_normal(shape).astype(kind)
    return generator.integers(0, 2, shape).astype(kind)  # 0 and 1 are tokens, masks and flags of almost any model


@dataclass(frozen=True, slots=True)
class Reference:
    """Outputs of a model on probes. `why_not` says why nothing can be compared with it, else it is None."""

    probes: tuple[Feed, ...]
    outputs: tuple[list[Any], ...]
    why_not: str | None = None

    def difference(self, model: Path, *, threads: int, optimize: bool = False) -> float:
        """The worst relative error of any output on any probe. Raises: ModelError where it does not load or run."""
        session = open_session(model, intra_op_threads=threads, optimize=optimize)
        return max((difference(_run(session, feed), outputs) for feed, outputs in zip(self.probes, self.outputs, strict=True)), default=0.0)


def reference(model: Path, probes: Sequence[Feed], *, threads: int, optimize: bool = False) -> Reference:
    """Run a model, as written unless `optimize`, on probes; it must give the same twice to be compared with. Raises: ModelError."""
    if not probes:
        return Reference((), (), "it runs neither on calibration samples nor on random inputs")
    session = open_session(model, intra_op_threads=threads, optimize=optimize)
    outputs = tuple(_run(session, feed) for feed in probes)
    if difference(_run(session, probes[0]), outputs[0]) > 0:
        return Reference((), (), "its outputs differ from one run to the next on the same inputs")
    return Reference(tuple(probes), outputs)


def _run(session: Session, feed: Feed) -> list[Any]:
    return list(session.run(feed).values())


def difference(got: Sequence[Any], expected: Sequence[Any]) -> float:
    """The worst relative error between two lists of outputs; infinity where they are not of one kind."""
    if len(got) != len(expected):
        return float("inf")
    return max((_output_difference(a, b) for a, b in zip(got, expected, strict=True)), default=0.0)


def _output_difference(got: Any, expected: Any) -> float:
    """Outputs are arrays, or lists (sequences), maps or nothing at all (optionals) of such."""
    if type(got) is not type(expected):
        return float("inf")
    if isinstance(expected, list):
        return difference(got, expected)
    if isinstance(expected, Mapping):
        if list(got) != list(expected):
            return float("inf")
        return difference(list(got.values()), list(expected.values()))
    if isinstance(expected, np.ndarray):
        return _array_difference(got, expected)
    if isinstance(expected, float):
        return relative_error(np.asarray(got), np.asarray(expected))
    return 0.0 if got == expected else float("inf")


def _array_difference(got: NDArray[Any], expected: NDArray[Any]) -> float:
    if got.dtype != expected.dtype:
        return float("inf")
    if expected.dtype.kind in "OUSb":
        return 0.0 if np.array_equal(got, expected) else float("inf")
    return relative_error(got, expected)


def first(feeds: Iterator[Feed], count: int) -> tuple[Feed, ...]:
    """The first so many feeds."""
    return tuple(itertools.islice(feeds, count))
