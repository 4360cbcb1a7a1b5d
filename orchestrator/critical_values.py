"""Critical values at 95 %, without SciPy: Student's t, Wilcoxon's signed ranks, and rank sums in blocks of two and two."""

from __future__ import annotations

import numpy as np

# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom (Abramowitz & Stegun 1964, table 26.10).
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.959964


def student_95(degrees: float) -> float:
    """The value that |t| exceeds in 5 % of cases; for degrees of freedom (at least 1) between whole ones, that of the fewer."""
    if degrees < 1:
        raise ValueError(f"Student's t needs at least one degree of freedom, not {degrees:g}")
    whole = int(degrees)
    if whole <= len(_STUDENT):
        return _STUDENT[whole - 1]
    z = _NORMAL  # Abramowitz & Stegun 26.7.5, to the second order: right to 3 digits here
    return z + (z**3 + z) / (4 * whole) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * whole**2)


def signed_rank_95(n: int) -> int | None:
    """How many of the n(n+1)/2 sorted Walsh averages lie outside the exact 95 % interval of their median, at each end.

    The interval runs from sorted average k to sorted average n(n+1)/2 - 1 - k, counted from 0. None below n = 6, where even
    the widest covers less. Wilcoxon's test inverted, see Hollander & Wolfe, "Nonparametric Statistical Methods", section 3.3.
    """
    if n < 6:
        return None
    ways = np.zeros(n * (n + 1) // 2 + 1)  # ways[w]: share of sign patterns whose positive ranks sum to w
    ways[0] = 1.0
    for rank in range(1, n + 1):
        shifted = np.zeros_like(ways)
        shifted[rank:] = ways[:-rank]
        ways = (ways + shifted) / 2
    outside = np.flatnonzero(np.cumsum(ways) <= 0.025)
    return int(outside[-1])


def block_ranks_95(blocks: int) -> int | None:
    """How many of the 4 x `blocks` sorted differences lie outside the exact 95 % interval of their median, at each end.

    In each block of two and two launches, of the four differences between the sides 0, 1, 2, 3 or 4 are positive with chances
    1/6, 1/6, 2/6, 1/6, 1/6 when there is no effect (Mann and Whitney's U; summed over blocks: van Elteren 1960). None below three
    blocks, where even the widest interval covers less.
    """
    chances = np.ones(1)
    for _ in range(blocks):
        chances = np.convolve(chances, np.array([1, 1, 2, 1, 1]) / 6)
    outside = np.flatnonzero(np.cumsum(chances) <= 0.025)
    return int(outside[-1]) if len(outside) else None
