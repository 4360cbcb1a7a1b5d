"""How accurate a variant is, how much worse than the baseline, and the files that a device needs to run it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from device_profiles.metrics import Better
from optimizers.bootstrap import changed_samples, paired_drop
from optimizers.dataset import evaluation_rows
from optimizers.errors import ModelError, UnsupportedModel
from optimizers.feeds import run_samples
from optimizers.foreign import foreign_as, one_line
from optimizers.golden import WorkloadFiles, write_workload
from optimizers.inputs import InputPlan, plan_inputs
from optimizers.metrics import TaskMetric, task_metric
from optimizers.model_file import METRIC_NAMES, ModelFile
from optimizers.python_metric import PythonMetric, load_python_metric
from optimizers.samples import Samples
from optimizers.session import Session, open_session
from optimizers.statistics import NumberStatistics, Recorded, Statistics, load_statistics, save_statistics
from optimizers.variant import Value

MAX_COLLECTED_BYTES = 2 << 30
STATISTICS_FILE = "statistics.npz"
_SHARES = frozenset({"top1", "top5"})  # metrics that count samples, right or wrong


class EvaluateRequest(Value):
    """What to evaluate. Paths are absolute; `out_dir` receives all files.

    `baseline_path` is the fp32 baseline: sqnr_db compares with it, and a variant with the same bytes is the baseline itself.
    `baseline_statistics` is the file that the baseline's own evaluation wrote; without it there is no drop.
    `input_shapes` fixes open dimensions of the workload; accuracy is measured on the samples as they are.
    """

    model: ModelFile
    variant_path: Path
    baseline_path: Path | None = None
    baseline_statistics: Path | None = None
    out_dir: Path
    intra_op_threads: int = Field(default=1, ge=1, le=256)
    input_shapes: Mapping[str, tuple[int, ...]] = Field(default_factory=dict)
    accuracy: bool = Field(default=True, description="false: the workload alone, for another run configuration")


class Evaluation(Value):
    """Accuracy in the metric's own unit; what is null has its reason in the `why` beside it.

    `accuracy_drop` is positive when worse than the baseline, for every metric; `low` and `high` bound its 95 % interval
    (paired bootstrap over samples; a sequence is one sample). `changed_samples` counts those whose part in the metric changed.
    """

    metric: str
    unit: str
    better: Better
    accuracy: float | None
    accuracy_why: str | None
    n_samples: int
    accuracy_drop: float | None
    accuracy_drop_low: float | None
    accuracy_drop_high: float | None
    accuracy_drop_why: str | None
    changed_samples: int | None
    statistics: str | None = Field(description="file in out_dir, for the evaluations of variants of this baseline")
    workload: WorkloadFiles


@dataclass(frozen=True, slots=True)
class _Score:
    """What measuring gave; `recorded` is None where `why` says why nothing could be measured."""

    unit: str
    better: Better
    n: int
    recorded: Recorded | None
    why: str | None


@dataclass(frozen=True, slots=True)
class _Drop:
    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str | None = None
    changed: int | None = None


def evaluate(request: EvaluateRequest) -> Evaluation:
    """Measure accuracy and write the workload. Raises: ModelError, UnsupportedModel."""
    with foreign_as(ModelError, "the folder for the results cannot be made"):
        request.out_dir.mkdir(parents=True, exist_ok=True)
    session = open_session(request.variant_path, intra_op_threads=request.intra_op_threads)
    plan = plan_inputs(request.model, session.signature)
    is_baseline = request.baseline_path is not None and _sha256(request.baseline_path) == _sha256(request.variant_path)
    score = _measure(request, session, plan, is_baseline)
    value, why = _value(score)
    drop = _drop(request, score, is_baseline)
    if score.recorded is not None:
        save_statistics(request.out_dir / STATISTICS_FILE, score.recorded)
    return Evaluation(
        metric=request.model.metric,
        unit=score.unit,
        better=score.better,
        accuracy=value,
        accuracy_why=why,
        n_samples=score.n,
        accuracy_drop=drop.value,
        accuracy_drop_low=drop.low,
        accuracy_drop_high=drop.high,
        accuracy_drop_why=drop.why,
        changed_samples=drop.changed,
        statistics=STATISTICS_FILE if score.recorded is not None else None,
        workload=write_workload(session, plan, request.model, input_shapes=request.input_shapes, out_dir=request.out_dir),
    )


def _measure(request: EvaluateRequest, session: Session, plan: InputPlan, is_baseline: bool) -> _Score:
    model = request.model
    if model.metric not in METRIC_NAMES:
        return _measure_python(request, session, plan, load_python_metric(model.metric, folder=model.python_path))
    metric = task_metric(model.metric, clip=model.clip, labels_dtype=None)
    why = _no_accuracy(request, metric, is_baseline)
    if model.samples is None:
        return _Score(metric.unit, metric.better, 0, None, why)
    samples, rows = evaluation_rows(model, plan)
    if why:
        return _Score(metric.unit, metric.better, len(rows), None, why)
    output = session.signature.output(model.output or session.signature.outputs[0].name).name
    ours = _outputs(session, plan, samples, rows, output=output, clip=model.clip)
    if metric.against_baseline:
        assert request.baseline_path is not None
        reference = open_session(request.baseline_path, intra_op_threads=request.intra_op_threads)
        theirs = _outputs(reference, plan_inputs(model, reference.signature), samples, rows, output=output, clip=model.clip)
    else:
        labels = samples.labels
        if labels is None:
            raise ModelError(
                f"the metric {metric.name} compares with labels, and the samples hold no array `{one_line(model.labels, limit=80)}`: "
                "add it, or use `metric: sqnr_db`, which needs none"
            )
        metric = task_metric(model.metric, clip=model.clip, labels_dtype=labels.parts[0].dtype)
        theirs = (labels.row(row) for row in rows)
    parts = [metric.part(got, wanted) for got, wanted in zip(ours, theirs, strict=True)]
    return _Score(metric.unit, metric.better, len(rows), Recorded(_of(model, samples, rows, output), metric.gather(parts)), None)


def _no_accuracy(request: EvaluateRequest, metric: TaskMetric, is_baseline: bool) -> str | None:
    if not request.accuracy:
        return "not asked for"
    if request.model.samples is None:
        return "the model has no samples"
    if metric.against_baseline and is_baseline:
        return f"{metric.name} compares with the fp32 model, and this is it"
    if metric.against_baseline and request.baseline_path is None:
        return f"{metric.name} compares with the fp32 model, and none was given"
    return None


def _outputs(
    session: Session, plan: InputPlan, samples: Samples, rows: Sequence[int], *, output: str, clip: tuple[float, float] | None
) -> Iterator[NDArray[Any]]:
    for _, got in run_samples(session, plan, samples, rows, outputs=[output]):
        yield np.clip(got[output].astype(np.float64), *clip) if clip else got[output]


def _measure_python(request: EvaluateRequest, session: Session, plan: InputPlan, metric: PythonMetric) -> _Score:
    model = request.model
    if not request.accuracy or model.samples is None:
        return _Score(metric.unit, metric.better, 0, None, "the model has no samples" if request.accuracy else "not asked for")
    samples, rows = evaluation_rows(model, plan)
    names = [info.name for info in session.signature.outputs if info.dtype not in (None, "bfloat16")]
    collected: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    used = 0
    for _, got in run_samples(session, plan, samples, rows, outputs=names):
        for name, value in got.items():
            collected[name].append(np.clip(value, *model.clip) if model.clip else value)
            used += value.nbytes
        if used > MAX_COLLECTED_BYTES:
            raise UnsupportedModel(
                f"the outputs of all samples take more than {MAX_COLLECTED_BYTES >> 30} GiB, too much for a metric that gets all"
            )
    outputs = {name: _stack(values) for name, values in collected.items()}
    labels = np.stack([samples.labels.row(row) for row in rows]) if samples.labels is not None else None
    statistics = metric.score(outputs, labels, n=len(rows))
    return _Score(metric.unit, metric.better, len(rows), Recorded(_of(model, samples, rows, ""), statistics), None)


def _stack(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(n, ...); where shapes differ, an object array (n,) of arrays."""
    if len({value.shape for value in values}) == 1:
        return np.stack(values)
    ragged = np.empty(len(values), object)
    ragged[:] = values
    return ragged


