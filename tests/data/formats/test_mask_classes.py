"""Classes of masks: their labels among a model's, and their colours."""

from itertools import islice, pairwise

import pytest

from nommer.data.formats.mask_classes import (
    CAMVID,
    MaskClass,
    MaskClasses,
    ade20k_classes,
    numbered_classes,
    palette,
)
from nommer.data.masks import IGNORE
from nommer.errors import InputError


def test_labels_index_the_names_given_whatever_their_order():
    classes = MaskClasses(
        (MaskClass("road", 3, (1, 1, 1)), MaskClass("sky", 8, (2, 2, 2))), ignored_values=(0,)
    )
    encoding = classes.encoding(["sky", "tree", "road"])
    assert encoding.values == {3: 2, 8: 0, 0: IGNORE}
    assert encoding.colours == {(1, 1, 1): 2, (2, 2, 2): 0}
    sky, tree, road = classes.colours(["sky", "tree", "road"])
    assert (sky, road) == ((2, 2, 2), (1, 1, 1))
    assert tree not in (sky, road)


def test_the_palette_is_fixed_and_distinct():
    colours = list(islice(palette(), 512))
    assert len(set(colours)) == 512
    assert colours[:3] == [(242, 61, 61), (61, 114, 242), (167, 242, 61)]
    assert not {(0, 0, 0), (255, 255, 255)} & set(colours)
    neighbours = pairwise(colours)
    assert min(sum(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in neighbours) > 100


def test_a_classs_own_colour_is_given_to_no_other():
    own = next(islice(palette(), 1, None))
    classes = MaskClasses((MaskClass("a", 0), MaskClass("b", 1, own), MaskClass("c", 2)))
    assert len(set(classes.colours(classes.names))) == 3
    assert classes.colours(classes.names)[1] == own


def test_camvid_has_11_classes_and_ignores_the_twelfth():
    encoding = CAMVID.encoding(CAMVID.names)
    assert encoding.values == {value: value for value in range(11)} | {11: IGNORE}
    assert CAMVID.names[:4] == ("Sky", "Building", "Pole", "Road")
    assert len(set(CAMVID.colours(CAMVID.names))) == 11


def test_ade20ks_names_are_read_from_its_file(tmp_path):
    assert ade20k_classes(tmp_path) is None
    rows = [
        "Idx\tRatio\tTrain\tVal\tName",
        "1\t0.1576\t11664\t1172\twall",
        "2\t0.1072\t6046\t612\tbuilding, edifice",
        "",
    ]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(rows))
    classes = ade20k_classes(tmp_path)
    assert classes.names == ("wall", "building")
    assert classes.encoding(classes.names).values == {1: 0, 2: 1, 0: IGNORE}
    (tmp_path / "objectInfo150.txt").write_text("Name\nwall\n")
    with pytest.raises(
        InputError, match=r"objectInfo150.txt: expected the columns Idx, Ratio, Train, Val, Name"
    ):
        ade20k_classes(tmp_path)


def test_numbered_classes_are_named_after_their_values():
    classes = numbered_classes({9, 2}, ignored=255)
    assert classes.names == ("class 2", "class 9")
    assert classes.encoding(classes.names).values == {2: 0, 9: 1, 255: IGNORE}
