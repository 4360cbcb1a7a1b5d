"""Whether two models compute the same: sessions, feeds to compare on, the difference of outputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.inputs import plan_inputs
from optimizers.model_file import ModelFile, bare_model_file
from optimizers.optimizer_pass import Feed, relative_error
from optimizers.random_inputs import random_inputs
from optimizers.session import Session, open_session

N_PROBES = 2


def random_probes(path: Path, model_file: ModelFile | None = None, *, threads: int) -> tuple[Feed, ...]:
    """Random feeds (always the same) on which the model at `path` runs, with the constants and states of its model file.

    Raises: ModelError, saying why there are none.
    """
    session = open_session(path, intra_op_threads=threads, optimize=False)
    plan = plan_inputs(model_file or bare_model_file(path), session.signature)
    made = random_inputs(session, plan, input_shapes={}, count=N_PROBES)
    return tuple({**plan.constants, **plan.zeros, **feed} for feed in made.feeds)


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
