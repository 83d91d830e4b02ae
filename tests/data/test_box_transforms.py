"""Images and their objects stay together through every change.

What is left of an object too small goes.
"""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from nommer.data.box_transforms import (
    BoxPreprocessing,
    CropWithin,
    FitSize,
    Target,
    WholeImage,
    box_transform,
    resize,
    to_target,
)
from nommer.data.formats.objects import RawObject, make_objects
from nommer.data.seeding import seeded
from nommer.errors import InputError
from nommer.settings.detection import BoxAugmentation

EXACT = {"interpolation": "nearest", "mean": (0, 0, 0), "std": (1, 1, 1)}
"""Colours stay what they are, so that they tell which object a pixel is of."""


def scene(size=(120, 90), *, boxes=((10, 8, 50, 40), (60, 20, 100, 80), (20, 50, 55, 85))):
    """An image (size is width, height) in which the n-th object has the grey n + 1, and the
    objects.
    """
    pixels = np.zeros((size[1], size[0]), np.uint8)
    masks = np.zeros((len(boxes), size[1], size[0]), np.uint8)
    for number, (left, upper, right, lower) in enumerate(boxes):
        pixels[upper:lower, left:right] = number + 1
        masks[number, upper:lower, left:right] = 1
    target = Target(
        boxes=torch.tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(1, len(boxes) + 1),
        masks=torch.from_numpy(masks),
        image_id=torch.tensor(7),
    )
    return Image.fromarray(pixels).convert("RGB"), target


def greys(image):
    """(h, w): which object each pixel of an image is of."""
    return (image[0] * 255).round().long()


AUGMENTATIONS = {
    "flips": BoxAugmentation(hflip=0.5, vflip=0.5),
    "scales": BoxAugmentation(short_sides=(40, 77, 130)),
    "jitter": BoxAugmentation(scale_jitter=(0.3, 3.0)),
    "crop": BoxAugmentation(resize_or_crop=True),
    "all": BoxAugmentation(
        vflip=0.5, short_sides=(40, 77), resize_or_crop=True, scale_jitter=(0.5, 2.0)
    ),
}


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
@pytest.mark.parametrize("size", [(120, 90), (97, 131), (700, 610)])
def test_boxes_and_masks_lie_where_the_objects_are(augmentation, size):
    scale = np.array(size * 2) / (120, 90, 120, 90)
    boxes = np.array([(10, 8, 50, 40), (60, 20, 100, 80), (20, 50, 55, 85)]) * scale
    image, target = scene(size, boxes=boxes.astype(int))
    transform = box_transform(augmentation, BoxPreprocessing(short_side=64, long_side=160, **EXACT))
    seen = 0
    for seed in range(6):
        with seeded(seed):
            changed, objects = transform(image, target)
        shown = greys(changed)
        assert objects["image_id"] == 7
        assert objects["masks"].shape[1:] == shown.shape
        assert not set(shown.unique().tolist()) - {0, 1, 2, 3}
        for box, label, mask in zip(
            objects["boxes"], objects["labels"], objects["masks"], strict=True
        ):
            seen += 1
            rows, columns = np.nonzero((shown == label).numpy())
            tight = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (box - tight).abs().max() <= 2, (
                "the nearest pixel is up to half a pixel away, at each resizing"
            )
            assert (mask.bool() != (shown == label)).float().mean() < 0.02, (
                "of two nearest pixels any may be taken"
            )
        for label in set(shown.unique().tolist()) - {0} - set(objects["labels"].tolist()):
            rows, columns = np.nonzero((shown == label).numpy())
            assert min(np.ptp(rows), np.ptp(columns)) <= 2, "only slivers are let go"
    assert seen > 3


