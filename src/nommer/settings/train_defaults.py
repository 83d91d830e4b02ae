"""Defaults of a training that depend on the images or the machine."""

import os

from nommer.settings.pixels import SMALL_IMAGE

USUAL_LR = 1e-3
LARGEST_DEFAULT_CROP = 512


def default_image_size(short_side: int) -> int:
    """Return the image size for a median shorter side: 224, of small images theirs by 32s."""
    return 224 if short_side >= SMALL_IMAGE else max(32, round(short_side / 32) * 32)


def default_crop(short_side: int) -> int:
    """Return the side of a segmenter's training crops for a median shorter side: at most 512."""
    return max(32, min(LARGEST_DEFAULT_CROP, short_side // 32 * 32))


def default_workers() -> int:
    """Return the number of decoding processes: one per usable core but one, at most 8."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(8, cores - 1))
