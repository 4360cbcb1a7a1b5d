from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optimizers.calibration.histogram import N_BINS, Histogram

FLOATS = hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(-1e6, 1e6, width=32))


def fed(*arrays: np.ndarray) -> Histogram:
    histogram = Histogram()
    for array in arrays:
        histogram.add(array)
    return histogram


@settings(max_examples=50, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=5))
def test_it_counts_every_value_once_in_its_own_bin(arrays: list[np.ndarray]) -> None:
    histogram = fed(*arrays)
    values = np.concatenate(arrays)
    nonzero = np.sort(values[values != 0]).astype(np.float64)
    centres, counts = histogram.points()
    assert histogram.count == values.size
    assert histogram.zeros == values.size - nonzero.size
    assert counts.sum() == nonzero.size
    if nonzero.size:
        assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())
        np.testing.assert_allclose(np.repeat(centres, counts.astype(int)), nonzero, rtol=0, atol=histogram.width / 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(FLOATS, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_arrays_does_not_matter(arrays: list[np.ndarray], random) -> None:
    shuffled = random.sample(arrays, len(arrays))
    assert fed(*arrays).largest_magnitude == fed(*shuffled).largest_magnitude
    first, second = fed(np.concatenate(arrays), *arrays), fed(np.concatenate(arrays), *shuffled)
    for a, b in zip(first.points(), second.points(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_widens_by_merging_bins_and_stays_small() -> None:
    narrow, wide = np.float32([1e-3, -2e-3, 3e-3]), np.float32([5e4])
    histogram = fed(narrow, wide)
    centres, counts = histogram.points()
    assert counts.sum() == 4
    assert centres.size <= 3  # the small values share the bins beside zero
    assert histogram.width * N_BINS / 4 <= 5e4 < histogram.width * N_BINS / 2


def test_the_largest_values_of_float32_fit() -> None:
    largest = np.finfo(np.float32).max
    histogram = fed(np.float32([1e-30]), np.float32([-largest, largest, 0]))
    assert (histogram.minimum, histogram.maximum, histogram.zeros) == (-largest, largest, 1)
    assert histogram.points()[1].sum() == 3


def test_nan_and_infinities_are_counted_apart() -> None:
    histogram = fed(np.float32([np.nan, np.inf, -np.inf, 2.0]))
    assert (histogram.non_finite, histogram.count, histogram.maximum) == (3, 1, 2.0)
    assert not histogram.zeros


def test_nothing_and_zeros_only() -> None:
    histogram = fed(np.zeros((0, 3), np.float32))
    assert (histogram.count, histogram.minimum, histogram.largest_magnitude) == (0, math.inf, 0.0)
    histogram.add(np.zeros((2, 3), np.float32))
    assert (histogram.count, histogram.zeros, histogram.quantile(0.5), histogram.points()[0].size) == (6, 6, 0.0, 0)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_quantile_has_its_share_of_values_below_it(share: float) -> None:
    values = np.random.default_rng(0).laplace(size=(20, 500)).astype(np.float32)
    values[:, :100] = 0
    histogram = fed(*values)
    order, place = np.sort(values, axis=None), int(share * values.size)
    assert order[place - 1] - histogram.width <= histogram.quantile(share) <= order[place] + histogram.width


def test_fewer_points_are_merged_neighbours() -> None:
    histogram = fed(np.random.default_rng(1).normal(size=5000).astype(np.float32))
    (fine, fine_counts), (coarse, coarse_counts) = histogram.points(), histogram.points(most=256)
    assert coarse.size <= 256 < fine.size
    assert coarse_counts.sum() == fine_counts.sum() == 5000
    assert coarse @ coarse_counts == pytest.approx(fine @ fine_counts, abs=5000 * histogram.width * 16)
