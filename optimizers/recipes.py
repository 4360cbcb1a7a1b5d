"""Recipes: those that ship, and those that a user writes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from device_profiles.field_errors import did_you_mean
from optimizers.errors import RecipeError
from optimizers.foreign import one_line
from optimizers.optimizer_pass import Parameters
from optimizers.passes.table import PASSES
from optimizers.variant import PassSpec, Recipe

_MAX_PASSES = 32
_MAX_NAME = 200
_SIMPLIFY = PassSpec(name="simplify")


def _recipe(name: str, description: str, *passes: PassSpec) -> Recipe:
    return Recipe(name=name, description=description, passes=(_SIMPLIFY, *passes))


_ALL = (
    _recipe("fp32", "The model as given, simplified: the baseline."),
    _recipe("fp16", "Weights and arithmetic in half precision; inputs and outputs stay fp32.", PassSpec(name="fp16")),
    _recipe(
        "int8-dynamic",
        "8-bit weights; activations are quantised as they come, which suits transformers. Needs no samples.",
        PassSpec(name="quantize_dynamic"),
    ),
    _recipe(
        "int8-static",
        "8-bit weights per channel and 8-bit activations with scales from calibration samples, which suits convolutions.",
        PassSpec(name="quantize_static", parameters={"per_channel": True}),
    ),
    _recipe(
        "int8-static-per-tensor",
        "As int8-static with one scale per weight tensor: some accelerators take nothing else.",
        PassSpec(name="quantize_static", parameters={"per_channel": False}),
    ),
    _recipe(
        "prune-magnitude-50",
        "Half of the weights set to zero, the smallest first: smaller once compressed, no faster on dense runtimes.",
        PassSpec(name="prune_magnitude", parameters={"sparsity": 0.5}),
    ),
    _recipe("ort-format", "ONNX Runtime's own format: loads faster, and in its small builds.", PassSpec(name="compile_ort")),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in _ALL})
"""The recipes that ship, by name."""


def find_recipe(name: str) -> Recipe:
    """A recipe that ships. Raises: RecipeError with the nearest name."""
    if name in RECIPES:
        return RECIPES[name]
    raise RecipeError(f"there is no recipe `{one_line(name, limit=80)}`: {did_you_mean(name, RECIPES, noun='recipes that ship')}")


def parse_recipe(data: object, *, source: str) -> Recipe:
    """A recipe as a person writes it: `{name?, description?, passes: [NAME | {NAME: {PARAMETER: VALUE}}]}`, or a shipped one's name.

    `source` says where it stands (a file and field). Every pass and parameter is checked. Raises: RecipeError.
    """
    if isinstance(data, str):
        return find_recipe(data)
    if not isinstance(data, Mapping):
        raise RecipeError(f"{source}: a recipe is a name, or a mapping with the key `passes`; this is {_kind(data)}")
    for key in data:
        if key not in ("name", "description", "passes"):
            hint = did_you_mean(str(key), ("name", "description", "passes"), noun="keys")
            raise RecipeError(f"{source}: `{one_line(key, limit=80)}` does not belong in a recipe; {hint}")
    passes = _passes(data.get("passes"), source)
    name = _text(data, "name", source) or "+".join(spec.name for spec in passes)
    recipe = Recipe(name=name, description=_text(data, "description", source), passes=passes)
    check_recipe(recipe, source=source)
    return recipe


def check_recipe(recipe: Recipe, *, source: str) -> None:
    """Names, parameters and order of the passes. Raises: RecipeError."""
    for place, spec in enumerate(recipe.passes):
        parameters_of(spec, source=f"{source}: passes[{place}]")
    for spec in recipe.passes[:-1]:
        if PASSES[spec.name].comes_last:
            raise RecipeError(f"{source}: `{spec.name}` must be the last pass, because what it makes is no ONNX file any more")


def parameters_of(spec: PassSpec, *, source: str) -> Parameters:
    """The parameters of a pass, parsed by its own type. Raises: RecipeError."""
    if spec.name not in PASSES:
        raise RecipeError(f"{source}: there is no pass `{one_line(spec.name, limit=80)}`: {did_you_mean(spec.name, PASSES, noun='passes')}")
    kind = PASSES[spec.name].parameters_type
    try:
        return kind.model_validate(dict(spec.parameters))
    except ValidationError as error:
        raise RecipeError(f"{source}: {spec.name}: {_explain(error, kind)}") from None


def _passes(data: object, source: str) -> tuple[PassSpec, ...]:
    if not isinstance(data, list | tuple) or not data:
        raise RecipeError(f"{source}: `passes` must be a list of at least one pass, for example `passes: [simplify, fp16]`")
    if len(data) > _MAX_PASSES:
        raise RecipeError(f"{source}: {len(data)} passes are too many; at most {_MAX_PASSES} are allowed")
    return tuple(_pass(one, f"{source}: passes[{place}]") for place, one in enumerate(data))


def _pass(data: object, source: str) -> PassSpec:
    if isinstance(data, str):
        return PassSpec(name=data)
    if not isinstance(data, Mapping) or len(data) != 1:
        raise RecipeError(f"{source}: a pass is its name, or one name with its parameters, as in `prune_magnitude: {{sparsity: 0.5}}`")
    name, parameters = next(iter(data.items()))
    if not isinstance(name, str) or not isinstance(parameters or {}, Mapping):
        raise RecipeError(f"{source}: `{one_line(name, limit=80)}` needs a mapping of its parameters, not {_kind(parameters)}")
    return PassSpec(name=name, parameters={str(key): value for key, value in (parameters or {}).items()})


def _text(data: Mapping[Any, Any], key: str, source: str) -> str:
    value = data.get(key) or ""
    if not isinstance(value, str) or len(value) > _MAX_NAME or not value.isprintable():
        raise RecipeError(f"{source}: `{key}` must be one line of text, at most {_MAX_NAME} characters")
    return value.strip()


def _explain(error: ValidationError, kind: type[Parameters]) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"`{one_line(field, limit=80)}` is no parameter of it; {did_you_mean(field, kind.model_fields, noun='parameters')}"
    if first["type"] == "missing":
        return f"the parameter `{field}` is missing"
    message = one_line(first["msg"], limit=200).replace("Input should be", "must be").removeprefix("Value error, ")
    if first["type"] in ("literal_error", "enum"):
        choices = [choice.strip("' ") for choice in str(first.get("ctx", {}).get("expected", "")).replace(" or ", ", ").split(",")]
        message = f"{message[:1].lower()}{message[1:]}; {did_you_mean(str(first['input']), choices, noun='choices')}"
    return f"`{one_line(field, limit=80)}`: {message}, not {one_line(repr(first['input']), limit=80)}"


def _kind(data: object) -> str:
    if data is None:
        return "nothing"
    if isinstance(data, list | tuple):
        return "a list"
    return one_line(repr(data), limit=60)
