"""JSON Schemas of the files that people write and of the records that programs read, for editors and other programs.

`python -m orchestrator.schemas` writes them to docs/schema/ of the current folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.run import RunRecord
from agents.runner.wire import RunSpec
from device_profiles.profile import DeviceProfile
from optimizers.model_file import ModelFile
from optimizers.passes.table import PASSES
from optimizers.recipes import RECIPES
from orchestrator.atomic_file import atomic_file, file_errors
from orchestrator.campaign_file import CampaignFile
from orchestrator.farm import FarmFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = Mapping[str, Any]


def schemas() -> Mapping[str, Schema]:
    """Every schema by the name of its file, without the ending."""
    return {
        "farm": _headed(FarmFile.model_json_schema()),
        "model": _headed(ModelFile.model_json_schema()),
        "campaign": _headed(_campaign_schema()),
        "recipe": _headed(_recipe_schema()),
        "device-profile": _headed(DeviceProfile.model_json_schema()),
        "run-spec": _headed(RunSpec.model_json_schema()),
        "run-record": _headed(RunRecord.model_json_schema()),
    }


def schema_text(schema: Schema) -> str:
    """As it stands in the file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def export_schemas(folder: Path) -> tuple[Path, ...]:
    """Write every schema to `folder`, each whole or not at all; the files written, in order. Raises: StoreError, OutOfSpace."""
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return tuple(_write(folder / f"{name}.json", schema_text(schema)) for name, schema in schemas().items())


def _write(path: Path, text: str) -> Path:
    with atomic_file(path) as file:
        file.write(text.encode())
    return path


def _headed(schema: Schema) -> Schema:
    return {"$schema": DIALECT, **schema}


def _campaign_schema() -> Schema:
    schema = CampaignFile.model_json_schema()
    schema["properties"]["recipes"]["items"] = {
        "anyOf": [
            {"enum": list(RECIPES), "description": "a recipe that ships"},
            {"type": "string", "pattern": r"/|\.(yaml|yml|json)$", "description": "the path of a recipe file, relative to this file"},
            {"$ref": "recipe.json"},
        ]
    }
    schema["oneOf"] = [{"required": ["model"]}, {"required": ["models"]}]
    return schema


def _recipe_schema() -> Schema:
    """Recipes are parsed by hand, pass by pass; this says the same."""
    parameters = {name: PASSES[name].parameters_type.model_json_schema() for name in PASSES}
    definitions = {key: value for one in parameters.values() for key, value in one.pop("$defs", {}).items()}
    passes = [{"enum": list(PASSES), "description": "a pass as it is"}, *(_pass_schema(name, one) for name, one in parameters.items())]
    return {
        **({"$defs": definitions} if definitions else {}),
        "title": "Recipe",
        "description": "An ordered list of passes.",
        "type": "object",
        "additionalProperties": False,
        "required": ["passes"],
        "properties": {
            "name": {"type": "string", "description": "default: the file's name, or those of its passes"},
            "description": {"type": "string"},
            "passes": {"type": "array", "minItems": 1, "items": {"anyOf": passes}},
        },
    }


def _pass_schema(name: str, parameters: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name],
        "properties": {name: {"anyOf": [parameters, {"type": "null"}]}},
    }


if __name__ == "__main__":
    export_schemas(Path("docs/schema"))
