"""Figures with 95 % intervals from launches: a quantile of one variant, and the ratio between two.

The replicate is the launch, not the iteration (Kalibera & Jones, "Rigorous benchmarking in reasonable time", ISMM 2013).
Intervals come from a hierarchical bootstrap: launches are drawn with replacement, then iterations within each drawn launch.
With few launches that covers too little (percentile intervals of 3 launches: about 75 %), so a second interval that is exact for
few values is computed beside it, and the wider ends of both are given:

    one variant            Student's t on logarithms
    ratio, by rounds       2 to 5 rounds: Student's t on logarithms; 6 and more: Wilcoxon's signed ranks
    ratio, by blocks       rank sums within blocks

Where both sides were measured in the same rounds, the ratio is taken round by round, which cancels what drifts:

    time ───►   round 0    round 1    round 2
    A           100        110        121        the device gets slower ...
    B            90         99        109        ... and the ratio stays 0.90
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from orchestrator.critical_values import block_ranks_95, signed_rank_95, student_95
from orchestrator.verdict import Estimate, Interval

Floats = NDArray[np.float64]

RESAMPLES = 2000
MOST_KEPT = 10_001
MINIMUM_PAIRS = 3
"""Fewer rounds in common than this, and the two sides are compared as independent."""

_SMALLEST = 1e-9  # what a clock that counts nanoseconds cannot tell from 0
_BATCH_VALUES = 1 << 20  # bounds the memory of one batch of resamples


@dataclass(frozen=True, slots=True)
class Launch:
    """The iterations of one launch, sorted: (n,) positive numbers. `round` is its place in the visit."""

    sorted: Floats
    round: int = 0

    def quantile(self, q: float) -> float:
        """The q-quantile of the iterations, interpolated linearly."""
        return float(_sorted_quantile(self.sorted, q))


def launch(iterations: ArrayLike, *, round: int = 0) -> Launch:
    """Sort the iterations. Raises: ValueError when there is none, or one is not a finite number.

    Of more than 10,001 it keeps that many, at even ranks: a quantile moves by at most one rank in 10,000, and intervals become a
    little wider, never narrower, while a minute of a microsecond's model takes 80 kB instead of half a gigabyte.
    """
    values = np.sort(np.asarray(iterations, np.float64).ravel())
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("a launch has at least one iteration, and each is a finite number")
    if len(values) > MOST_KEPT:
        values = values[np.linspace(0, len(values) - 1, MOST_KEPT).round().astype(np.int64)]
    return Launch(np.maximum(values, _SMALLEST), round)


def over_launches(launches: Sequence[Launch], *, q: float, rng: Generator) -> Estimate:
    """The median over launches of each launch's q-quantile."""
    values = np.array([each.quantile(q) for each in launches])
    value = float(np.median(values))
    if len(launches) < 2:
        return Estimate(value, None, "one launch says nothing of how launches differ")
    drawn = rng.integers(len(launches), size=(RESAMPLES, len(launches)))
    resampled = np.median(_drawn_quantiles(launches, drawn, q=q, rng=rng), axis=-1)
    logs = np.log(values)
    return Estimate(value, _wider(value, np.percentile(resampled, (2.5, 97.5)), np.exp(_student(logs))))


def ratio(ours: Sequence[Launch], theirs: Sequence[Launch], *, rng: Generator) -> Estimate:
    """p50 of `ours` ÷ p50 of `theirs`: by rounds where at least three are in common, else as independent launches."""
    by_round = {each.round: each for each in theirs}
    pairs = [(each, by_round[each.round]) for each in ours if each.round in by_round]
    complete = len(pairs) == len(ours) == len(theirs)
    if pairs and (complete or len(pairs) >= MINIMUM_PAIRS):
        return paired_ratio(pairs, rng=rng)
    return independent_ratio(ours, theirs, rng=rng)


def paired_ratio(pairs: Sequence[tuple[Launch, Launch]], *, rng: Generator) -> Estimate:
    """Ratio of p50s of (numerator, denominator), pair by pair: the Hodges-Lehmann centre of the pairs' log ratios."""
    logs = np.array([np.log(ours.quantile(0.5) / theirs.quantile(0.5)) for ours, theirs in pairs])
    centre = float(hodges_lehmann(logs))
    if len(pairs) < 2:
        return Estimate(float(np.exp(centre)), None, "one pair of launches says nothing of how launches differ")
    sides = [[pair[0] for pair in pairs], [pair[1] for pair in pairs]]

    def resample(size: int) -> Floats:
        drawn = rng.integers(len(pairs), size=(size, len(pairs)))
        ours, theirs = (np.log(_drawn_quantiles(side, drawn, q=0.5, rng=rng)) for side in sides)
        return hodges_lehmann(ours - theirs)

    exact = _signed_rank(logs) if len(logs) >= 6 else _student(logs) - logs.mean() + centre
    bootstrap = np.percentile(_in_batches(resample, len(pairs)), (2.5, 97.5))
    return Estimate(float(np.exp(centre)), _wider(np.exp(centre), np.exp(bootstrap), np.exp(exact)))


Side = tuple[Launch, Launch]


