from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization.quant_utils import compute_scale_zp

from optimizers.calibration.histogram import Histogram
from optimizers.calibration.ranges import INT8, INT8_SYMMETRIC, UINT8, Grid, Range, find_range

GRIDS = [UINT8, INT8, INT8_SYMMETRIC]
CALIBRATORS = ["minmax", "percentile", "mse", "entropy"]


def histogram_of(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in np.array_split(values.astype(np.float32), 4):
        histogram.add(part)
    return histogram


def rounded(values: np.ndarray, grid: Grid, low: float, high: float) -> np.ndarray:
    """Quantised and back, by ONNX Runtime's own scale and zero point."""
    zero, scale = compute_scale_zp(
        np.float32(low), np.float32(high), np.int32(grid.lowest), np.int32(grid.highest), symmetric=grid.symmetric
    )
    steps = np.clip(np.round(values / scale) + int(zero), grid.lowest, grid.highest) - int(zero)
    return steps * float(scale)


def error(values: np.ndarray, grid: Grid, low: float, high: float) -> float:
    return float(np.square(rounded(values, grid, low, high) - values).sum())


def samples(kind: str) -> np.ndarray:
    random = np.random.default_rng(7)
    match kind:
        case "normal":
            return random.normal(size=3000)
        case "relu":
            return np.maximum(random.normal(size=3000), 0)
        case "skewed":
            return np.exp(random.normal(size=3000)) - 0.3
        case _:
            return np.concatenate([random.normal(size=3000), [60.0, -20.0]])


@pytest.mark.parametrize("grid", GRIDS, ids=["uint8", "int8", "symmetric"])
@settings(max_examples=30, deadline=None)
@given(low=st.floats(-1e3, 0), width=st.floats(1e-3, 1e3))
def test_the_grid_is_onnxruntimes(grid: Grid, low: float, width: float) -> None:
    low, high = float(np.float32(low)), float(np.float32(max(low + width, 0.0)))
    zero, scale = compute_scale_zp(
        np.float32(low), np.float32(high), np.int32(grid.lowest), np.int32(grid.highest), symmetric=grid.symmetric
    )
    ours = grid.snap(np.array([low]), np.array([high]))
    assert ours[0].item() == pytest.approx(float(scale), rel=1e-6)
    assert abs(ours[1].item() - int(zero)) <= 1  # a tie may round either way in float32


def test_minmax_is_all_that_was_seen_and_zero() -> None:
    assert find_range(histogram_of(np.array([2.0, 5.0])), UINT8, "minmax", percentile=50) == Range(0.0, 5.0)
    assert find_range(histogram_of(np.array([-3.0, -1.0])), UINT8, "minmax", percentile=50) == Range(-3.0, 0.0)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("kind", ["normal", "relu", "skewed", "outliers"])
def test_percentile_is_numpys(kind: str, percentile: float) -> None:
    values = samples(kind).astype(np.float32)
    histogram = histogram_of(values)
    found = find_range(histogram, UINT8, "percentile", percentile=percentile)
    cut = (100 - percentile) / 2
    between = np.sort(values)  # numpy puts a quantile anywhere between two neighbours
    for got, share, bound in ((found.low, cut, min), (found.high, 100 - cut, max)):
        place = share / 100 * (values.size - 1)
        below, above = between[max(int(place) - 1, 0)], between[min(int(place) + 2, values.size - 1)]
        assert bound(below, 0.0) - 2 * histogram.width <= got <= bound(above, 0.0) + 2 * histogram.width


@pytest.mark.parametrize("grid", GRIDS, ids=["uint8", "int8", "symmetric"])
@pytest.mark.parametrize("kind", ["normal", "relu", "skewed", "outliers"])
def test_mse_is_as_good_as_trying_every_range(kind: str, grid: Grid) -> None:
    """The error of the range found, on the values themselves, against the least of 80 × 80 ranges."""
    values = samples(kind)
    found = find_range(histogram_of(values), grid, "mse", percentile=100)
    low, high = min(values.min(), 0), max(values.max(), 0)
    if grid.symmetric:
        low, high = -max(-low, high), max(-low, high)
    shares = np.linspace(0.05, 1, 80)
    pairs = zip(shares, shares, strict=True) if grid.symmetric else itertools.product(shares if low else [1.0], shares)
    least = min(error(values, grid, low * a, high * b) for a, b in pairs)
    assert error(values, grid, found.low, found.high) <= 1.03 * least


def test_mse_clips_outliers_that_cost_less_than_finer_steps_gain() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=200_000), [40.0]])
    found = find_range(histogram_of(values), UINT8, "mse", percentile=100)
    assert 3.5 < found.high < 39
    assert error(values, UINT8, found.low, found.high) < error(values, UINT8, values.min(), 40.0)


