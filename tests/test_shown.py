"""Text of strangers: no commands to terminals, nothing very long, no formulas for spreadsheets."""

import csv
import io
import json
import time

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nommer.files import as_csv
from nommer.progress import CleanConsole
from nommer.shown import as_cell, clean, cut, escaped_json, of_cell, quote

HOSTILE = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202egnp.exe\u2066x\u200f\x00\x7f\ud800\u2028"


def test_escape_sequences_and_marks_of_direction_are_written_out():
    shown = clean(HOSTILE)
    assert shown.isprintable()
    assert shown.startswith(r"a\x1b[31mred\x1b]0;title\x07\x9b2J\u202egnp.exe")
    shown.encode()


@pytest.mark.parametrize("text", ["größe 猫 Кошка", "two\nlines\tand a tab", "emoji 👩‍👩‍👧", "é"])
def test_other_text_is_shown_as_it_is(text):
    assert clean(text) == text


def test_a_console_shows_no_commands_wherever_the_text_stands():
    stream = io.StringIO()
    console = CleanConsole(file=stream, markup=False, width=400, force_terminal=False)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    console.print(HOSTILE, Text(HOSTILE, style="red"))
    console.print(table)
    written = stream.getvalue()
    assert not set(written) & set("\x1b\x07\x9b\u202e\u2066\u200f\x00\x7f")
    assert written.count(r"\x1b[31mred") == 6
    assert isinstance(console, Console)


def test_quoting_costs_what_is_shown_whatever_the_value():
    bomb = ["x" * 1000]
    for _ in range(200):
        bomb = [bomb] * 10
    endless = []
    endless.append(endless)
    start = time.perf_counter()
    for value in (
        bomb,
        endless,
        {"a": bomb},
        "y" * 10**7,
        list(range(10**6)),
        10**5000,
        {bytes(9)},
    ):
        assert len(quote(value)) <= 410
    assert time.perf_counter() - start < 1
    assert quote("a" * 300) == f"'{'a' * 50}...{'a' * 50}'"
    assert quote("cat\x1b") == r"'cat\x1b'"
    assert quote({"a": [1, 2.5, None]}) == "{'a': [1, 2.5, None]}"


def test_text_is_cut_in_its_middle():
    assert cut("short") == "short"
    assert cut("a" * 500 + "b" * 500, 20) == "a" * 10 + "..." + "b" * 10


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "'=1"])
def test_formulas_are_marked_and_read_back(cell):
    assert as_cell(cell) == f"'{cell}"
    assert of_cell(as_cell(cell)) == cell
    (_, row) = csv.reader(io.StringIO(as_csv([{"file": cell}])))
    assert row == [f"'{cell}"]


@pytest.mark.parametrize("cell", ["-0.5", "+3", "-1e-05", "-inf", "plain", "", "it's", -3, None])
def test_numbers_and_other_text_stay_what_they_are(cell):
    assert as_cell(cell) == cell
    assert not isinstance(cell, str) or of_cell(cell) == cell


def test_a_table_without_rows_has_a_heading():
    assert as_csv([], ("image", "class")) == "image,class\n"


def test_json_for_terminals_holds_the_same_values():
    value = {"a\u202eb": ["\x1b[31m", "\U000e0001", "über 中文"]}
    text = escaped_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert "\u202e" not in text
    assert "über 中文" in text