def block_ratio(blocks: Sequence[tuple[Side, Side]], *, rng: Generator) -> Estimate:
    """Ratio of p50s of (numerator, denominator) with two launches a side in each block.

    The median of all differences of logarithms between the sides within a block: a launch that met a busy moment spoils its own two
    differences and no more, where a mean over its block would spoil the block.
    """
    differences = block_differences(np.log([[each.quantile(0.5) for side in block for each in side] for block in blocks]))
    centre = float(np.median(differences))
    outside = block_ranks_95(len(blocks))
    if outside is None:
        return Estimate(float(np.exp(centre)), None, "fewer than three blocks say too little of how launches differ")
    flat = [each for block in blocks for side in block for each in side]

    def resample(size: int) -> Floats:
        drawn = rng.integers(len(blocks), size=(size, len(blocks)))
        logs = np.log(_drawn_quantiles(flat, 4 * drawn[..., None] + np.arange(4), q=0.5, rng=rng))
        return np.asarray(np.median(block_differences(logs), axis=(-2, -1)))

    ordered = np.sort(differences.ravel())
    exact = np.array([ordered[outside], ordered[-1 - outside]])
    bootstrap = np.percentile(_in_batches(resample, 4 * len(blocks)), (2.5, 97.5))
    return Estimate(float(np.exp(centre)), _wider(np.exp(centre), np.exp(bootstrap), np.exp(exact)))


def block_differences(logs: Floats) -> Floats:
    """(..., 4) values, the numerator's two first, to their (..., 4) differences between the sides."""
    return np.asarray(logs[..., [0, 0, 1, 1]] - logs[..., [2, 3, 2, 3]])


def independent_ratio(ours: Sequence[Launch], theirs: Sequence[Launch], *, rng: Generator) -> Estimate:
    """Ratio of p50s of launches that were not run in the same rounds; the second interval is Welch's."""
    sides = [np.array([np.log(each.quantile(0.5)) for each in side]) for side in (ours, theirs)]
    centre = float(hodges_lehmann(sides[0]) - hodges_lehmann(sides[1]))
    if min(map(len, sides)) < 2:
        return Estimate(float(np.exp(centre)), None, "one launch says nothing of how launches differ")

    def resample(size: int) -> Floats:
        a, b = (
            hodges_lehmann(np.log(_drawn_quantiles(side, rng.integers(len(side), size=(size, len(side))), q=0.5, rng=rng)))
            for side in (ours, theirs)
        )
        return np.asarray(a - b)

    bootstrap = np.percentile(_in_batches(resample, max(map(len, sides))), (2.5, 97.5))
    half = _welch_half_width(*sides)
    return Estimate(float(np.exp(centre)), _wider(np.exp(centre), np.exp(bootstrap), np.exp([centre - half, centre + half])))


def hodges_lehmann(values: Floats) -> Floats:
    """The median of the averages of all pairs (each value with itself too) along the last axis: (..., n) gives (...).

    As good as the mean where noise is normal, and hardly moved by a launch that went wrong (Hodges & Lehmann 1963).
    """
    first, second = np.triu_indices(values.shape[-1])
    return np.asarray(np.median((values[..., first] + values[..., second]) / 2, axis=-1))


def _drawn_quantiles(launches: Sequence[Launch], drawn: NDArray[np.int64], *, q: float, rng: Generator) -> Floats:
    """For each drawn launch, the q-quantile of its iterations drawn anew with replacement; shaped as `drawn`.

    No iteration is drawn for it: of n uniform draws, the one of rank r has the Beta(r, n + 1 - r) distribution, so one Beta variate
    says where in the sorted iterations the quantile of the resample lies (David & Nagaraja, "Order Statistics", section 2.3).
    Exact where the rank is whole (a median of an odd number), however many iterations there are.
    """
    counts = np.array([len(each.sorted) for each in launches])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    n = counts[drawn]
    rank = (n - 1) * q + 1
    place = np.minimum((rng.beta(rank, n + 1 - rank) * n).astype(np.int64), n - 1)
    return np.asarray(np.concatenate([each.sorted for each in launches])[starts[drawn] + place])


def _in_batches(resample: Callable[[int], Floats], n: int) -> Floats:
    size = max(1, min(RESAMPLES, _BATCH_VALUES // (n * (n + 1) // 2)))
    return np.concatenate([resample(min(size, RESAMPLES - done)) for done in range(0, RESAMPLES, size)])


def _student(logs: Floats) -> Floats:
    half = student_95(len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return np.array([logs.mean() - half, logs.mean() + half])


def _welch_half_width(a: Floats, b: Floats) -> float:
    parts = np.array([side.var(ddof=1) / len(side) for side in (a, b)])
    total = float(parts.sum())
    if total == 0:
        return 0.0
    degrees = total**2 / float((parts**2 / (np.array([len(a), len(b)]) - 1)).sum())
    return student_95(max(1.0, degrees)) * float(np.sqrt(total))


def _signed_rank(logs: Floats) -> Floats:
    first, second = np.triu_indices(len(logs))
    walsh = np.sort((logs[first] + logs[second]) / 2)
    outside = signed_rank_95(len(logs))
    assert outside is not None
    return np.array([walsh[outside], walsh[-1 - outside]])


def _wider(value: Any, *intervals: Floats) -> Interval:
    ends = np.array([[value, value], *intervals], np.float64)
    return Interval(float(ends[:, 0].min()), float(ends[:, 1].max()))


def _sorted_quantile(values: Floats, q: float) -> float:
    place = (len(values) - 1) * q
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return float(values[low] + (values[high] - values[low]) * (place - low))
