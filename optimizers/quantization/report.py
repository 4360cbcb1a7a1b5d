"""What a quantising pass says of its result: read off the model as the runtime executes it, not off what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx_ir as ir

from optimizers.errors import UnsupportedModel
from optimizers.graph import write_model
from optimizers.optimizer_pass import Context, Result
from optimizers.quantization.fidelity import sqnr_db
from optimizers.quantization.kernels import Kernels, count_kernels
from optimizers.quantization.plan import LAYERS, RECURRENT, Kept

_CANONICAL: Mapping[str, str] = MappingProxyType(
    {
        "FusedConv": "Conv",
        "FusedMatMul": "MatMul or Gemm",
        "FusedGemm": "MatMul or Gemm",
        "MatMul": "MatMul or Gemm",
        "Gemm": "MatMul or Gemm",
    }
)


@dataclass(frozen=True, slots=True)
class Layers:
    """A model's layers before it is written: those kept in float with the reason, and how many of each kind were not quantised."""

    kept: tuple[Kept, ...]
    in_float: Mapping[str, int]


def layers_before(model: ir.Model, quantised: Collection[ir.Node], floats: Iterable[Kept]) -> Layers:
    """What stays in float when these nodes of the model are quantised."""
    left = [node for node in model.graph.all_nodes() if node.op_type in LAYERS | RECURRENT and node not in quantised]
    return Layers(tuple(floats), MappingProxyType(Counter(_CANONICAL.get(node.op_type, node.op_type) for node in left)))


def report(model: ir.Model, quantised: ir.Model, layers: Layers, context: Context, *, most_feeds: int, extra: dict[str, Any]) -> Result:
    """The result with its figures: `integer_ops`, `float_ops`, `layers_kept_float`, `sqnr_db` and those given in `extra`.

    Not modified, with a copy of `model`, where the runtime would run nothing on integers. Raises: PassFailed where the
    quantised model does not load or run.
    """
    reference = write_model(model, context.scratch / "float.onnx").path
    path = write_model(quantised, context.scratch / "quantised.onnx").path
    kernels = count_kernels(path, context.scratch, threads=context.intra_op_threads)
    details: dict[str, Any] = {
        "integer_ops": kernels.integer_ops,
        "float_ops": kernels.float_ops,
        "integer_kernels": dict(kernels.integer),
        "float_kernels": dict(kernels.floating),
        "layers_kept_float": [asdict(one) for one in layers.kept],
        **extra,
    }
    if not kernels.integer_ops:
        why = "the layers could be marked as quantised, but ONNX Runtime runs none of them on integers"
        return Result(model.clone(), False, why, details)
    details["sqnr_db"] = _noise(reference, path, context, most_feeds)
    return Result(quantised, True, _summary(details, len(layers.kept)), details, tuple(_warnings(kernels, layers)))


def nothing(model: ir.Model, floats: Sequence[Kept], otherwise: str) -> Result:
    """The result where no layer qualified: why, by the most frequent reasons, or `otherwise` where there is no layer at all."""
    reasons = Counter(one.why for one in floats)
    listed = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    summary = f"no layer could be quantised ({listed})" if listed else otherwise
    return Result(model.clone(), False, summary, {"integer_ops": 0, "layers_kept_float": [asdict(one) for one in floats]})


def _noise(reference: Path, path: Path, context: Context, most_feeds: int) -> float | None:
    try:
        next(iter(context.feeds()), None)
    except UnsupportedModel:
        return None
    return sqnr_db(reference, path, context, most_feeds=most_feeds)


def _summary(details: dict[str, Any], n_kept: int) -> str:
    count, noise = details["integer_ops"], details["sqnr_db"]
    text = f"{count} operator{'s run' if count != 1 else ' runs'} on integers"
    if n_kept:
        text += f", {n_kept} layer{'s' if n_kept != 1 else ''} kept in float"
    return text if noise is None else f"{text}; {noise:.1f} dB SQNR on calibration samples"


def _warnings(kernels: Kernels, layers: Layers) -> list[str]:
    """Layers that are marked as quantised, and yet run in float."""
    running: Counter[str] = Counter()
    for name, count in kernels.floating.items():
        running[_CANONICAL.get(name, name)] += count
    running.subtract(layers.in_float)
    emulated = ", ".join(f"{count} {name}" for name, count in sorted(running.items()) if count > 0)
    return [f"ONNX Runtime on this host runs {emulated} in float although quantised: it has no kernel for this form"] if emulated else []
