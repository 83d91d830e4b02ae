"""Images that look like masks: of but a few values, also where JPEG has blurred them."""

from pathlib import Path

import numpy as np
from PIL import Image

from nommer.data.images import ImageError, image_errors, open_image

_FEW_VALUES = 32
_SIDE = 512
"""Pixels of a side of a JPEG that is looked at."""
_MOST, _FLAT = 0.9, 0.75
"""Shares of a JPEG's pixels that the few values have, and that are like their neighbours."""
_PACKED = np.array([1 << 16, 1 << 8, 1])
"""Makes one number of a colour."""
_STEP = 6
"""Levels that neighbours in an area of one value differ at most, in a JPEG."""
_GREY_MODES = ("1", "L", "P", "I;16", "I")


def looks_like_mask(path: Path) -> str:
    """Tell if an image holds but a few values, with more than one.

    "grey" where it is grey or has a palette, "colour" where not, "JPEG" where these are blurred; ""
    where it holds more.
    """
    try:
        with image_errors(path), open_image(path) as image:
            if image.format in ("JPEG", "MPO"):
                return "JPEG" if _is_flat(image) else ""
            grey = image.mode in _GREY_MODES
            pixels = np.asarray(image if grey else image.convert("RGB"))
    except ImageError:
        return ""
    kinds = np.unique(pixels if pixels.ndim == 2 else pixels @ _PACKED)
    if not 1 < len(kinds) <= _FEW_VALUES:
        return ""
    return "grey" if grey else "colour"


def _is_flat(image: Image.Image) -> bool:
    """Tell if a JPEG is of flat areas in a few colours that are far from each other."""
    image.draft("RGB", (_SIDE, _SIDE))
    pixels = np.asarray(image.convert("RGB"), np.int32)[:_SIDE, :_SIDE]
    flat = (np.abs(np.diff(pixels, axis=1)).max(axis=2) <= _STEP).mean()
    bins, counts = np.unique((pixels + 16) // 32 @ _PACKED, return_counts=True)
    order = np.argsort(counts)[::-1]
    if len(bins) < 2 or flat < _FLAT:
        return False
    few = counts[order[: _FEW_VALUES // 4]].sum() >= _MOST * counts.sum()
    first, second = (bins[order[place]] // _PACKED % 256 for place in (0, 1))
    return bool(few and np.abs(first - second).max() > 1)
