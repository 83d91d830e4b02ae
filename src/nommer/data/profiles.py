"""Colour profiles (ICC) of images, which are told where they are not those of sRGB.

Pixels are not converted. Networks are trained on the stored numbers everywhere in this field, and
so were those of the zoo; a reader of exported files would have to convert alike. So a data set of
one profile is learned as it is, and whoever mixes profiles is told.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from nommer.data.formats.labelled import Issue, problem
from nommer.shown import quote

_SRGB = np.array([[0.436, 0.222, 0.014], [0.385, 0.717, 0.097], [0.143, 0.061, 0.714]])
"""XYZ of sRGB's red, green and blue under D50, as its profile holds them."""

_NEAR = 0.02
"""Largest difference of a profile whose colours are those of sRGB but for rounding."""

_LARGEST = 1 << 22
"""Bytes of a profile that is looked into."""


_TAKEN = "its numbers are taken as those of sRGB"
_PLAIN = "made RGB by the plain formula, not by its profile; save it as sRGB for its own colours"


def about_profile(image: Image.Image, path: Path) -> list[Issue]:
    """Return a note where an open image has a profile other than sRGB's."""
    if (name := other_profile(image)) is None:
        return []
    done = _PLAIN if image.mode == "CMYK" else _TAKEN
    return [Issue(str(path), f"colours of the profile {quote(name)}", done)]


def find_mixed_profiles(root: Path, images: int, issues: Sequence[Issue]) -> list[Issue]:
    """Return an issue where some images of a data set have a profile other than sRGB's.

    Args:
        root: the data.
        images: how many there are.
        issues: with those of `about_profile`.
    """
    found = [issue for issue in issues if issue.done in (_TAKEN, _PLAIN)]
    if not 0 < len(found) < images:
        return []
    what = f"{len(found)} of {images} images have {found[0].what} or the like, the others sRGB's"
    done = "numbers are used as they are; convert all to sRGB, or their cameras may be learned"
    return [problem(root, what, done)]


def other_profile(image: Image.Image) -> str | None:
    """Return the name of the profile of an open image whose primaries are not sRGB's.

    That of a CMYK image whatever it is. None also for a profile that cannot be read.
    """
    content = image.info.get("icc_profile")
    if image.mode not in ("RGB", "RGBA", "P", "CMYK") or not isinstance(content, bytes):
        return None
    if not 128 < len(content) <= _LARGEST:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(content)).profile
        rows = [profile.red_colorant, profile.green_colorant, profile.blue_colorant]
        colours = np.array([row[0] for row in rows if row])
    except (OSError, TypeError, ValueError):  # no profile, or one without primaries
        return None
    name = (profile.profile_description or "without a name").strip()
    if image.mode == "CMYK":
        return name
    near = colours.shape != _SRGB.shape or np.abs(colours - _SRGB).max() <= _NEAR
    return None if near else name
