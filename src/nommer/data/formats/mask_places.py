"""The places of images and their masks: folders by split, and the names of masks."""

from dataclasses import dataclass
from pathlib import Path

from nommer.data.formats.labelled import Issue, Split

MASK_ENDINGS = (
    "_mask",
    "_label",
    "_labels",
    "_L",
    "_seg",
    "_masks",
    "_cp_masks",
    "_manual1",
    "_gt",
)
"""Endings that may stand behind an image's name in the name of its mask.

The first are of Roboflow, Supervisely, CamVid and others, `_masks` and `_cp_masks` of Cellpose,
`_manual1` of DRIVE.
"""


@dataclass(frozen=True)
class Naming:
    """Difference between the names of images and masks."""

    image_endings: tuple[str, ...] = ()
    """May stand behind the name that both share."""
    mask_endings: tuple[str, ...] = MASK_ENDINGS
    unused: tuple[str, ...] = ()
    """Endings of files among the masks that say the same in another way."""


@dataclass(frozen=True)
class Part:
    """One split: a folder of images, the folder of their masks, and a list of names, if any."""

    images: Path
    masks: Path
    listed_in: Path | None = None
    naming: Naming = Naming()


@dataclass(frozen=True)
class Layout:
    """The layout of a folder of images and masks."""

    parts: dict[Split, Part]
    is_camvid: bool = False
    is_ade20k: bool = False
    is_cityscapes: bool = False
    instances: bool = False
    """By the names of its masks, as Cellpose and Penn-Fudan have them."""
    issues: tuple[Issue, ...] = ()
    """Files that lie there and are not used."""
