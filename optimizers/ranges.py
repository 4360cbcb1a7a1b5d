"""How large the values inside a model get."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir

from optimizers.graph import write_model
from optimizers.optimizer_pass import Feed
from optimizers.session import open_session


def largest_magnitudes(model: ir.Model, names: Iterable[str], feeds: Iterable[Feed], *, scratch: Path, threads: int) -> dict[str, float]:
    """max |x| over feeds of the main graph's float values of these names; NaN counts as infinity. Raises: ModelError.

    The maxima are taken inside the runtime, so that no more memory is needed than to run the model.
    """
    probed = model.clone()
    wanted = set(names)
    values = [value for node in list(probed.graph) for value in node.outputs if value.name in wanted]
    values += [value for value in probed.graph.inputs if value.name in wanted]
    if not values:
        return {}
    outputs = {f"largest magnitude {place}": value for place, value in enumerate(values)}
    for name, value in outputs.items():
        absolute = ir.node("Abs", [value])
        largest = ir.node("ReduceMax", absolute.outputs, attributes={"keepdims": 0})
        largest.outputs[0].name = name
        largest.outputs[0].dtype, largest.outputs[0].shape = ir.DataType.FLOAT, ir.Shape([])
        probed.graph.extend([absolute, largest])
        probed.graph.outputs.append(largest.outputs[0])
    found = dict.fromkeys(outputs, 0.0)
    session = open_session(write_model(probed, scratch / "ranges.onnx").path, intra_op_threads=threads, optimize=False)
    for feed in feeds:
        for name, largest_now in session.run(feed, list(outputs)).items():
            number = float(np.asarray(largest_now))
            found[name] = max(found[name], float("inf") if np.isnan(number) else number)
    return {str(value.name): found[name] for name, value in outputs.items()}
