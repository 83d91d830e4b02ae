"""Everything a training run is told, and what is filled in from the data."""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nommer.backbone.variants import VARIANTS
from nommer.data.box_transforms import BoxAugmentation
from nommer.data.cache import CacheKind
from nommer.data.joint_transforms import JointAugmentation
from nommer.data.module import Loading
from nommer.data.transforms import SMALL_IMAGE, Augmentation, PixelOptions
from nommer.distributed.processes import Strategy, SyncNorms
from nommer.distributed.trainer import Precision, count_processes, parse_device, resolve_precision
from nommer.errors import InputError, check_minimum, check_words
from nommer.models.rcnn_protocol import RCNNProtocol
from nommer.settings.aids import Aids, ClassificationOptions
from nommer.settings.network import PEER, NetworkOptions
from nommer.tasks.optimiser import Optim
from nommer.zoo import entry_meant_by

LoggerName = Literal["wandb", "mlflow"]
"""Where the numbers of a run may go besides `metrics.csv` and TensorBoard."""

LARGEST_DEFAULT_CROP = 512

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""Seconds of the units of a duration."""

_CROPPING = ("crop_pct", "crop_mode")
"""Options of `pixels` that are for tasks which crop."""


@dataclass(frozen=True, kw_only=True)
class SegmentationOptions:
    """Head, loss and training crops of semantic segmentation.

    Raises:
        InputError: a value out of range; the message names it.
    """

    decoder_channels: int | None = None
    """Channels of the UPerNet decoder. By default 512 as published, or 128 on backbones of fewer
    than 512 features.
    """
    auxiliary_channels: int | None = None
    """Channels of the auxiliary head on stage 3. By default half the decoder's; 256 is published."""
    auxiliary_weight: float = 0.4
    """Weight of the auxiliary head's loss; 0 for no such head."""
    dropout: float = 0.1
    """Dropout before the classifiers of both heads."""
    class_weights: Literal["none", "median"] = "none"
    """Weight of each class in the loss: all 1, or the median of the classes' pixel shares divided
    by its own.
    """
    short_side: int | None = None
    """Resize every image so that its shorter side has this many pixels. By default images keep
    their size.
    """
    long_side: int | None = None
    """With short_side: largest longer side, in pixels."""
    augment: JointAugmentation = JointAugmentation()
    """Random changes of image and mask together."""

    def __post_init__(self) -> None:
        check_words(self, "segmentation.")
        for name in ("decoder_channels", "auxiliary_channels", "short_side", "long_side"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(
                    f"segmentation.{name} must be 1 or more, got {getattr(self, name)}"
                )
        if not 0 <= self.dropout < 1:
            raise InputError(
                f"segmentation.dropout must be at least 0 and below 1, got {self.dropout}"
            )
        if not self.auxiliary_weight >= 0:
            raise InputError(
                f"segmentation.auxiliary_weight must be 0 or more, got {self.auxiliary_weight}"
            )

    def resolved(self, features: int) -> "SegmentationOptions":
        """With the channels filled in, for a backbone whose last stage has this many."""
        decoder = self.decoder_channels or (512 if features >= 512 else 128)
        return replace(
            self,
            decoder_channels=decoder,
            auxiliary_channels=self.auxiliary_channels or -(-decoder // 2),
        )


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """Heads, sizes and random changes of object detection and instance segmentation.

    Raises:
        InputError: a value out of range; the message names it.
    """

    head: Literal["plain", "cascade"] = "plain"
    """Faster (with masks Mask) R-CNN, or Cascade R-CNN with three stages."""
    masks: bool | None = None
    """Whether masks are learned. By default where the data have them."""
    short_side: int | None = None
    """The shorter side of an image is resized to this, in pixels. By default 800, for smaller
    images their own.
    """
    long_side: int | None = None
    """Largest longer side in pixels. By default 1333, or 5/3 of the shorter side."""
    fpn_channels: int | None = None
    """Channels of the feature pyramid. By default 256 as published, or 128 on backbones of fewer
    than 512 features.
    """
    box_channels: int | None = None
    """Width of the box head. By default 1024 as published, or 256 on backbones of fewer than 512
    features.
    """
    augment: BoxAugmentation = BoxAugmentation()
    """Random changes of images and objects together."""
    protocol: RCNNProtocol = RCNNProtocol()
    """How proposals and boxes are sampled, matched and chosen."""

    def __post_init__(self) -> None:
        check_words(self, "detection.")
        for name in ("short_side", "long_side", "fpn_channels", "box_channels"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"detection.{name} must be 1 or more, got {getattr(self, name)}")

    def resolved(self, *, features: int, short_side: int, masks: bool) -> "DetectionOptions":
        """With everything filled in, for a backbone whose last stage has `features`, and images of
        this size.
        """
        published, short = features >= 512, self.short_side or min(800, max(32, short_side))
        return replace(
            self,
            masks=masks if self.masks is None else self.masks,
            short_side=short,
            long_side=self.long_side or max(short, round(short * 5 / 3)),
            fpn_channels=self.fpn_channels or (256 if published else 128),
            box_channels=self.box_channels or (1024 if published else 256),
        )


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The arguments of `nommer.train`; see there."""

    data: Path
    model: str
    out: Path
    classes: Path | None
    epochs: int
    epoch_steps: int | None
    batch_size: int | Literal["auto"] | None
    image_size: int | None
    lr: float
    device: str
    devices: int
    precision: Precision
    seed: int
    workers: int | None
    cache: CacheKind
    compile: bool
    accumulate: int
    checkpoint_minutes: float
    val_fraction: float
    on_bad_sample: Literal["auto", "error", "skip"]
    pretrained: Path | None
    reinit_head: bool
    resume: bool
    overwrite: bool
    nodes: int = 1
    sync_norms: SyncNorms = "auto"
    strategy: Strategy = "auto"
    time_limit: str | None = None
    loggers: tuple[LoggerName, ...] = ()
    network: NetworkOptions = field(default_factory=NetworkOptions)
    optim: Optim = field(default_factory=Optim)
    augment: Augmentation = field(default_factory=Augmentation)
    pixels: PixelOptions = field(default_factory=PixelOptions)
    aids: Aids = field(default_factory=Aids)
    classification: ClassificationOptions = field(default_factory=ClassificationOptions)
    segmentation: SegmentationOptions = field(default_factory=SegmentationOptions)
    detection: DetectionOptions = field(default_factory=DetectionOptions)

    def __post_init__(self) -> None:
        for name in (
            "data",
            "out",
            "classes",
            "pretrained",
        ):  # text is as good where the call comes from Python
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        self._check_counts()
        if self.time_limit is not None:
            parse_duration(self.time_limit)
        if not self.lr > 0:
            raise InputError(f"--lr must be above 0, got {self.lr}")
        if self.reinit_head and self.pretrained is None:
            raise InputError("--reinit-head: does nothing without --pretrained; leave it out")
        if not self.checkpoint_minutes >= 0:
            raise InputError(
                f"--checkpoint-minutes must be 0 or more, got {self.checkpoint_minutes}"
            )
        if not 0 < self.val_fraction < 1:
            raise InputError(f"--val-fraction must be above 0 and below 1, got {self.val_fraction}")
        self._check_model()

    def _check_model(self) -> None:
        if self.model.startswith("timm/"):  # as others write it
            object.__setattr__(self, "model", PEER + self.model.removeprefix("timm/"))
        if self.model not in VARIANTS and not self.model.startswith(PEER):
            raise InputError(
                f"--model {self.model!r} is not known; choose from {', '.join(VARIANTS)}, or "
                f"{PEER}NAME for one of timm"
            )

    def _check_counts(self) -> None:
        for name in ("epochs", "epoch_steps", "accumulate", "devices", "nodes"):
            check_minimum(name.replace("_", "-"), getattr(self, name), 1)
        for name in ("seed", "workers"):
            check_minimum(name, getattr(self, name), 0)
        check_minimum("batch-size", None if self.batch_size == "auto" else self.batch_size, 1)

    def resolved(self, *, train_images: int, largest_batch: int) -> "TrainSettings":
        """With everything filled in that depends on the number of images and on the machine.

        Raises:
            InputError: a batch that is larger than the data.
        """
        if self.aids.freeze and self.pretrained is None:
            raise InputError(
                "--aids.freeze: without --pretrained the frozen layers would stay random; give both"
            )
        processes = self.processes
        share = train_images // processes
        if share < 2:
            raise InputError(
                f"{self.data}: {train_images} training images for {processes} processes; 2 each "
                "are needed"
            )
        usual = max(2, min(largest_batch, share - share % 2))
        batch_size = self.batch_size if isinstance(self.batch_size, int) else usual
        if batch_size > share and not self.epoch_steps:
            per = f" per process ({processes} processes)" if processes > 1 else ""
            raise InputError(
                f"--batch-size {batch_size} is larger than the {share} training images{per}; use "
                f"{share} or less"
            )
        return replace(
            self,
            batch_size=batch_size,
            workers=default_workers() if self.workers is None else self.workers,
            precision=resolve_precision(self.precision, parse_device(self.device, self.devices)[0]),
        )

    @property
    def images_per_step(self) -> int:
        """`batch_size`, once it is resolved."""
        return self.batch_size if isinstance(self.batch_size, int) else 1

    @property
    def processes(self) -> int:
        """Processes on all machines, one per device."""
        return count_processes(self.device, self.devices) * self.nodes

    def with_whole_paths(self) -> "TrainSettings":
        """With every path from the root on, so that they hold wherever the settings are read again."""
        paths = {name: getattr(self, name) for name in ("data", "out", "classes", "pretrained")}
        of_zoo = self.pretrained is not None and entry_meant_by(self.pretrained)
        kept = {None, self.pretrained if of_zoo else None}
        return replace(
            self, **{name: path.absolute() for name, path in paths.items() if path not in kept}
        )

    def for_whole_images(self, task: str) -> "TrainSettings":
        """With `pixels` filled in for a task that sees whole images.

        Raises:
            InputError: an option that crops is given.
        """
        unset = PixelOptions()
        for name in _CROPPING:
            if getattr(self.pixels, name) != getattr(unset, name):
                raise InputError(
                    f"--pixels.{name.replace('_', '-')}: is not for {task}, which sees whole images"
                )
        return replace(
            self, pixels=replace(self.pixels, interpolation=self.pixels.interpolation or "bilinear")
        )

    @property
    def normalisation(self) -> dict[str, Any]:
        """The options of `pixels` for a task that sees whole images, once they are resolved."""
        return {name: value for name, value in vars(self.pixels).items() if name not in _CROPPING}

    def loading(self) -> Loading:
        """How batches are put together, once everything is resolved."""
        return Loading(
            batch_size=self.images_per_step,
            workers=self.workers or 0,
            seed=self.seed,
            epoch_steps=self.epoch_steps * self.accumulate if self.epoch_steps else None,
            balanced=self.classification.sampling == "balanced",
            cache=self.cache,
            cache_folder=self.out,
        )


def default_image_size(short_side: int) -> int:
    """Image size for data whose median shorter side is `short_side`: 224.

    For small images theirs, in steps of 32.
    """
    return 224 if short_side >= SMALL_IMAGE else max(32, round(short_side / 32) * 32)


def default_crop(short_side: int) -> int:
    """Side of the training crops of a segmenter for images whose median shorter side is
    `short_side`: at most 512.
    """
    return max(32, min(LARGEST_DEFAULT_CROP, short_side // 32 * 32))


def default_workers() -> int:
    """Decoding processes: one per core that this process may use but one, at most 8."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(8, cores - 1))


def parse_duration(text: str) -> float:
    """Seconds of a duration such as "90s", "30m", "8h" or "1d12h30m".

    Raises:
        InputError: it is none, or nothing.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds:
        raise InputError(
            f"--time-limit {text!r} is no duration; give one such as 90s, 30m, 8h or 1d12h"
        )
    return seconds
