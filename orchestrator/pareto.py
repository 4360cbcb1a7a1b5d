"""The Pareto front: what no other point beats.

y │ ●           a, b, c are on the front: nothing is at most as large in both and smaller in one;
  │  a  ○ d     d is not: b is smaller in both
  │    ● b
  │        ● c
  └───────────
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = Sequence[float | None]


def front(points: Sequence[Point]) -> tuple[bool, ...]:
    """For each point whether it is on the front; smaller is better in every coordinate.

    What is missing (None) counts as worse than any value: it cannot be claimed to be better. Equal points are on the front together.
    """
    whole = [tuple(math.inf if value is None else value for value in point) for point in points]
    return tuple(not any(_dominates(other, point) for other in whole) for point in whole)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
