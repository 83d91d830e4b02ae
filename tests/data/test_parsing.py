"""Files of labels are plain, bounded, and nested but so deep."""

import os
import time

import pytest
import yaml

from nommer.data.formats.class_file import UniqueKeys
from nommer.data.parsing import parse_json, parse_xml, parse_yaml, read_text


@pytest.mark.parametrize("opening", ["[", "{", "[{"])
def test_brackets_within_brackets_are_refused_soon(opening):
    start = time.perf_counter()
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_yaml("names:\n  " + opening * 100_000, UniqueKeys)
    with pytest.raises(ValueError, match=r"nested too deeply|Expecting"):
        parse_json(opening * 100_000)
    assert time.perf_counter() - start < 5


def test_sound_values_are_read(tmp_path):
    assert parse_yaml("a: [1, {b: [c, d]}]", yaml.SafeLoader) == {"a": [1, {"b": ["c", "d"]}]}
    assert parse_json(b"[1]") == [1]
    (tmp_path / "a.xml").write_text("<a><b>1</b></a>")
    assert parse_xml((tmp_path / "a.xml").read_bytes()).findtext("b") == "1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<a>" * 5000, "nested over 200 levels|is no XML"),
        ("", "is no XML|no elements"),
        ("<?xml version='1.0' encoding='klingon'?><a/>", "is no XML"),
        ("<a>&b;</a>", "is no XML"),
    ],
)
def test_other_xml_is_refused(tmp_path, content, reason):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(ValueError, match=reason):
        parse_xml((tmp_path / "a.xml").read_bytes())


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(OSError, match="is a named pipe"):
        read_text(tmp_path / "a.txt")
