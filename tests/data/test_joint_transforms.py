"""Image and mask go through the same changes: they lie on each other afterwards as before."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from nommer.data.joint_transforms import (
    DensePreprocessing,
    View,
    WholeImage,
    choose_view,
    joint_transform,
    photometric_distortion,
)
from nommer.data.masks import IGNORE
from nommer.data.seeding import seeded
from nommer.errors import InputError
from nommer.settings.segmentation import JointAugmentation

PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
sides = st.integers(1, 90)


def scene(height, width, seed=0):
    """An image whose red channel is its mask: labels 0 to 4, times 40."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 5, (-(-height // 6), -(-width // 6))), np.ones((6, 6), int))[
        :height, :width
    ]
    image = np.stack(
        [labels * 40, rng.integers(0, 256, labels.shape), rng.integers(0, 256, labels.shape)], -1
    )
    return Image.fromarray(image.astype(np.uint8)), labels.astype(np.uint8)


class TestDensePreprocessing:
    @given(
        height=st.integers(1, 5000),
        width=st.integers(1, 5000),
        short=sides,
        longer=st.integers(0, 200),
    )
    def test_the_shorter_side_is_as_asked_unless_the_longer_would_exceed_its_limit(
        self, height, width, short, longer
    ):
        preprocessing = DensePreprocessing(short_side=short, long_side=short + longer)
        size = preprocessing.size(height, width)
        assert max(size) <= short + longer
        assert min(size) == short or max(size) == short + longer
        assert min(size) >= 1
        factor = max(size) / max(height, width)
        assert abs(min(size) - min(height, width) * factor) <= 1 + factor

    @given(height=st.integers(1, 5000), width=st.integers(1, 5000))
    def test_by_default_images_keep_their_size(self, height, width):
        assert DensePreprocessing().size(height, width) == (height, width)
        assert max(DensePreprocessing(long_side=300).size(height, width)) == min(
            300, max(height, width)
        )

    def test_the_published_protocol_is_2048_by_512_keeping_the_ratio(self):
        preprocessing = DensePreprocessing(short_side=512, long_side=2048)
        assert preprocessing.size(683, 512) == (683, 512)
        assert preprocessing.size(1000, 1500) == (512, 768)
        assert preprocessing.size(200, 1600) == (256, 2048)

    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
    def test_equals_torchvisions_resize_and_normalise(self, interpolation):
        image, _ = scene(50, 70)
        preprocessing = DensePreprocessing(short_side=40, interpolation=interpolation)
        mode = v2.InterpolationMode(interpolation)
        resized = v2.functional.resize(image, [40, 56], interpolation=mode, antialias=True)
        prepared = preprocessing(image)
        assert torch.equal(prepared, preprocessing.normalise(resized))
        assert prepared.shape == (3, 40, 56)
        assert type(prepared) is torch.Tensor
        assert torch.equal(DensePreprocessing()(image), DensePreprocessing().normalise(image))

    def test_survives_json_like_values(self):
        preprocessing = DensePreprocessing(image_size=96, short_side=80, mean=(0.1, 0.2, 0.3))
        values = {
            name: list(v) if isinstance(v, tuple) else v
            for name, v in preprocessing.to_dict().items()
        }
        assert DensePreprocessing(**values) == preprocessing

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"image_size": 31}, "image_size must be 32 pixels or more, got 31"),
            ({"short_side": 0}, "short_side must be 1 pixel or more, got 0"),
            ({"long_side": -5}, "long_side must be 1 pixel or more, got -5"),
            (
                {"short_side": 9, "long_side": 8},
                r"long_side \(8\) must not be below short_side \(9\)",
            ),
            ({"std": (1, 0, 1)}, "std must be above 0"),
        ],
    )
    def test_values_out_of_range_are_named(self, wrong, message):
        with pytest.raises(InputError, match=message):
            DensePreprocessing(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": (0, 1)}, "segmentation.augment.scale must be two numbers with 0 < low <= high"),
        ({"scale": (2, 1)}, "segmentation.augment.scale must be two numbers"),
        ({"scale": (1,)}, "segmentation.augment.scale must be two numbers"),
        (
            {"max_class_share": 0},
            "segmentation.augment.max_class_share must be above 0 and at most 1, got 0",
        ),
        ({"max_class_share": 1.1}, "segmentation.augment.max_class_share must be above 0"),
        ({"hflip": 2}, "segmentation.augment.hflip must be from 0 to 1, got 2"),
        ({"vflip": -1}, "segmentation.augment.vflip must be from 0 to 1, got -1"),
    ],
)
def test_augmentations_out_of_range_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        JointAugmentation(**wrong)


