"""Everything a training run is told."""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nommer.errors import InputError, check_minimum
from nommer.settings.augmentation import Augmentation
from nommer.settings.choices import CacheKind, LoggerName, Precision, SyncNorms
from nommer.settings.classification import ClassificationOptions
from nommer.settings.detection import DetectionOptions
from nommer.settings.network import PEER, VARIANTS, NetworkOptions
from nommer.settings.optim import Optim
from nommer.settings.pixels import SMALL_IMAGE, PixelOptions
from nommer.settings.segmentation import SegmentationOptions
from nommer.zoo import entry_meant_by

LARGEST_DEFAULT_CROP = 512
LAST_STAGE = 4

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""Seconds of the units of a duration."""

_CROPPING = ("crop_pct", "crop_mode")
"""Options of `pixels` that are for tasks which crop."""


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
    time_limit: str | None = None
    ema: float | None = None
    patience: int | None = None
    min_delta: float = 0.0
    freeze: int | Literal["backbone"] = 0
    loggers: tuple[LoggerName, ...] = ()
    network: NetworkOptions = field(default_factory=NetworkOptions)
    optim: Optim = field(default_factory=Optim)
    augment: Augmentation = field(default_factory=Augmentation)
    pixels: PixelOptions = field(default_factory=PixelOptions)
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
        self._check_stopping()
        if self.freeze != "backbone" and not 0 <= self.freeze <= LAST_STAGE:
            raise InputError(
                f"--freeze must be from 0 to {LAST_STAGE}, or backbone, got {self.freeze}"
            )

    def _check_stopping(self) -> None:
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError(f"--ema must be above 0 and below 1, got {self.ema}")
        check_minimum("patience", self.patience, 1)
        if not 0 <= self.min_delta < 1:
            raise InputError(f"--min-delta must be at least 0 and below 1, got {self.min_delta}")
        if self.min_delta and self.patience is None:
            raise InputError("--min-delta: does nothing without --patience; give both or none")

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

    @property
    def images_per_step(self) -> int:
        """`batch_size`, once it is resolved."""
        return self.batch_size if isinstance(self.batch_size, int) else 1

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
