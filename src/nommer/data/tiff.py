"""The ways of TIFF: bands beyond the colours, and files that promise more than they hold."""

from typing import Any

from PIL import Image

_SUBFILE, _REDUCED = 254, 1
"""The tag of what a page is, and its bit of one that shows another page in a smaller size."""

_WIDTH, _HEIGHT, _BITS, _BANDS, _PLANES, _EXTRA_BANDS = 256, 257, 258, 277, 284, 338
"""Numbers of the tags."""

_KINDS, _SIGNED = 339, 2
"""The tag of how values are written, and its number for signed integers."""

_UNASSOCIATED = 2
"""The kind of an extra band that is transparency, beside colours that are not multiplied by it."""

_ALL_OR_NOTHING = 0.25
"""Least share of transparency's pixels that are wholly opaque or wholly clear.

Near infrared and other bands that are called transparency by mistake have hardly any.
"""


def check_whole(image: Image.Image) -> None:
    """Refuse a TIFF of which Pillow would leave a part black, or read as what it is not.

    Raises:
        ValueError: rows or columns that no strip or tile of the file covers; planes of 16 bits;
            signed values of 8 bits.
    """
    signed = image.format == "TIFF" and _SIGNED in (_tag(image, _KINDS) or ())
    if signed and max(_tag(image, _BITS) or (1,)) <= 8:
        raise ValueError("signed values of 8 bits: save it as unsigned ones")
    tiles = getattr(image, "tile", None)
    if image.format != "TIFF" or not tiles or tiles[0].codec_name == "libtiff":
        return
    bits = _tag(image, _BITS) or (1,)
    planes = len(bits) if _tag(image, _PLANES) == 2 else 1
    if planes > 1 and max(bits) > 8:
        raise ValueError("a plane of 16 bits for each colour: save it with the colours together")
    covered = sum((right - left) * (lower - upper) for _, (left, upper, right, lower), *_ in tiles)
    stored = _stored_pixels(image) * planes
    if covered < stored:
        raise ValueError(
            f"cut short: it promises {stored // planes:,} pixels and holds {covered // planes:,}"
        )


def _stored_pixels(image: Image.Image) -> int:
    return int(_tag(image, _WIDTH)) * int(_tag(image, _HEIGHT))


def has_alpha(image: Image.Image, loaded: Image.Image) -> bool:
    """Return True for an image whose last band is transparency, as it is called and as it looks.

    Args:
        image: of any format.
        loaded: the same with its pixels read.
    """
    if image.format != "TIFF" or loaded.mode not in ("RGBA", "LA"):
        return True
    extra = _tag(image, _EXTRA_BANDS)
    if extra is None:  # a fourth band of which nothing is said is any band
        return False
    if tuple(extra)[:1] != (_UNASSOCIATED,):
        return True
    counts = loaded.getchannel("A").histogram()
    return counts[0] + counts[-1] >= _ALL_OR_NOTHING * sum(counts)


def unused_bands(image: Image.Image, loaded: Image.Image | None = None) -> int:
    """Return how many bands of a TIFF are neither colours nor transparency.

    Args:
        image: opened.
        loaded: with its pixels read; without, a band that is called transparency is.
    """
    bands = _tag(image, _BANDS) if image.format == "TIFF" else None
    if not isinstance(bands, int):
        return 0
    used = len(image.getbands())
    mistaken = image.mode in ("RGBA", "LA") and (
        _tag(image, _EXTRA_BANDS) is None or (loaded is not None and not has_alpha(image, loaded))
    )
    if image.mode == "RGB" and bands < used:  # YCbCr and the like
        return 0
    return max(0, bands - used) + int(mistaken)


def lost_pages(image: Image.Image) -> list[int]:
    """Return which frames or pages of an open image are not read, though they may hold content.

    They are counted from 1.

    Smaller copies of the first page in a TIFF and of the image in an MPO hold none.
    """
    frames: int = getattr(image, "n_frames", 1)
    if frames == 1 or image.format == "MPO":
        return []
    if image.format != "TIFF":
        return list(range(2, frames + 1))
    found = []
    try:
        for number in range(1, frames):
            image.seek(number)
            if not int(_tag(image, _SUBFILE) or 0) & _REDUCED:
                found.append(number + 1)
    finally:
        image.seek(0)
    return found


def _tag(image: Image.Image, number: int) -> Any:
    return getattr(image, "tag_v2", {}).get(number)
