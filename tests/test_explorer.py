"""The explorer's page: nothing from elsewhere, nothing read as HTML, colours that all can tell."""

import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from nommer.explorer import explorer_page, saved_page, script_hashes
from nommer.nominations.render import CONTEXT_COLOURS
from nommer.shown import clean
from tests.colours import MACHADO, seen

HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> \u2028 & '\""


class Elements(HTMLParser):
    """The elements of a page, and the text in its scripts."""

    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self.inside = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def saved(name):
    return saved_page({"models": [{"name": name, "class_names": [name]}], "images": []})


def test_names_of_the_data_are_never_html():
    plain, hostile = Elements(saved("cell")), Elements(saved(HOSTILE))
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found]
    data, script = hostile.scripts
    assert json.loads(data)["models"][0]["name"] == clean(HOSTILE)
    assert script == plain.scripts[1]


def test_marks_of_direction_and_escape_sequences_are_written_out_in_a_saved_page():
    data = Elements(saved("a\u202egnp\x1b[31m")).scripts[0]
    assert json.loads(data)["models"][0]["class_names"] == ["a\\u202egnp\\x1b[31m"]


def test_the_page_puts_text_only():
    script = Elements(explorer_page()).scripts[-1]
    for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("):
        assert way not in script


@pytest.mark.parametrize("page", [explorer_page(), saved("cell")], ids=["served", "saved"])
def test_the_page_loads_nothing_from_elsewhere(page):
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", page)
    named = [attrs.get(name) for _, attrs in Elements(page).found for name in ("src", "href")]
    assert [one for one in named if one is not None] == ["data:,"]


def test_a_saved_page_runs_its_own_script_alone():
    page = saved("cell")
    (policy,) = [
        attrs["content"]
        for _, attrs in Elements(page).found
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert script_hashes(page)[0] in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_controls_have_names():
    elements = Elements(explorer_page()).found
    assert ("html", {"lang": "en"}) in elements
    assert any(attrs.get("aria-live") == "polite" for _, attrs in elements)


SIGHTS = {"all colours": np.eye(3), **MACHADO}
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]
WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(colour, matrix):
    """CIE Lab of "#rrggbb" as it is seen."""
    share = np.array(TO_XYZ) @ seen(to_rgb(colour), matrix) / WHITE
    curve = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    return np.array([116 * curve[1] - 16, 500 * (curve[0] - curve[1]), 200 * (curve[1] - curve[2])])


@pytest.mark.parametrize("sight", SIGHTS)
def test_everybody_can_tell_the_contexts_apart(sight):
    places = {name: lab(colour, SIGHTS[sight]) for name, colour in CONTEXT_COLOURS.items()}
    for first, second in itertools.combinations(places, 2):
        distance = np.linalg.norm(places[first] - places[second])  # CIE 1976; 2.3 is just noticed
        assert distance > 30, (sight, first, second, distance)


def test_the_page_has_the_colours_of_the_pictures():
    page = explorer_page()
    for name, colour in CONTEXT_COLOURS.items():
        assert f"--{name}: {colour}" in page
