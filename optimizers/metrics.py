"""How good a model's outputs are: the table of task metrics, each sample's part in them, and the user's own functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.metrics import Better
from optimizers.errors import ModelError, UnsupportedModel
from optimizers.statistics import RankStatistics, Statistics, SumStatistics

Array = NDArray[Any]
Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class TaskMetric:
    """A metric of `model.yaml`. `part` gives one sample's share of it from its output and what that is compared with.

    The other side is the sample's labels, or the fp32 model's output where `against_baseline`.
    A negative label is no label, except where labels are values (mse, psnr_db).
    """

    name: str
    unit: str
    better: Better
    definition: str
    part: Callable[[Array, Array], Any]
    gather: Callable[[Sequence[Any]], Statistics]
    against_baseline: bool = False


def _sums(combine: str) -> Callable[[Sequence[Pair]], Statistics]:
    return lambda parts: SumStatistics(np.array(parts, np.float64).reshape(-1, 2), combine)


def _gather_ranks(parts: Sequence[tuple[Array, Array]]) -> Statistics:
    owner = np.repeat(np.arange(len(parts)), [len(scores) for scores, _ in parts])
    scores = np.concatenate([scores for scores, _ in parts])
    positive = np.concatenate([flags for _, flags in parts])
    if positive.all() or not positive.any():
        raise ModelError("roc_auc needs labels of both kinds, 0 and 1, among the evaluation samples")
    return RankStatistics(scores.astype(np.float64), positive, owner, len(parts))


def _whole(labels: Array, metric: str) -> NDArray[np.int64]:
    whole = labels.astype(np.int64)
    if not np.array_equal(whole, labels):
        raise ModelError(f"{metric} needs labels that are whole numbers (class indices)")
    return whole


def _classes(output: Array, labels: Array, metric: str) -> tuple[Array, NDArray[np.int64]]:
    """Scores (m, n_classes) with m labels, those without a label left out."""
    whole = _whole(labels, metric)
    if whole.size == 1:
        scores = output.reshape(1, -1)
    elif output.ndim and output.shape[:-1] == whole.shape:
        scores = output.reshape(-1, output.shape[-1])
    else:
        raise ModelError(f"{metric}: a sample's output is {output.shape} and its labels are {labels.shape}; labels are one a row of scores")
    flat = whole.reshape(-1)
    if flat.size and flat.max() >= scores.shape[1]:
        raise ModelError(f"{metric}: there is a label {flat.max()}, but the output has {scores.shape[1]} classes, counted from 0")
    return scores[flat >= 0], flat[flat >= 0]


def _top(k: int) -> Callable[[Array, Array], Pair]:
    """Hits among the k best scores; of equal scores the lower class index is the better one, as argmax has it. NaN never hits."""

    def part(output: Array, labels: Array) -> Pair:
        scores, wanted = _classes(output, labels, f"top{k}")
        if scores.shape[1] <= k:
            raise UnsupportedModel(f"top{k} needs an output with more than {k} classes, and this one has {scores.shape[1]}")
        own = np.take_along_axis(scores, wanted[:, None], 1)
        earlier = np.arange(scores.shape[1]) < wanted[:, None]
        rank = ((scores > own) | ((scores == own) & earlier)).sum(1)
        broken = np.isnan(scores).any(1) if scores.dtype.kind == "f" else np.zeros(len(scores), bool)
        return float(((rank < k) & ~broken).sum()), float(len(wanted))

    return part


def _same_shape(output: Array, labels: Array, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if output.shape != labels.shape and np.squeeze(output).shape != np.squeeze(labels).shape:
        raise ModelError(f"{metric}: a sample's output is {output.shape} and what it is compared with is {labels.shape}")
    return output.astype(np.float64).reshape(-1), labels.astype(np.float64).reshape(-1)


def _mse(output: Array, labels: Array) -> Pair:
    got, wanted = _same_shape(output, labels, "mse")
    return float(((got - wanted) ** 2).sum()), float(got.size)


def _psnr(peak: float) -> Callable[[Array, Array], Pair]:
    def part(output: Array, labels: Array) -> Pair:
        got, wanted = _same_shape(output, labels, "psnr_db")
        error = float(((got - wanted) ** 2).mean())
        return (float(10 * np.log10(peak**2 / error)) if error else float("inf")), 1.0

    return part


def _perplexity(output: Array, labels: Array) -> Pair:
    scores, wanted = _classes(output, labels, "perplexity")
    logits = scores.astype(np.float64)
    with np.errstate(invalid="ignore"):
        logits -= logits.max(-1, keepdims=True)
        log_p = np.take_along_axis(logits, wanted[:, None], 1)[:, 0] - np.log(np.exp(logits).sum(-1))
    return float(-log_p.sum()), float(len(wanted))


def _roc(output: Array, labels: Array) -> tuple[Array, Array]:
    flags = _whole(labels, "roc_auc").reshape(-1)
    if not np.isin(flags, (-1, 0, 1)).all():
        raise ModelError("roc_auc needs labels 0 and 1 (and -1 where there is none)")
    if output.size == flags.size:
        scores = output.reshape(-1)
    elif output.size == 2 * flags.size and output.shape[-1] == 2:
        scores = output.reshape(-1, 2)[:, 1]
    else:
        raise ModelError(
            f"roc_auc: a sample's output is {output.shape} and its labels are {labels.shape}; one score (or two, no and yes) a label"
        )
    return scores[flags >= 0], flags[flags >= 0] == 1


def _sqnr(output: Array, reference: Array) -> Pair:
    got, wanted = _same_shape(output, reference, "sqnr_db")
    return float((wanted**2).sum()), float(((got - wanted) ** 2).sum())


_HIGHER, _LOWER = Better.HIGHER, Better.LOWER
_ALL = (
    TaskMetric("top1", "1", _HIGHER, "share of labels whose class has the highest score", _top(1), _sums("ratio")),
    TaskMetric("top5", "1", _HIGHER, "share of labels whose class is among the five highest scores", _top(5), _sums("ratio")),
    TaskMetric("mse", "1", _LOWER, "mean squared difference of output and labels over all values", _mse, _sums("ratio")),
    TaskMetric("psnr_db", "dB", _HIGHER, "mean over samples of 10·log10(peak² / mean squared difference)", _psnr(1.0), _sums("ratio")),
    TaskMetric("perplexity", "1", _LOWER, "exp of the mean negative log-likelihood of the labels", _perplexity, _sums("exp_ratio")),
    TaskMetric("roc_auc", "1", _HIGHER, "area under the ROC curve over all labels, ties counting half", _roc, _gather_ranks),
    TaskMetric(
        "sqnr_db",
        "dB",
        _HIGHER,
        "10·log10(Σ fp32² / Σ (output - fp32)²) over all samples",
        _sqnr,
        _sums("decibel_ratio"),
        against_baseline=True,
    ),
)
TASK_METRICS: Mapping[str, TaskMetric] = MappingProxyType({metric.name: metric for metric in _ALL})
"""Every metric by the name that model.yaml uses."""


def task_metric(name: str, *, clip: tuple[float, float] | None, labels_dtype: np.dtype[Any] | None) -> TaskMetric:
    """The metric with what it depends on: psnr_db's peak is `clip`'s range, else 255 where labels are uint8, else 1."""
    metric = TASK_METRICS[name]
    if name != "psnr_db":
        return metric
    peak = clip[1] - clip[0] if clip else 255.0 if labels_dtype == np.uint8 else 1.0
    return TaskMetric(metric.name, metric.unit, metric.better, metric.definition, _psnr(peak), metric.gather)