def divergence_by_hand(centres: list[float], counts: list[float], grid: Grid, low: float, high: float) -> float:
    """TensorRT's measure with plain loops: see `divergence`."""
    inside = [i for i, x in enumerate(centres) if low <= x <= high]
    seen = {i: counts[i] for i in inside}
    for i, x in enumerate(centres):
        if x < low:
            seen[inside[0]] += counts[i]
        elif x > high:
            seen[inside[-1]] += counts[i]
    scale, zero = (part.item() for part in grid.snap(np.array([low]), np.array([high])))
    level = {i: min(max(round(centres[i] / scale) + zero, grid.lowest), grid.highest) for i in inside}
    told = {}
    for i in inside:
        same = [j for j in inside if level[j] == level[i]]
        told[i] = sum(counts[j] for j in same) / len(same)
    total_seen, total_told = sum(seen.values()), sum(told.values())
    return sum(seen[i] / total_seen * math.log(seen[i] / total_seen / (told[i] / total_told)) for i in inside)


@pytest.mark.parametrize("grid", [Grid(0, 15), Grid(-7, 7, symmetric=True)], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("kind", ["relu", "outliers"])
def test_entropy_is_the_least_divergence_of_all_thresholds(kind: str, grid: Grid) -> None:
    histogram = histogram_of(samples(kind)[-400:])
    centres, counts = (part.tolist() for part in histogram.points(most=2048))
    low, high = min(histogram.minimum, 0), max(histogram.maximum, 0)
    found = find_range(histogram, grid, "entropy", percentile=100)
    tried = []
    for index in range(8, 129):
        threshold = histogram.largest_magnitude * index / 128
        chosen = (max(low, -threshold), min(high, threshold))
        if sum(chosen[0] <= x <= chosen[1] for x in centres) <= grid.highest - grid.lowest + 1:
            continue
        tried.append((divergence_by_hand(centres, counts, grid, *chosen), -index, chosen))
    assert (found.low, found.high) == pytest.approx(min(tried)[2])


def test_entropy_clips_nothing_where_a_few_values_say_nothing_about_their_distribution() -> None:
    values = np.random.default_rng(0).uniform(0.4, 2.2, 100)
    assert find_range(histogram_of(values), UINT8, "entropy", percentile=100).high == pytest.approx(values.max())


@pytest.mark.parametrize("calibrator", CALIBRATORS)
@pytest.mark.parametrize("grid", GRIDS, ids=["uint8", "int8", "symmetric"])
def test_every_range_holds_zero_and_lies_within_what_was_seen(calibrator: str, grid: Grid) -> None:
    for values in (np.array([3.0]), np.array([-4.0, -4.0]), np.array([1e-30, 2e-30]), np.array([-1e30, 1e-3]), samples("skewed")):
        found = find_range(histogram_of(values), grid, calibrator, percentile=99)
        assert found.low <= 0 <= found.high
        assert max(-found.low, found.high) <= np.abs(values.astype(np.float32)).max() * (1 + 1e-6)
        assert found.low < found.high
    assert find_range(Histogram(), grid, calibrator, percentile=99) == Range(0.0, 0.0)
