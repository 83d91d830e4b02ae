"""Everything a training run is told, and what is filled in from the data."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nommer.backbone.config import NomMerConfig
from nommer.backbone.variants import VARIANTS
from nommer.data.transforms import SMALL_IMAGE, Augmentation, PixelOptions, Preprocessing
from nommer.engine.optim import Optim
from nommer.engine.trainer import Precision, count_processes, parse_device, resolve_precision
from nommer.errors import InputError, check_minimum

LARGEST_DEFAULT_BATCH = 64
_TINY_IMAGE = 48


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Changes to the chosen variant of the network; what is not given is taken from the variant or the image size."""

    patch_size: Literal[1, 2, 4] | None = None
    """Stride of the stem. By default 4, or 2 for images under 160 pixels."""
    window_size: int | None = None
    """Side of the attention windows in tokens. By default 7; 8 for images under 160 pixels, 4 under 48."""
    block_sizes: tuple[int, int] | None = None
    """Sides of the DCT blocks of stages 1 and 2 in tokens. By default 8 and 4; 4 and 4 for images under 48 pixels."""
    global_pool: Literal["token", "avg"] = "token"
    """What the classifier sees: the class token, or the mean of the other tokens."""
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    drop_path_rate: float | None = None
    """Drop path of the last block. By default the variant's published one."""
    grad_checkpointing: bool = False
    """Trade time for memory: recompute activations in the backward pass."""

    def for_image_size(self, image_size: int) -> "NetworkOptions":
        """With patch, window and block sizes filled in so that small images keep a useful grid."""
        if image_size >= SMALL_IMAGE:
            defaults: tuple[Literal[1, 2, 4], int, tuple[int, int]] = (4, 7, (8, 4))
        else:
            defaults = (2, 8, (8, 4)) if image_size >= _TINY_IMAGE else (2, 4, (4, 4))
        return replace(
            self,
            patch_size=self.patch_size or defaults[0],
            window_size=self.window_size or defaults[1],
            block_sizes=self.block_sizes or defaults[2],
        )

    def config(self, variant: str, *, num_classes: int, image_size: int) -> NomMerConfig:
        """The network's full description.

        Raises:
            InputError: no such variant, or a value that the network refuses.
        """
        if variant not in VARIANTS:
            raise InputError(f"--model {variant!r} is not known; choose from {', '.join(VARIANTS)}")
        names = ("patch_size", "window_size", "block_sizes", "global_pool", "drop_rate", "drop_path_rate")
        changes: dict[str, Any] = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        try:
            return replace(VARIANTS[variant], num_classes=num_classes, img_size=image_size, **changes)
        except ValueError as error:
            raise InputError(f"--network: {error}") from error


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The arguments of `nommer.train`; see there."""

    data: Path
    model: str
    out: Path
    epochs: int
    batch_size: int | None
    image_size: int | None
    lr: float
    device: str
    devices: int
    precision: Precision
    seed: int
    workers: int | None
    accumulate: int
    val_fraction: float
    on_bad_sample: Literal["auto", "error", "skip"]
    pretrained: Path | None
    resume: bool
    overwrite: bool
    network: NetworkOptions = field(default_factory=NetworkOptions)
    optim: Optim = field(default_factory=Optim)
    augment: Augmentation = field(default_factory=Augmentation)
    pixels: PixelOptions = field(default_factory=PixelOptions)

    def __post_init__(self) -> None:
        for name in ("data", "out", "pretrained"):  # text is as good where the call comes from Python
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        for name in ("epochs", "accumulate", "devices", "batch_size"):
            check_minimum(name.replace("_", "-"), getattr(self, name), 1)
        for name in ("seed", "workers"):
            check_minimum(name, getattr(self, name), 0)
        if not self.lr > 0:
            raise InputError(f"--lr must be above 0, got {self.lr}")
        if not 0 < self.val_fraction < 1:
            raise InputError(f"--val-fraction must be above 0 and below 1, got {self.val_fraction}")
        if self.model not in VARIANTS:
            raise InputError(f"--model {self.model!r} is not known; choose from {', '.join(VARIANTS)}")

    def resolved(self, *, train_images: int, short_side: int) -> "TrainSettings":
        """With everything filled in that depends on the data and the machine.

        Raises:
            InputError: a batch that is larger than the data, or that mixup cannot pair.
        """
        image_size = self.image_size or default_image_size(short_side)
        processes = count_processes(self.device, self.devices)
        share = train_images // processes
        if share < 2:
            raise InputError(
                f"{self.data}: {train_images} training images for {processes} processes; 2 each are needed"
            )
        batch_size = self.batch_size or max(2, min(LARGEST_DEFAULT_BATCH, share - share % 2))
        if batch_size > share:
            per = f" per process ({processes} processes)" if processes > 1 else ""
            raise InputError(
                f"--batch-size {batch_size} is larger than the {share} training images{per}; use {share} or less"
            )
        if batch_size % 2 and (self.augment.mixup or self.augment.cutmix):
            raise InputError(
                f"mixup and cutmix pair the images of a batch: --batch-size must be even, got {batch_size}"
            )
        workers = default_workers() if self.workers is None else self.workers
        drop_path = self.network.drop_path_rate
        drop_path = VARIANTS[self.model].drop_path_rate if drop_path is None else drop_path
        return replace(
            self,
            image_size=image_size,
            batch_size=batch_size,
            workers=workers,
            precision=resolve_precision(self.precision, parse_device(self.device, self.devices)[0]),
            network=replace(self.network.for_image_size(image_size), drop_path_rate=drop_path),
            pixels=replace(self.pixels, crop_pct=Preprocessing(image_size=image_size, **vars(self.pixels)).crop_pct),
        )

    def preprocessing(self) -> Preprocessing:
        """How images are prepared, once `image_size` is resolved."""
        return Preprocessing(image_size=self.image_size or 0, **vars(self.pixels))


def default_image_size(short_side: int) -> int:
    """Image size for data whose median shorter side is `short_side`: 224; for small images theirs, in steps of 32."""
    return 224 if short_side >= SMALL_IMAGE else max(32, round(short_side / 32) * 32)


def default_workers() -> int:
    """Decoding processes: one per core that this process may use but one, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores - 1))