GEOMETRY = {"photometric": False, "hflip": 0.5, "vflip": 0.5}


class TestJointAugmentation:
    @settings(max_examples=60)
    @given(
        height=sides,
        width=sides,
        seed=st.integers(0, 2**31),
        low=st.floats(0.3, 1.0),
        high=st.floats(1.0, 3.0),
    )
    def test_every_pixel_keeps_its_label(self, height, width, seed, low, high):
        """The mask is in the image's red channel, so it can be read wherever its pixels went."""
        image, labels = scene(height, width, seed)
        preprocessing = DensePreprocessing(image_size=48, interpolation="nearest", **PLAIN)
        augmentation = JointAugmentation(scale=(low, high), **GEOMETRY)
        with seeded(seed):
            seen, mask = joint_transform(augmentation, preprocessing)(image, labels)
        assert (seen.shape, mask.shape) == ((3, 48, 48), (48, 48))
        assert (seen.dtype, mask.dtype) == (torch.float32, torch.int64)
        assert type(seen) is type(mask) is torch.Tensor
        inside = mask != IGNORE
        assert torch.equal((seen[0] * 255 / 40).round().long()[inside], mask[inside])
        assert not seen[:, ~inside].any(), "padding is zero after normalisation"
        rows, columns = inside.any(1).sum(), inside.any(0).sum()
        assert inside[:rows, :columns].all(), "padding lies to the right and below"

    @pytest.mark.parametrize("size", [(80, 60), (1, 1), (1, 300), (40, 40), (700, 3)])
    def test_gives_a_square_whatever_comes(self, size):
        transform = joint_transform(JointAugmentation(), DensePreprocessing(image_size=32))
        for seed in range(8):
            with seeded(seed):
                image, mask = transform(*scene(*size))
            assert image.shape == (3, 32, 32)
            assert mask.shape == (32, 32)
            assert image.isfinite().all()

    def test_a_seed_fixes_it_and_another_changes_it(self):
        transform, pair = (
            joint_transform(JointAugmentation(), DensePreprocessing(image_size=32)),
            scene(80, 60),
        )
        results = []
        for seed in (1, 2, 3, 1):
            torch.rand(3)
            with seeded(seed):
                results.append(transform(*pair))
        for one, again, other in zip(results[0], results[3], results[1], strict=True):
            assert torch.equal(one, again)
            assert not torch.equal(one, other)

    def test_without_random_changes_it_is_the_preprocessing(self):
        preprocessing = DensePreprocessing(image_size=64, short_side=64)
        still = JointAugmentation(scale=(1, 1), hflip=0, photometric=False)
        image, labels = scene(80, 80)
        seen, mask = joint_transform(still, preprocessing)(image, labels)
        assert torch.equal(seen, preprocessing(image))
        resized = Image.fromarray(labels).resize((64, 64), Image.Resampling.NEAREST)
        assert np.array_equal(mask.numpy(), np.asarray(resized))

    def test_scales_are_spread_over_the_range_on_top_of_the_preprocessings_size(self):
        preprocessing = DensePreprocessing(image_size=200, short_side=50, **PLAIN)
        transform = joint_transform(JointAugmentation(scale=(0.5, 2.0), **GEOMETRY), preprocessing)
        heights = []
        for seed in range(60):
            with seeded(seed):
                heights.append(int((transform(*scene(20, 30))[1] != IGNORE).any(1).sum()))
        assert 25 <= min(heights) < 32
        assert 93 < max(heights) <= 100
        assert 55 < np.mean(heights) < 70

    def test_flips_happen_as_often_as_asked(self):
        image, labels = scene(32, 32)
        for name, axis in (("hflip", 1), ("vflip", 0)):
            options = {"scale": (1, 1), "photometric": False, "hflip": 0, "vflip": 0} | {name: 0.25}
            transform = joint_transform(
                JointAugmentation(**options), DensePreprocessing(image_size=32)
            )
            flipped = 0
            for seed in range(80):
                with seeded(seed):
                    flipped += np.array_equal(
                        transform(image, labels)[1].numpy(), np.flip(labels, axis)
                    )
            assert 10 <= flipped <= 32

    def test_it_travels_to_other_processes(self):
        preprocessing, pair = DensePreprocessing(image_size=32), scene(40, 50)
        for transform in (
            joint_transform(JointAugmentation(), preprocessing),
            WholeImage(preprocessing),
        ):
            received = pickle.loads(pickle.dumps(transform))
            with seeded(5):
                expected = transform(*pair)
            with seeded(5):
                assert all(
                    torch.equal(a, b) for a, b in zip(expected, received(*pair), strict=True)
                )


