"""Objects in COCO's JSON, with all that may be wrong there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from nommer.data.formats.coco_categories import match_labels, read_categories
from nommer.data.formats.coco_checks import check_boxes
from nommer.data.formats.coco_files import LAYOUTS, find_files, load_files
from nommer.data.formats.image_files import UNKNOWN_SIZE, ImageFiles, upright_sizes
from nommer.data.formats.labelled import Issue, Severity, Split, problem, shorten, unpacking
from nommer.data.formats.objects import (
    Box,
    DetectionFolders,
    DetectionSample,
    RawObject,
    make_objects,
    to_id,
    to_number,
)
from nommer.data.formats.source import Source
from nommer.data.masks import ranges
from nommer.errors import InputError
from nommer.settings.labels import LabelOptions

_FEW_CROWDS = 0.05
"""Largest share of objects that are crowds where they are meant so; in COCO it is 0.012."""

_LARGEST_ID = 2**63 - 1
"""Of an image: ids become 64-bit integers."""


def read_coco(source: Source) -> DetectionFolders:
    """Read every annotation file under `root`, each image in the folder that fits the file best.

    Raises:
        InputError: files that are no COCO annotations, or whose classes do not fit each other.
    """
    root, files = source.root, source.once(find_files)
    issues: list[Issue] = []
    contents = load_files(source, files, issues)
    if not contents:
        raise InputError(f"{root}: found no annotations of objects; accepted are\n{LAYOUTS}")
    own = {
        split: read_categories(files[split], content, issues) for split, content in contents.items()
    }
    known = next(iter(own.values()))
    images = ImageFiles(root)
    splits = {}
    for split, content in contents.items():
        labels = match_labels(files[split], own[split], known, issues)
        reader = _Reader(files[split], content, labels, issues, source.labels)
        splits[split] = reader.samples(images, split)
    issues += [
        problem(str(path), "is in no annotation file", "left out") for path in images.unused()
    ]
    splits = with_distinct_ids(files, splits, issues)
    names, ids = tuple(c.name for c in known), tuple(c.category_id for c in known)
    return DetectionFolders(root, names, splits, tuple(issues), category_ids=ids)


@dataclass(frozen=True)
class _Image:
    """An image as a file lists it."""

    image_id: int
    path: Path
    size: tuple[int, int]
    error: str | None = None
    name: str = ""
    """As the file has it."""


class _Reader:
    """Makes samples of one annotation file."""

    def __init__(
        self,
        path: Path,
        content: dict[str, Any],
        labels: dict[int, int],
        issues: list[Issue],
        options: LabelOptions,
    ) -> None:
        self.path, self.content, self.labels, self.issues = path, content, labels, issues
        self.options = options

    def tell(self, what: str, done: str, severity: Severity = "problem") -> None:
        """List something about the file."""
        self.issues.append(Issue(str(self.path), what, done, severity))

    def samples(self, images: ImageFiles, split: Split) -> tuple[DetectionSample, ...]:
        """One of every image that is there."""
        listed, ids = self._images(images, split)
        self.issues += check_boxes(self.path, self.content)
        raw = self._objects(listed, ids)
        self._tell_crowds(raw)
        sizes = upright_sizes(
            [image.path for image in listed if image.size == UNKNOWN_SIZE and not image.error]
        )
        return tuple(
            self._sample(image, raw[image.path], sizes.get(image.path, image.size))
            for image in listed
        )

    def _sample(
        self, image: _Image, raw: list[RawObject], size: tuple[int, int]
    ) -> DetectionSample:
        usable = raw if not image.error and size != UNKNOWN_SIZE else []
        objects = make_objects(usable, size, file=self.path, issues=self.issues)
        ends = [item.box[2:] for item in usable if item.box and np.isfinite(item.box).all()]
        right, lower = np.max(ends, axis=0).tolist() if ends else (0.0, 0.0)
        return DetectionSample(
            image.path, objects, image.image_id, size, image.error, (right, lower)
        )

    def _images(self, images: ImageFiles, split: Split) -> tuple[list[_Image], dict[int, Path]]:
        """The images, each file once, and which file every image id stands for.

        Raises:
            InputError: the file lists none that can be used, or none of them is there.
        """
        listed: dict[Path, _Image] = {}
        ids: dict[int, Path] = {}
        for entry in self.content["images"]:
            image = self._image(entry, images, split)
            if image is None:
                continue
            images.check_name(image.path, image.name, self.path)
            if image.path in listed:
                self.tell(
                    f"image {image.image_id}: {image.path.name} is listed before",
                    "used once, with all its objects",
                    "note",
                )
            elif image.image_id in ids:
                error = f"its image id {image.image_id} is also that of {{}}"
                error += ", so it is not clear whose the annotations are"
                other = listed[ids[image.image_id]]
                listed[other.path] = replace(other, error=error.format(image.path.name))
                listed[image.path] = replace(image, error=error.format(other.path.name))
            listed.setdefault(image.path, image)
            ids.setdefault(image.image_id, image.path)
        if not listed:
            raise InputError(
                f"{self.path}: {self._lack_of_images()}; correct the file, or remove it"
            )
        if not any(str(path) in images.used for path in listed):
            command = unpacking(images.root)
            raise InputError(
                f"{self.path}: none of its {len(listed)} images are in {images.root}; first: "
                f"{next(iter(listed)).name}"
                + (f"; if they are in its archives, unpack these: {command}" if command else "")
            )
        return list(listed.values()), ids

    def _lack_of_images(self) -> str:
        entries = self.content["images"]
        if not entries:
            return "lists no images"
        first = f"{str(entries[0])[:80]} needs a whole number as id and a file_name"
        return f"none of the {len(entries)} images listed can be used; first: {first}"

    def _image(self, entry: dict[str, Any], images: ImageFiles, split: Split) -> _Image | None:
        image_id, name = to_id(entry.get("id")), entry.get("file_name") or _end_of_url(entry)
        if image_id is None or abs(image_id) > _LARGEST_ID or not isinstance(name, str) or not name:
            self.tell(
                f"image {shorten([str(entry)[:80]])} needs a whole number as id and a file_name",
                "dropped",
            )
            return None
        width, height = to_id(entry.get("width")), to_id(entry.get("height"))
        size = (width, height) if width and height and min(width, height) > 0 else UNKNOWN_SIZE
        path = images.find(self.path, split, name)
        if path is None:
            error = f"is listed in {self.path}, but there is no such file"
            return _Image(image_id, images.missing(name), size, error, name)
        return _Image(image_id, path, size, name=name)

    def _objects(self, listed: list[_Image], ids: dict[int, Path]) -> dict[Path, list[RawObject]]:
        """Return the annotations of each image."""
        raw: dict[Path, list[RawObject]] = {image.path: [] for image in listed}
        seen: dict[Any, dict[str, Any]] = {}
        for number, entry in enumerate(self.content["annotations"]):
            image_id, category_id = to_id(entry.get("image_id")), to_id(entry.get("category_id"))
            where = f"annotation {entry.get('id', f'number {number}')}"
            if image_id is None or image_id not in ids:
                self.tell(
                    f"{where}: is of image {entry.get('image_id')}, which is not listed", "dropped"
                )
            elif category_id is None or category_id not in self.labels:
                what = (
                    f"{where}: category {entry.get('category_id')} is none of {ranges(self.labels)}"
                )
                self.tell(what, "dropped")
            elif not self._is_repeated(entry, seen, where):
                path = ids[image_id]
                raw[path].append(
                    _raw_object(
                        entry, self.labels[category_id], f"{where} ({path.name})", self.options
                    )
                )
        return raw

    def _tell_crowds(self, raw: dict[Path, list[RawObject]]) -> None:
        """List how many objects are left out as crowds; more than a few were hardly meant so.

        And that all are classes of whole images.
        """
        objects = [item for items in raw.values() for item in items]
        if objects and all(item.box is None and not item.segmentation for item in objects):
            what = "gives classes to whole images, none with a box or a mask"
            self.tell(what, "no objects; write a table with columns path and label")
        crowds = sum(item.crowd for item in objects)
        if crowds:
            what = f"{crowds} of {len(objects)} objects are marked iscrowd"
            done = (
                "neither learned nor evaluated, as COCO does; --labels.crowds learn takes them for "
            )
            done += "single objects, as those that CVAT's brush paints are"
            few = crowds <= _FEW_CROWDS * len(objects)
            self.tell(what, done, "note" if few else "problem")

    def _is_repeated(
        self, entry: dict[str, Any], seen: dict[Any, dict[str, Any]], where: str
    ) -> bool:
        """Tell if an annotation is there twice.

        Two that share nothing but their id are listed, and both used.
        """
        key = str(entry["id"]) if "id" in entry else id(entry)
        earlier = seen.setdefault(key, entry)
        if earlier is entry:
            return False
        repeated = earlier == entry
        self.tell(
            f"{where}: its id is used twice",
            "dropped, being the same" if repeated else "both are used",
        )
        return repeated


def _end_of_url(entry: dict[str, Any]) -> str:
    """Folder and name at the end of the address that LVIS gives in place of a file name."""
    return "/".join(str(entry.get("coco_url") or "").split("/")[-2:])


def _raw_object(entry: dict[str, Any], label: int, where: str, options: LabelOptions) -> RawObject:
    box = entry.get("bbox")
    corners: Box | None = None
    if box:
        four = box if isinstance(box, list) and len(box) == 4 else [math.nan] * 4
        left, upper, width, height = map(to_number, four)
        corners = left, upper, left + width, upper + height
    crowd = options.crowds == "ignore" and to_number(entry.get("iscrowd")) == 1
    return RawObject(where, label, corners, entry.get("segmentation"), crowd, entry.get("area"))


def with_distinct_ids(
    files: dict[Split, Path], splits: dict[Split, tuple[DetectionSample, ...]], issues: list[Issue]
) -> dict[Split, tuple[DetectionSample, ...]]:
    """The samples with image ids that no two share.

    Where splits do, those to be evaluated on keep theirs.
    """
    largest = max((sample.image_id for part in splits.values() for sample in part), default=0)
    numbers, taken = count(largest + 1), set[int]()
    distinct = {}
    for split in sorted(splits, key=("val", "test", "train").index):
        own = {sample.image_id for sample in splits[split]}
        if own & taken:
            what = f"{len(own & taken)} image ids are also used in another split"
            issues.append(Issue(str(files[split]), what, f"numbered anew, from {largest + 1} on"))
        distinct[split] = tuple(_numbered(splits[split], taken, numbers))
        taken |= own
    return {split: distinct[split] for split in splits}


def _numbered(
    samples: tuple[DetectionSample, ...], taken: set[int], numbers: Iterator[int]
) -> Iterator[DetectionSample]:
    own = set[int]()
    for sample in samples:
        free = sample.image_id not in taken and sample.image_id not in own
        own.add(sample.image_id)
        yield sample if free else replace(sample, image_id=next(numbers))
