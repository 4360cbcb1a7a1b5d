"""What pydantic says of a value, as sentences for the person who wrote the file: where, what was expected, the nearest right word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from device_profiles.errors import TextFileError
from device_profiles.yaml_tree import ListNode, MapNode, Mark, Node, ScalarNode, fault, printable

MAX_SHOWN = 3

Location = Sequence[int | str]

_VERBS = ("is ", "has ", "holds ", "needs ", "names ", "cannot ", "must ", "feeds ", "makes ")
_NEEDS: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping (`key: value`)",
    "mapping_type": "a mapping (`key: value`)",
    "model_type": "a mapping (`key: value`)",
    "model_attributes_type": "a mapping (`key: value`)",
    "none_required": "nothing",
}


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a person who typed `word` most likely meant, if one is near."""
    by_fold = {candidate.casefold().replace("-", "_"): candidate for candidate in candidates}
    folded = word[:100].casefold().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(folded, by_fold, n=1, cutoff=0.6)
    longer = [fold for fold in by_fold if len(folded) >= 3 and fold.startswith(folded)]  # `size` for `size_bytes`
    return by_fold[(close or longer)[0]] if close or longer else None


def did_you_mean(word: str, candidates: Iterable[str], *, noun: str) -> str:
    """A clause: `did you mean `x`? (NOUN: x, y, z)`, or the list alone when nothing is near."""
    known = list(candidates)
    listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    guess = nearest(word, known)
    if guess is None:
        return f"{noun}: {listed}" if known else f"there are no {noun}"
    return f"did you mean `{guess}`? ({noun}: {listed})" if len(known) > 1 else f"did you mean `{guess}`?"


def find_node(root: Node, location: Location) -> tuple[Node, Mark, tuple[int | str, ...]]:
    """The deepest node on the way to a pydantic location, where it (or its key) stands, and the part of the way that exists.

    Steps that are not in the data (names of a union's members, `[key]`, a missing field) are passed over.
    """
    node: Node = root
    mark = root.mark
    path: list[int | str] = []
    for step in location:
        if isinstance(node, MapNode) and isinstance(step, str) and step in node.entries:
            mark = node.key_marks[step]
            node = node.entries[step]
        elif isinstance(node, ListNode) and isinstance(step, int) and 0 <= step < len(node.items):
            node = node.items[step]
            mark = node.mark
        else:
            continue
        path.append(step)
    return node, mark, tuple(path)


