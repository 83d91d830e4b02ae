"""Reading of labels where data leave it open."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from nommer.settings.schema import Settings

FormatName = Literal[
    "auto",
    "folders",
    "table",
    "masks",
    "instance-maps",
    "coco",
    "yolo",
    "voc",
    "labelme",
    "boxes-table",
    "object-files",
    "metadata",
]

FORMATS: tuple[FormatName, ...] = get_args(FormatName)


@dataclass(frozen=True, kw_only=True)
class LabelOptions(Settings):
    """Reading of labels where data leave it open; recorded in the run.

    Raises:
        InputError: a word that is not known; the message names it.
    """

    prefix: ClassVar[str] = "labels."

    format: FormatName = "auto"
    """Format that is read where several lie in one folder; auto says which are passed over.
    folders takes folders for classes whatever they look like.
    """
    crowds: Literal["ignore", "learn"] = "ignore"
    """Use of COCO objects with iscrowd: ignore leaves them out of training and evaluation, as
    COCO does; learn takes them for objects, as CVAT's painted masks are.
    """
    difficult: Literal["ignore", "learn"] = "ignore"
    """Use of VOC objects marked difficult: ignore leaves them out of training and evaluation,
    as VOC does; learn takes them for objects.
    """
    first_pixel: Literal["auto", "0", "1"] = "auto"
    """Number of the first pixel in VOC's XML: 1 as VOC counts, 0 as some tools do; auto guesses by
    the coordinates, and says so.
    """
