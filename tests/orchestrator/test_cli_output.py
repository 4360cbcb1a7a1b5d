"""What reaches the terminal: escaped, one record a line, errors by their kind."""

from __future__ import annotations

import json

import pytest

from orchestrator.cli.bench import _shape
from orchestrator.cli.campaign_view import ranged
from orchestrator.cli.choices import one_of
from orchestrator.cli.main import _explain
from orchestrator.cli.output import Column, Format, error, print_record, print_table, printable
from orchestrator.errors import NotFound, StoreError, UsageError

HOSTILE = "a\x1b[31mred\x07\nb\u202e<b>[bold]x[/bold]"


def test_nothing_can_move_the_cursor_or_add_a_line(capsys):
    shown = printable(HOSTILE)
    assert all(char.isprintable() for char in shown)
    assert "<b>[bold]" in shown
    print_table("t", [Column("name")], [[HOSTILE]])
    error(HOSTILE)
    both = "".join(capsys.readouterr())
    assert "\x1b[31m" not in both
    assert "\u202e" not in both
    assert "[bold]x[/bold]" in both


def test_a_record_is_one_line_of_json(capsys):
    print_record("row", {"name": HOSTILE, "value": None})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == {"kind": "row", "name": HOSTILE, "value": None}


@pytest.mark.parametrize(
    ("raised", "code"),
    [(UsageError("u"), 2), (NotFound("n"), 2), (StoreError("s"), 3), (OSError(28, "No space left"), 3), (KeyError("k"), 3)],
)
def test_errors_have_their_exit_codes(raised, code, capsys):
    assert _explain(raised) == code
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert "Traceback" not in shown


def test_a_word_from_a_closed_set_gets_the_nearest():
    assert one_of(Format, "json", what="format") is Format.JSON
    with pytest.raises(UsageError, match="json"):
        one_of(Format, "jsno", what="format")


@pytest.mark.parametrize(
    ("text", "shape"), [("x=1x3x224x224", ("x", (1, 3, 224, 224))), ("a=b=2,5", ("a=b", (2, 5))), ("y=7", ("y", (7,)))]
)
def test_input_shapes_are_read(text, shape):
    assert _shape(text) == shape


@pytest.mark.parametrize("text", ["x", "=1x2", "x=", "x=1x0", "x=-1", "x=1xq", ""])
def test_other_input_shapes_are_refused(text):
    import typer

    with pytest.raises(typer.BadParameter):
        _shape(text)


def test_a_figure_with_its_interval():
    assert ranged(0.00123456, (0.0012, 0.0013), 1e3) == "1.23 [1.2 1.3]"
    assert ranged(None, None, 1) == "–"
    assert ranged(2.0, None, 1) == "2"
