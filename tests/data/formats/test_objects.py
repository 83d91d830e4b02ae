"""An object as data describe it becomes sound or is dropped, and either is listed."""

import math
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_masks
from hypothesis import given
from hypothesis import strategies as st

from nommer.data.formats.objects import RawObject, as_text, make_objects, masks_of, to_id, to_number

SIZE = 40, 32
SQUARE = [10, 10, 20, 10, 20, 20, 10, 20]


def make(*raw, size=SIZE):
    issues = []
    return make_objects(raw, size, file=Path("labels.txt"), issues=issues), [
        (i.what, i.done) for i in issues
    ]


def boxed(*box, **rest):
    return RawObject("line 1", 0, box, **rest)


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ((5, 5, 5, 9), "box [5, 5, 5, 9] has no area"),
        ((5, 5, 9, 5), "box [5, 5, 9, 5] has no area"),
        ((5, 5, 5.001, 9), "box [5, 5, 5, 9] has no area"),
        ((0, 0, 0, 0), "box [0, 0, 0, 0] has no area"),
        ((9, 5, 5, 9), "box [9, 5, 5, 9] is inverted"),
        ((5, 9, 9, 5), "box [5, 9, 9, 5] is inverted"),
        ((math.nan, 5, 9, 9), "box [nan, 5, 9, 9] is not finite"),
        ((5, 5, math.inf, 9), "box [5, 5, inf, 9] is not finite"),
        ((41, 5, 50, 9), "box [41, 5, 50, 9] lies outside the image of 40 x 32 pixels"),
        ((-9, 5, 0, 9), "box [-9, 5, 0, 9] lies outside the image of 40 x 32 pixels"),
        ((5, 32, 9, 40), "box [5, 32, 9, 40] lies outside the image of 40 x 32 pixels"),
        (None, "has neither a box nor a mask"),
    ],
)
def test_boxes_that_are_none_are_dropped_one_by_one(box, what):
    objects, issues = make(boxed(1, 2, 3, 4), RawObject("line 2", 0, box))
    assert objects.boxes.tolist() == [[1, 2, 3, 4]]
    assert issues == [(f"line 2: {what}", "dropped")]


def test_what_is_there_twice_is_used_once_and_listed():
    first, again, other = (
        RawObject(f"line {n}", label, (1, 2, 3, 4)) for n, label in enumerate((0, 0, 1), start=1)
    )
    objects, issues = make(first, again, other)
    assert objects.labels.tolist() == [0, 1]
    assert issues == [("line 2: the same class and box as line 1", "dropped, being the same")]


def test_boxes_that_reach_outside_are_clipped_and_listed():
    objects, issues = make(boxed(-3.5, 5, 45, 33, area=700))
    assert objects.boxes.tolist() == [[0, 5, 40, 32]]
    assert objects.areas.tolist() == [700]
    assert issues == [
        ("line 1: box [-3.5, 5, 45, 33] reaches outside the image of 40 x 32 pixels", "clipped")
    ]


@pytest.mark.parametrize("over", [0.0, 1e-9, 1e-3])
def test_rounding_is_clipped_without_a_word(over):
    objects, issues = make(boxed(-over * 40, -over * 32, 40 + over * 40, 32 + over * 32))
    assert objects.boxes.tolist() == [[0, 0, 40, 32]]
    assert not issues


def test_a_little_more_than_rounding_is_listed():
    _, issues = make(boxed(1, 1, 40 * 1.0011, 30))
    assert [done for _, done in issues] == ["clipped"]


def test_areas_are_the_given_ones_or_those_of_masks_or_of_boxes():
    objects, issues = make(
        boxed(10, 10, 20, 20, area=80.5, segmentation=[SQUARE]),
        boxed(9, 9, 20, 20, segmentation=[SQUARE]),
        boxed(1, 1, 3, 4),
        boxed(2, 1, 4, 4, area="many"),
        boxed(3, 1, 5, 4, area=-1),
    )
    assert objects.areas.tolist() == [80.5, 100, 6, 6, 6]
    assert objects.have_masks.tolist() == [True, True, False, False, False]
    assert not issues


