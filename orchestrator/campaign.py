"""A campaign, read: its files found and loaded, its recipes parsed, its budgets merged with those of models and device kinds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.errors import ProtocolError
from agents.run import RunConfig
from device_profiles.budget import BudgetFile
from device_profiles.errors import ProfileError, TextFileError
from device_profiles.field_errors import did_you_mean
from device_profiles.profile import DeviceProfile
from device_profiles.strict_yaml import Document, read_document
from device_profiles.yaml_tree import printable
from optimizers.errors import OptimizerError, RecipeError
from optimizers.model_file import ModelFile, bare_model_file, load_model_file
from optimizers.recipes import find_recipe, parse_recipe
from optimizers.variant import Recipe
from orchestrator.campaign_file import CampaignBudgets, CampaignFile, DeviceSelector, ProtocolFile
from orchestrator.errors import ConfigError
from orchestrator.farm import FarmDevice
from orchestrator.verdict import Budget, Limit

_FILE_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Campaign:
    """What a campaign file says, with every file it names loaded; all paths are absolute."""

    file: Path
    name: str
    models: tuple[ModelFile, ...]
    recipes: tuple[Recipe, ...]
    configs: tuple[RunConfig, ...]
    devices: DeviceSelector
    budgets: CampaignBudgets
    protocol: ProtocolFile
    seed: int


def load_campaign(path: Path, *, profiles: Collection[str] | None = None) -> Campaign:
    """The campaign of a file. With `profiles`, budgets may name no other device kind. Raises: ConfigError."""
    try:
        document = read_document(path)
        written = document.validate(CampaignFile)
        _check_profiles(document, written.budgets, profiles)
        _check_protocol(document, written.protocol)
        return Campaign(
            file=path.absolute(),
            name=written.name,
            models=_models(document, written, path.absolute().parent),
            recipes=_recipes(document, written, path.absolute().parent),
            configs=written.configs,
            devices=written.devices,
            budgets=written.budgets,
            protocol=written.protocol,
            seed=written.seed,
        )
    except (ProfileError, OptimizerError) as error:
        raise ConfigError(printable(str(error), 4000)) from None


def load_recipe(path: Path) -> Recipe:
    """The recipe of a file; without a name of its own it has the file's. Raises: ConfigError."""
    try:
        return _recipe_file(path)
    except (ProfileError, OptimizerError) as error:
        raise ConfigError(printable(str(error), 4000)) from None


def resolve_budget(campaign: Campaign, model: ModelFile, profile: DeviceProfile) -> Budget:
    """What holds for a model on a device kind: each limit from the campaign, else the model, else the device profile."""
    own = campaign.budgets.by_profile.get(profile.name, BudgetFile({}))
    layers = (("campaign", own), ("campaign", campaign.budgets.limits), ("model", model.budgets), ("device profile", profile.budgets))
    return merge_budgets(layers)


def merge_budgets(layers: Sequence[tuple[str, BudgetFile]]) -> Budget:
    """The first layer that has a limit decides it, as a bound or as an objective; objectives stay in the order of the layers.

    With no objective at all it is the median latency.
    """
    constraints: list[tuple[Limit, float]] = []
    objectives: list[Limit] = []
    sources: list[tuple[Limit, str]] = []
    decided: set[str] = set()
    for source, budget in layers:
        bounds = dict(budget.constraints)
        for name in budget.root:
            if name in decided:
                continue
            decided.add(name)
            sources.append((Limit(name), source))
            if name in bounds:
                constraints.append((Limit(name), bounds[name]))
            else:
                objectives.append(Limit(name))
    return Budget(tuple(constraints), tuple(objectives) or (Limit.LATENCY_P50_S,), tuple(sources))


def select_devices(selector: DeviceSelector, devices: Sequence[FarmDevice], *, platforms: Mapping[str, str]) -> tuple[FarmDevice, ...]:
    """The devices that a campaign runs on, in the farm's order; `platforms` gives the platform of each device profile.

    Raises: ConfigError for a word that fits no device, and when none is left.
    """
    checks: tuple[tuple[str, Sequence[str], Callable[[FarmDevice], Collection[str]]], ...] = (
        ("names", selector.names, lambda device: (device.name,)),
        ("profile", selector.profile, lambda device: (device.profile,)),
        ("platform", selector.platform, lambda device: (platforms[device.profile],)),
        ("tags", selector.tags, lambda device: device.tags),
    )
    chosen = list(devices)
    for key, wanted, having in checks:
        known = dict.fromkeys(word for device in devices for word in having(device))
        for word in wanted:
            if word not in known:
                hint = did_you_mean(word, [printable(one) for one in known], noun=f"{key} in the farm")
                raise ConfigError(f"`devices.{key}` has `{printable(word)}`, which no device of the farm has: {hint}")
        if wanted:
            chosen = [device for device in chosen if set(having(device)) & set(wanted)]
    if not chosen:
        named = ", ".join(printable(device.name) for device in devices)
        raise ConfigError(f"`devices` fits no device of the farm: each key must allow the device (devices: {named})")
    return tuple(chosen)


def _check_profiles(document: Document, budgets: CampaignBudgets, profiles: Collection[str] | None) -> None:
    for name in budgets.by_profile if profiles is not None else ():
        if name not in (profiles or ()):
            known = [*Limit, *(profiles or ())]
            raise document.error(
                ("budgets", name), f"is neither a limit nor a device profile: {did_you_mean(name, known, noun='limits and profiles')}"
            )


def _check_protocol(document: Document, protocol: ProtocolFile) -> None:
    try:
        protocol.resolve()
    except ProtocolError as error:
        raise document.error(("protocol",), f"cannot be followed: {error}") from None


def _models(document: Document, written: CampaignFile, folder: Path) -> tuple[ModelFile, ...]:
    models: list[ModelFile] = []
    for place, path in enumerate(written.model_paths):
        location: tuple[int | str, ...] = ("model",) if written.models is None else ("models", place)
        try:
            model = bare_model_file(folder / path) if path.suffix == ".onnx" else load_model_file(folder / path)
        except (ProfileError, OptimizerError) as error:
            raise TextFileError(f"{document.place(location)}: {error}") from None
        if any(model.name == other.name for other in models):
            raise document.error(
                location, f"has the name `{model.name}`, which another model of the campaign has: give it a name of its own"
            )
        models.append(model)
    return tuple(models)


def _recipes(document: Document, written: CampaignFile, folder: Path) -> tuple[Recipe, ...]:
    recipes: list[Recipe] = []
    for place, entry in enumerate(written.recipes):
        location = ("recipes", place)
        if not isinstance(entry, str):
            recipe = parse_recipe(entry, source=document.place(location))
        elif "/" in entry or entry.endswith(_FILE_ENDINGS):
            recipe = _recipe_file(folder / entry)
        else:
            try:
                recipe = find_recipe(entry)
            except RecipeError as error:
                raise document.error(
                    location, f"cannot be found: {error}; a recipe file is written as a path, such as ./{entry}.yaml"
                ) from None
        if any(recipe.name == other.name for other in recipes):
            raise document.error(location, f"is a second recipe named `{recipe.name}`: give it a name of its own, or leave it out")
        recipes.append(recipe)
    return tuple(recipes)


def _recipe_file(path: Path) -> Recipe:
    document = read_document(path)
    data = document.data
    if isinstance(data, dict) and "name" not in data:
        data = {"name": path.stem, **data}
    return parse_recipe(data, source=printable(str(path), 300))
