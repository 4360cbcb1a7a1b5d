"""A histogram that is fed a stream of values whose range nobody knows yet, in constant memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BINS = 8192
_SMALLEST_WIDTH = 2.0**-120


class Histogram:
    """Counts of a tensor's values, in `N_BINS` bins of one width around zero.

    The width is a power of two. When a value lies outside, neighbouring bins are merged and the width doubles until it
    fits, so no value is counted twice or moved, and the order of the values does not matter beyond the first array.
    Between 2048 and 4096 bins cover what lies between zero and the largest magnitude. Exact zeros are counted apart, since
    quantisation keeps them exact.
    """

    def __init__(self) -> None:
        self.count = 0
        self.zeros = 0
        self.non_finite = 0
        self.minimum = math.inf
        self.maximum = -math.inf
        self._width = 0.0  # unknown until the first value that is not zero
        self._counts = np.zeros(N_BINS, np.int64)  # bin i holds [(i - N_BINS / 2) width, (i + 1 - N_BINS / 2) width)

    @property
    def width(self) -> float:
        """Width of a bin; 0 as long as only zeros were seen."""
        return self._width

    @property
    def largest_magnitude(self) -> float:
        """The largest absolute value seen; 0 where none was."""
        return max(-self.minimum, self.maximum, 0.0)

    def add(self, values: NDArray[Any]) -> None:
        """Count the elements of an array of floats; NaN and infinities are only counted in `non_finite`."""
        flat = np.ravel(values)
        if flat.size == 0:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = flat[np.isfinite(flat)]
            self.non_finite += flat.size - finite.size
            self.add(finite)
            return
        zeros = flat.size - int(np.count_nonzero(flat))
        self.count += flat.size
        self.zeros += zeros
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        if self.largest_magnitude > 0:
            self._widen()
            self._tally(flat, zeros)

    def _widen(self) -> None:
        half = N_BINS // 2
        if self._width == 0.0:
            exponent = math.frexp(self.largest_magnitude)[1]  # the largest magnitude is below 2 ** exponent
            self._width = max(math.ldexp(2.0 / N_BINS, exponent), _SMALLEST_WIDTH)
        while not (self.minimum >= -half * self._width and self.maximum < half * self._width):
            merged = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts[:] = 0
            self._counts[half // 2 : half // 2 + half] = merged
            self._width *= 2

    def _tally(self, flat: NDArray[Any], zeros: int) -> None:
        scaled = flat if flat.dtype in (np.float32, np.float64) else flat.astype(np.float32)
        index = np.floor(scaled * scaled.dtype.type(1 / self._width)).astype(np.int32)  # exact: the width is a power of two
        index += N_BINS // 2
        self._counts += np.bincount(index, minlength=N_BINS)
        self._counts[N_BINS // 2] -= zeros

    def points(self, *, most: int = N_BINS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres of the bins that hold values other than zero, ascending, and their counts.

        At most about `most` bins, neighbours merged; the outermost are no further out than the extreme values.
        """
        counts, width = self._counts, self._width
        used = np.flatnonzero(counts)
        while used.size and used[-1] - used[0] >= most:
            counts, width = counts.reshape(-1, 2).sum(axis=1), width * 2
            used = np.flatnonzero(counts)
        centres = (used - counts.size // 2 + 0.5) * width
        return np.clip(centres, self.minimum, self.maximum), counts[used].astype(np.float64)

    def quantile(self, share: float) -> float:
        """The value below which that share of all values lies, linear within a bin."""
        if self.count == 0 or self._width == 0.0:
            return 0.0
        counts = self._counts.copy()
        counts[N_BINS // 2] += self.zeros
        cumulative = np.cumsum(counts)
        wanted = share * self.count
        index = min(int(np.searchsorted(cumulative, wanted, side="left")), N_BINS - 1)
        within = (wanted - float(cumulative[index] - counts[index])) / float(counts[index]) if counts[index] else 0.0
        value = (index - N_BINS // 2 + within) * self._width
        return float(np.clip(value, self.minimum, self.maximum))