@pytest.mark.parametrize(
    ("area", "segmentation", "own", "whose"),
    [(0, [SQUARE], 100, "mask"), (1, None, 100, "box"), (400, None, 100, "box")],
)
def test_an_area_that_cannot_be_is_replaced_and_told(area, segmentation, own, whose):
    objects, issues = make(boxed(10, 10, 20, 20, area=area, segmentation=segmentation))
    assert objects.areas.tolist() == [own]
    assert issues == [
        (
            f"line 1: area {area} is not that of its {whose}, {own}",
            f"that of its {whose} is taken",
        )
    ]


@pytest.mark.parametrize(
    ("box", "cause"),
    [
        ((10, 10, 30, 30), "; are these corners, where width and height belong?"),
        ((15, 15, 25, 25), "; is this the centre, where the upper left corner belongs?"),
        ((1, 1, 30, 30), ""),
    ],
)
def test_a_box_that_does_not_fit_its_mask_is_told(box, cause):
    objects, issues = make(boxed(*box, segmentation=[SQUARE]))
    assert len(objects) == 1
    ((what, done),) = issues
    assert what.endswith(f"does not fit its mask, which spans [10, 10, 20, 20]{cause}")
    assert done == "both are used as they are"


def test_run_lengths_that_are_row_by_row_are_told():
    pixels = np.zeros((32, 40), np.uint8)
    pixels[4:14, 10:30] = 1
    flat = np.concatenate([[0], pixels.ravel(), [0]])  # row by row, which is not COCO's order
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [pixels.size]])).tolist()
    runs = {"size": [32, 40], "counts": counts}
    _, ((what, _),) = make(boxed(10, 4, 30, 14, segmentation=runs))
    assert what.endswith("are its run lengths row by row? COCO counts column by column")


@pytest.mark.parametrize(
    "segmentation",
    [
        [[10, 10], [20, 10], [20, 20], [10, 20]],
        [[[10, 10], [20, 10], [20, 20], [10, 20]]],
        [{"size": [32, 40], "counts": [330, *[10, 22] * 9, 10, 652]}],
    ],
)
def test_masks_are_read_as_points_and_as_lists_of_run_lengths(segmentation):
    objects, issues = make(boxed(10, 10, 20, 20, segmentation=segmentation))
    assert masks_of(objects, 32, 40)[0, 10:20, 10:20].all()
    assert masks_of(objects, 32, 40).sum() == 100
    assert not issues


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (9, 9, 5, 14), (99, 9, 104, 14)])
def test_a_bad_box_does_not_cost_a_sound_mask(box):
    objects, issues = make(boxed(*box, segmentation=[SQUARE]))
    assert objects.boxes.tolist() == [[10, 10, 20, 20]]
    assert [done for _, done in issues] == ["that of its mask is taken"]


def test_objects_under_a_pixel_are_told():
    objects, issues = make(boxed(0.1, 0.2, 0.4, 0.6), boxed(3, 3, 4, 4))
    assert len(objects) == 2
    ((what, done),) = issues
    assert "is under a pixel; are these shares of the image's sides?" in what
    assert done == "evaluated, but not learned"


def test_a_box_that_lacks_is_that_of_the_mask():
    objects, issues = make(RawObject("line 1", 3, segmentation=[SQUARE]))
    assert objects.boxes.tolist() == [[10, 10, 20, 20]]
    assert objects.labels.tolist() == [3]
    assert issues == [("line 1: has no box", "that of its mask is taken")]


def test_some_of_the_objects_can_be_taken():
    objects, _ = make(
        boxed(1, 1, 2, 2),
        boxed(10, 10, 20, 20, segmentation=[SQUARE], crowd=True),
        boxed(3, 3, 4, 4),
    )
    chosen = objects.take(np.array([False, True, False]))
    assert chosen.boxes.tolist() == [[10, 10, 20, 20]]
    assert chosen.crowd.tolist() == [True]
    assert masks_of(chosen, 32, 40).sum() == 100
    empty = objects.take(np.zeros(3, bool))
    assert (len(empty), empty.boxes.shape, masks_of(empty, 32, 40).shape) == (
        0,
        (0, 4),
        (0, 32, 40),
    )


