"""Torch data sets as labelled images: people's own, given from Python.

While they are used they are an archive that lies nowhere, `PLACE/train/000012.ppm`, so their images
go the way of all others: audited, cached, named in results.

**Items** are pairs of an image (of PIL, or a tensor (3 or 1, H, W) of uint8 or of floats from 0 to
1) and its target, by which the task is told:

- a class index: classification;
- a vector of 0 and 1 with one number per class: multi-label classification;
- a mask (H, W) of class indices, 255 being ignored, as tensor, array or image: segmentation;
- a dict of `boxes` (n, 4), corners in pixels, and `labels` (n,), maybe `masks` (n, H, W) and
  `iscrowd` (n,), as torchvision's detectors take it, but with labels that count from 0: detection.
"""

from collections.abc import Mapping
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

from nommer.data.archive_kinds import Archive
from nommer.data.formats.labelled import Issue, LabelledImages, Split
from nommer.data.formats.own_targets import IMAGE, MASK, Item, Splits, as_image, kind_of, mask_of
from nommer.errors import InputError
from nommer.shown import quote

SPLITS: tuple[Split, ...] = ("train", "val")
CLASSES = "classes"
"""Key of the names of the classes, where the data sets do not have them as an attribute."""


class DatasetArchive(Archive):
    """Data sets by split as files: images, and masks where the targets are such."""

    def __init__(self, place: Path, datasets: Mapping[str, Any]) -> None:
        self.datasets: dict[Split, Any] = {
            split: datasets[split] for split in SPLITS if split in datasets
        }
        files = [
            f"{split}/{number:06}{ending}"
            for split, items in self.datasets.items()
            for number in range(len(items))
            for ending in (IMAGE, MASK)
        ]
        super().__init__(place, files)

    def read(self, name: str) -> bytes:
        """The content of one file; `KeyError` where there is none of this name."""
        split, _, file = name.partition("/")
        image, target = self.item(split, int(file[:6]))
        stream = BytesIO()
        shown = mask_of(target) if file.endswith(MASK) else as_image(image)
        shown.save(stream, "PPM")
        return stream.getvalue()

    def item(self, split: Any, number: int) -> tuple[Any, Any]:
        """Return an image and its target.

        Raises:
            InputError: an item that is no such pair.
        """
        item = self.datasets[split][number]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise InputError(
                f"datasets: item {number} of {split} is {quote(type(item).__name__)}; expected a "
                "pair of an image and its target"
            )
        return item[0], item[1]


def read_datasets(place: Path, datasets: Mapping[str, Any]) -> tuple[str, LabelledImages[Any]]:
    """Return the task that data sets are for, and their samples; every item is asked for once.

    Args:
        place: the path that stands for them.
        datasets: "train" and maybe "val", map-style; "classes", the names of the classes, by
            default the attribute `classes` of "train".

    Raises:
        InputError: something else than data sets, or targets that are not understood.
    """
    names, archive = class_names_of(datasets), DatasetArchive(place, datasets)
    kind = kind_of(archive.item("train", 0)[1])
    issues: list[Issue] = []
    image_ids = count(1)
    splits: Splits = {}
    for split in archive.datasets:
        items = (
            Item(place, split, number, *archive.item(split, number), names)
            for number in range(len(archive.datasets[split]))
        )
        splits[split] = tuple(kind.sample(item, next(image_ids), issues) for item in items)
    return kind.task, kind.labelled(place, names, splits, tuple(issues))


def class_names_of(datasets: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes.

    Raises:
        InputError: none, or data sets that cannot be used.
    """
    unknown = sorted(set(datasets) - {*SPLITS, CLASSES})
    if unknown or "train" not in datasets:
        raise InputError(
            f"datasets: has {', '.join(map(str, datasets)) or 'nothing'}; expected train, maybe "
            "val and classes"
        )
    for split in SPLITS:
        items = datasets.get(split, [None])
        if not hasattr(items, "__getitem__") or not hasattr(items, "__len__") or not len(items):
            raise InputError(
                f"datasets: {split} is {quote(type(items).__name__)}; expected a map-style data "
                "set, with __getitem__ and __len__, that is not empty"
            )
    names = datasets.get(CLASSES, getattr(datasets["train"], CLASSES, None))
    if not names or isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"datasets: the classes are {quote(names)}; give their names as datasets['classes'], "
            "or as the attribute classes of train"
        )
    return tuple(names)