def _of(model: ModelFile, samples: Samples, rows: Sequence[int], output: str) -> dict[str, str]:
    """What must be equal for two evaluations to be compared sample by sample."""
    picked = hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()
    return {"metric": model.metric, "output": output, "clip": str(model.clip), "samples": samples.fingerprint, "rows": picked}


def _value(score: _Score) -> tuple[float | None, str | None]:
    if score.recorded is None:
        return None, score.why
    statistics = score.recorded.statistics
    value = float(statistics.values(np.ones((1, statistics.n)))[0])
    return (value, None) if np.isfinite(value) else (None, _undefined(statistics, value, score.n))


def _undefined(statistics: Statistics, value: float, n: int) -> str:
    if isinstance(statistics, NumberStatistics):
        return f"the metric gave {value}"
    parts, owner = statistics.per_sample()
    broken = len(np.unique(owner[~np.isfinite(parts).all(axis=1)]))
    if value == np.inf:
        return "the outputs are exactly what they are compared with, so the metric is infinite"
    if broken:
        return f"{broken} of {n} samples give NaN or infinite values"
    return "no evaluation sample has a label"


def _drop(request: EvaluateRequest, score: _Score, is_baseline: bool) -> _Drop:
    if is_baseline and request.accuracy and request.model.samples is not None:
        return _Drop(0.0, 0.0, 0.0, "it is the baseline itself", 0)
    if score.recorded is None:
        return _Drop(why=score.why)
    if request.model.metric in METRIC_NAMES and task_metric(request.model.metric, clip=None, labels_dtype=None).against_baseline:
        return _Drop(why=f"{request.model.metric} is a distance from the baseline, which itself has none to drop from")
    if request.baseline_statistics is None:
        return _Drop(why="there is no baseline to compare with")
    baseline = load_statistics(request.baseline_statistics)
    if dict(baseline.of) != dict(score.recorded.of) or baseline.statistics.n != score.recorded.statistics.n:
        raise ModelError("the baseline was evaluated on other samples or with another metric: evaluate it again")
    drop = paired_drop(baseline.statistics, score.recorded.statistics, score.better)
    if drop is None:
        return _Drop(why="the metric is undefined for the variant or for its baseline")
    changed = (
        None if isinstance(score.recorded.statistics, NumberStatistics) else changed_samples(baseline.statistics, score.recorded.statistics)
    )
    if changed == 0 and request.model.metric in _SHARES:
        return _unchanged(score.n)
    return _Drop(drop.value, drop.low, drop.high, drop.why, changed)


def _unchanged(n: int) -> _Drop:
    """No drop on n samples: resampling them would claim certainty, so the interval ends where 95 % of such samples would show a change.

    1 - 0.05^(1/n), about 3/n (Hanley & Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983).
    """
    most = 1 - 0.05 ** (1 / n)
    return _Drop(0.0, -most, most, f"none of {n} samples changed; the interval is what {n} samples can tell", 0)


def _sha256(path: Path) -> str:
    with foreign_as(ModelError, f"{one_line(path.name, limit=100)} cannot be read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
