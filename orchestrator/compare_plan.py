"""A paired comparison of two variants on one device: the order of launches, how many, and what they show. Pure.

Launches come in blocks of four, so that a device that slows down steadily slows both sides alike:

    block      0          1          2          3
    order   A B B A    B A A B    B A A B    A B B A       within each pair of blocks the order is drawn by lot
    time    ──────────────────────────────────────►

A comparison brings its own A/A control along: once the difference between the sides is taken out, the four launches of a block could as
well have been labelled otherwise, and labelling them otherwise shows what a comparison of A with itself gives on this device.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.statistics import RESAMPLES, Floats, Launch, block_differences, block_ratio
from orchestrator.verdict import Comparison, Estimate

Order = Literal["ABBA", "BAAB"]

SMALLEST_EFFECT = 0.02
"""No smaller change is ever called (measurement protocol v1)."""

_FLOOR_QUANTILE = 0.998  # stricter than the 1 % of A/A comparisons that may be called, since stopping favours blocks that look quiet
_LABELLINGS = np.array([[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2], [1, 2, 0, 3], [1, 3, 0, 2], [2, 3, 0, 1]])  # which two come first


@dataclass(frozen=True, slots=True)
class ComparePlan:
    """How many blocks: at least `fewest`, then until a change of `resolve` would be called in 9 of 10 cases, at most `most`."""

    fewest: int
    most: int
    resolve: float = 0.045  # for changes of 5 %: stopping when noise happens to look small costs some power

    def __post_init__(self) -> None:
        """Raises: ValueError."""
        if not 2 <= self.fewest <= self.most:
            raise ValueError(
                f"a comparison needs at least 2 blocks and no more at the least than at most, not {self.fewest} to {self.most}"
            )


QUICK = ComparePlan(fewest=8, most=24)
STANDARD = ComparePlan(fewest=10, most=40)


@dataclass(frozen=True, slots=True)
class Block:
    """The launches of one block, each side in order of time; two a side."""

    a: tuple[Launch, Launch]
    b: tuple[Launch, Launch]


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """What a comparison shows: `ratio` is p50 of B ÷ p50 of A, `floor` the effect below which nothing is called.

    `resolves` is the smallest change that this comparison would have called in 9 of 10 cases.
    """

    ratio: Estimate
    verdict: Comparison
    floor: float
    resolves: float
    blocks: int
    why: str


def block_order(seed: str, block: int) -> Order:
    """The order of block number `block`, from 0: of each two, one ABBA and one BAAB, which is first drawn by lot."""
    first_is_abba = hashlib.sha256(f"{seed}/{block // 2}".encode()).digest()[0] % 2 == 0
    return "ABBA" if first_is_abba == (block % 2 == 0) else "BAAB"


def next_block(blocks: Sequence[Block], plan: ComparePlan) -> int | None:
    """The number of the block to run next, or None when there are enough.

    It looks at how much launches differ once the difference between the sides is taken out, never at that difference: stopping when
    that looks good would call differences where there are none.
    """
    done = len(blocks)
    if done >= plan.most:
        return None
    if done < plan.fewest or done % 2:
        return done
    null = aa_effects(blocks)
    return None if _resolves(null, max(SMALLEST_EFFECT, _floor(null))) <= plan.resolve else done


def judge_comparison(blocks: Sequence[Block], *, floor: float = 0.0, seed: int = 0) -> ComparisonResult:
    """Faster, slower, or no difference shown: of B relative to A.

    A change is called only if the 95 % interval of the ratio excludes 1 and the effect, max(ratio, 1/ratio) - 1, exceeds the floor: the largest of
    `floor` (an A/A floor known of the device), the A/A floor of these blocks, and 2 %. Raises: ValueError without blocks.
    """
    if not blocks:
        raise ValueError("a comparison needs at least one block")
    estimate = block_ratio([(block.b, block.a) for block in blocks], rng=np.random.default_rng(seed))
    null = aa_effects(blocks, seed=seed)
    effective = max(floor, SMALLEST_EFFECT, _floor(null))
    verdict = _verdict(estimate, effective)
    resolves = _resolves(null, effective)
    return ComparisonResult(estimate, verdict, effective, resolves, len(blocks), _why(estimate, verdict, effective, resolves))


def aa_effects(blocks: Sequence[Block], *, seed: int = 0) -> Floats:
    """Absolute log ratios that 2,000 comparisons of a variant with itself would give, with so many blocks as noisy as these; sorted.

    The difference between the sides is taken out; then blocks are drawn with replacement and their launches labelled by lot. Empty with
    fewer than three blocks: they say too little.
    """
    if len(blocks) < 3:
        return np.empty(0)
    logs = np.log([[each.quantile(0.5) for each in (*block.b, *block.a)] for block in blocks])
    logs[:, :2] -= np.median(block_differences(logs))
    labelled = block_differences(logs[:, _LABELLINGS])  # (blocks, 6, 4)
    rng = np.random.default_rng(seed)
    drawn = labelled[rng.integers(len(blocks), size=(RESAMPLES, len(blocks))), rng.integers(6, size=(RESAMPLES, len(blocks)))]
    return np.sort(np.abs(np.median(drawn.reshape(RESAMPLES, -1), axis=-1)))


def _floor(null: Floats) -> float:
    return float(np.expm1(np.quantile(null, _FLOOR_QUANTILE))) if len(null) else math.inf


def _resolves(null: Floats, floor: float) -> float:
    """Smallest effect called in 9 of 10 cases: the floor, and what the noise takes away in one case of ten."""
    return float(np.expm1(np.log1p(floor) + np.quantile(null, 0.8))) if len(null) else math.inf


def _verdict(estimate: Estimate, floor: float) -> Comparison:
    interval = estimate.interval
    if interval is None:
        return Comparison.NO_DIFFERENCE_SHOWN
    if interval.low > 1 and estimate.value - 1 > floor:
        return Comparison.SLOWER
    if interval.high < 1 and 1 / estimate.value - 1 > floor:
        return Comparison.FASTER
    return Comparison.NO_DIFFERENCE_SHOWN


def _why(estimate: Estimate, verdict: Comparison, floor: float, resolves: float) -> str:
    if estimate.interval is None or math.isinf(floor):
        return "too few blocks to say how much launches differ by themselves: at least 3 are needed"
    shown = f"B takes {estimate.value:.3f} times as long as A (95 %: {estimate.interval.low:.3f} to {estimate.interval.high:.3f})"
    floor_text = (
        f"A compared with itself stays within {floor:.1%}" if floor > SMALLEST_EFFECT else f"changes below {floor:.0%} are not called"
    )
    if verdict is not Comparison.NO_DIFFERENCE_SHOWN:
        return f"{shown}; {floor_text}"
    reason = "the interval contains 1" if estimate.interval.low <= 1 <= estimate.interval.high else floor_text
    return f"{shown}; {reason}. A change of {resolves:.1%} would have been called in 9 of 10 such comparisons"
