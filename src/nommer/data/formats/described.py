"""Images whose objects some file describes by the names of their classes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

from nommer.data.formats.image_files import UNKNOWN_SIZE, upright_sizes
from nommer.data.formats.labelled import Issue, Split, problem
from nommer.data.formats.objects import (
    Box,
    DetectionFolders,
    DetectionSample,
    RawObject,
    make_objects,
)


@dataclass(frozen=True)
class NamedObject:
    """One object as a file describes it."""

    name: str
    box: Box | None = None
    segmentation: Any = None
    """A mask in one of COCO's ways."""
    ignored: bool = False
    """Neither learned nor evaluated."""
    where: str = ""
    """Place in the file, for people; by default its number."""
    between_pixels: bool = False
    """Its coordinates are of edges already, whatever VOC's files count from."""

    @property
    def class_name(self) -> str:
        """The name as one that is spelled otherwise has it too."""
        return normalize("NFC", self.name.strip())


@dataclass(frozen=True)
class DescribedImage:
    """An image, and what its file says."""

    path: Path
    file: Path
    size: tuple[int, int] = UNKNOWN_SIZE
    objects: tuple[NamedObject, ...] = ()
    error: str | None = None
    """The reason for which it cannot be used."""
    issues: tuple[Issue, ...] = ()


def collect_described(
    root: Path, splits: Mapping[Split, Sequence[DescribedImage]], issues: Iterable[Issue]
) -> DetectionFolders:
    """Make one data set of described images.

    The classes are the names that occur, sorted; their ids count from 1.
    """
    images = [image for part in splits.values() for image in part]
    names = tuple(sorted({o.class_name for i in images for o in i.objects if o.class_name}))
    told = [*issues, *(issue for image in images for issue in image.issues)]
    unknown = [image.path for image in images if image.size == UNKNOWN_SIZE and not image.error]
    sizes, labels = upright_sizes(unknown), {name: label for label, name in enumerate(names)}
    made: dict[Split, tuple[DetectionSample, ...]] = {}
    number = 1
    for split, part in splits.items():
        made[split] = tuple(
            _sample(image, sizes.get(image.path, image.size), labels, image_id, told)
            for image_id, image in enumerate(part, start=number)
        )
        number += len(part)
    ids = tuple(range(1, len(names) + 1))
    return DetectionFolders(root, names, made, tuple(told), category_ids=ids)


def _sample(
    image: DescribedImage,
    size: tuple[int, int],
    labels: Mapping[str, int],
    image_id: int,
    issues: list[Issue],
) -> DetectionSample:
    raw = []
    for number, item in enumerate(image.objects, start=1):
        where = item.where or f"object {number}"
        if item.class_name:
            label = labels[item.class_name]
            where = f"{where} ({item.class_name})"
            raw.append(RawObject(where, label, item.box, item.segmentation, crowd=item.ignored))
        else:
            issues.append(problem(image.file, f"{where} has no name", "dropped"))
    usable = raw if size != UNKNOWN_SIZE else []
    objects = make_objects(usable, size, file=image.file, issues=issues)
    return DetectionSample(image.path, objects, image_id, size, image.error)


def without_file(image: DescribedImage) -> DescribedImage:
    """Return an image whose file is not there, and say so."""
    told = problem(image.file, "no such annotation file", "its image is taken to have no objects")
    return replace(image, issues=(*image.issues, told))
