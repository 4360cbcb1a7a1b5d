"""What goes into a model at each inference: samples, constants and states that are fed back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.dataset import calibration_rows
from optimizers.errors import UnsupportedModel
from optimizers.foreign import one_line
from optimizers.inputs import InputPlan, plan_inputs
from optimizers.model_file import ModelFile
from optimizers.optimizer_pass import Feed
from optimizers.samples import Samples, convert
from optimizers.session import Session, open_session

Outputs = Mapping[str, NDArray[Any]]


def sample_feed(plan: InputPlan, samples: Samples, indices: Sequence[int], *, step: int | None = None) -> dict[str, NDArray[Any]]:
    """One inference's inputs, states apart: the samples at `indices`, or one sequence at a step. Raises: ModelError."""
    feed = dict(plan.constants)
    for info in plan.sampled:
        rows = [samples.inputs[info.name].row(index) for index in indices]
        picked = [row if step is None else row[step] for row in rows]
        scalar = not info.shape and picked[0].ndim == 0
        where = f"{one_line(samples.source, limit=200)}, array `{one_line(info.name, limit=80)}`, sample {indices[0]}"
        feed[info.name] = convert(picked[0] if scalar else np.stack(picked), info, where=where)
    return feed


def run_samples(
    session: Session, plan: InputPlan, samples: Samples, indices: Sequence[int], *, outputs: Sequence[str]
) -> Iterator[tuple[int, Outputs]]:
    """Each sample's outputs without the batch axis; for a sequence those of its steps, stacked: (n_steps, ...). Raises: ModelError."""
    if plan.streaming:
        for index in indices:
            yield index, _run_sequence(session, plan, samples, index, outputs)
        return
    for start in range(0, len(indices), plan.group):
        group = list(indices[start : start + plan.group])
        padded = group + group[-1:] * (plan.group - len(group))
        got = session.run(sample_feed(plan, samples, padded), outputs)
        for place, index in enumerate(group):
            yield index, {name: _of_sample(value, place, plan.group, name) for name, value in got.items()}


def _of_sample(value: NDArray[Any], place: int, batch: int, name: str) -> NDArray[Any]:
    if not isinstance(value, np.ndarray):
        raise UnsupportedModel(f"the output `{one_line(name, limit=80)}` is not a tensor, and the metric needs one")
    if value.ndim and value.shape[0] == batch:
        return np.asarray(value[place])
    if batch == 1:
        return value
    raise UnsupportedModel(f"the output `{one_line(name, limit=80)}` has the shape {value.shape}: not one row for each of {batch} samples")


def _run_sequence(session: Session, plan: InputPlan, samples: Samples, index: int, outputs: Sequence[str]) -> Outputs:
    steps: dict[str, list[NDArray[Any]]] = {name: [] for name in outputs}
    for _, got in sequence_steps(session, plan, samples, index, outputs=outputs):
        for name in outputs:
            steps[name].append(_of_sample(got[name], 0, 1, name))
    for name, values in steps.items():
        if len({value.shape for value in values}) > 1:
            raise UnsupportedModel(f"the output `{one_line(name, limit=80)}` changes its shape from step to step")
    return {name: np.stack(values) for name, values in steps.items()}


def sequence_steps(
    session: Session, plan: InputPlan, samples: Samples, index: int, *, outputs: Sequence[str]
) -> Iterator[tuple[Feed, Outputs]]:
    """One sequence step by step from zero states: the whole feed of each step, and the outputs asked for with those fed back."""
    state = dict(plan.zeros)
    asked = list(dict.fromkeys([*outputs, *(output for output, _ in plan.states)]))
    for step in range(samples.n_steps):
        feed = sample_feed(plan, samples, [index], step=step) | state
        got = session.run(feed, asked)
        yield feed, got
        state = {into: got[output] for output, into in plan.states}


def calibration_feeds(model: ModelFile, onnx_path: Path, *, limit: int | None = None, intra_op_threads: int = 1) -> Iterator[Feed]:
    """Calibration inferences in a fixed order, spread evenly over the calibration samples: at most `limit` feeds.

    States are what the model at `onnx_path` (the float model) gives on the way. Raises: UnsupportedModel where the model
    has no calibration samples, ModelError where they do not fit.
    """
    session = open_session(onnx_path, intra_op_threads=intra_op_threads)
    plan = plan_inputs(model, session.signature)
    samples, rows = calibration_rows(model, plan)
    if plan.streaming:
        yield from _calibration_steps(session, plan, samples, rows, limit)
        return
    groups = [rows[start : start + plan.group] for start in range(0, len(rows), plan.group)]
    for place in _spread(len(groups), limit):
        group = list(groups[place])
        yield sample_feed(plan, samples, group + group[-1:] * (plan.group - len(group)))


def _calibration_steps(session: Session, plan: InputPlan, samples: Samples, rows: Sequence[int], limit: int | None) -> Iterator[Feed]:
    """Evenly spaced steps of evenly spaced sequences, about eight or more of each."""
    chosen = _spread(len(rows), None if limit is None else max(1, limit // 8))
    for place, sequence in enumerate(chosen):
        share = None if limit is None else limit // len(chosen) + (place < limit % len(chosen))
        wanted = set(_spread(samples.n_steps, share))
        if not wanted:
            continue
        for step, (feed, _) in enumerate(sequence_steps(session, plan, samples, rows[sequence], outputs=())):
            if step in wanted:
                yield feed
            if step == max(wanted):
                break


def _spread(n: int, limit: int | None) -> list[int]:
    if limit is None or limit >= n:
        return list(range(n))
    return [place * n // limit for place in range(limit)]
