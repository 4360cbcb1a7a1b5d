from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource

from device_profiles.load import profile_files
from orchestrator.schemas import export_schemas, schema_text, schemas

NAMES = ["campaign", "device-profile", "farm", "model", "recipe", "run-record", "run-spec"]


def valid(name: str, data: object) -> bool:
    registry = Registry().with_resources((f"{one}.json", Resource.from_contents(dict(schema))) for one, schema in schemas().items())
    return jsonschema.Draft202012Validator(schemas()[name], registry=registry).is_valid(data)


def test_there_is_a_schema_of_every_file():
    assert sorted(schemas()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_schemas_are_current(repository: Path, name):
    committed = (repository / "docs" / "schema" / f"{name}.json").read_text(encoding="utf-8")
    assert committed == schema_text(schemas()[name]), "run `python -m orchestrator.schemas` in the root of the checkout"


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_schema_with_a_title_and_described_keys(name):
    schema = schemas()[name]
    jsonschema.Draft202012Validator.check_schema(dict(schema))
    assert schema["title"]
    assert schema["additionalProperties"] is False


def test_exported_whole(tmp_path: Path):
    paths = export_schemas(tmp_path / "schema")
    assert sorted(path.stem for path in (tmp_path / "schema").iterdir()) == NAMES
    for path in paths:
        assert json.loads(path.read_text(encoding="utf-8")) == schemas()[path.stem]


@pytest.mark.parametrize(
    ("name", "text", "good"),
    [
        (
            "campaign",
            "{name: a, model: m.yaml, recipes: [fp32, ./r.yaml, {passes: [simplify]}], devices: {platform: host}, protocol: quick}",
            True,
        ),
        ("campaign", "{name: a, model: m.yaml, recipes: [fp32], budgets: {size_bytes: minimize, pixel-8: {latency_p50_s: 5ms}}}", True),
        ("campaign", "{name: a, model: m.yaml, recipes: [fp23]}", False),
        ("campaign", "{name: a, recipes: [fp32]}", False),
        ("campaign", "{name: a, model: m.yaml, recipes: [fp32], budgets: {size_bytes: 5ms}}", False),
        ("campaign", "{name: a, model: m.yaml, recipes: [{passes: [simplfy]}]}", False),
        ("recipe", "{passes: [simplify, {simplify: null}]}", True),
        ("recipe", "{passes: [{simplify: {nonsense: 1}}]}", False),
        ("farm", "{devices: [{name: a, address: 'local:'}], database_env: DB}", True),
        ("farm", "{device: []}", False),
        ("model", "{name: a, path: m.onnx, metric: top1, budgets: {accuracy_drop: 1%}}", True),
        ("model", "{name: a}", False),
    ],
)
def test_schemas_tell_right_from_wrong(name, text, good):
    assert valid(name, yaml.safe_load(text)) is good


@pytest.mark.parametrize("path", profile_files().values(), ids=lambda path: path.stem)
def test_shipped_profiles_fit_their_schema(path: Path):
    assert valid("device-profile", yaml.safe_load(path.read_text(encoding="utf-8")))
