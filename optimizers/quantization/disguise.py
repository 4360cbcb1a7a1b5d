"""Names that ONNX Runtime's quantiser cannot trip over: it derives `x_scale` from `x` without looking whether it is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import onnx


def disguise(model: onnx.ModelProto) -> dict[str, str]:
    """Give every value of the outer graph a plain name (`v12`), in place. Returns new name to old."""
    graph = model.graph
    existing = set(_all_names(graph))
    prefix = "v"
    while any(name.startswith(prefix) for name in existing):
        prefix += "v"
    owned = dict.fromkeys(
        name
        for name in (
            *(value.name for value in graph.input),
            *(tensor.name for tensor in graph.initializer),
            *(name for node in graph.node for name in node.output),
        )
        if name
    )
    new = {name: f"{prefix}{index}" for index, name in enumerate(owned)}
    _rename(graph, lambda name: new.get(name, name))
    return {short: name for name, short in new.items()}


def reveal(model: onnx.ModelProto, old: Mapping[str, str]) -> None:
    """Undo `disguise`, in place. What was derived from a plain name (`v12_scale`) keeps it: it is free, and short."""
    _rename(model.graph, lambda name: old.get(name, name))


def _all_names(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from (*node.input, *node.output)
        for nested in _subgraphs(node):
            yield from _all_names(nested)
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name


def _rename(graph: onnx.GraphProto, to: Callable[[str], str]) -> None:
    """Rename values wherever they are used, in subgraphs too: these read values of the outer graph by name."""
    for node in graph.node:
        node.input[:] = [to(name) for name in node.input]
        node.output[:] = [to(name) for name in node.output]
        for nested in _subgraphs(node):
            _rename(nested, to)
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = to(value.name)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