def test_more_than_255_objects_keep_their_masks_apart():
    rows, columns = np.divmod(np.arange(300), 20)
    raw = [
        boxed(
            2 * x,
            2 * y,
            2 * x + 1,
            2 * y + 1,
            segmentation=[[2 * x, 2 * y, 2 * x + 1, 2 * y, 2 * x + 1, 2 * y + 1, 2 * x, 2 * y + 1]],
        )
        for x, y in zip(columns.tolist(), rows.tolist(), strict=True)
    ]
    objects, issues = make(*raw)
    assert not issues
    masks = masks_of(objects, 32, 40)
    assert masks.shape == (300, 32, 40)
    assert (masks.sum((1, 2)) == 1).all()
    assert masks.sum() == (masks.sum(0) > 0).sum() == 300


numbers = st.one_of(
    st.floats(-60, 60),
    st.floats(),
    st.integers(),
    st.sampled_from([0, 32, 40, -0.0, 1e308, -1e308, 10**400, True, None, "7", "x", [], {}]),
)
sides = numbers.map(to_number)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.tuples(sides, sides, sides, sides)),
            st.one_of(
                st.none(),
                numbers,
                st.lists(numbers, max_size=9),
                st.lists(st.one_of(numbers, st.lists(numbers, max_size=12)), max_size=3),
                st.fixed_dictionaries(
                    {"size": st.sampled_from([[32, 40], [40, 32], None])},
                    optional={
                        "counts": st.one_of(numbers, st.text(), st.lists(numbers, max_size=6))
                    },
                ),
            ),
            numbers,
        ),
        max_size=4,
    )
)
def test_whatever_comes_in_what_comes_out_is_sound(wild):
    raw = [
        RawObject(f"line {n}", n, box, segmentation, area=area)
        for n, (box, segmentation, area) in enumerate(wild)
    ]
    objects, issues = make(*raw)
    left, upper, right, lower = objects.boxes.T
    assert ((left >= 0) & (upper >= 0) & (right <= 40) & (lower <= 32)).all()
    assert ((right - left > 0.005) & (lower - upper > 0.005)).all()
    assert (np.isfinite(objects.areas) & (objects.areas >= 0)).all()
    for mask in objects.masks:
        if mask is not None:
            assert coco_masks.decode({"size": [32, 40], "counts": mask}).shape == (32, 40)
    dropped = {what.split(":")[0] for what, done in issues if done == "dropped"}
    assert sorted(objects.labels.tolist() + [int(where.split()[1]) for where in dropped]) == list(
        range(len(raw))
    )
    for item, box in (
        (raw[label], box) for label, box in zip(objects.labels, objects.boxes.tolist(), strict=True)
    ):
        changed = (
            item.box is None or max(abs(a - b) for a, b in zip(item.box, box, strict=True)) > 40e-3
        )
        assert not changed or any(what.startswith(f"{item.where}:") for what, _ in issues), (
            "no change without a line"
        )


@pytest.mark.parametrize(
    ("value", "number", "identity"),
    [
        (3, 3.0, 3),
        ("3", 3.0, 3),
        (3.0, 3.0, 3),
        ("3.0", 3.0, 3),
        (2**60 + 1, 2.0**60, 2**60 + 1),
        (2.5, 2.5, None),
    ],
)
def test_numbers_come_in_several_ways(value, number, identity):
    assert to_number(value) == number
    assert to_id(value) == identity


@pytest.mark.parametrize("value", [None, "x", "", [], {}, 10**400, math.nan, "nan"])
def test_anything_else_is_no_number(value):
    assert math.isnan(to_number(value))
    assert to_id(value) is None


def test_boxes_read_well():
    assert as_text((1.0, 2.5, 100, 0.333333)) == "[1, 2.5, 100, 0.33]"


def test_a_polygon_too_thin_for_any_pixel_is_no_mask():
    objects, issues = make(RawObject("line 0", 0, None, [[1, 0, 0, 1, 0, 0]], area=0))
    assert len(objects) == 0
    assert {done for _, done in issues} == {"mask dropped", "dropped"}