class TestViews:
    @settings(max_examples=40)
    @given(
        height=st.integers(8, 80),
        width=st.integers(8, 80),
        factor=st.floats(0.4, 3),
        seed=st.integers(0, 2**31),
        interpolation=st.sampled_from(["bilinear", "bicubic"]),
    )
    def test_a_view_is_a_crop_of_the_resized_image(
        self, height, width, factor, seed, interpolation
    ):
        image, labels = scene(height, width, seed)
        image = image.point(
            [64 + value // 2 for value in range(256)] * 3
        )  # bicubic overshoots stay within 0 to 255
        scaled = max(1, round(height * factor)), max(1, round(width * factor))
        with seeded(seed):
            view = choose_view(Image.fromarray(labels), scaled, 32, 1.0)
        assert view.size == (min(scaled[0], 32), min(scaled[1], 32))
        whole = image.resize(scaled[::-1], Image.Resampling[interpolation.upper()])
        left, top = round(view.box[0] * scaled[1] / width), round(view.box[1] * scaled[0] / height)
        crop = whole.crop((left, top, left + view.size[1], top + view.size[0]))
        difference = np.asarray(view.of(image, interpolation)).astype(int) - np.asarray(crop)
        assert np.abs(difference).max() <= 3, "of 256: roundings"

    def test_crops_of_one_class_are_avoided_where_others_are_near(self):
        labels = np.zeros((100, 100), np.uint8)
        labels[:, 60:] = 1
        shares = []
        for seed in range(60):
            with seeded(seed):
                view = choose_view(Image.fromarray(labels), (100, 100), 32, 0.75)
            counts = np.bincount(
                np.asarray(view.of(Image.fromarray(labels), "nearest")).ravel(), minlength=2
            )
            shares.append(counts.max() / counts.sum())
        assert np.mean(np.array(shares) <= 0.75) > 0.8, (
            "of single crops about a quarter is that varied"
        )
        with seeded(0):
            assert choose_view(Image.fromarray(labels * 0), (100, 100), 32, 0.75).size == (
                32,
                32,
            ), "tries end"

    def test_ignored_pixels_do_not_count_among_the_shares(self):
        labels = np.full((100, 100), IGNORE, np.uint8)
        labels[50:60, 50:60] = np.arange(10) % 2
        found = 0
        for seed in range(40):
            with seeded(seed):
                view = choose_view(Image.fromarray(labels), (100, 100), 40, 0.75)
            found += bool((np.asarray(view.of(Image.fromarray(labels), "nearest")) != IGNORE).any())
        assert found > 36, "a crop without a label is no good one"

    def test_every_place_comes_up(self):
        lefts = set()
        for seed in range(60):
            with seeded(seed):
                lefts.add(choose_view(Image.new("L", (36, 32)), (32, 36), 32, 1.0).box[0])
        assert lefts == {0, 1, 2, 3, 4}

    def test_a_huge_image_is_never_resized_whole(self):
        view = View((32, 32), (1000.0, 1000.0, 1016.0, 1016.0))
        assert view.of(Image.new("RGB", (6000, 4000), (1, 2, 3)), "bilinear").size == (32, 32)


class TestPhotometricDistortion:
    def test_changes_values_and_no_positions(self):
        distortion, flat = photometric_distortion(), Image.new("RGB", (8, 8), (120, 90, 60))
        results = set()
        for seed in range(60):
            with seeded(seed):
                colours = distortion(flat).getcolors()
            assert len(colours) == 1
            results.add(colours[0][1])
        assert len(results) > 40
        assert (120, 90, 60) in results, "sometimes nothing is changed"
        assert all(red > blue for red, _, blue in results), "channels are not exchanged"

    def test_leaves_the_mask_alone(self):
        image, labels = scene(32, 32)
        transform = joint_transform(
            JointAugmentation(scale=(1, 1), hflip=0), DensePreprocessing(image_size=32)
        )
        for seed in range(10):
            with seeded(seed):
                assert np.array_equal(transform(image, labels)[1].numpy(), labels)


def test_evaluation_keeps_the_mask_at_its_own_size():
    image, labels = scene(50, 70)
    seen, mask = WholeImage(DensePreprocessing(short_side=25))(image, labels)
    assert seen.shape == (3, 25, 35)
    assert mask.dtype == torch.int64
    assert np.array_equal(mask.numpy(), labels)