def test_a_flip_is_the_literal_one():
    image, target = scene()
    transform = box_transform(
        BoxAugmentation(hflip=1.0), BoxPreprocessing(short_side=90, long_side=200, **EXACT)
    )
    changed, objects = transform(image, target)
    assert torch.equal(
        greys(changed), torch.from_numpy(np.array(image)[:, ::-1, 0].astype(np.int64))
    )
    left, upper, right, lower = target["boxes"].unbind(1)
    assert torch.equal(objects["boxes"], torch.stack([120 - right, upper, 120 - left, lower], 1))
    assert torch.equal(objects["masks"], target["masks"].flip(2))


def test_nothing_changes_without_augmentation():
    image, target = scene()
    preprocessing = BoxPreprocessing(short_side=180, long_side=400)
    changed, objects = box_transform(BoxAugmentation(hflip=0), preprocessing)(image, target)
    assert torch.equal(changed, preprocessing(image))
    assert torch.equal(objects["boxes"], target["boxes"] * 2)
    assert torch.equal(
        objects["masks"], target["masks"].repeat_interleave(2, 1).repeat_interleave(2, 2)
    )
    evaluated, same = WholeImage(preprocessing)(image, target)
    assert torch.equal(evaluated, changed)
    assert same is target


def test_masks_are_resized_by_the_centres_of_pixels():
    mask = torch.zeros(1, 9, 9, dtype=torch.uint8)
    mask[0, 3:6, 3:6] = 1
    small = resize(tv_tensors.Mask(mask), [3, 3], v2.InterpolationMode.BILINEAR)
    assert isinstance(small, tv_tensors.Mask)
    assert small.tolist() == [[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]
    large = resize(tv_tensors.Mask(mask), [14, 14], v2.InterpolationMode.BILINEAR)
    rows = torch.nonzero(large[0].any(1)).flatten()
    assert rows.min() == 13 - rows.max(), "what was in the middle stays there"


def test_no_objects_are_no_trouble():
    image, target = scene(boxes=())
    target["masks"] = torch.zeros(0, 90, 120, dtype=torch.uint8)
    for augmentation in AUGMENTATIONS.values():
        changed, objects = box_transform(
            augmentation, BoxPreprocessing(short_side=64, long_side=160)
        )(image, target)
        assert objects["boxes"].shape == (0, 4)
        assert objects["masks"].shape == (0, *changed.shape[1:])
        assert objects["labels"].shape == (0,)


def test_an_object_of_which_nothing_is_left_goes_with_its_label_and_mask():
    image, target = scene(
        (200, 200), boxes=((0, 0, 4, 4), (90, 90, 110, 110), (196, 196, 200, 200))
    )
    transform = box_transform(
        BoxAugmentation(scale_jitter=(4.0, 4.0)),
        BoxPreprocessing(short_side=200, long_side=200, **EXACT),
    )
    for seed in range(8):
        with seeded(seed):
            changed, objects = transform(image, target)
        assert changed.shape == (3, 200, 200)
        assert set(objects["labels"].tolist()) == set(greys(changed).unique().tolist()) - {0}
        assert len(objects["boxes"]) == len(objects["labels"]) == len(objects["masks"])


def test_an_object_whose_mask_is_cut_away_goes_though_its_box_is_in_the_crop():
    image, target = scene((40, 40), boxes=((0, 0, 40, 40),))
    target["masks"][:] = 0
    target["masks"][0, 39, 39] = 1
    transform = box_transform(
        BoxAugmentation(hflip=0, scale_jitter=(4.0, 4.0)),
        BoxPreprocessing(short_side=40, long_side=40),
    )
    for seed in range(10):
        with seeded(seed):
            _, objects = transform(image, target)
        assert len(objects["boxes"]) == int(objects["masks"].any())


def test_a_crop_has_the_sides_that_it_should():
    crop = CropWithin(384, 600)
    for size in ((700, 900), (500, 384), (100, 2000)):
        shapes = [crop(torch.zeros(3, *size)).shape[1:] for _ in range(20)]
        for shape in shapes:
            for side, whole in zip(shape, size, strict=True):
                assert min(whole, 384) <= side <= min(whole, 600)
        assert len(set(shapes)) > 3


def test_one_of_the_short_sides_is_taken():
    fit = FitSize((30, 60), 100, v2.InterpolationMode.BILINEAR)
    shapes = {tuple(fit(torch.zeros(3, 50, 75)).shape[1:]) for _ in range(30)}
    assert shapes == {(30, 45), (60, 90)}
    assert fit(torch.zeros(3, 10, 100)).shape[2] == 100


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 900), st.integers(0, 900))
def test_sizes_keep_the_proportion(height, width, short, more):
    rows, columns = BoxPreprocessing(short_side=short, long_side=short + more).size(height, width)
    assert min(rows, columns) <= short
    assert max(rows, columns) <= short + more
    factor = min(short / min(height, width), (short + more) / max(height, width))
    assert abs(rows - height * factor) <= 1
    assert abs(columns - width * factor) <= 1


