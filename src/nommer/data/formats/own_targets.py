"""Targets of torch data sets: by them the task is told, and each becomes a sample of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

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

IMAGE, MASK = ".ppm", "-mask.pgm"
"""Ends of the names of images and of masks."""

Splits = dict[Split, tuple[Any, ...]]
"""Samples by split."""


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
        return self.place / self.split / f"{self.number:06}{IMAGE}"

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


class TargetKind(ABC):
    """Targets of one kind, and the task that they are for."""

    task: ClassVar[str]
    expected: ClassVar[str]
    """Such a target, in words."""
    dimensions: ClassVar[int]
    """Of the numbers that it consists of."""

    def fits(self, target: Any) -> bool:
        """Tell if a target is, by its form, of this kind."""
        if isinstance(target, dict) or np.ndim(target) != self.dimensions:
            return False
        return bool(np.issubdtype(np.asarray(target).dtype, np.number))

    @abstractmethod
    def sample(self, item: Item, image_id: int, issues: list[Issue]) -> Any:
        """Return an item as a sample, and note what is changed of it in `issues`.

        Raises:
            InputError: a target of another kind, or of classes that there are not.
        """

    @abstractmethod
    def labelled(
        self, place: Path, names: tuple[str, ...], splits: Splits, issues: tuple[Issue, ...]
    ) -> LabelledImages[Any]:
        """Return all samples as labelled images."""


class Classes(TargetKind):
    """Classes of whole images."""

    multi_label: ClassVar[bool]
    """Any number of them for each."""

    def labelled(
        self, place: Path, names: tuple[str, ...], splits: Splits, issues: tuple[Issue, ...]
    ) -> ClassFolders:
        """Return images with their classes."""
        return ClassFolders(place, names, splits, issues, multi_label=self.multi_label)


class ClassIndices(Classes):
    """A class for each image."""

    task = "classification"
    expected = "a class index"
    dimensions = 0
    multi_label = False

    def sample(self, item: Item, image_id: int, issues: list[Issue]) -> Sample:
        """Return an image with its class."""
        if np.ndim(item.target) or not isinstance(item.target, int | np.integer | Tensor):
            item.refuse("one class, as the first")
        return Sample(item.path, item.label(item.target))


class ClassVectors(Classes):
    """Any number of classes for each image."""

    task = "multi-label classification"
    expected = "a vector of 0 and 1"
    dimensions = 1
    multi_label = True

    def sample(self, item: Item, image_id: int, issues: list[Issue]) -> Sample:
        """Return an image with its classes."""
        values = np.asarray(item.target)
        if values.shape != (len(item.classes),) or not np.isin(values, (0, 1)).all():
            item.refuse(f"{len(item.classes)} numbers of 0 and 1, one for each class")
        labels = tuple(np.flatnonzero(values).tolist())
        return Sample(item.path, labels[0] if labels else -1, None, labels)


class Masks(TargetKind):
    """A class for each pixel."""

    task = "segmentation"
    expected = "a mask (H, W)"
    dimensions = 2

    def sample(self, item: Item, image_id: int, issues: list[Issue]) -> MaskSample:
        """Return an image with the file that stands for its mask."""
        if np.ndim(item.target) != self.dimensions:
            item.refuse("a mask (H, W), as the first")
        return MaskSample(item.path, item.path.with_name(f"{item.number:06}{MASK}"))

    def labelled(
        self, place: Path, names: tuple[str, ...], splits: Splits, issues: tuple[Issue, ...]
    ) -> MaskFolders:
        """Return images with masks whose values are the indices of classes."""
        classes = MaskClasses(tuple(MaskClass(name, value) for value, name in enumerate(names)))
        colours, encoding = classes.colours(names), classes.encoding(names)
        return MaskFolders(place, names, splits, issues, colours=colours, encoding=encoding)


class Objects(TargetKind):
    """Objects in each image."""

    task = "detection"
    expected = "a dict of boxes and labels"

    def fits(self, target: Any) -> bool:
        """Tell if a target is a dict."""
        return isinstance(target, dict)

    def sample(self, item: Item, image_id: int, issues: list[Issue]) -> DetectionSample:
        """Return an image with its objects."""
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

    def labelled(
        self, place: Path, names: tuple[str, ...], splits: Splits, issues: tuple[Issue, ...]
    ) -> DetectionFolders:
        """Return images with objects, whose category ids are counted from 1."""
        masks = any(s.objects.have_masks.any() for part in splits.values() for s in part)
        ids = tuple(range(1, len(names) + 1))
        return DetectionFolders(place, names, splits, issues, category_ids=ids, has_masks=masks)


def _runs(mask: np.ndarray) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": encode_pixels(mask)}


KINDS: Sequence[TargetKind] = (ClassIndices(), ClassVectors(), Masks(), Objects())


def kind_of(target: Any) -> TargetKind:
    """Return the kind of a target.

    Raises:
        InputError: none that is known.
    """
    for kind in KINDS:
        if kind.fits(target):
            return kind
    *first, last = (kind.expected for kind in KINDS)
    raise InputError(
        f"datasets: a target is {quote(str(target)[:80])}; expected {', '.join(first)}, or {last}; "
        "docs/extend.md shows each"
    )
