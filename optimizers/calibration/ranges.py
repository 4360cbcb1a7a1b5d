"""From a tensor's histogram to the range that its integers shall cover: four calibrators."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from optimizers.calibration.histogram import Histogram

Floats = NDArray[np.float64]
Points = tuple[Floats, Floats]
Calibrator = Literal["minmax", "percentile", "mse", "entropy"]

_SEARCH_POINTS = 2048
_COARSE = np.linspace(1.0, 0.02, 50)
_FINE = np.linspace(1.03, 0.97, 31)
_MAX_ROUNDS = 8
_HIGH_END, _LOW_END, _BOTH_ENDS = np.array([False, True]), np.array([True, False]), np.array([True, True])
_ENTROPY_THRESHOLDS = 128


@dataclass(frozen=True, slots=True)
class Range:
    """Real values from `low` to `high`; zero is always inside."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Grid:
    """The integers of an activation: `lowest` to `highest`; `symmetric` puts the zero point in their middle."""

    lowest: int
    highest: int
    symmetric: bool = False

    def snap(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Scale and zero point of ranges, elementwise, as ONNX Runtime's quantiser computes them."""
        if self.symmetric:
            low, high = np.minimum(low, -high), np.maximum(high, -low)
        scale = np.maximum((high - low) / (self.highest - self.lowest), np.finfo(np.float32).tiny)
        if self.symmetric:
            return scale, np.full_like(scale, np.round((self.lowest + self.highest) / 2))
        return scale, np.round(self.lowest - low / scale)


UINT8 = Grid(0, 255)
INT8 = Grid(-128, 127)
INT8_SYMMETRIC = Grid(-127, 127, symmetric=True)


def find_range(histogram: Histogram, grid: Grid, calibrator: Calibrator, *, percentile: float) -> Range:
    """The range that a calibrator picks. A tensor that was never seen, or was always zero, gets (0, 0)."""
    if histogram.count == 0 or histogram.largest_magnitude == 0.0:
        return Range(0.0, 0.0)
    match calibrator:
        case "minmax":
            return minmax(histogram)
        case "percentile":
            return percentile_range(histogram, percentile)
        case "mse":
            return least_squares(histogram, grid)
        case "entropy":
            return least_divergence(histogram, grid)
        case _:
            assert_never(calibrator)


def minmax(histogram: Histogram) -> Range:
    """All that was seen."""
    return Range(min(histogram.minimum, 0.0), max(histogram.maximum, 0.0))


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """The middle `percentile` percent of all values: half of the rest is cut off at each end."""
    cut = (1 - percentile / 100) / 2
    return Range(min(histogram.quantile(cut), 0.0), max(histogram.quantile(1 - cut), 0.0))


def squared_error(points: Points, grid: Grid, low: Floats, high: Floats) -> Floats:
    """Σ count (x - x̂)² over points (centres, counts), rounding and clipping included, for each candidate range: (n_candidates,)."""
    centres, counts = points
    scale, zero = (part[:, None] for part in grid.snap(low, high))
    steps = np.clip(np.round(centres / scale) + zero, grid.lowest, grid.highest) - zero
    return np.square(steps * scale - centres) @ counts


def least_squares(histogram: Histogram, grid: Grid) -> Range:
    """The range with the least squared error: high end, low end and both are shrunk in turn, first coarsely, until none moves."""
    points = histogram.points(most=_SEARCH_POINTS)
    whole = minmax(histogram)
    if grid.symmetric:
        whole = Range(-histogram.largest_magnitude, histogram.largest_magnitude)
    moves = [_BOTH_ENDS] if grid.symmetric else [_HIGH_END, _LOW_END, _BOTH_ENDS]
    best = np.array([whole.low, whole.high])
    for factors in (_COARSE, _FINE):
        for _ in range(_MAX_ROUNDS):
            before = best
            for moved in moves:
                candidates = best * np.where(moved, factors[:, None], 1.0)
                best = candidates[int(np.argmin(squared_error(points, grid, candidates[:, 0], candidates[:, 1])))]
            if np.array_equal(before, best):
                break
    return Range(max(float(best[0]), whole.low), min(float(best[1]), whole.high))


def divergence(points: Points, grid: Grid, chosen: Range) -> float:
    """KL divergence of what the integers can tell apart from what was seen, in nats.

    After 8-bit inference with TensorRT (Migacz, GTC 2017): P is the histogram inside the range with what lies outside
    added to its outermost bins; Q is the histogram inside the range with the mass of each integer spread evenly over the
    bins that round to it. Exact zeros take no part, since any range keeps them exact.
    """
    centres, counts = points
    inside = (centres >= chosen.low) & (centres <= chosen.high)
    if not inside.any():
        return math.inf
    kept, x = counts[inside], centres[inside]
    seen = kept.copy()
    seen[0] += counts[centres < chosen.low].sum()
    seen[-1] += counts[centres > chosen.high].sum()
    scale, zero = grid.snap(np.array([chosen.low]), np.array([chosen.high]))
    levels = (np.clip(np.round(x / scale) + zero, grid.lowest, grid.highest) - grid.lowest).astype(np.int64)
    told = (np.bincount(levels, kept) / np.maximum(np.bincount(levels), 1))[levels]
    p, q = seen / seen.sum(), told / told.sum()
    return float(np.sum(p * np.log(p / q)))


def least_divergence(histogram: Histogram, grid: Grid) -> Range:
    """The range, cut off at one magnitude on both sides, with the least divergence; the widest of equals.

    Thresholds are tried from the largest magnitude down to a sixteenth of it, as in the original (128 of 2048 bins), and
    only as long as more bins with values lie inside than there are integers: with fewer, nothing is left to tell apart.
    """
    points = histogram.points(most=_SEARCH_POINTS)
    whole = minmax(histogram)
    best, least = whole, math.inf
    for index in range(_ENTROPY_THRESHOLDS, _ENTROPY_THRESHOLDS // 16 - 1, -1):
        threshold = histogram.largest_magnitude * index / _ENTROPY_THRESHOLDS
        candidate = Range(max(whole.low, -threshold), min(whole.high, threshold))
        if np.count_nonzero((points[0] >= candidate.low) & (points[0] <= candidate.high)) <= grid.highest - grid.lowest + 1:
            break
        found = divergence(points, grid, candidate)
        if found < least:
            best, least = candidate, found
    return best
