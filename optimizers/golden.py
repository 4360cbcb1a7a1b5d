"""The workload of a variant as files: inputs, zero states, and what this host's onnxruntime gives for them (the golden outputs)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from optimizers.dataset import evaluation_rows
from optimizers.errors import ModelError
from optimizers.feeds import sample_feed
from optimizers.foreign import one_line
from optimizers.inputs import InputPlan
from optimizers.model_file import ModelFile
from optimizers.optimizer_pass import relative_error
from optimizers.random_inputs import random_inputs
from optimizers.samples import Samples, open_samples, shape_text
from optimizers.session import Session
from optimizers.variant import Value

MAX_BYTES = 512 << 20
_REPEATABLE = 1e-6

Tensors = dict[str, NDArray[Any]]


class TensorData(Value):
    """Raw C-order little-endian tensors in `file` (in the workload's folder): `count` of `shape`, one after the other."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    count: int
    file: str
    sha256: str


class WorkloadFiles(Value):
    """What a device needs to run the variant. `inputs` are the varying inputs (`count` golden samples) and the constants (count 1).

    `states` are (output, input) pairs fed back in order, `state_inputs` their zeros. `reference` holds outputs for the
    `count` samples in turn, states carried on from one to the next; `left_out` says why an output is not in it.
    """

    inputs: tuple[TensorData, ...]
    states: tuple[tuple[str, str], ...]
    state_inputs: tuple[TensorData, ...]
    reference: tuple[TensorData, ...]
    left_out: Mapping[str, str]
    source: str = Field(description="where the inputs come from, for a person")


@dataclass(frozen=True, slots=True)
class Given:
    """Inputs of a few inferences, constants and states apart, with where they come from."""

    feeds: Sequence[Tensors]
    source: str


def write_workload(
    session: Session, plan: InputPlan, model: ModelFile, *, input_shapes: Mapping[str, Sequence[int]], out_dir: Path
) -> WorkloadFiles:
    """Write the files into `out_dir`. `input_shapes` fixes open dimensions. Raises: ModelError."""
    given = _given(session, plan, model, input_shapes)
    outputs = [info for info in session.signature.outputs if info.dtype not in (None, "bfloat16")]
    left_out = {info.name: f"it is a {one_line(info.type_text, limit=80)}" for info in session.signature.outputs if info not in outputs}
    names = [info.name for info in outputs]
    reference = list(_run(session, plan, given.feeds, names))
    again = list(_run(session, plan, given.feeds[: len(reference)], names))
    steps: dict[str, list[NDArray[Any]]] = {}
    for name in names:
        values = [step[name] for step in reference]
        why = _unfit(values, [step[name] for step in again])
        if why:
            left_out[name] = why
        else:
            steps[name] = values
    feeds = given.feeds[: len(reference)]
    varying = {info.name: [feed[info.name] for feed in feeds] for info in plan.sampled}
    fixed = {name: [value] for name, value in plan.constants.items()}
    return WorkloadFiles(
        inputs=_write(out_dir, "input", varying | fixed),
        states=plan.states,
        state_inputs=_write(out_dir, "state", {name: [value] for name, value in plan.zeros.items()}),
        reference=_write(out_dir, "reference", steps),
        left_out=left_out,
        source=given.source,
    )


def _run(session: Session, plan: InputPlan, feeds: Sequence[Tensors], names: Sequence[str]) -> Iterator[Tensors]:
    """Outputs of one inference after the other, as many as fit into `MAX_BYTES` (at least one)."""
    state, used = dict(plan.zeros), 0
    asked = list(dict.fromkeys([*names, *(output for output, _ in plan.states)]))
    for feed in feeds:
        got = session.run({**plan.constants, **state, **feed}, asked)
        state = {into: got[output] for output, into in plan.states}
        yield {name: got[name] for name in names}
        used += sum(value.nbytes for value in (*feed.values(), *got.values()))
        if used + used // max(len(feeds), 1) > MAX_BYTES:
            return


def _unfit(values: Sequence[NDArray[Any]], again: Sequence[NDArray[Any]]) -> str:
    """Why these outputs cannot be what a device's are compared with; empty if they can."""
    if len({value.shape for value in values}) > 1:
        return "its shape is not the same for every sample"
    if not values or not values[0].size:
        return "it is empty"
    if not all(np.isfinite(value).all() for value in values):
        return "it holds NaN or infinite values on this host"
    if any(relative_error(second, first) > _REPEATABLE for first, second in zip(values, again, strict=True)):
        return "it is not the same when the model runs again with the same inputs"
    return ""


def _given(session: Session, plan: InputPlan, model: ModelFile, input_shapes: Mapping[str, Sequence[int]]) -> Given:
    if not plan.sampled:
        return Given([{}], "the model takes no inputs that vary")
    why = ""
    if model.samples is not None or isinstance(model.calibration, Path):
        samples, rows, kind = _rows(model, plan)
        group = _group(plan, samples, input_shapes)
        if group:
            return _from_samples(plan, samples, rows, kind=kind, count=model.golden, group=group)
        why = "the samples do not have the shapes asked for, so: "
    drawn = random_inputs(session, plan, input_shapes=input_shapes, count=model.golden)
    return Given(drawn.feeds, why + drawn.description)


def _rows(model: ModelFile, plan: InputPlan) -> tuple[Samples, Sequence[int], str]:
    if model.samples is not None:
        return *evaluation_rows(model, plan), "evaluation"
    assert isinstance(model.calibration, Path)
    samples = open_samples(model.calibration, plan.wanted(model.labels))
    return samples, range(samples.n), "calibration"


def _group(plan: InputPlan, samples: Samples, input_shapes: Mapping[str, Sequence[int]]) -> int:
    """Samples of one inference for which they have the shapes asked for; 0 where there is no such number."""
    asked = {info.name: tuple(input_shapes[info.name]) for info in plan.sampled if input_shapes.get(info.name)}
    if not asked:
        return plan.group
    group = next(iter(asked.values()))[0]
    lead = 2 if plan.streaming else 1
    fits = all(shape == (group, *samples.inputs[name].shape[lead:]) for name, shape in asked.items())
    return group if fits and (group == 1 or not plan.streaming) else 0


def _from_samples(plan: InputPlan, samples: Samples, rows: Sequence[int], *, kind: str, count: int, group: int) -> Given:
    sampled = {info.name for info in plan.sampled}
    if plan.streaming:
        steps = min(count, samples.n_steps)
        feeds = [sample_feed(plan, samples, [rows[0]], step=step) for step in range(steps)]
        source = f"the first {steps} steps of the first {kind} sequence"
    else:
        full = max(1, min(count, len(rows) // group))
        groups = [[rows[(start * group + place) % len(rows)] for place in range(group)] for start in range(full)]
        feeds = [sample_feed(plan, samples, indices) for indices in groups]
        source = f"the first {full * group} {kind} samples" + (f", {group} an inference" if group > 1 else "")
    return Given([{name: value for name, value in feed.items() if name in sampled} for feed in feeds], source)


def _write(folder: Path, stem: str, tensors: Mapping[str, Sequence[NDArray[Any]]]) -> tuple[TensorData, ...]:
    written = []
    for place, (name, values) in enumerate(tensors.items()):
        first = values[0]
        for value in values:
            if value.shape != first.shape:
                raise ModelError(f"`{one_line(name, limit=80)}` changes its shape: {shape_text(first.shape)} and {shape_text(value.shape)}")
        file, digest = f"{stem}-{place}.bin", hashlib.sha256()
        temporary = folder / f".{file}.tmp"
        with temporary.open("wb") as out:
            for value in values:
                data = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
                digest.update(data)
                out.write(data)
        temporary.replace(folder / file)
        written.append(
            TensorData(name=name, dtype=first.dtype.name, shape=first.shape, count=len(values), file=file, sha256=digest.hexdigest())
        )
    return tuple(written)
