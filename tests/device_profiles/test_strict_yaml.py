"""Files that people write: what is read, and what is said of what cannot be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from device_profiles.budget import BudgetFile
from device_profiles.errors import TextFileError
from device_profiles.strict_yaml import decode, load_yaml, parse_document, parse_yaml
from device_profiles.yaml_tree import MAX_DEPTH, resolve


class Run(BaseModel):
    model_config = ConfigDict(extra="forbid")

    threads: Annotated[int, Field(ge=1)] = 1
    shapes: dict[str, tuple[int, ...]] = {}


class Example(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="what it is called")
    kind: Literal["fast", "small"] = "fast"
    ratio: float = 1.0
    flag: bool = False
    runs: tuple[Run, ...] = ()
    either: str | list[str] = ""
    budgets: BudgetFile = BudgetFile({})


VALID = """\
# a comment
name: "nightly" # and another
kind: small
ratio: 1e-3
runs:
  - {threads: 2}
  - threads: 4
    shapes: {x: [1, 3, 224, 224]}
either: [a, b]
budgets:
  accuracy_drop: 1%
  latency_p50_s: minimize
"""


def message(text: str) -> str:
    with pytest.raises(TextFileError) as caught:
        parse_yaml(text, Example, source="a.yaml")
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_whole_file():
    parsed = parse_yaml(VALID, Example, source="a.yaml")
    assert parsed == Example(
        name="nightly",
        kind="small",
        ratio=0.001,
        runs=(Run(threads=2), Run(threads=4, shapes={"x": (1, 3, 224, 224)})),
        either=["a", "b"],
        budgets=BudgetFile({"accuracy_drop": 0.01, "latency_p50_s": "minimize"}),
    )


def test_json_is_read_alike():
    text = json.dumps({"name": "é\n\t", "runs": [{"threads": 2}], "ratio": 1e-3, "flag": True}, indent="\t", ensure_ascii=False)
    assert parse_yaml(text, Example, source="a.json") == Example(name="é\n\t", runs=(Run(threads=2),), ratio=0.001, flag=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("2026-01-31", "2026-01-31"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("-7", -7),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("0x", "0x"),
        ("1.2.3", "1.2.3"),
        ("<<", "<<"),
    ],
)
def test_unquoted_scalars_mean_what_yaml_1_2_says(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_keys_are_text_whatever_they_look_like():
    assert parse_document("{1: a, on: b, true: c, 2026-01-31: d}", source="x").data == {"1": "a", "on": "b", "true": "c", "2026-01-31": "d"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nmae: x", ["a.yaml, line 1, column 1: `name` is missing (what it is called)", "`nmae`", "did you mean `name`?"]),
        ("name: x\nruns:\n  - threads: 1\n  - thread: 2", ["line 4, column 5: `runs[1].thread`", "did you mean `threads`?"]),
        ("name: x\nkind: smal", ["line 2, column 1: `kind` cannot be `smal`: did you mean `small`?"]),
        ("name: 12", ['line 1, column 1: `name` needs text, and 12 without quotes is not: write "12"']),
        ("name: null", ["`name` needs text", 'write "null"']),
        ("name:", ["`name` needs text, not nothing"]),
        ("name: x\nruns: {threads: 1}", ["`runs` needs a list, not a mapping"]),
        ("name: x\nruns: [{threads: many}]", ["`runs[0].threads` needs a whole number, not `many`"]),
        ("name: x\nruns: [{threads: true}]", ["`runs[0].threads` cannot be true or false"]),
        ("name: x\nruns: [{threads: 0}]", ["`runs[0].threads` must be greater than or equal to 1, not `0`"]),
        ("name: x\nflag: perhaps", ["`flag` needs true or false, not `perhaps`"]),
        ("name: x\neither: {a: b}", ["`either` needs text, not a mapping, or needs a list, not a mapping"]),
        ("name: x\nbudgets: {latency_p50: 5ms}", ["`budgets.latency_p50` is not a key", "did you mean `latency_p50_s`?"]),
        ("name: x\nbudgets: {latency_p50_s: 5mz}", ["units: ns, us, µs, ms, s, min, h", "`mz` is not one of them"]),
        ("name: x\nbudgets: {size_bytes: minimise}", ["did you mean `minimize`?"]),
        ("name: x\nbudgets: {size_bytes: null}", ["`budgets.size_bytes` needs a size in bytes"]),
        ("a: 1\na: 2", ["line 2, column 1: `a` is written twice (first on line 1)"]),
        ("name: x\nruns: [{threads: 1, threads: 2}]", ["`threads` is written twice"]),
        ("name: *x", ["line 1, column 7: aliases"]),
        ("name: &x y", ["line 1, column 7: anchors"]),
        ("name: !!str y", ["line 1, column 7: tags"]),
        ("!!python/object/apply:os.system [ls]", ["tags"]),
        ("? [a]\n: b", ["a list or mapping stands where a key should be"]),
        ('"": b', ["a key is missing before the colon"]),
        ("name: x\n\tkind: small", ["line 2", "indent with spaces, not tabs"]),
        ("name: a: b", ["line 1, column 8", "in quotes"]),
        ("name: [a", ["this is not YAML", "look for a missing quote, bracket"]),
        ("name: x\n---\nname: y", ["line 2, column 1: a second document"]),
        ("[1, 2]", ["the file must be a mapping"]),
        ("just words", ["the file must be a mapping"]),
        ("", ["a.yaml: the file is empty: it needs `name`"]),
        ("# nothing\n", ["the file is empty"]),
        ("name: \x1b[31m", ["line 1, column 7: the character U+001B"]),
        ("name: x\n\x00", ["line 2, column 1: the character U+0000"]),
        ("name: \u2028", ["U+2028"]),
        ('name: "\\ud800"', ["this is not YAML"]),
        ('name: "\\x1b[31m\\n"\nkind: "\\x1b[2J"', ["`kind` cannot be `\\x1b[2J`"]),
        ('"\\x1b[2J": 1', ["`\\x1b[2J` is not a key"]),
        ("name: " + "9" * 5000, ["a number of 5000 digits is too long"]),
        ("name: " + "[" * 40 + "]" * 40, [f"nested more than {MAX_DEPTH} deep"]),
        ("name: [" + "1," * 120_000 + "]", ["more than 100,000 values"]),
        ("a" * 1_100_000, ["larger than 1 MiB"]),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, parts):
    said = message(text)
    assert said.startswith("a.yaml")
    for part in parts:
        assert part in said
    assert len(said) < 1500


def test_the_first_three_problems_stand_in_the_order_of_the_file():
    said = message("runs: [{threads: 0}, {threads: x}]\nkind: slow\nratio: no\nname: 1")
    assert [said.index(word) for word in ("runs[0]", "runs[1]", "kind")] == sorted(
        said.index(word) for word in ("runs[0]", "runs[1]", "kind")
    )
    assert said.endswith("and 2 more")


def test_a_check_of_ones_own_says_where():
    document = parse_document(VALID, source="a.yaml")
    assert str(document.error(("runs", 1, "threads"), "is too many")) == "a.yaml, line 7, column 5: `runs[1].threads` is too many"
    assert document.place(("either", 1)) == "a.yaml, line 9, column 13, either[1]"


def test_files(tmp_path: Path):
    path = tmp_path / "model.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\nkind: small\r\n")
    assert load_yaml(path, Example).kind == "small"
    with pytest.raises(TextFileError, match=r"modle\.yaml: there is no such file: did you mean `model\.yaml`\?"):
        load_yaml(tmp_path / "modle.yaml", Example)
    with pytest.raises(TextFileError, match="this is a folder: give the file in it"):
        load_yaml(tmp_path, Example)
    with pytest.raises(TextFileError, match="no such file"):
        load_yaml(tmp_path / "gone" / "model.yaml", Example)
    with pytest.raises(TextFileError, match="cannot be read"):
        load_yaml(path / "below", Example)
    with pytest.raises(TextFileError, match="cannot be read"):
        load_yaml(tmp_path / "a\0b", Example)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(TextFileError, match="not a regular file"):
        load_yaml(tmp_path / "pipe.yaml", Example)
    path.write_bytes(b"name: x\n" + b"#" * (1 << 20))
    with pytest.raises(TextFileError, match="larger than 1 MiB"):
        load_yaml(path, Example)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ("name: x".encode("utf-16"), "UTF-16 or UTF-32: save it as UTF-8"),
        (b"name: x\n\0", "a NUL byte on line 2"),
        (b"a\nb\nname: \xff", "byte 0xff on line 3 is not UTF-8"),
    ],
)
def test_what_is_not_utf8(data, part):
    with pytest.raises(TextFileError, match=part):
        decode(data, source="a.yaml")


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))))
@example(b"name: x\n? |\n  a\n: b")
@example(b"%YAML 9.9\n---\nname: x")
@example(b"--- >-\n a\n...\n")
@example(b"{? : ,}")
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_read_or_refused_in_one_printable_paragraph(data):
    try:
        parse_yaml(decode(data, source="\x1b[31m.yaml"), Example, source="\x1b[31m.yaml")
    except TextFileError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 3000


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_any_mistake_in_a_valid_file_is_read_or_refused_in_one_printable_paragraph(data):
    text = VALID
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        end = min(len(text), at + data.draw(st.integers(0, 5)))
        text = text[:at] + data.draw(st.text(alphabet="ax1:-[]{}#&*!|>'\"\n\t ,%@\\\x1b\u202e", max_size=4)) + text[end:]
    try:
        parse_yaml(text, Example, source="a.yaml")
    except TextFileError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 3000
