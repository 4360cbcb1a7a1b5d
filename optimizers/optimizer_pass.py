"""The base of every optimiser pass: onnx-ir's PassBase (requires, call, ensures) with parameters, data and a report.

A pass is one file in `optimizers/passes/`, one line in its table, one test.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from optimizers.errors import OptimizerError

Feed = Mapping[str, NDArray[Any]]
"""One inference's inputs by name, shaped and typed as the model takes them (batch axis included)."""


class Parameters(BaseModel):
    """A pass's parameters as a recipe writes them; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Context:
    """What a pass may use beside the model.

    `scratch` is an empty folder of the pass's own. `feeds()` starts the calibration feeds again, in the same order each
    time, without labels; it raises UnsupportedModel where the model has no samples. `probes` are a few feeds to compare
    outputs on: calibration feeds where there are any, else random ones; none where the model runs on neither.
    """

    scratch: Path
    feeds: Callable[[], Iterator[Feed]]
    intra_op_threads: int = 2
    probes: tuple[Feed, ...] = ()


@dataclass
class Result(ir.passes.PassResult):
    """What a pass did: `summary` is one sentence for a person, also when nothing changed; `details` are its figures by name.

    `artifact` is for a pass after which the model is no ONNX file any more: the file in `scratch` that is the result.
    """

    summary: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    artifact: Path | None = None


class Pass(ir.passes.PassBase, abc.ABC):
    """Works on a model that it may change in place; inputs, outputs and their names stay.

    `requires` raises UnsupportedModel for a model it cannot handle, `call` returns a `Result`, `ensures` raises
    PassFailed. `tolerance` is how far, relative in the 2-norm, outputs may differ between two CPUs that run the result.
    """

    name: ClassVar[str]
    tolerance: ClassVar[float]
    parameters_type: ClassVar[type[Parameters]] = Parameters
    needs_data: ClassVar[bool] = False
    returns_new: ClassVar[bool] = False  # True: `call` returns another ir.Model object than it was given, always
    optional: ClassVar[bool] = False  # True: a recipe still makes a variant where this pass found nothing to do
    comes_last: ClassVar[bool] = False  # True: its result is no ONNX file, so no pass can follow

    def __init__(self, parameters: Parameters, context: Context) -> None:
        self.parameters = parameters
        self.context = context

    def __call__(self, model_or_result: ir.Model | ir.passes.PassResult, /) -> Result:
        """Run requires, call and ensures. Raises: what these raise of our own errors, not wrapped as onnx-ir would."""
        try:
            return cast(Result, super().__call__(model_or_result))
        except ir.passes.InvariantError as error:
            if isinstance(error.__cause__, OptimizerError):
                raise error.__cause__ from None
            raise

    @property
    def in_place(self) -> bool:
        """Whether the model given is the model returned."""
        return not self.returns_new

    @property
    def changes_input(self) -> bool:
        """True: the model given may be changed."""
        return True

    @abc.abstractmethod
    def call(self, model: ir.Model) -> Result:
        """Do it. Raises: UnsupportedModel, PassFailed."""


def relative_error(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """‖got - expected‖₂ / ‖expected‖₂ in float64; where expected is all zero, ‖got‖₂. NaN or a different shape is infinity.

    Elements that are the same NaN or infinity on both sides are equal.
    """
    if got.shape != expected.shape:
        return float("inf")
    a, b = got.astype(np.float64), expected.astype(np.float64)
    same = ((a == b) & ~np.isfinite(b)) | (np.isnan(a) & np.isnan(b))
    a, b = np.where(same, 0, a), np.where(same, 0, b)
    norm = float(np.linalg.norm(b.ravel()))
    with np.errstate(invalid="ignore", over="ignore"):
        error = float(np.linalg.norm((a - b).ravel()))
    if not np.isfinite(error):
        return float("inf")
    return error / norm if norm else error
