"""Parts of images by what is known of them, on images small enough to count by hand."""

import numpy as np
import pytest

from nommer.nominations.regions import (
    DISTANCES,
    OUTSIDE,
    SIDED_DISTANCES,
    border_distance,
    class_regions,
    distance_group,
    look_up,
    object_map,
    sided_distance_group,
    size_group,
)


def literal_distance(parts):
    """The distance from each pixel's centre to the nearest pixel with a neighbour of another part,
    and half a pixel.
    """
    height, width = parts.shape
    border = [
        (row, column)
        for row, column in np.ndindex(height, width)
        for other in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1))
        if 0 <= other[0] < height
        and 0 <= other[1] < width
        and OUTSIDE not in (parts[row, column], parts[other])
        and parts[row, column] != parts[other]
    ]
    found = np.full(parts.shape, np.inf)
    for place in np.ndindex(height, width):
        for other in border:
            found[place] = min(
                found[place], np.hypot(place[0] - other[0], place[1] - other[1]) + 0.5
            )
    return found


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_of_the_literal_loop(seed):
    parts = np.kron(np.random.default_rng(seed).integers(-1, 3, (3, 4)), np.ones((4, 3), int))
    assert np.allclose(border_distance(parts), literal_distance(parts))


def test_without_a_border_nothing_is_near_or_far():
    assert np.isinf(border_distance(np.zeros((3, 3), int))).all()
    ignored = np.array([[0, OUTSIDE, 1]])
    assert np.isinf(border_distance(ignored)).all(), "what is ignored makes no border"
    assert distance_group(np.array([np.inf, 1e6]), 4.0).tolist() == [OUTSIDE, len(DISTANCES) - 1]
    nothing = object_map(inside_of(), np.zeros(0), np.zeros(0, bool), (3, 3))
    assert (sided_distance_group(nothing, 0, 4.0) == OUTSIDE).all(), "an image without objects"


def test_distances_count_in_tokens():
    groups = distance_group(np.array([0.5, 3.9, 4, 7.9, 8, 31, 32]), 4.0)
    assert [DISTANCES[group] for group in groups] == [
        "under 1", "under 1", "1 to 2", "1 to 2", "2 to 4", "4 to 8", "8 and more",
    ]  # fmt: skip


def test_sizes_are_cocos():
    assert size_group(np.array([1, 1023.9, 1024, 9215, 9216])).tolist() == [0, 0, 1, 1, 2]


def test_connected_regions_of_one_class_have_their_own_size():
    labels = np.zeros((40, 80), int)
    labels[:, 40:] = 1  # 1600 pixels, of which a corner is apart
    labels[0, 41], labels[1, 40] = 0, 0
    labels[39, 79] = OUTSIDE
    sizes = class_regions(labels)
    assert sizes[0, 40] == 0, "the corner touches the others by no side"
    assert sizes[5, 60] == 1
    assert sizes[5, 5] == 1
    assert sizes[39, 79] == OUTSIDE


def inside_of(*boxes, shape=(12, 12)):
    """Return the place of each box, as `object_map` asks for it."""

    def inside(index):
        left, upper, right, lower = boxes[index]
        found = np.zeros(shape, bool)
        found[upper:lower, left:right] = True
        return found

    return inside


def test_a_pixel_belongs_to_the_smallest_object_and_none_to_a_crowd():
    inside = inside_of((0, 0, 8, 8), (2, 2, 4, 4), (6, 6, 12, 12))
    owner = object_map(inside, np.array([64, 4, 36]), np.array([False, False, True]), (12, 12))
    assert owner[3, 3] == 1
    assert owner[7, 7] == 0, "an object in a crowd is one"
    assert owner[9, 9] == OUTSIDE
    assert owner[0, 11] == 3
    counts = np.bincount(owner[owner >= 0])
    assert counts.tolist() == [60, 4, 0, 144 - 64 - 32]
    parts = look_up(owner, [0, 0, 0, 1])
    assert parts[3, 3] == 0
    assert parts[0, 11] == 1
    assert parts[9, 9] == OUTSIDE


def test_distances_have_two_sides():
    owner = object_map(inside_of((0, 0, 6, 12)), np.array([72]), np.zeros(1, bool), (12, 12))
    groups = sided_distance_group(owner, 1, 2.0)
    assert SIDED_DISTANCES[groups[0, 5]] == "inside, under 1"
    assert SIDED_DISTANCES[groups[0, 0]] == "inside, 2 to 4"
    assert SIDED_DISTANCES[groups[0, 6]] == "outside, under 1"
    assert SIDED_DISTANCES[groups[0, 8]] == "outside, 1 to 2"