def test_the_published_size_is_the_default():
    assert BoxPreprocessing().size(480, 640) == (800, 1067)
    assert BoxPreprocessing().size(480, 1000) == (640, 1333)


def test_targets_are_what_torchvision_takes():
    square = [2, 2, 6, 2, 6, 6, 2, 6]
    raw = [
        RawObject("a", 0, (1, 1, 9, 9), [square]),
        RawObject("b", 4, (2, 2, 6, 6), [square], crowd=True),
        RawObject("c", 2, (2, 2, 6, 6), [square]),
    ]
    objects = make_objects(raw, (20, 10), file=None, issues=[])
    target = to_target(objects, 12, (10, 20), masks=True)
    assert target["labels"].tolist() == [1, 3]
    assert target["boxes"].tolist() == [[1, 1, 9, 9], [2, 2, 6, 6]]
    assert target["masks"].shape == (2, 10, 20)
    assert target["image_id"] == 12
    assert "masks" not in to_target(objects, 12, (10, 20), masks=False)


def test_transforms_travel_to_other_processes():
    image, target = scene()
    for augmentation in AUGMENTATIONS.values():
        transform = box_transform(augmentation, BoxPreprocessing(short_side=64, long_side=160))
        for function in (transform, pickle.loads(pickle.dumps(transform))):
            with seeded(3):
                changed, objects = function(image, target)
            if function is transform:
                first = changed, objects
        assert torch.equal(changed, first[0])
        assert torch.equal(objects["boxes"], first[1]["boxes"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hflip": 1.5}, "detection.augment.hflip must be from 0 to 1, got 1.5"),
        ({"vflip": -0.1}, "detection.augment.vflip must be from 0 to 1"),
        (
            {"short_sides": (480, 20)},
            r"detection.augment.short_sides must be 32 pixels or more each, got \(480, 20\)",
        ),
        (
            {"scale_jitter": (2, 1)},
            "detection.augment.scale_jitter must be two numbers with 0 < low <= high",
        ),
        (
            {"scale_jitter": (0, 1)},
            "detection.augment.scale_jitter must be two numbers with 0 < low <= high",
        ),
        ({"scale_jitter": (1,)}, "detection.augment.scale_jitter must be two numbers"),
    ],
)
def test_augmentations_out_of_range_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        BoxAugmentation(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"short_side": 31}, "short_side must be 32 pixels or more, got 31"),
        (
            {"short_side": 900, "long_side": 899},
            r"long_side \(899\) must not be below short_side \(900\)",
        ),
    ],
)
def test_preprocessing_out_of_range_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        BoxPreprocessing(**values)


def test_lists_as_json_has_them_are_taken():
    assert BoxAugmentation(short_sides=[480, 512], scale_jitter=[0.5, 2]).scale_jitter == (0.5, 2)
    assert BoxPreprocessing(**BoxPreprocessing(mean=[0, 0, 0]).to_dict()) == BoxPreprocessing(
        mean=(0, 0, 0)
    )
