"""Masks in any of COCO's ways get one form, the same as COCO's own tools give.

What is none is dropped and listed.
"""

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_masks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nommer.data.formats.object_masks import area, box_of, encode_map, encode_mask

SIZE = 40, 32
SQUARE = [10, 10, 20, 10, 20, 20, 10, 20]
TRIANGLE = [5.5, 5.5, 12, 5, 8, 11]


def encode(segmentation, size=SIZE):
    found = []
    return encode_mask(segmentation, size, lambda what, done: found.append((what, done))), found


def decode(counts, size=SIZE):
    return coco_masks.decode({"size": [size[1], size[0]], "counts": counts})


def square():
    mask = np.zeros((32, 40), np.uint8)
    mask[10:20, 10:20] = 1
    return mask


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        [[10, 10, 15, 10, 15, 20, 10, 20], [15, 10, 20, 10, 20, 20, 15, 20]],
        SQUARE,
        {"size": [32, 40], "counts": [10 * 32 + 10, *[10, 22] * 9, 10, 12 + 20 * 32]},
        coco_masks.encode(np.asfortranarray(square())),
        {
            "size": [32, 40],
            "counts": coco_masks.encode(np.asfortranarray(square()))["counts"].decode(),
        },
    ],
    ids=["polygon", "two polygons", "bare polygon", "run lengths", "bytes", "text"],
)
def test_every_way_of_writing_a_mask_gives_the_same(segmentation):
    counts, found = encode(segmentation)
    assert not found
    assert np.array_equal(decode(counts), square())
    assert box_of(counts, SIZE) == (10, 10, 20, 20)


@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_no_mask_is_no_mistake(empty):
    assert encode(empty) == (None, [])


def test_polygons_become_what_coco_makes_of_them():
    pycocotools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(50):
        polygons = [
            (rng.random((rng.integers(3, 9), 2)) * SIZE).ravel().tolist()
            for _ in range(rng.integers(1, 3))
        ]
        counts, found = encode(polygons)
        assert not found
        expected = pycocotools.merge(pycocotools.frPyObjects(polygons, 32, 40))
        assert counts == expected["counts"]


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ([1, 1, 5, 5], "polygon 2 has 2 points, expected 3 or more"),
        ([], "polygon 2 has 0 points, expected 3 or more"),
        ([1, 1, 5, 1, 5, 5, 1], "polygon 2 has an odd number of coordinates, 7"),
        ([1, 1, 5, 5, 9, 9], "polygon 2 has no area"),
        ([3, 3] * 4, "polygon 2 has no area"),
        ([1, 1, 5, 1, float("nan"), 5], "polygon 2 has coordinates that are not finite"),
        ([1, 1, 5, 1, 10**400, 5], "polygon 2 has coordinates that are not finite"),
        ([1, 1, 5, 1, "5", 5], "polygon 2 is no list of numbers"),
        ("1,1,5,1", "polygon 2 is no list of numbers"),
        ([50, 1, 60, 1, 60, 9], "polygon 2 lies outside the image"),
    ],
)
def test_polygons_that_are_none_are_dropped_and_the_others_kept(part, what):
    counts, found = encode([SQUARE, part])
    assert np.array_equal(decode(counts), square())
    assert found == [(what, "polygon dropped")]
    assert encode([part])[0] is None


def test_polygons_that_reach_outside_are_clipped_and_listed():
    counts, found = encode([[-5, 10, 10, 10, 10, 20, -5, 20]])
    assert found == [("polygon 1 reaches outside the image of 40 x 32 pixels", "clipped")]
    assert decode(counts).sum() == 100
    assert decode(counts)[10:20, :10].all()
    assert encode([[-0.04, 10, 10, 10, 10, 20]])[1] == [], "rounding"


def test_polygons_are_cut_at_the_border_not_bent():
    counts, found = encode([[50, 50, 150, 50, 50, 150]], size=(100, 100))
    assert found == [("polygon 1 reaches outside the image of 100 x 100 pixels", "clipped")]
    assert decode(counts, size=(100, 100))[50:, 50:].all()
    assert decode(counts, size=(100, 100)).sum() == 2500
    far, _ = encode([[-1e300, 10, 10, 10, 10, 20, -1e300, 20]])
    assert decode(far).sum() == 100


@given(
    st.lists(st.tuples(st.floats(-60, 100), st.floats(-60, 100)), min_size=3, max_size=8),
)
def test_what_is_cut_off_a_polygon_is_what_lies_outside(points):
    flat = [value for point in points for value in point]
    whole = coco_masks.decode(
        coco_masks.merge(coco_masks.frPyObjects([[v + 60 for v in flat]], 200, 200))
    )
    expected = whole[60:92, 60:100]
    counts, found = encode([flat])
    if counts is None:
        assert expected.sum() <= 60, found
    else:
        assert (decode(counts) != expected).sum() <= 60, "but for rounding along the edges"


@pytest.mark.parametrize(
    ("runs", "what"),
    [
        ({"size": [32, 40], "counts": [3, 4]}, "its mask cannot be read: "),
        ({"size": [32, 40], "counts": [3, -4, 1281]}, "its mask cannot be read: "),
        ({"size": [32, 40], "counts": "junk"}, "its mask cannot be read: "),
        ({"size": [32, 40], "counts": "ünicode"}, "its mask cannot be read: "),
        ({"size": [32, 40], "counts": 7}, "its mask cannot be read: "),
        ({"size": [32, 40]}, "its mask cannot be read: 'counts'"),
        (
            {"size": [40, 32], "counts": [0, 1280]},
            "its mask has the size [40, 32], its image [32, 40] (height, width)",
        ),
        ({"size": [32, 40], "counts": [1280]}, "its mask covers no pixel"),
        (7, "its segmentation is int, expected polygons or run lengths"),
    ],
)
def test_run_lengths_that_are_none_are_dropped(runs, what):
    counts, found = encode(runs)
    assert counts is None
    ((told, done),) = found
    assert told.startswith(what)
    assert done == "mask dropped"


@given(
    arrays(
        np.uint16,
        array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.sampled_from([0, 1, 2, 300]),
    )
)
def test_maps_are_encoded_as_each_number_alone_would_be(values):
    numbers = np.unique(values[values != 0])
    alone = [coco_masks.encode(np.asfortranarray(values == number, np.uint8)) for number in numbers]
    found = encode_map(values)
    assert len(found) == len(numbers)
    for counts, expected in zip(found, alone, strict=True):
        assert np.array_equal(decode(counts, values.shape[::-1]), coco_masks.decode(expected))


def test_a_map_may_hold_nothing():
    assert encode_map(np.zeros((4, 5), np.uint8)) == []
    assert encode_map(np.zeros((0, 0), np.uint8)) == []


@given(st.integers(3, 20), st.floats(1, 100), st.floats(-1e3, 1e3))
def test_the_area_is_that_of_a_regular_polygon_anywhere(corners, radius, shift):
    angles = 2 * np.pi * np.arange(corners) / corners
    points = radius * np.column_stack([np.cos(angles), np.sin(angles)]) + shift
    assert area(points) == pytest.approx(
        corners / 2 * radius**2 * np.sin(2 * np.pi / corners), rel=1e-6
    )
