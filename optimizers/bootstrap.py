"""How much worse a variant is than its baseline on the same samples, with a paired bootstrap interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.metrics import Better
from optimizers.statistics import NumberStatistics, Statistics, Weights

RESAMPLES = 2000
MIN_SAMPLES = 8
_CHUNK_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class PairedDrop:
    """`value` is positive when worse; `low` and `high` bound its 95 % interval, None where `why` says there is none."""

    value: float
    low: float | None
    high: float | None
    why: str | None


def paired_drop(baseline: Statistics, variant: Statistics, better: Better) -> PairedDrop | None:
    """The drop over the samples that both were measured on; None where either metric is undefined (NaN or infinite).

    Percentile bootstrap over samples (a sequence is one sample): both are computed from the same draws
    (Efron & Tibshirani 1993, §8.3, §13.3). Samples that no draw can tell apart give an interval of no width.
    """
    n = baseline.n
    sign = 1.0 if better is Better.HIGHER else -1.0
    everyone = np.ones((1, n))
    value = float(_drops(baseline, variant, everyone, sign)[0])
    if not np.isfinite(value):
        return None
    if isinstance(baseline, NumberStatistics) or isinstance(variant, NumberStatistics):
        return PairedDrop(value, None, None, "no interval: the metric gives one number for all samples, not one a sample")
    if n < MIN_SAMPLES:
        return PairedDrop(value, None, None, f"no interval: {n} independent samples are too few to resample (at least {MIN_SAMPLES})")
    drops = np.concatenate([_drops(baseline, variant, weights, sign) for weights in _draws(n)])
    usable = drops[np.isfinite(drops)]
    if len(usable) < 0.95 * RESAMPLES:
        return PairedDrop(value, None, None, "no interval: the metric is undefined on many resamples of so few samples")
    low, high = np.quantile(usable, (0.025, 0.975))
    return PairedDrop(value, float(low), float(high), None)


def _drops(baseline: Statistics, variant: Statistics, weights: Weights, sign: float) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # infinity less infinity is undefined, and said to be
        return sign * (baseline.values(weights) - variant.values(weights))


def changed_samples(baseline: Statistics, variant: Statistics) -> int:
    """Samples whose own part in the metric is not the same in both."""
    (ours, owner), (theirs, _) = baseline.per_sample(), variant.per_sample()
    different = (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
    return len(np.unique(owner[different.any(axis=1)]))


def _draws(n: int) -> Iterator[Weights]:
    """Weights of RESAMPLES draws of n from n, in chunks; always the same ones (RandomState's stream is frozen, NEP 19)."""
    random = np.random.RandomState(0)
    rows = max(1, _CHUNK_VALUES // n)
    for start in range(0, RESAMPLES, rows):
        yield _weights(random, min(rows, RESAMPLES - start), n)


def _weights(random: np.random.RandomState, rows: int, n: int) -> NDArray[np.float64]:
    drawn = random.randint(0, n, (rows, n))
    return np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float64)
