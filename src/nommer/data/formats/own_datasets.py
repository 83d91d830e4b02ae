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

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from nommer.data.archive_kinds import Archive
from nommer.data.formats.folders import ClassFolders, Sample
from nommer.data.formats.labelled import Issue, LabelledImages, Split
from nommer.data.formats.mask_classes import MaskClass, MaskClasses
from nommer.data.formats.mask_pairs import MaskSample
from nommer.data.formats.masks import MaskFolders
from nommer.data.formats.objects import (
    Box,
    DetectionFolders,
    DetectionSample,
    RawObject,
    make_objects,
)
from nommer.errors import InputError
from nommer.predictions.run_lengths import encode_pixels
from nommer.shown import quote

SPLITS: tuple[Split, ...] = ("train", "val")
CLASSES = "classes"
"""Key of the names of the classes, where the data sets do not have them as an attribute."""

_IMAGE, _MASK = ".ppm", "-mask.pgm"
"""Ends of the names of images and of masks."""


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
            for ending in (_IMAGE, _MASK)
        ]
        super().__init__(place, files)

    def read(self, name: str) -> bytes:
        """The content of one file; `KeyError` where there is none of this name."""
        split, _, file = name.partition("/")
        image, target = self.item(split, int(file[:6]))
        stream = BytesIO()
        shown = mask_of(target) if file.endswith(_MASK) else as_image(image)
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


def as_image(image: Any) -> Image.Image:
    """Return an item's image as one of PIL, RGB.

    Raises:
        InputError: it is none, or a tensor of other values.
    """
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] in (1, 3):
        if not image.is_floating_point() or (image.min() >= 0 and image.max() <= 1):
            return to_pil_image(image).convert("RGB")
        raise InputError(
            f"datasets: an image has floats from {float(image.min()):g} to "
            f"{float(image.max()):g}; expected 0 to 1, not yet normalised"
        )
    raise InputError(
        f"datasets: an image is {quote(type(image).__name__)}; expected one of PIL, or a tensor "
        "(3, H, W)"
    )


def mask_of(target: Any) -> Image.Image:
    """Return a mask as an image of its values."""
    return Image.fromarray(np.asarray(target).astype(np.uint8), "L")


class Item(NamedTuple):
    """One item of a data set, and where it stands."""

    place: Path
    split: Split
    number: int
    image: Any
    target: Any
    classes: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file that stands for its image."""
        return self.place / self.split / f"{self.number:06}{_IMAGE}"

    def refuse(self, expected: str) -> NoReturn:
        """Raise an `InputError` about its target."""
        raise InputError(
            f"datasets: the target of item {self.number} of {self.split} is "
            f"{quote(str(self.target)[:80])}; expected {expected}"
        )

    def label(self, value: Any) -> int:
        """Return a value as the index of a class."""
        if not 0 <= int(value) < len(self.classes):
            self.refuse(f"classes from 0 to {len(self.classes) - 1}")
        return int(value)


def _one_class(item: Item, _: int, issues: list[Issue]) -> Sample:
    if np.ndim(item.target) or not isinstance(item.target, int | np.integer | Tensor):
        item.refuse("one class, as the first")
    return Sample(item.path, item.label(item.target))


def _several_classes(item: Item, _: int, issues: list[Issue]) -> Sample:
    values = np.asarray(item.target)
    if values.shape != (len(item.classes),) or not np.isin(values, (0, 1)).all():
        item.refuse(f"{len(item.classes)} numbers of 0 and 1, one for each class")
    labels = tuple(np.flatnonzero(values).tolist())
    return Sample(item.path, labels[0] if labels else -1, None, labels)


def _mask(item: Item, _: int, issues: list[Issue]) -> MaskSample:
    if np.ndim(item.target) != _MASK_SIDES:
        item.refuse("a mask (H, W), as the first")
    return MaskSample(item.path, item.path.with_name(f"{item.number:06}{_MASK}"))


def _objects(item: Item, image_id: int, issues: list[Issue]) -> DetectionSample:
    if not isinstance(item.target, dict) or not {"boxes", "labels"} <= item.target.keys():
        item.refuse("a dict of boxes and labels")
    size = as_image(item.image).size
    labels = [item.label(value) for value in np.asarray(item.target["labels"])]
    corners = np.asarray(item.target["boxes"], np.float64).reshape(-1, 4).tolist()
    boxes: list[Box] = [(left, upper, right, lower) for left, upper, right, lower in corners]
    masks = [_runs(mask) for mask in np.asarray(item.target.get("masks", ()))]
    crowds = np.asarray(item.target.get("iscrowd", [0] * len(boxes))).tolist()
    if not len(boxes) == len(labels) == len(crowds) or len(masks) not in (0, len(boxes)):
        item.refuse("as many labels, and masks where there are any, as boxes")
    raw = [
        RawObject(f"object {n}", labels[n], box, masks[n] if masks else None, bool(crowds[n]))
        for n, box in enumerate(boxes)
    ]
    objects = make_objects(raw, size, file=item.path, issues=issues)
    return DetectionSample(item.path, objects, image_id, size)


def _runs(mask: np.ndarray) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": encode_pixels(mask)}


_MASK_SIDES = 2
"""Dimensions of a mask."""

_KINDS: dict[str, Callable[[Item, int, list[Issue]], Any]] = {
    "classification": _one_class,
    "multi-label classification": _several_classes,
    "segmentation": _mask,
    "detection": _objects,
}
"""From items to samples, by the task."""


def _task_of(target: Any) -> str:
    """Return the task that a target is for.

    Raises:
        InputError: it is of no kind that is known.
    """
    if isinstance(target, dict):
        return "detection"
    sides = np.ndim(target)
    known = {0: "classification", 1: "multi-label classification", _MASK_SIDES: "segmentation"}
    if sides not in known or not np.issubdtype(np.asarray(target).dtype, np.number):
        raise InputError(
            f"datasets: a target is {quote(str(target)[:80])}; expected a class index, a vector of "
            "0 and 1, a mask (H, W), or a dict of boxes and labels; docs/extend.md shows each"
        )
    return known[sides]


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
    task = _task_of(archive.item("train", 0)[1])
    issues: list[Issue] = []
    image_ids = count(1)
    splits: dict[Split, tuple[Any, ...]] = {}
    for split in archive.datasets:
        items = (
            Item(place, split, number, *archive.item(split, number), names)
            for number in range(len(archive.datasets[split]))
        )
        splits[split] = tuple(_KINDS[task](item, next(image_ids), issues) for item in items)
    return task, _labelled(task, place, names, splits, issues)


def _labelled(
    task: str,
    place: Path,
    names: tuple[str, ...],
    splits: dict[Split, tuple[Any, ...]],
    issues: Sequence[Issue],
) -> LabelledImages[Any]:
    told = tuple(issues)
    if task == "segmentation":
        classes = MaskClasses(tuple(MaskClass(name, value) for value, name in enumerate(names)))
        colours, encoding = classes.colours(names), classes.encoding(names)
        return MaskFolders(place, names, splits, told, colours=colours, encoding=encoding)
    if task == "detection":
        masks = any(s.objects.have_masks.any() for part in splits.values() for s in part)
        ids = tuple(range(1, len(names) + 1))
        return DetectionFolders(place, names, splits, told, category_ids=ids, has_masks=masks)
    return ClassFolders(place, names, splits, told, several=task != "classification")


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
