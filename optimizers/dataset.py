"""Which samples accuracy is measured on and which a pass may calibrate on: never the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optimizers.errors import ModelError, UnsupportedModel
from optimizers.inputs import InputPlan
from optimizers.model_file import DEFAULT_CALIBRATION, ModelFile
from optimizers.samples import Samples, open_samples

_PREFIX_VALUES = 256


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of samples in rising order."""

    evaluation: tuple[int, ...]
    calibration: tuple[int, ...]


def split_samples(n: int, calibration: int | None) -> Split:
    """Set `calibration` of `n` samples apart by a fixed seed (None: min(128, n // 4)). Raises: ModelError when none is left.

    RandomState's stream is frozen for good (NEP 19), so the split is the same with every numpy.
    """
    held = min(DEFAULT_CALIBRATION, n // 4) if calibration is None else calibration
    if held >= n:
        raise ModelError(f"`calibration: {held}` leaves nothing to measure accuracy on: there are {n} samples")
    order = np.random.RandomState(0).permutation(n)
    return Split(tuple(sorted(order[held:].tolist())), tuple(sorted(order[:held].tolist())))


def evaluation_rows(model: ModelFile, plan: InputPlan) -> tuple[Samples, tuple[int, ...]]:
    """The samples that accuracy is measured on. Raises: UnsupportedModel where there are none, ModelError."""
    if model.samples is None:
        raise UnsupportedModel("the model has no samples: accuracy cannot be measured")
    samples = open_samples(model.samples, plan.wanted(model.labels))
    if isinstance(model.calibration, Path):
        return samples, tuple(range(samples.n))
    return samples, split_samples(samples.n, model.calibration).evaluation


def calibration_rows(model: ModelFile, plan: InputPlan) -> tuple[Samples, tuple[int, ...]]:
    """The samples to calibrate on; those that equal an evaluation sample are left out. Raises: UnsupportedModel, ModelError."""
    if isinstance(model.calibration, Path):
        samples = open_samples(model.calibration, plan.wanted(model.labels))
        rows = tuple(range(samples.n))
    elif model.samples is not None:
        samples = open_samples(model.samples, plan.wanted(model.labels))
        rows = split_samples(samples.n, model.calibration).calibration
    else:
        raise UnsupportedModel("the model has no samples to calibrate on: give `samples` or `calibration` in model.yaml")
    if not rows:
        raise UnsupportedModel("no samples are set apart to calibrate on: there are too few, or `calibration` is 0")
    if model.samples is not None:
        rows = _without_copies(plan, (samples, rows), evaluation_rows(model, plan))
    if not rows:
        raise UnsupportedModel("every calibration sample is also an evaluation sample: give others in `calibration`")
    return samples, rows


Chosen = tuple[Samples, tuple[int, ...]]


def _without_copies(plan: InputPlan, chosen: Chosen, others: Chosen) -> tuple[int, ...]:
    """The chosen rows whose values are no row of `others`: whole rows are hashed only where their beginnings agree."""
    prefixes = {_key(plan, chosen[0], row, limit=_PREFIX_VALUES) for row in chosen[1]}
    alike = [row for row in others[1] if _key(plan, others[0], row, limit=_PREFIX_VALUES) in prefixes]
    copies = {_key(plan, others[0], row) for row in alike}
    return tuple(row for row in chosen[1] if not copies or _key(plan, chosen[0], row) not in copies)


def _key(plan: InputPlan, samples: Samples, row: int, *, limit: int | None = None) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for info in plan.sampled:
        values = samples.inputs[info.name].row(row).reshape(-1)[:limit]
        digest.update(np.ascontiguousarray(values, info.numpy_dtype).tobytes())
    return digest.digest()
