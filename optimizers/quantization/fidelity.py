"""How far a quantised model's outputs are from the float model's, on calibration feeds."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import ModelError, PassFailed
from optimizers.foreign import one_line
from optimizers.optimizer_pass import Context
from optimizers.session import open_session


def sqnr_db(reference: Path, quantised: Path, context: Context, *, most_feeds: int) -> float | None:
    """Signal to quantisation noise: 10 log₁₀(Σ y² ÷ Σ (ŷ − y)²) over all feeds, of the float output that lost most.

    None where there is no float output, or no noise at all. Raises: PassFailed where the quantised model does not run or
    gives other shapes, ModelError where the float model does not run.
    """
    before = open_session(reference, intra_op_threads=context.intra_op_threads)
    after = open_session(quantised, intra_op_threads=context.intra_op_threads)
    names = [info.name for info in before.signature.outputs if info.dtype in ("float32", "float64", "float16")]
    sums = {name: np.zeros(2) for name in names}
    for feed in itertools.islice(context.feeds(), most_feeds):
        expected = before.run(feed, names)
        try:
            got = after.run(feed, names)
        except ModelError as error:
            raise PassFailed(f"the quantised model does not run: {error}") from error
        for name in names:
            sums[name] += _energies(expected[name], got[name], name)
    ratios = [10 * math.log10(signal / noise) for signal, noise in sums.values() if noise > 0 and signal > 0]
    return min(ratios, default=None)


def _energies(expected: NDArray[Any], got: NDArray[Any], name: str) -> tuple[float, float]:
    if expected.shape != got.shape:
        raise PassFailed(f"the quantised model's output {one_line(name, limit=80)} has the shape {got.shape}, not {expected.shape}")
    finite = np.isfinite(expected)
    signal, result = expected[finite].astype(np.float64), got[finite].astype(np.float64)
    if not np.isfinite(result).all():
        raise PassFailed(f"the quantised model's output {one_line(name, limit=80)} is NaN or infinite where the float model's is not")
    return float(np.square(signal).sum()), float(np.square(result - signal).sum())
