"""YAML text to a tree that remembers where each value stood: the strict subset that people write.

One document of mappings with text keys, lists and scalars, read as the YAML 1.2 core schema reads them (so `on`, `no` and
2026-01-31 are text, and 1e-3 is a number). Refused: anchors and aliases (they expand without bound), tags, repeated keys,
control characters, nesting beyond `MAX_DEPTH`. JSON is a subset and is read alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from device_profiles.errors import TextFileError

MAX_DEPTH = 32
MAX_NODES = 100_000
MAX_DIGITS = 100

Scalar = str | int | float | bool | None
Data = Scalar | list["Data"] | dict[str, "Data"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What YAML 1.2 (section 5.1) and JSON let stand unescaped, less what the two versions of YAML disagree on as line breaks.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
# YAML 1.2, section 10.3.2 (core schema).
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_RADIX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"(?P<sign>[-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the text; both count from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A value, and the text it was written as."""

    mark: Mark
    value: Scalar
    text: str


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list."""

    mark: Mark
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping in the order it was written; `key_marks` says where each key stood."""

    mark: Mark
    entries: Mapping[str, Node]
    key_marks: Mapping[str, Mark]


Node = ScalarNode | ListNode | MapNode


def printable(text: str, limit: int = 80) -> str:
    """The text with everything that is not printable escaped, cut to about `limit` characters: safe to show."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in cut)


def fault(source: str, mark: Mark | None, message: str) -> TextFileError:
    """The one error of text files: `FILE, line 3, column 5: MESSAGE`."""
    place = f", {mark}" if mark else ""
    return TextFileError(f"{printable(source, 300)}{place}: {message}")


def plain_data(node: Node) -> Data:
    """The tree without its marks."""
    match node:
        case ScalarNode():
            return node.value
        case ListNode():
            return [plain_data(item) for item in node.items]
        case MapNode():
            return {key: plain_data(value) for key, value in node.entries.items()}


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open."""

    mark: Mark
    is_map: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Node] = field(default_factory=dict)
    key_marks: dict[str, Mark] = field(default_factory=dict)
    pending: str | None = None

    def closed(self) -> Node:
        return MapNode(self.mark, self.entries, self.key_marks) if self.is_map else ListNode(self.mark, tuple(self.items))


def parse_tree(text: str, *, source: str) -> Node | None:
    """The tree of one YAML document, None if there is nothing in it. Raises: TextFileError."""
    if bad := _FORBIDDEN.search(text):
        raise fault(source, _mark_at(text, bad.start()), f"the character U+{ord(bad.group()):04X} cannot stand in a text file: remove it")
    builder = _Builder(source)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(text, source, error) from None
    except yaml.YAMLError as error:
        raise fault(source, None, f"this is not YAML: {printable(str(error), 200)}") from None
    return builder.root


class _Builder:
    """Takes parser events one by one; `root` is the tree at the end."""

    def __init__(self, source: str) -> None:
        self.root: Node | None = None
        self._source = source
        self._stack: list[_Frame] = []
        self._nodes = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1) if event.start_mark else Mark(1, 1)
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise fault(self._source, mark, "a second document begins here (`---`): write one document a file")
            case yaml.AliasEvent():
                raise fault(
                    self._source, mark, "aliases (`*name`) are not read here: write the value out, or put text that begins with * in quotes"
                )
            case yaml.ScalarEvent():
                self._check(event, mark)
                self._add(ScalarNode(mark, self._scalar(event, mark), event.value))
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._check(event, mark)
                self._stack.append(_Frame(mark, isinstance(event, yaml.MappingStartEvent)))
                if len(self._stack) > MAX_DEPTH:
                    raise fault(self._source, mark, f"lists and mappings are nested more than {MAX_DEPTH} deep")
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._add(self._stack.pop().closed())
            case _:
                pass  # stream and document ends carry nothing

    def _check(self, event: yaml.NodeEvent, mark: Mark) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise fault(self._source, mark, f"more than {MAX_NODES:,} values: this is not a file that a person wrote")
        if event.anchor is not None:
            raise fault(
                self._source, mark, "anchors (`&name`) are not read here: write the value out, or put text that begins with & in quotes"
            )
        if getattr(event, "tag", None) is not None:
            raise fault(self._source, mark, "tags (`!name`) are not read here: leave it out, or put text that begins with ! in quotes")

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark) -> Scalar:
        if any("\ud800" <= c <= "\udfff" for c in event.value):
            raise fault(self._source, mark, "half a surrogate pair is not a character: write the character itself")
        if event.style:  # quoted, or a block; libyaml says "" where PyYAML says None
            return str(event.value)
        try:
            return resolve(event.value)
        except ValueError as error:
            raise fault(self._source, mark, str(error)) from None

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        if not frame.is_map:
            frame.items.append(node)
        elif frame.pending is None:
            frame.pending = self._key(frame, node)
        else:
            frame.entries[frame.pending] = node
            frame.pending = None

    def _key(self, frame: _Frame, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            raise fault(self._source, node.mark, "a list or mapping stands where a key should be: a key is a plain word")
        if node.text == "":
            raise fault(self._source, node.mark, "a key is missing before the colon")
        key = node.text
        if key in frame.entries:
            raise fault(
                self._source,
                node.mark,
                f"`{printable(key)}` is written twice (first on line {frame.key_marks[key].line}): keep one of them",
            )
        frame.key_marks[key] = node.mark
        return key


def resolve(text: str) -> Scalar:
    """What an unquoted scalar means in YAML 1.2's core schema. Raises: ValueError for a number of absurd length."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _RADIX.fullmatch(text) or _INT.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} digits is too long")
        return int(text, 0) if _RADIX.fullmatch(text) else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        return float("nan") if special["sign"] is None else float(f"{special['sign']}inf")
    return text


def _mark_at(text: str, index: int) -> Mark:
    before = text[:index]
    return Mark(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)


def _syntax_error(text: str, source: str, error: yaml.MarkedYAMLError) -> TextFileError:
    found = error.problem_mark or error.context_mark
    mark = Mark(found.line + 1, found.column + 1) if found else None
    lines = text.splitlines()
    line = lines[mark.line - 1] if mark and mark.line <= len(lines) else ""
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    return fault(source, mark, f"this is not YAML ({printable(problem, 160)}): {_advice(line, problem)}")


def _advice(line: str, problem: str) -> str:
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with spaces, not tabs"
    if "mapping values" in problem:
        return "text that contains a colon and a space must be in quotes, and a nested key must be indented on a line of its own"
    if "escape" in problem:
        return "in double quotes a backslash must be doubled; single quotes take it as it is"
    if "cannot start any token" in problem:
        return "text that begins with this character must be in quotes"
    return "look for a missing quote, bracket, comma or colon, or a wrong indent, here or just before"
