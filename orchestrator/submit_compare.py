"""Turn `compare A B` into a campaign of two variants in paired blocks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agents.run import RunConfig
from device_profiles.field_errors import did_you_mean
from optimizers.model_file import ModelFile, bare_model_file, load_model_file
from optimizers.recipes import RECIPES
from optimizers.variant import Recipe
from orchestrator.campaign import load_recipe
from orchestrator.campaign_file import ProtocolFile
from orchestrator.errors import NotFound, UsageError
from orchestrator.farm import Farm
from orchestrator.made import record_to_made
from orchestrator.records import RecordKind
from orchestrator.site import Site, open_site
from orchestrator.spec import BASELINE, CampaignSpec, PairedComparison, Side
from orchestrator.submit import Profiles, device_ref, inspect_or_refuse, new_campaign_id, resolve_protocol

INCUMBENT = "incumbent"
_ID_DIGITS = 6


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How `thresher compare` measures; `blocks` None: as many as it takes."""

    device: str
    config: RunConfig
    protocol: ProtocolFile
    blocks: int | None


def plan_compare(farm: Farm, sides: tuple[str, str], model: Path, options: CompareOptions, *, command: str = "") -> CampaignSpec:
    """A comparison of two variants of a model on one device. Raises: UsageError."""
    file = bare_model_file(model) if model.suffix == ".onnx" else load_model_file(model)
    files = inspect_or_refuse(file)
    device = farm.device(options.device)
    with open_site(farm) as site:
        found = [_side(site, file, text, letter) for text, letter in zip(sides, "AB", strict=True)]
    return CampaignSpec(
        id=new_campaign_id(),
        name=f"compare {sides[0]} {sides[1]}"[:200],
        lab_host=farm.lab_host,
        models=(file,),
        files={file.name: files},
        recipes=tuple(recipe for recipe, _ in found),
        configs=(options.config,),
        devices=(device_ref(device, Profiles(farm)),),
        protocol=resolve_protocol(options.protocol),
        command=command,
        comparison=PairedComparison(a=found[0][1], b=found[1][1], blocks=options.blocks),
    )


def _side(site: Site, model: ModelFile, text: str, letter: str) -> tuple[Recipe, Side]:
    """The recipe and side that a word on the command line stands for.

    Both sides carry their letter in the recipe's name, so that a variant can be compared with itself.
    """
    word = BASELINE if text == INCUMBENT else text  # before the first promotion the baseline is what is deployed
    path = Path(word)
    if path.suffix in {".onnx", ".ort"}:
        inspect_or_refuse(bare_model_file(path))
        recipe = Recipe(name=_named(path.name, letter), description="the file as it is", passes=())
        return recipe, Side(recipe=recipe.name, path=path.absolute())
    if path.suffix in {".yaml", ".yml"}:
        return _by_recipe(load_recipe(path), letter)
    if word in RECIPES:
        return _by_recipe(RECIPES[word], letter)
    return _by_id(site, model, word, letter)


def _by_recipe(recipe: Recipe, letter: str) -> tuple[Recipe, Side]:
    named = recipe.model_copy(update={"name": _named(recipe.name, letter)})
    return named, Side(recipe=named.name)


def _by_id(site: Site, model: ModelFile, word: str, letter: str) -> tuple[Recipe, Side]:
    records = [
        record
        for record in site.log.read(kind=RecordKind.VARIANT, model=model.name)
        if record.variant_id is not None and record.variant_id.startswith(word)
    ]
    ids = {record.variant_id for record in records}
    if not ids or len(word) < _ID_DIGITS:
        known = [*RECIPES, INCUMBENT]
        raise NotFound(
            f"{word!r} is no variant of {model.name}: give a recipe ({did_you_mean(word, known, noun='recipes')}), an ONNX file, "
            f"or at least {_ID_DIGITS} digits of a variant's id (`thresher record list --kind variant`)"
        )
    if len(ids) > 1:
        raise UsageError(f"{len(ids)} variants of {model.name} begin with {word}: give more digits")
    made = record_to_made(records[-1])
    recipe = made.recipe.model_copy(update={"name": _named(f"{made.recipe.name} {word}", letter)})
    return recipe, Side(recipe=recipe.name, record=records[-1].id)


def _named(name: str, letter: str) -> str:
    return f"{letter}: {name}"
