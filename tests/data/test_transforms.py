"""From pixels to the network's input.

What torchvision does, the same for every image, the same for a seed.
"""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import v2

from nommer.data.seeding import seeded
from nommer.data.transforms import Preprocessing, check_policy, posterise, training_transform
from nommer.data.transforms import mixing as mixing_of
from nommer.errors import InputError
from nommer.settings.augmentation import Augmentation
from nommer.settings.pixels import PixelOptions

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_image(width, height, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8)).resize((width, height), Image.Resampling.BOX)


@settings(max_examples=25)
@given(
    width=st.integers(20, 400),
    height=st.integers(20, 400),
    size=st.integers(32, 128),
    interpolation=st.sampled_from(["bicubic", "bilinear", "nearest"]),
)
def test_equals_torchvisions_resize_crop_and_normalise(width, height, size, interpolation):
    if max(width, height) > 4 * min(width, height):
        width = height
    image = random_image(width, height)
    preprocessing = Preprocessing(image_size=size, crop_pct=0.875, interpolation=interpolation)
    reference = v2.Compose(
        [
            v2.Resize(
                int(size / 0.875), interpolation=v2.InterpolationMode(interpolation), antialias=True
            ),
            v2.CenterCrop(size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    prepared = preprocessing(image)
    assert prepared.dtype == torch.float32
    assert type(prepared) is torch.Tensor
    assert torch.equal(prepared, reference(image))


def test_the_published_protocol_is_resize_to_256_then_centre_crop_224():
    image = random_image(500, 333)
    resized = v2.functional.resize(image, [256], interpolation=v2.InterpolationMode.BICUBIC)
    assert Preprocessing(image_size=224).crop(image) == v2.functional.center_crop(
        resized, [224, 224]
    )


def test_the_way_of_resampling_is_each_tasks_own_by_default():
    assert PixelOptions().interpolation is None
    saved = Preprocessing(**vars(PixelOptions())).to_dict()
    assert saved == Preprocessing().to_dict()
    assert next(iter(saved.items())) == ("interpolation", "bicubic")
    assert Preprocessing(**saved | {"interpolation": "nearest"}).interpolation == "nearest"


def test_one_colour_is_normalised_by_mean_and_std():
    prepared = Preprocessing(image_size=32, mean=(0.5, 0.25, 0), std=(0.5, 0.5, 2))(
        Image.new("RGB", (40, 40), (255, 0, 51))
    )
    assert torch.allclose(
        prepared, torch.tensor([1.0, -0.5, 0.1]).view(3, 1, 1).expand(3, 32, 32), atol=1e-6
    )


def test_squash_shows_the_whole_image():
    image = Image.new("RGB", (300, 50), (255, 0, 0))
    image.paste((0, 0, 255), (270, 0, 300, 50))
    squashed = np.asarray(Preprocessing(image_size=32, crop_mode="squash").crop(image))
    assert squashed.shape == (32, 32, 3)
    assert squashed[:, 0].tolist() == [[255, 0, 0]] * 32
    assert squashed[:, -1].tolist() == [[0, 0, 255]] * 32
    cropped = np.asarray(Preprocessing(image_size=32).crop(image))
    assert (cropped == [255, 0, 0]).all(), "the centre crop does not see the end"


@pytest.mark.parametrize(("size", "expected"), [(32, 1.0), (159, 1.0), (160, 0.875), (224, 0.875)])
def test_nothing_of_small_images_is_cropped_by_default(size, expected):
    assert Preprocessing(image_size=size).crop_pct == expected
    assert Preprocessing(image_size=size, crop_pct=0.9).crop_pct == 0.9


def test_a_long_image_is_cropped_to_its_centre_as_a_short_one_is():
    wide = random_image(700, 40)
    middle = wide.crop((200, 0, 500, 40))
    preprocessing = Preprocessing(image_size=64)
    difference = np.asarray(preprocessing.crop(wide)).astype(int) - np.asarray(
        preprocessing.crop(middle)
    )
    assert np.abs(difference).max() <= 1


@given(st.integers(0, 2**16))
def test_denormalise_inverts_normalise(seed):
    image = random_image(32, 32, seed)
    preprocessing = Preprocessing(image_size=32)
    restored = preprocessing.denormalise(preprocessing.normalise(image))
    assert np.array_equal(
        (restored * 255).round().numpy().astype(np.uint8).transpose(1, 2, 0), np.asarray(image)
    )


def test_preprocessing_survives_json_like_values():
    preprocessing = Preprocessing(image_size=48, mean=(0.1, 0.2, 0.3), background=(1, 2, 3))
    values = {
        name: list(v) if isinstance(v, tuple) else v for name, v in preprocessing.to_dict().items()
    }
    assert Preprocessing(**values) == preprocessing


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Preprocessing(image_size=31), "image_size must be 32 pixels or more, got 31"),
        (lambda: PixelOptions(crop_pct=0), "crop_pct must be above 0 and at most 1, got 0"),
        (lambda: PixelOptions(crop_pct=1.1), "crop_pct must be above 0 and at most 1, got 1.1"),
        (
            lambda: Preprocessing(crop_mode="squish"),
            "crop_mode must be center or squash, got 'squish'",
        ),
        (lambda: PixelOptions(crop_mode=None), "crop_mode must be center or squash, got None"),
        (
            lambda: PixelOptions(interpolation="cubic"),
            "interpolation must be bicubic, bilinear or nearest, got",
        ),
        (lambda: PixelOptions(std=(1, 0, 1)), "std must be above 0"),
        (lambda: PixelOptions(mean=(1, 0)), "mean must be three numbers"),
        (
            lambda: PixelOptions(background=(0, 0, 256)),
            "background must be three numbers from 0 to 255",
        ),
        (lambda: Augmentation(hflip=1.5), "augment.hflip must be from 0 to 1, got 1.5"),
        (lambda: Augmentation(mixup_prob=-1), "augment.mixup_prob must be from 0 to 1, got -1"),
        (lambda: Augmentation(scale=(0.5, 0.2)), "augment.scale must be two numbers"),
        (lambda: Augmentation(scale=(0, 1)), "augment.scale must be two numbers"),
        (lambda: Augmentation(mixup=-0.1), "augment.mixup must be 0 or more, got -0.1"),
        (
            lambda: check_policy(Augmentation(auto_augment="random-things")),
            "augment.auto_augment 'random-things' is no policy of timm",
        ),
    ],
)
def test_values_out_of_range_are_named(build, message):
    with pytest.raises(InputError) as caught:
        build()
    assert message in str(caught.value)


