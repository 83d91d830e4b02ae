"""Colour profiles (ICC) of images, which are told where they are not those of sRGB.

Pixels are not converted. Networks are trained on the stored numbers everywhere in this field, and
so were those of the zoo; a reader of exported files would have to convert alike. So a data set of
one profile is learned as it is, and whoever mixes profiles is told.
"""

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

_SRGB = np.array([[0.436, 0.222, 0.014], [0.385, 0.717, 0.097], [0.143, 0.061, 0.714]])
"""XYZ of sRGB's red, green and blue under D50, as its profile holds them."""

_NEAR = 0.02
"""Largest difference of a profile whose colours are those of sRGB but for rounding."""

_LARGEST = 1 << 22
"""Bytes of a profile that is looked into."""


def wide_profile(image: Image.Image) -> str | None:
    """Return the name of the profile of an open RGB image whose primaries are not sRGB's.

    None also for a profile that cannot be read.
    """
    content = image.info.get("icc_profile")
    if image.mode not in ("RGB", "RGBA", "P") or not isinstance(content, bytes):
        return None
    if not 128 < len(content) <= _LARGEST:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(content)).profile
        rows = [profile.red_colorant, profile.green_colorant, profile.blue_colorant]
        colours = np.array([row[0] for row in rows if row])
    except (OSError, TypeError, ValueError):  # no profile, or one without primaries
        return None
    if colours.shape != _SRGB.shape or np.abs(colours - _SRGB).max() <= _NEAR:
        return None
    return (profile.profile_description or "without a name").strip()
