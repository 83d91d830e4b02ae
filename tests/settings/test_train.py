"""Settings that are filled in from the data and the image size, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nommer.backbone.variants import VARIANTS
from nommer.data.formats.folders import ClassFolders, Sample
from nommer.data.joint_transforms import DensePreprocessing
from nommer.distributed.devices import parse_device, resolve_precision
from nommer.errors import InputError
from nommer.settings.augmentation import Augmentation
from nommer.settings.classification import ClassificationOptions
from nommer.settings.detection import DetectionOptions
from nommer.settings.durations import parse_duration
from nommer.settings.network import NetworkOptions
from nommer.settings.optim import Optim
from nommer.settings.pixels import PixelOptions
from nommer.settings.segmentation import SegmentationOptions
from nommer.settings.train import TrainSettings
from nommer.settings.train_defaults import default_crop, default_image_size
from nommer.tasks.data import Found
from nommer.tasks.networks import network_config, resolve_network
from nommer.tasks.registry import TASKS
from nommer.tasks.segmentation.loss import median_weights

DEFAULTS = {
    "data": "data",
    "model": "nommer_micro",
    "out": "out",
    "classes": None,
    "epochs": 10,
    "epoch_steps": None,
    "batch_size": None,
    "image_size": None,
    "lr": 1e-3,
    "device": "cpu",
    "devices": 1,
    "precision": "auto",
    "seed": 0,
    "workers": None,
    "cache": "none",
    "compile": False,
    "accumulate": 1,
    "checkpoint_minutes": 30,
    "val_fraction": 0.2,
    "on_bad_sample": "auto",
    "pretrained": None,
    "reinit_head": False,
    "resume": False,
    "overwrite": False,
}


def resolve(settings, *, images, short_side, task="classification"):
    """Settings filled in for this many training images."""
    data = ClassFolders(
        settings.data, ("a", "b"), {"train": tuple(Sample(Path(f"{n}"), 0) for n in range(images))}
    )
    return TASKS[task].resolve(settings, Found(data, short_side))


@pytest.mark.parametrize(
    ("short_side", "expected"),
    [(8, 32), (32, 32), (40, 32), (64, 64), (100, 96), (159, 160), (160, 224), (4000, 224)],
)
def test_small_images_keep_their_size(short_side, expected):
    assert default_image_size(short_side) == expected


@pytest.mark.parametrize(
    ("images", "expected"), [(2, 2), (3, 2), (7, 6), (64, 64), (65, 64), (5000, 64)]
)
def test_the_default_batch_fits_the_data_and_is_even(images, expected):
    assert resolve(TrainSettings(**DEFAULTS), images=images, short_side=32).batch_size == expected


def test_networks_of_timm_are_called_with_a_colon_or_a_slash():
    assert TrainSettings(**DEFAULTS | {"model": "timm/resnet18"}).model == "timm:resnet18"


def test_everything_is_filled_in():
    settings = resolve(TrainSettings(**DEFAULTS), images=100, short_side=500)
    assert (settings.image_size, settings.batch_size) == (224, 64)
    assert settings.workers >= 1
    assert (
        settings.network.patch_size,
        settings.network.window_size,
        settings.network.block_sizes,
    ) == (4, 7, (8, 4))
    assert settings.data == Path("data")
    assert settings.pixels.crop_pct == 0.875
    assert (settings.optim.schedule, settings.optim.label_smoothing) == ("cosine", 0.1)


def test_what_is_given_stays():
    given = DEFAULTS | {
        "image_size": 48,
        "batch_size": 5,
        "workers": 0,
        "network": NetworkOptions(window_size=3),
    }
    settings = resolve(TrainSettings(**given), images=100, short_side=500)
    assert (settings.image_size, settings.batch_size, settings.workers) == (48, 5, 0)
    assert (settings.network.patch_size, settings.network.window_size) == (2, 3)


@pytest.mark.parametrize("image_size", [32, 64, 128, 224])
def test_the_default_network_keeps_a_useful_grid(image_size):
    options = NetworkOptions().for_image_size(image_size)
    config = network_config(options, "nommer_nano", num_classes=2, image_size=image_size)
    first, _, third, last = (
        config.grid_size(image_size, image_size, stage)[0] for stage in range(4)
    )
    assert first % config.window_size == 0, "windows without padding"
    assert first % config.block_sizes[0] == 0, "blocks without padding"
    assert third >= 4
    assert last >= 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_unchanged_options_leave_the_variant_as_it_is_published(variant):
    designed = VARIANTS[variant]
    options = resolve_network(NetworkOptions(), variant, 224)
    config = network_config(options, variant, num_classes=1000, image_size=224)
    assert config == replace(designed, img_size=224)
    if designed.img_size == (224, 224):
        options = NetworkOptions().for_image_size(224)
        config = network_config(options, variant, num_classes=1000, image_size=224)
        assert config == designed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs must be 1 or more, got 0"),
        ({"accumulate": 0}, "--accumulate must be 1 or more, got 0"),
        ({"devices": 0}, "--devices must be 1 or more, got 0"),
        ({"batch_size": 0}, "--batch-size must be 1 or more, got 0"),
        ({"workers": -1}, "--workers must be 0 or more, got -1"),
        ({"seed": -1}, "--seed must be 0 or more, got -1"),
        ({"lr": 0}, "--lr must be above 0, got 0"),
        ({"lr": float("nan")}, "--lr must be above 0, got nan"),
        ({"val_fraction": 1}, "--val-fraction must be above 0 and below 1, got 1"),
        (
            {"model": "nommer_huge"},
            "--model 'nommer_huge' is not known; choose from nommer_tiny, nommer_small",
        ),
    ],
)
def test_values_out_of_range_are_named(changes, message):
    with pytest.raises(InputError) as caught:
        TrainSettings(**DEFAULTS | changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"batch_size": 41},
            "--batch-size 41 is larger than the 40 training images; use 40 or less",
        ),
        (
            {"batch_size": 30, "devices": 2},
            "--batch-size 30 is larger than the 20 training images per process",
        ),
        ({"batch_size": 5, "augment": Augmentation(mixup=0.5)}, "--batch-size must be even, got 5"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(InputError) as caught:
        resolve(TrainSettings(**DEFAULTS | changes), images=40, short_side=32)
    assert message in str(caught.value)


def test_options_that_the_network_refuses_are_named():
    options = NetworkOptions(drop_path_rate=1.0)
    with pytest.raises(
        InputError, match="--network: drop_path_rate must be at least 0 and below 1, got 1"
    ):
        network_config(options, "nommer_micro", num_classes=2, image_size=32)


class TestDevices:
    def test_the_cpu_is_always_there(self):
        assert parse_device("cpu", 2) == ("cpu", 2)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the others lack")
    def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused(self):
        assert parse_device("auto", 1) == ("cpu", 1)
        with pytest.raises(
            InputError,
            match="--device cuda: this machine has no cuda device that torch can use; use cpu",
        ):
            parse_device("cuda", 1)

    @pytest.mark.parametrize("device", ["gpu", "", "tpu:1"])
    def test_other_words_are_refused(self, device):
        with pytest.raises(
            InputError, match="is not known; use auto, cpu, cuda, cuda:0, cuda:0,1 or mps"
        ):
            parse_device(device, 1)

    @pytest.mark.parametrize("device", ["cpu:1", "cpu:x"])
    def test_numbers_are_for_cuda(self, device):
        with pytest.raises(
            InputError, match=r"--device 'cpu:.': only cuda devices have numbers, as in cuda:0,1"
        ):
            parse_device(device, 1)

    def test_precision_is_given_or_fits_the_device(self):
        assert resolve_precision("auto", "cpu") == "32"
        assert resolve_precision("bf16", "cpu") == "bf16"


class TestSegmentation:
    @pytest.mark.parametrize(
        ("short_side", "expected"), [(20, 32), (40, 32), (360, 352), (512, 512), (3000, 512)]
    )
    def test_crops_fit_the_images(self, short_side, expected):
        assert default_crop(short_side) == expected

    def test_everything_is_filled_in(self):
        settings = resolve(
            TrainSettings(**DEFAULTS), images=100, short_side=360, task="segmentation"
        )
        assert (settings.image_size, settings.batch_size) == (352, 8)
        assert (
            settings.optim.schedule,
            settings.optim.label_smoothing,
            settings.optim.min_factor,
        ) == (
            "poly",
            0.0,
            0.0,
        )
        assert (
            settings.segmentation.decoder_channels,
            settings.segmentation.auxiliary_channels,
        ) == (128, 64)

    def test_the_decoder_is_the_published_one_on_published_networks(self):
        given = DEFAULTS | {"model": "nommer_tiny"}
        settings = resolve(TrainSettings(**given), images=100, short_side=360, task="segmentation")
        assert (
            settings.segmentation.decoder_channels,
            settings.segmentation.auxiliary_channels,
        ) == (512, 256)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"decoder_channels": 0}, "segmentation.decoder_channels must be 1 or more, got 0"),
            ({"dropout": 1.0}, "segmentation.dropout must be at least 0 and below 1, got 1.0"),
            ({"auxiliary_weight": -1}, "segmentation.auxiliary_weight must be 0 or more, got -1"),
            (
                {"auxiliary_weight": float("nan")},
                "segmentation.auxiliary_weight must be 0 or more, got nan",
            ),
        ],
    )
    def test_values_out_of_range_are_named(self, options, message):
        with pytest.raises(InputError) as caught:
            SegmentationOptions(**options)
        assert message in str(caught.value)

    def test_median_weights_are_the_median_share_over_the_classs_own(self):
        weights = median_weights(np.array([100, 10, 1000, 0, 50]))
        assert weights.tolist() == pytest.approx([0.5, 5.0, 0.05, 0.0, 1.0])


def test_resampling_is_left_to_the_task_unless_it_is_given():
    for pixels, expected in (
        (PixelOptions(), "bilinear"),
        (PixelOptions(interpolation="bicubic"), "bicubic"),
    ):
        resolved = TrainSettings(**DEFAULTS, pixels=pixels).for_whole_images("segmentation")
        assert DensePreprocessing(**resolved.normalisation).interpolation == expected


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Optim(schedule="Poly"),
            "optim.schedule must be cosine, poly or steps, got 'Poly'",
        ),
        (
            lambda: SegmentationOptions(class_weights=0),
            "segmentation.class_weights must be none or median, got 0",
        ),
        (
            lambda: DetectionOptions(head="Cascade"),
            "detection.head must be plain or cascade, got 'Cascade'",
        ),
        (
            lambda: ClassificationOptions(sampling=1),
            "classification.sampling must be shuffled or balanced, got 1",
        ),
    ],
)
def test_words_that_an_option_does_not_know_are_refused(build, message):
    with pytest.raises(InputError) as caught:
        build()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("8h", 28_800), ("1d12h", 129_600), ("1.5h", 5400)],
)
def test_durations_are_said_in_words(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "8 h", "h", "8h!", "0s", "1:00:00", "-1h"])
def test_other_words_are_no_duration(text):
    with pytest.raises(
        InputError, match=f"--time-limit '{text}' is no duration; give one such as 90s, 30m, 8h"
    ):
        parse_duration(text)
