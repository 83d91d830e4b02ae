"""Names in any script: in a font that has their letters, or as numbers that are explained."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from nommer import fonts
from nommer.figures import figure_as_png, figure_as_svg
from nommer.fonts import legend, lettering_for
from nommer.predictions import Classification, Detections, Segmentation


@pytest.fixture
def dejavu_alone(monkeypatch):
    """A system without any font but matplotlib's own."""
    own = fonts._font_files()[0]
    monkeypatch.setattr(fonts, "_font_files", lambda: (own,))
    monkeypatch.setattr(fonts, "_numbers", {})
    fonts._find.cache_clear()
    yield
    fonts._find.cache_clear()


def drawn(name):
    """A picture of a name in each kind of answer."""
    picture = Image.new("RGB", (300, 240))
    classified = Classification("a", (name, "other"), (0.9, 0.1))
    box = np.array([[20.0, 60.0, 200.0, 200.0]])
    found = Detections("a", (name, "other"), (240, 300), box, np.ones(1), np.zeros(1, np.int64))
    labels = np.zeros((240, 300), np.uint8)
    segmented = Segmentation("a", (name, "other"), ((9, 9, 200), (0, 0, 0)), labels)
    return [np.asarray(answer.plot(picture)) for answer in (classified, found, segmented)]


@pytest.mark.parametrize(
    "name", ["größe", "łódź", "Кошка", "γάτα", "قطة", "\N{RIGHT SINGLE QUOTATION MARK}s"]
)
def test_letters_that_pillows_font_lacks_are_found_in_another(dejavu_alone, name):
    lettering = lettering_for([name])
    assert lettering.path is not None
    assert lettering.lacking == frozenset()
    assert lettering.shown(name) == name
    assert legend([name]) == ""
    boxes = drawn("\uffff" * len(name))
    assert all(not np.array_equal(*pair) for pair in zip(drawn(name), boxes, strict=True))


def test_ascii_names_look_as_before():
    assert lettering_for(["cat", "dog 100 %"]).path is None


def test_letters_of_no_font_become_numbers_and_are_explained(dejavu_alone):
    names = ["猫", "犬 猫", "cat 猫", "plain"]
    lettering = lettering_for(names)
    told = legend(names)
    assert [lettering.shown(name) for name in names] == ["name 1", "name 2", "cat name 1", "plain"]
    assert "pictures show numbers: name 1 is 猫, name 2 is 犬 猫, cat name 1 is cat 猫; " in told
    assert all(np.array_equal(*pair) for pair in zip(drawn("猫"), drawn("name 1"), strict=True))


def test_a_font_of_the_system_is_used_where_one_has_the_letters(monkeypatch, dejavu_alone):
    own = fonts._font_files()[0]
    letters = fonts._letters_of
    monkeypatch.setattr(fonts, "_font_files", lambda: (own, "/fonts/of the system.ttf"))
    monkeypatch.setattr(
        fonts, "_letters_of", lambda path: letters(path) if path == own else frozenset([ord("猫")])
    )
    monkeypatch.setattr(fonts, "_is_usable", lambda path: True)
    assert lettering_for(["猫"]).path == "/fonts/of the system.ttf"
    assert lettering_for(["猫"]).lacking == frozenset()


@pytest.mark.parametrize("name", ["größe", "猫", "猫 of ünder", "\ud800", "a\nb"])
def test_figures_show_any_name(dejavu_alone, name):
    figure = Figure()
    figure.subplots().set_title(name)
    assert figure_as_png(figure)
    figure = Figure()
    axes = figure.subplots()
    axes.set_xticks([0, 1], [name, "other"])
    assert b"<svg" in figure_as_svg(figure)
