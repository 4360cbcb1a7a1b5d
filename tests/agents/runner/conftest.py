"""The real runner on the real ONNX Runtime, with models of a few nodes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from agents.runner.build import build_runner, host_runtime
from agents.runner.output import find_line, parse_lines
from agents.runner.wire import InputTensor, Line, RunSpec, StateLink, Timed, Warmup

DEADLINE_S = 60.0
BRIEF = {
    "warmup": Warmup(min_iterations=2, min_s=0, max_iterations=2, max_s=1),
    "timed": Timed(min_iterations=5, min_s=0, max_iterations=5, max_s=5),
}


@dataclass(frozen=True)
class Launch:
    """One finished process of the runner."""

    exit_code: int
    lines: tuple[Line, ...]
    stderr: str
    out: Path

    def line(self, kind):
        """The only line of that kind."""
        assert sum(isinstance(line, kind) for line in self.lines) == 1, self.lines
        return find_line(self.lines, kind)

    @property
    def kinds(self) -> list[str]:
        return [line.kind for line in self.lines]


class Rig:
    """Writes models, inputs and specs into one folder and launches the runner on them."""

    def __init__(self, runner: Path, folder: Path) -> None:
        self.runner = runner
        self.folder = folder
        self.out = folder / "out"
        self.out.mkdir()

    def save(self, nodes: Sequence, inputs: Sequence, outputs: Sequence, *, weights: Sequence = (), name: str = "model.onnx") -> Path:
        graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(weights))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        path = self.folder / name
        onnx.save(model, path)
        return path

    def identity(self) -> Path:
        """x → y, float32, (1, 4)."""
        return self.save([helper.make_node("Identity", ["x"], ["y"])], [value("x", [1, 4])], [value("y", [1, 4])])

    def tensor(self, name: str, samples: np.ndarray, dtype: str | None = None) -> InputTensor:
        """An input of shape (count, *shape) in a file of its own."""
        path = self.folder / f"{name}.bin"
        path.write_bytes(np.ascontiguousarray(samples).tobytes())
        return InputTensor(name=name, dtype=dtype or samples.dtype.name, shape=samples.shape[1:], count=len(samples), file=str(path))

    def spec(
        self, model: Path, inputs: Sequence[InputTensor], mode: str = "time", *, states: Mapping[str, str] | None = None, **fields
    ) -> RunSpec:
        links = tuple(StateLink(output=output, input=name) for output, name in (states or {}).items())
        given = {"runtime": str(host_runtime()), "model": str(model), "out_dir": str(self.out), **BRIEF, **fields}
        return RunSpec(mode=mode, inputs=tuple(inputs), states=links, **given)

    def launch(self, spec: RunSpec | bytes, *, runner: Path | None = None, environment: Mapping[str, str] | None = None) -> Launch:
        text = spec if isinstance(spec, bytes) else spec.model_dump_json().encode()
        done = subprocess.run(
            [runner or self.runner, "-"],
            check=False,
            input=text,
            capture_output=True,
            timeout=DEADLINE_S,
            env={**os.environ, **(environment or {})},
        )
        return Launch(done.returncode, parse_lines(done.stdout), done.stderr.decode("utf-8", "replace"), self.out)


def value(name: str, shape: Sequence | None, element: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner, built here; its sources may give no warning."""
    return build_runner(cache=tmp_path_factory.mktemp("runner"), extra_flags=["-Werror"]).path


@pytest.fixture
def rig(runner: Path, tmp_path: Path) -> Rig:
    folder = tmp_path / "a folder, 'quoted' é"
    folder.mkdir()
    return Rig(runner, folder)
