"""Run a float model over calibration feeds and keep a histogram of each activation, at bounded memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from optimizers.calibration.histogram import Histogram
from optimizers.errors import UnsupportedModel
from optimizers.optimizer_pass import Context, Feed
from optimizers.session import open_session

GROUP_BYTES = 256 * 2**20
"""Activations read at once: a model with more is run several times on each feed."""

_SHAPE_SUFFIX = "\x01shape"  # no exporter's names hold control characters


@dataclass(frozen=True, slots=True)
class Statistics:
    """What calibration saw: a histogram by tensor name, and on how many feeds."""

    histograms: Mapping[str, Histogram]
    n_feeds: int


def float_tensors(model: onnx.ModelProto, names: Sequence[str], path: Path) -> set[str]:
    """Which of these node outputs are float32, as the runtime infers it. The model is written to `path`. Raises: ModelError."""
    path.write_bytes(_exposing(model, names).SerializeToString())
    outputs = open_session(path, optimize=False).signature.outputs
    path.unlink()
    return {info.name for info in outputs if info.dtype == "float32"}


def collect(model: onnx.ModelProto, names: Sequence[str], context: Context, *, most_feeds: int) -> Statistics:
    """Histograms of float32 tensors, each an input or the output of a node of the outer graph, over the first feeds.

    Raises: UnsupportedModel where there is no feed, ModelError where the model does not run on one.
    """
    given = {value.name for value in model.graph.input}
    inputs, computed = [n for n in names if n in given], [n for n in names if n not in given]
    histograms = {name: Histogram() for name in names}
    groups = _groups(model, computed, context)
    path = context.scratch / "exposed.onnx"
    path.write_bytes(_exposing(model, computed).SerializeToString())
    session = open_session(path, intra_op_threads=context.intra_op_threads, optimize=False)
    n_feeds = 0
    for feed in itertools.islice(context.feeds(), most_feeds):
        n_feeds += 1
        for name in inputs:
            histograms[name].add(feed[name])
        for group in groups:
            for name, values in session.run(feed, group).items():
                histograms[name].add(values)
    path.unlink()
    return Statistics(histograms, n_feeds)


def _groups(model: onnx.ModelProto, names: Sequence[str], context: Context) -> list[list[str]]:
    """Names in runs that together hold at most about GROUP_BYTES on the first feed, whose shapes are asked for first."""
    feed = next(iter(context.feeds()), None)
    if feed is None:
        raise UnsupportedModel("there is no calibration sample, and the ranges of activations are measured on such")
    groups: list[list[str]] = []
    room = 0
    for name, size in _sizes(model, names, feed, context.scratch / "shapes.onnx"):
        if not groups or size > room:
            groups.append([])
            room = GROUP_BYTES
        groups[-1].append(name)
        room -= size
    return groups


def _sizes(model: onnx.ModelProto, names: Sequence[str], feed: Feed, path: Path) -> Iterator[tuple[str, int]]:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for name in names:
        probe.graph.node.append(onnx.helper.make_node("Shape", [name], [name + _SHAPE_SUFFIX]))
        probe.graph.output.append(onnx.ValueInfoProto(name=name + _SHAPE_SUFFIX))
    path.write_bytes(probe.SerializeToString())
    shapes = open_session(path, optimize=False).run(feed, [name + _SHAPE_SUFFIX for name in names])
    path.unlink()
    for name in names:
        yield name, 4 * math.prod(map(int, shapes[name + _SHAPE_SUFFIX]))


def _exposing(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with these tensors among its outputs; the runtime infers their types."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return exposed
