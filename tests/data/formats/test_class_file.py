"""Class files: every accepted way of writing one, and what is said of the others."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nommer.data.formats.class_file import find_class_file, parse_classes, read_class_file
from nommer.data.formats.source import Source
from nommer.data.masks import IGNORE
from nommer.errors import InputError


def parse(text):
    return parse_classes(yaml.safe_load(text))


def meaning(classes):
    """Values and colours of the names, in order, and of what is ignored."""
    encoding = classes.encoding(classes.names)
    return classes.names, encoding.values, encoding.colours


@pytest.mark.parametrize(
    "text",
    [
        "classes: [sky, road]",
        "names: [sky, road]",
        "names: {0: sky, 1: road}",
        "names: {1: road, 0: sky}",
        '{"names": {"0": "sky", "1": "road"}}',
        "classes: [{name: sky}, {name: road}]",
        "classes: [{name: sky, value: 0}, {name: road, value: 1}]",
        "classes: [sky, road]\nignore: 255",
        "classes: [sky, road]\nignore: [255]",
    ],
)
def test_many_ways_of_writing_the_same(text):
    assert meaning(parse(text)) == (("sky", "road"), {0: 0, 1: 1, 255: IGNORE}, {})


def test_the_order_of_a_list_is_that_of_the_labels_whatever_the_values():
    classes = parse("classes: [{name: road, value: 7}, {name: sky, value: 3}]\nignore: [0, 9]")
    assert meaning(classes) == (("road", "sky"), {7: 0, 3: 1, 0: IGNORE, 9: IGNORE}, {})


def test_values_and_colours_of_the_same_classes():
    classes = parse(
        "classes: [{name: sky, value: 5, color: [1, 2, 3]}, {name: road, value: 6, color: [4, 5, "
        "6]}]\n"
        "ignore: [255, [0, 0, 0]]"
    )
    encoding = classes.encoding(classes.names)
    assert encoding.values == {5: 0, 6: 1, 255: IGNORE}
    assert encoding.colours == {(1, 2, 3): 0, (4, 5, 6): 1, (0, 0, 0): IGNORE}
    assert not encoding.by_colour
    assert classes.colours(classes.names) == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    ("ignore", "expected"),
    [
        ("[0, 0, 0]", {(0, 0, 0): IGNORE}),
        ("[[0, 0, 0]]", {(0, 0, 0): IGNORE}),
        ("[[0, 0, 0], [9, 9, 9]]", {(0, 0, 0): IGNORE, (9, 9, 9): IGNORE}),
    ],
)
def test_colours_alone_tell_classes_by_colour(ignore, expected):
    classes = "[{name: sky, color: [1, 2, 3]}, {name: road, color: [4, 5, 6]}]"
    text = f"classes: {classes}\nignore: {ignore}"
    classes = parse(text)
    encoding = classes.encoding(classes.names)
    assert encoding.by_colour
    assert encoding.values == {}
    assert encoding.colours == {(1, 2, 3): 0, (4, 5, 6): 1} | expected


def test_three_numbers_to_ignore_are_values_where_classes_have_values():
    assert meaning(parse("classes: [a, b]\nignore: [5, 6, 7]"))[1] == {
        0: 0,
        1: 1,
        5: IGNORE,
        6: IGNORE,
        7: IGNORE,
    }


def test_colours_of_some_classes_are_for_pictures_only():
    classes = parse("classes: [{name: sky, color: [1, 2, 3]}, {name: road}]")
    assert meaning(classes) == (("sky", "road"), {0: 0, 1: 1, 255: IGNORE}, {})
    sky, road = classes.colours(classes.names)
    assert sky == (1, 2, 3) != road


def test_255_is_ignored_unless_the_file_says_otherwise():
    assert parse("classes: [a, b]").encoding(["a", "b"]).ignores_255_by_default
    for text, values in {
        "classes: [a, b]\nignore: 3": {0: 0, 1: 1, 3: IGNORE},
        "classes: [a, b]\nignore: []": {0: 0, 1: 1},
        "classes: [{name: a, value: 0}, {name: b, value: 255}]": {0: 0, 255: 1},
    }.items():
        encoding = parse(text).encoding(["a", "b"])
        assert encoding.values == values
        assert not encoding.ignores_255_by_default


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list of classes under 'classes' (or 'names'), such as"),
        ("[sky, road]", "expected a list of classes under 'classes' (or 'names'), such as"),
        (
            "classes: [a, b]\nnames: [a, b]",
            "expected a list of classes under 'classes' (or 'names')",
        ),
        ("classes: []", "expected a list of classes, such as"),
        ("classes: sky", "expected a list of classes, such as"),
        (
            "classes: [a, b]\nignored: 255",
            "ignored is not understood; expected classes (or names) and ignore, such as",
        ),
        (
            "names: {sky: 0, road: 1}",
            "expected whole numbers before the names, as in {0: road, 1: sky}, got {'sky': 0",
        ),
        ("names: {-1: sky, 1: road}", "expected whole numbers before the names"),
        ("names: {true: sky, 2: road}", "expected whole numbers before the names"),
        (
            "classes: [yes, no]",
            "class 0: the name must be text, got True; write it in quotes if it is text",
        ),
        ("classes: [1, 2]", "class 0: the name must be text, got 1"),
        ("classes: [a, '']", "class 1: the name must be text, got ''"),
        ("classes: [{value: 3}]", "class 0: the name must be text, got None"),
        (
            "classes: [{name: a, colour: [1, 2, 3]}]",
            "class 0: colour is not understood; expected name, value and color",
        ),
        (
            "classes: [{name: a, color: [1, 2]}]",
            "class 'a': color must be three numbers from 0 to 255, as in [128, 64,",
        ),
        ("classes: [{name: a, color: [1, 2, 256]}]", "got [1, 2, 256]"),
        ("classes: [{name: a, color: red}]", "got 'red'"),
        (
            "classes: [{name: a, value: 65536}]",
            "class 'a': value must be a whole number from 0 to 65535, got 65536",
        ),
        (
            "classes: [{name: a, value: 1.5}]",
            "class 'a': value must be a whole number from 0 to 65535, got 1.5",
        ),
        (
            "classes: [{name: a, value: 1}, b]",
            "class 'b' has no value, but others have; give all or none",
        ),
        ("classes: [a, b, a]", "name 'a' stands for two things"),
        ("classes: [{name: a, value: 1}, {name: b, value: 1}]", "value 1 stands for two things"),
        (
            "classes: [a, b]\nignore: 1",
            "value 1 stands for two things; every class, and what is ignored, needs its own",
        ),
        (
            "classes: [{name: a, color: [1, 2, 3]}, {name: b, color: [1, 2, 3]}]",
            "color (1, 2, 3) stands for two things",
        ),
        (
            "classes: [a, b]\nignore: none",
            "ignore must be a value from 0 to 65535, a color, or a list of them, got 'no",
        ),
        ("classes: [a, b]\nignore: [255, [1, 2]]", "got [1, 2]"),
        (
            f"classes: {[f'c{n}' for n in range(256)]}",
            "found 256 classes; at most 255 are possible, a label being one",
        ),
    ],
)
def test_what_is_not_understood_is_explained(tmp_path, text, message):
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_class_file(Source(tmp_path), tmp_path / "classes.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'classes.yaml'}: ")


def test_255_classes_fit():
    classes = parse(f"classes: {[f'c{n}' for n in range(255)]}")
    assert classes.encoding(classes.names).values == {n: n for n in range(255)} | {255: IGNORE}
    assert len(set(classes.colours(classes.names))) == 255


@pytest.mark.parametrize("name", ["classes.yaml", "classes.yml", "classes.json"])
def test_the_file_is_found_in_the_folder_of_the_data(tmp_path, name):
    assert find_class_file(tmp_path) is None
    (tmp_path / name).write_text(json.dumps({"names": ["Straße", "空"]}), encoding="utf-8-sig")
    assert find_class_file(tmp_path) == tmp_path / name
    assert read_class_file(Source(tmp_path), tmp_path / name).names == ("Straße", "空")


def test_two_class_files_are_one_too_many(tmp_path):
    (tmp_path / "classes.yaml").touch()
    (tmp_path / "classes.json").touch()
    with pytest.raises(
        InputError, match=r"holds classes.yaml and classes.json; keep one, or choose with --classes"
    ):
        find_class_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "classes: [a, b", "is no valid YAML or JSON: while parsing a flow sequence"),
        ("c.json", "{'names': ['a']}", "is no valid YAML or JSON: Expecting property name"),
        (
            "c.yaml",
            "classes: !!python/object/apply:os.system [ls]",
            "is no valid YAML or JSON: could not determine a",
        ),
    ],
)
def test_broken_files_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name}: {message}"):
        read_class_file(Source(tmp_path), tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("c.yaml", "classes: [a, b]\nignore: 3\nclasses: [c, d]", "classes"),
        ("c.yaml", "names:\n  0: a\n  1: b\n  0: c", "0"),
        ("c.yaml", "names: {0: a, 1: b, '1': c}", "1"),
        ("c.yaml", "names: {0: a, 1: b, '01': c}", "1"),
        ("c.yaml", "classes: [{name: a, name: b}, c]", "name"),
        ("c.json", '{"names": ["a", "b"], "names": ["c", "d"]}', "names"),
        ("c.json", '{"classes": [{"name": "a", "value": 0, "value": 1}, "b"]}', "value"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path, name, text, key):
    (tmp_path / name).write_text(text)
    with pytest.raises(
        InputError,
        match=f"{name}: the key '{key}' is there twice, and only one of the two can count",
    ):
        read_class_file(Source(tmp_path), tmp_path / name)


def test_merged_keys_are_not_there_twice(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "classes: [&a {name: a, value: 3}, {<<: *a, name: b, value: 5}]"
    )
    assert [
        (c.name, c.value) for c in read_class_file(Source(tmp_path), tmp_path / "c.yaml").classes
    ] == [
        ("a", 3),
        ("b", 5),
    ]


def test_blanks_around_names_are_not_part_of_them():
    assert parse("classes: [' sky', {name: \"road \\t\"}]").names == ("sky", "road")
    with pytest.raises(InputError, match="name 'sky' stands for two things"):
        parse("classes: [sky, 'sky ']")


def test_an_absent_or_binary_file_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"nowhere.yaml: this class file cannot be read: No such file"
    ):
        read_class_file(Source(tmp_path), tmp_path / "nowhere.yaml")
    (tmp_path / "picture.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"picture.yaml: is no valid YAML or JSON: "):
        read_class_file(Source(tmp_path), tmp_path / "picture.yaml")


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries({"classes": anything}, optional={"ignore": anything})
    | st.fixed_dictionaries({"names": anything}, optional={"ignore": anything})
    | st.fixed_dictionaries(
        {
            "classes": st.lists(
                st.fixed_dictionaries(
                    {"name": anything}, optional={"value": anything, "color": anything}
                )
            )
        }
    )
    | anything
)
def test_any_content_is_understood_or_refused(content):
    try:
        classes = parse_classes(content)
    except InputError:
        return
    encoding = classes.encoding(classes.names)
    assert set(encoding.values.values()) | set(encoding.colours.values()) <= {
        *range(len(classes.names)),
        IGNORE,
    }
    assert len(classes.colours(classes.names)) == len(classes.names) >= 1
