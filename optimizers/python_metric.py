"""Metrics of the user's own: `python:module:function`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.metrics import Better
from optimizers.errors import ModelError
from optimizers.foreign import one_line
from optimizers.statistics import NumberStatistics, Statistics, SumStatistics


@dataclass(frozen=True, slots=True)
class PythonMetric:
    """The function, with its attributes `better` ("higher", the default, or "lower") and `unit` (default "1")."""

    name: str
    unit: str
    better: Better
    function: Callable[[dict[str, NDArray[Any]], NDArray[Any] | None], Any]
    folder: Path | None

    def score(self, outputs: Mapping[str, NDArray[Any]], labels: NDArray[Any] | None, *, n: int) -> Statistics:
        """Call it: a number is the metric; an array (n,) is a value a sample, and the metric is their mean. Raises: ModelError."""
        with _their_code(self.name, "failed"), _importable(self.folder):
            given = np.asarray(self.function(dict(outputs), labels))
            result = given.astype(np.float64)
        if result.ndim == 0:
            return NumberStatistics(float(result), n)
        if result.shape == (n,):
            return SumStatistics(np.stack([result, np.ones(n)], axis=1), "ratio")
        raise ModelError(f"the metric {self.name} gave an array {result.shape}; it may give one number, or one a sample: ({n},)")


def load_python_metric(name: str, *, folder: Path | None) -> PythonMetric:
    """Import `python:module:function` with `folder` first on the import path. Raises: ModelError."""
    _, module_name, function_name = name.split(":")
    with _their_code(name, "cannot be imported"), _importable(folder):
        function = getattr(importlib.import_module(module_name), function_name)
    if not callable(function):
        raise ModelError(f"the metric {name} is not a function")
    better, unit = getattr(function, "better", Better.HIGHER), getattr(function, "unit", "1")
    if better not in (Better.HIGHER, Better.LOWER):
        raise ModelError(
            f'the attribute `better` of the metric {name} is {one_line(repr(better), limit=40)}; it may be "higher" or "lower"'
        )
    return PythonMetric(name, one_line(unit, limit=20), Better(better), function, folder)


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """`folder` in front of the import path for as long as the block runs."""
    added = [str(folder)] if folder is not None else []
    before = list(sys.path)
    sys.path[:0] = added
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def _their_code(name: str, what: str) -> Iterator[None]:
    """The user's code may raise anything at all: it is told as it is, with where it happened."""
    try:
        yield
    except Exception as error:  # not our code, so there is no narrower list
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        place = f" ({Path(last.tb_frame.f_code.co_filename).name}, line {last.tb_lineno})" if last else ""
        raise ModelError(f"the metric {name} {what}: {type(error).__name__}: {one_line(error)}{place}") from error
