"""`model.yaml`: the user's model with its samples, metric and budgets. Nothing here opens the model itself."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, WithJsonSchema, model_validator

from device_profiles.budget import BudgetFile
from device_profiles.field_errors import did_you_mean
from device_profiles.strict_yaml import Document, read_document
from optimizers.errors import ModelError

MetricName = Literal["top1", "top5", "mse", "psnr_db", "perplexity", "roc_auc", "sqnr_db"]
METRIC_NAMES: tuple[str, ...] = get_args(MetricName)
DEFAULT_CALIBRATION = 128
MAX_NAME = 200
MAX_CONSTANT_VALUES = 1_000_000
MAX_STATE_VALUES = 1 << 28

_PYTHON_METRIC = re.compile(r"python:[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _refused(char: str) -> bool:
    """Control characters, lone surrogates, line separators and marks that reorder text: none has a place in a label."""
    return unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in _BIDI


def _label(name: str) -> str:
    bad = next((char for char in name if _refused(char)), None)
    if bad is not None:
        raise ValueError(f"holds the control character U+{ord(bad):04X}: a name is a label of one line, without control characters")
    if not name.strip():
        raise ValueError("is blank: give the model a name")
    return name


def _metric(metric: str) -> str:
    if metric in METRIC_NAMES or _PYTHON_METRIC.fullmatch(metric):
        return metric
    if metric.startswith("python:"):
        raise ValueError("a metric of your own is written `python:module:function`, for example `python:my_metrics:f1`")
    raise ValueError(f"there is no metric of that name: {did_you_mean(metric, [*METRIC_NAMES, 'python:module:function'], noun='metrics')}")


def _constants(constants: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    for value in constants.values():
        _check_numbers(value)
    return constants


def _check_numbers(value: JsonValue) -> None:
    waiting, seen = [value], 0
    while waiting:
        one = waiting.pop()
        seen += 1
        if seen > MAX_CONSTANT_VALUES:
            raise ValueError(f"has more than {MAX_CONSTANT_VALUES} values: put it into the model as an initialiser")
        if isinstance(one, list):
            waiting += one
        elif not isinstance(one, bool | int | float) or not math.isfinite(one):
            raise ValueError("a constant is a finite number, true or false, or (nested) lists of them")


Dimensions = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=16)]
TensorName = Annotated[str, StringConstraints(min_length=1)]


class ModelFile(BaseModel):
    """What `model.yaml` says. Once loaded, every path is absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), AfterValidator(_label)] = Field(
        description="a label for people, one line of at most 200 characters; never used as a path"
    )
    path: Path = Field(description="the .onnx file")
    samples: Path | None = Field(
        default=None,
        description="an .npz file, or a folder of .npz shards: one array per model input, named as the input, (n_samples, *input_shape[1:]), "
        "with states (n_sequences, n_steps, *input_shape[1:])",
    )
    labels: TensorName = Field(default="labels", description="the array in `samples` that the metric compares with; negative: no label")
    calibration: Path | Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None,
        description="samples like `samples`, or how many to take out of `samples` by a fixed seed (default: min(128, n/4)); never evaluated on",
    )
    metric: Annotated[
        str,
        AfterValidator(_metric),
        WithJsonSchema({"anyOf": [{"enum": list(METRIC_NAMES)}, {"type": "string", "pattern": f"^{_PYTHON_METRIC.pattern}$"}]}),
    ] = Field(default="sqnr_db", description="how good the outputs are; `sqnr_db` compares with the fp32 model and needs no labels")
    output: TensorName | None = Field(default=None, description="the output that the metric reads (default: the first)")
    clip: tuple[float, float] | None = Field(default=None, description="[low, high] that outputs are clipped to before the metric")
    constants: Annotated[Mapping[TensorName, JsonValue], AfterValidator(_constants)] = Field(
        default_factory=dict, description="inputs with one fixed value"
    )
    states: Mapping[TensorName, TensorName] = Field(
        default_factory=dict, description="output to the input it is fed back to; zeros at the start of each sequence"
    )
    state_shapes: Mapping[TensorName, Dimensions] = Field(
        default_factory=dict, description="shape of a state input, needed where the model leaves a dimension open"
    )
    golden: int = Field(default=4, ge=1, le=1000, strict=True, description="samples whose outputs a device must reproduce")
    budgets: BudgetFile = Field(default_factory=lambda: BudgetFile({}), description="limits of this model, over those of device profiles")
    python_path: Path | None = Field(
        default=None, description="folder in which the module of a `python:` metric is looked up (default: the folder of this file)"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ModelFile:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"`clip` is [low, high], and {self.clip[0]:g} is not below {self.clip[1]:g}")
        fed_back = list(self.states.values())
        for name in fed_back:
            if fed_back.count(name) > 1:
                raise ValueError(f"`states` feeds two outputs to the input `{name}`")
            if name in self.constants:
                raise ValueError(f"`{name}` is in both `states` and `constants`")
        for name, shape in self.state_shapes.items():
            if name not in fed_back:
                raise ValueError(f"`state_shapes` has `{name}`, which is no state: {did_you_mean(name, fed_back, noun='state inputs')}")
            if math.prod(shape) > MAX_STATE_VALUES:
                raise ValueError(f"`state_shapes` makes `{name}` {math.prod(shape)} values large; at most {MAX_STATE_VALUES} are allowed")
        return self


def load_model_file(path: Path) -> ModelFile:
    """The file with absolute paths, each checked to be there. Raises: device_profiles.errors.TextFileError."""
    document = read_document(path)
    model = document.validate(ModelFile)
    folder = path.absolute().parent
    found: dict[str, Any] = {
        "path": _existing(document, "path", folder / model.path),
        "python_path": folder / (model.python_path or ""),
    }
    for field in ("samples", "calibration"):
        given = getattr(model, field)
        if isinstance(given, Path):
            found[field] = _existing(document, field, folder / given, folder_too=True)
    _check_apart(document, found.get("samples"), found.get("calibration"), model)
    return model.model_copy(update=found)


def bare_model_file(onnx_path: Path) -> ModelFile:
    """A model without samples: named after its file, run on random inputs, no accuracy. Raises: ModelError."""
    path = onnx_path.absolute()
    if not path.is_file():
        raise ModelError(f"{_shown(path)}: there is no such file" if not path.exists() else f"{_shown(path)}: this is not a regular file")
    stem = "".join("_" if _refused(char) else char for char in path.stem)[:MAX_NAME]
    return ModelFile(name=stem if stem.strip() else "model", path=path)


def _existing(document: Document, field: str, path: Path, *, folder_too: bool = False) -> Path:
    try:
        there, right = path.exists(), path.is_file() or (folder_too and path.is_dir())
    except (OSError, ValueError):  # a name that the file system cannot hold
        there = right = False
    if right:
        return path
    wanted = "a file or a folder" if folder_too else "a regular file"
    raise document.error((field,), f"names {_shown(path)}, which {'is not ' + wanted if there else 'is not there'}")


def _check_apart(document: Document, samples: Path | None, calibration: Path | None, model: ModelFile) -> None:
    if calibration is not None and samples is not None and calibration.samefile(samples):
        raise document.error(
            ("calibration",),
            "is the same file as `samples`: accuracy would be measured on what the model was calibrated on. "
            "Give a number instead, and that many samples are set apart",
        )
    if samples is None and isinstance(model.calibration, int) and model.calibration:
        raise document.error(("calibration",), "is a number of samples to set apart, and there is no `samples` to take them from")


def _shown(path: Path) -> str:
    return "".join("�" if _refused(char) else char for char in str(path))[:300]