AUGMENTATIONS = {
    "default": Augmentation(),
    "all of it": Augmentation(
        scale=(0.08, 1),
        hflip=0.5,
        vflip=0.5,
        color_jitter=0.4,
        auto_augment="rand-m9-mstd0.5-inc1",
        random_erasing=0.9,
    ),
    "augmix": Augmentation(auto_augment="augmix-m3"),
}


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
class TestAugmentation:
    def test_a_seed_fixes_it_and_another_changes_it(self, augmentation):
        transform = training_transform(augmentation, Preprocessing(image_size=32))
        image, results = random_image(80, 60), []
        for seed in (1, 2, 3, 1):
            random.random()
            torch.rand(3)
            with seeded(seed):
                results.append(transform(image))
        assert torch.equal(results[0], results[3])
        assert not torch.equal(results[0], results[1])
        assert not torch.equal(results[1], results[2])

    @pytest.mark.parametrize("size", [(80, 60), (1, 1), (1, 3000), (40, 40)])
    def test_gives_a_normalised_input_whatever_comes(self, augmentation, size):
        result = training_transform(augmentation, Preprocessing(image_size=32))(random_image(*size))
        assert result.shape == (3, 32, 32)
        assert result.dtype == torch.float32
        assert result.isfinite().all()
        assert result.abs().max() < 8


@pytest.mark.parametrize("policy", ["rand-m10-mstd0-n4-inc1", "augmix-m10-d3", "original", "v0"])
def test_the_strongest_policies_fail_on_no_image(policy):
    transform, image = (
        training_transform(Augmentation(auto_augment=policy), Preprocessing(image_size=32)),
        random_image(40, 32),
    )
    for seed in range(150):
        with seeded(seed):
            assert transform(image).isfinite().all()


def test_posterising_keeps_the_highest_bits():
    image = Image.new("RGB", (2, 2), (255, 129, 3))
    assert [posterise(image, bits).getpixel((0, 0)) for bits in (9, 8, 4, 1, 0)] == [
        (255, 129, 3),
        (255, 129, 3),
        (240, 128, 0),
        (128, 128, 0),
        (0, 0, 0),
    ]