def field_path(steps: Iterable[int | str]) -> str:
    """`configs[0].threads`."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{printable(step, 60)}" if text else printable(step, 60)
    return text


def explain(root: Node, error: ValidationError, *, schema: type[BaseModel], source: str) -> TextFileError:
    """One paragraph with the first few things that are wrong, in the order they stand in the file."""
    json_schema = schema.model_json_schema()
    found: dict[tuple[Mark, str], list[str]] = {}
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "too_short" and any(_within(other["loc"], detail["loc"]) for other in details):
            continue  # its entries are there, but each is wrong in itself
        _, mark, path = find_node(root, detail["loc"])
        if detail["type"] == "missing":
            path = (*path, detail["loc"][-1])
        sentences = found.setdefault((mark, field_path(path)), [])
        sentence = _sentence(root, detail, json_schema)
        if sentence not in sentences:
            sentences.append(sentence)
    ordered = sorted(found.items(), key=lambda item: (item[0][0].line, item[0][0].column))
    parts = [(f"`{path}` " if path else "") + ", or ".join(texts[:3]) for (_, path), texts in ordered[:MAX_SHOWN]]
    places = [mark for (mark, _), _ in ordered[:MAX_SHOWN]]
    more = f"; and {len(ordered) - MAX_SHOWN} more" if len(ordered) > MAX_SHOWN else ""
    rest = "".join(f"; {mark}: {part}" for mark, part in zip(places[1:], parts[1:], strict=True))
    return fault(source, places[0], f"{parts[0]}{rest}{more}")


def _within(inner: Location, outer: Location) -> bool:
    return len(inner) > len(outer) and tuple(inner[: len(outer)]) == tuple(outer)


def misplaced_flag(root: Node, schema: type[BaseModel]) -> Location | None:
    """Where `true` or `false` stands although the schema wants something else there (pydantic would take `true` for 1)."""
    places = list(_flags(root, ()))
    json_schema = schema.model_json_schema() if places else {}
    for place in places:
        wanted = [s for s in _schemas_at(json_schema, place) if not s.keys() & {"$ref", "anyOf", "oneOf", "allOf"}]
        known = bool(wanted) and all(s.keys() & {"type", "const", "enum"} for s in wanted)
        if known and not any(s.get("type") == "boolean" for s in wanted):
            return place
    return None


def _flags(node: Node, path: tuple[int | str, ...]) -> Iterator[tuple[int | str, ...]]:
    match node:
        case ScalarNode(value=bool()):
            yield path
        case ScalarNode():
            pass
        case ListNode():
            for index, item in enumerate(node.items):
                yield from _flags(item, (*path, index))
        case MapNode():
            for key, item in node.entries.items():
                yield from _flags(item, (*path, key))


def _sentence(root: Node, detail: ErrorDetails, json_schema: Mapping[str, Any]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    node, _, path = find_node(root, detail["loc"])
    if kind == "missing":
        about = _description(json_schema, [*path, detail["loc"][-1]])
        return "is missing" + (f" ({about})" if about else "")
    if kind == "extra_forbidden":
        keys = known_keys(json_schema, path[:-1])
        return f"is not a key that belongs here: {did_you_mean(str(path[-1]) if path else '', keys, noun='known keys')}"
    if kind in ("value_error", "assertion_error"):
        text = printable(str(context.get("error", detail["msg"])), 600)
        return text if text.startswith(_VERBS) else f"is wrong: {text}"
    if kind in ("literal_error", "enum"):
        words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        written = node.text if isinstance(node, ScalarNode) else ""
        return f"cannot be {_shown(node)}: {did_you_mean(written, words, noun='allowed')}"
    if kind == "string_type" and isinstance(node, ScalarNode) and node.text:
        return f'needs text, and {printable(node.text)} without quotes is not: write "{printable(node.text)}"'
    if kind in ("too_short", "too_long"):
        return (
            f"needs {context['min_length']} or more entries" if kind == "too_short" else f"may have {context['max_length']} entries at most"
        )
    if kind in _NEEDS:
        return f"needs {_NEEDS[kind]}, not {_shown(node)}"
    message = printable(detail["msg"], 200).replace("Input should be", "must be").replace("should have", "must have")
    return f"{message[:1].lower()}{message[1:]}, not {_shown(node)}"


def _shown(node: Node) -> str:
    match node:
        case ListNode():
            return "a list" if node.items else "an empty list"
        case MapNode():
            return "a mapping"
        case ScalarNode():
            return f"`{printable(node.text, 60)}`" if node.text else "nothing"


def known_keys(json_schema: Mapping[str, Any], path: Location) -> list[str]:
    """The keys that a schema knows at a path, in its order."""
    found: dict[str, None] = {}
    for schema in _schemas_at(json_schema, path):
        found.update(dict.fromkeys(schema.get("properties", {})))
    return list(found)


def _description(json_schema: Mapping[str, Any], path: Location) -> str:
    for schema in _schemas_at(json_schema, path):
        if text := schema.get("description"):
            return str(text).split("\n", 1)[0]
    return ""


def _schemas_at(json_schema: Mapping[str, Any], path: Location) -> list[Mapping[str, Any]]:
    level = _alternatives(json_schema, json_schema)
    for step in path:
        children: list[Mapping[str, Any]] = []
        for schema in level:
            child: Any = None
            if isinstance(step, int):
                child = schema.get("items")
            else:
                child = schema.get("properties", {}).get(step) or schema.get("additionalProperties")
            if isinstance(child, Mapping):
                children += _alternatives(child, json_schema)
        level = children
    return level


def _alternatives(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A JSON schema with its references followed and its unions laid out, itself first."""
    found: list[Mapping[str, Any]] = []
    waiting, seen = [schema], set()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        found.append(current)
        if reference := current.get("$ref"):
            waiting.append(root.get("$defs", {}).get(str(reference).removeprefix("#/$defs/"), {}))
        for word in ("anyOf", "oneOf", "allOf"):
            waiting += current.get(word, [])
    return found
