"""Masks as COCO's compressed run lengths."""

import numpy as np
from faster_coco_eval.core import mask as coco_masks


def encode_pixels(pixels: np.ndarray) -> bytes:
    """COCO's compressed run lengths of (H, W) pixels, 1 or True where the object is."""
    return coco_masks.encode(np.asfortranarray(pixels, np.uint8))["counts"]