def test_without_random_changes_the_augmentation_is_the_image():
    still = Augmentation(scale=(1, 1), ratio=(1, 1), hflip=0, color_jitter=0)
    image, preprocessing = random_image(64, 64), Preprocessing(image_size=64)
    assert torch.allclose(
        training_transform(still, preprocessing)(image), preprocessing(image), atol=1e-5
    )


class TestMixing:
    def test_is_off_unless_asked_for(self):
        assert mixing_of(Augmentation(), 3, 0.1) is None

    def test_mixed_labels_are_distributions_with_the_smoothing(self):
        mixing = mixing_of(Augmentation(mixup=0.8, cutmix=1.0), 4, 0.1)
        with seeded(0):
            images, targets = mixing(torch.rand(6, 3, 32, 32), torch.arange(6) % 4)
        assert images.shape == (6, 3, 32, 32)
        assert torch.allclose(targets.sum(1), torch.ones(6), atol=1e-6)
        assert targets.min() >= 0.1 / 4 - 1e-6

    def test_mixup_is_the_weighted_sum_of_pairs(self):
        mixing = mixing_of(Augmentation(mixup=1.0), 2, 0.0)
        batch = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
        with seeded(0):
            images, targets = mixing(batch.clone(), torch.tensor([0, 1]))
        assert images[0].unique().item() == pytest.approx(targets[0, 1].item(), abs=1e-6)
        assert images[1].unique().item() == pytest.approx(targets[1, 1].item(), abs=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"ratio": (0.0, 1.0)}, {"ratio": (2.0, 1.0)}, {"scale": (1.0,)}, {"ratio": (1.0,)}]
)
def test_crops_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=f"augment.{next(iter(wrong))} must be two numbers"):
        Augmentation(**wrong)


@settings(max_examples=25)
@given(
    width=st.integers(40, 600),
    height=st.integers(40, 600),
    size=st.integers(32, 128),
    crop_pct=st.sampled_from([0.5, 0.875, 1.0]),
    crop_mode=st.sampled_from(["center", "squash"]),
)
def test_what_is_seen_of_an_image_is_known_in_its_own_pixels(
    width, height, size, crop_pct, crop_mode
):
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ramp = np.stack([x / width, y / height, 0 * x], -1) * 255
    preprocessing = Preprocessing(
        image_size=size, crop_pct=crop_pct, crop_mode=crop_mode, interpolation="bilinear"
    )
    cropped = np.asarray(
        preprocessing.crop(Image.fromarray(np.round(ramp).astype(np.uint8)))
    ).astype(float)
    left, top, right, bottom = preprocessing.seen(height, width)
    centres = (np.arange(size) + 0.5) / size
    inner = slice(size // 4, -size // 4)  # at the image's own borders resampling flattens the ramp
    across = (left + (right - left) * centres) / width * 255
    down = (top + (bottom - top) * centres) / height * 255
    assert np.abs(cropped[:, inner, 0].mean(0) - across[inner]).max() < 1.5 + 255 / width
    assert np.abs(cropped[inner, :, 1].mean(1) - down[inner]).max() < 1.5 + 255 / height


@pytest.mark.parametrize(
    "options", [{}, {"auto_augment": "rand-m9-mstd0.5-inc1", "random_erasing": 1.0}]
)
def test_training_images_are_timms_to_the_last_bit(options):
    augmentation, preprocessing = (
        Augmentation(**options),
        Preprocessing(image_size=64, std=(0.1, 0.2, 0.3)),
    )
    reference = create_transform(
        64,
        is_training=True,
        scale=augmentation.scale,
        ratio=augmentation.ratio,
        color_jitter=augmentation.color_jitter,
        auto_augment=augmentation.auto_augment,
        interpolation="bicubic",
        mean=preprocessing.mean,
        std=preprocessing.std,
        re_prob=augmentation.random_erasing,
        re_mode="pixel",
    )
    transform = training_transform(augmentation, preprocessing)
    for seed in range(20):
        image = random_image(60 + seed, 70, seed)
        with seeded(seed):
            expected = reference(image)
        with seeded(seed):
            assert torch.equal(transform(image), expected)
