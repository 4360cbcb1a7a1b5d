"""What is kept of each sample so that a metric can be computed again over resampled samples (paired bootstrap)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import ModelError

Weights = NDArray[np.float64]
"""How often each sample counts: (n_resamples, n_samples)."""


class Statistics(Protocol):
    """One evaluation, sample by sample."""

    @property
    def n(self) -> int:
        """Independent samples: a sequence counts as one."""

    def values(self, weights: Weights) -> NDArray[np.float64]:
        """The metric for each row of weights, (n_resamples,); NaN where it is undefined."""

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What to store."""

    def per_sample(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Values that tell samples apart, row by row, and the sample that each row belongs to."""


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return sums[:, 0] / sums[:, 1]


def _exp_ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(_ratio(sums))


def _decibel_ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return 10 * np.log10(_ratio(sums))


COMBINE: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = MappingProxyType(
    {"ratio": _ratio, "exp_ratio": _exp_ratio, "decibel_ratio": _decibel_ratio}
)
"""How a metric follows from two sums over samples, (n_resamples, 2) -> (n_resamples,)."""


@dataclass(frozen=True, slots=True)
class SumStatistics:
    """Two sums a sample, (n, 2): the metric is `COMBINE[combine]` of their totals."""

    sums: NDArray[np.float64]
    combine: str

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.sums)

    def values(self, weights: Weights) -> NDArray[np.float64]:
        """See Statistics."""
        with np.errstate(all="ignore"):
            return COMBINE[self.combine](weights @ self.sums)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """See Statistics."""
        return {"sums": self.sums, "combine": np.array(self.combine)}

    def per_sample(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """See Statistics."""
        return self.sums, np.arange(self.n)


@dataclass(frozen=True, slots=True)
class RankStatistics:
    """Scores with what they should be, for the area under the ROC curve; `owner` is the sample each belongs to."""

    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]
    owner: NDArray[np.int64]
    n: int

    def values(self, weights: Weights) -> NDArray[np.float64]:
        """Probability that a positive scores above a negative, ties counting half (Mann & Whitney 1947)."""
        if not np.isfinite(self.scores).all():
            return np.full(len(weights), np.nan)
        order = np.argsort(self.scores, kind="stable")
        scores, positive, owner = self.scores[order], self.positive[order], self.owner[order]
        starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
        return np.array([_weighted_auc(row[owner], positive, starts) for row in weights])

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """See Statistics."""
        return {"scores": self.scores, "positive": self.positive, "owner": self.owner, "n": np.array(self.n)}

    def per_sample(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """See Statistics."""
        return self.scores[:, None], self.owner


def _weighted_auc(weight: Weights, positive: NDArray[np.bool_], starts: NDArray[np.int64]) -> float:
    """Area under the ROC curve of weighted scores in rising order; equal scores begin at `starts`."""
    ups = np.add.reduceat(weight * positive, starts)
    downs = np.add.reduceat(weight * ~positive, starts)
    pairs = ups.sum() * downs.sum()
    return float((ups * (np.cumsum(downs) - downs / 2)).sum() / pairs) if pairs else float("nan")


@dataclass(frozen=True, slots=True)
class NumberStatistics:
    """One number for all samples together: nothing to resample."""

    value: float
    n: int

    def values(self, weights: Weights) -> NDArray[np.float64]:
        """See Statistics; the weights make no difference."""
        return np.full(len(weights), self.value)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """See Statistics."""
        return {"value": np.array(self.value), "n": np.array(self.n)}

    def per_sample(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """See Statistics."""
        return np.empty((0, 1)), np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Statistics with what they are of: two can be paired only when `of` is equal."""

    of: Mapping[str, str]
    statistics: Statistics


def save_statistics(path: Path, recorded: Recorded) -> None:
    """Write an .npz file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    arrays: dict[str, Any] = {"of": np.array(json.dumps(dict(recorded.of), sort_keys=True)), **recorded.statistics.arrays()}
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    temporary.replace(path)


def load_statistics(path: Path) -> Recorded:
    """Read what `save_statistics` wrote. Raises: ModelError."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            of = {str(key): str(value) for key, value in json.loads(str(stored["of"])).items()}
            if "sums" in stored:
                return Recorded(of, SumStatistics(stored["sums"], str(stored["combine"])))
            if "value" in stored:
                return Recorded(of, NumberStatistics(float(stored["value"]), int(stored["n"])))
            return Recorded(of, RankStatistics(stored["scores"], stored["positive"], stored["owner"], int(stored["n"])))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ModelError(f"the baseline's accuracy cannot be read from {path.name}: {error}") from error


if TYPE_CHECKING:
    _1: Statistics = SumStatistics(np.empty((0, 2)), "ratio")
    _2: Statistics = RankStatistics(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64), 0)
    _3: Statistics = NumberStatistics(0.0, 0)
