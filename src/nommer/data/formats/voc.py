"""Objects in Pascal VOC's XML: one file per image, lists of names for the splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize
from xml.etree import ElementTree

from nommer.data.formats.image_files import UNKNOWN_SIZE, upright_sizes
from nommer.data.formats.labelled import Issue, Split, problem
from nommer.data.formats.mask_layouts import find_lists
from nommer.data.formats.mask_pairs import Key, by_key, read_list
from nommer.data.formats.objects import (
    Box,
    DetectionFolders,
    DetectionSample,
    RawObject,
    make_objects,
    to_number,
)
from nommer.data.images import sub_folders, visible_files
from nommer.data.parallel import read_all
from nommer.data.parsing import parse_xml
from nommer.errors import InputError
from nommer.shown import quote

LAYOUTS = (
    "  DATA/Annotations/*.xml and DATA/JPEGImages/*.jpg   (Pascal VOC; lists in ImageSets/Main)"
)

_IMAGES = ("jpegimages", "images")
_LIST_FOLDERS = ("ImageSets/Main", "ImageSets", "")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Described:
    """An image and what its XML file says, if it has one."""

    path: Path
    file: Path
    size: tuple[int, int] = UNKNOWN_SIZE
    objects: tuple[tuple[str, Box], ...] = ()
    """Names and corners, as written."""
    error: str | None = None


def find_folders(root: Path) -> tuple[Path, Path] | None:
    """The folders of images and of XML files."""
    by_name = {child.name.lower(): child for child in sub_folders(root)}
    images = next((by_name[name] for name in _IMAGES if name in by_name), None)
    annotations = by_name.get("annotations")
    if (
        images
        and annotations
        and any(path.suffix.lower() == ".xml" for path in annotations.iterdir())
    ):
        return images, annotations
    return None


def read_voc(root: Path) -> DetectionFolders:
    """Read the XML file of every image that the lists name, or of all.

    The classes are the names that occur, sorted; their ids count from 1.

    Raises:
        InputError: lists that do not fit the images.
    """
    folders = find_folders(root)
    if folders is None:
        raise InputError(f"{root}: found no images with XML files; accepted are\n{LAYOUTS}")
    images, annotations = folders
    by_split, issues = _describe(root, images, annotations)
    names = tuple(
        sorted(
            {
                name
                for part in by_split.values()
                for image in part
                for name, _ in image.objects
                if name
            }
        )
    )
    origin = _origin(root, [image for part in by_split.values() for image in part], issues)
    reader = _Reader(names, origin, issues)
    splits: dict[Split, tuple[DetectionSample, ...]] = {}
    for split, part in by_split.items():
        splits[split] = reader.samples(part)
    return DetectionFolders(
        root, names, splits, tuple(issues), category_ids=tuple(range(1, len(names) + 1))
    )


def _describe(
    root: Path, images: Path, annotations: Path
) -> tuple[dict[Split, list[Described]], list[Issue]]:
    """Return the descriptions of the images of every split, and the issues."""
    found, issues = by_key(images, "images")
    files = {
        key: annotations.joinpath(*key[:-1], f"{path.stem}.xml") for key, path in found.items()
    }
    for stray in sorted(set(visible_files(annotations)) - set(files.values())):
        issues.append(problem(str(stray), "annotation without an image", "left out"))
    pairs = {key: Described(path, files[key]) for key, path in found.items()}
    lists = find_lists(root, _LIST_FOLDERS)
    splits: dict[Split, list[Key]] = {
        split: sorted(read_list(file, pairs, images, issues)) for split, file in lists.items()
    } or {"train": sorted(pairs)}
    _check_lists(splits, lists, pairs, issues)
    order: list[Split] = [split for split in ("train", "val", "test") if split in splits]
    chosen = [pairs[key] for split in order for key in splits[split]]
    read = {image.path: image for image in read_all(_read, chosen, what="reading annotations")}
    return {split: [read[pairs[key].path] for key in splits[split]] for split in order}, issues


def _check_lists(
    splits: dict[Split, list[Key]],
    lists: dict[Split, Path],
    pairs: dict[Key, Described],
    issues: list[Issue],
) -> None:
    """List the images of no split.

    Raises:
        InputError: images of two splits, or a split of none.
    """
    left = dict(pairs)
    for split, keys in splits.items():
        if not keys:
            raise InputError(
                f"{lists.get(split, 'the folder of images')}: no images of {quote(split)} here"
            )
        for key in keys:
            if key not in left:
                raise InputError(
                    f"{lists[split]}: lists {quote(key[-1])}, which another split lists too; keep "
                    "it in "
                    "one"
                )
            del left[key]
    issues += [
        problem(str(image.path), "is in no list of a split", "left out") for image in left.values()
    ]


def _read(image: Described) -> Described:
    """Read the XML file of an image."""
    if not image.file.is_file():
        return image
    try:
        tree = parse_xml(image.file)
        sides = (tree.findtext(f"size/{side}") or "" for side in ("width", "height"))
        width, height = (int(to_number(side.strip() or "0")) for side in sides)
    except (OSError, ValueError, OverflowError, ElementTree.ParseError) as error:
        return Described(
            image.path, image.file, error=f"its annotation {image.file} cannot be read: {error}"
        )
    objects = tuple(_object(entry) for entry in tree.iter("object"))
    return Described(
        image.path, image.file, (width, height) if min(width, height) > 0 else UNKNOWN_SIZE, objects
    )


def _object(entry: ElementTree.Element) -> tuple[str, Box]:
    left, upper, right, lower = (
        to_number((entry.findtext(f"bndbox/{name}") or "").strip()) for name in _CORNERS
    )
    return normalize("NFC", (entry.findtext("name") or "").strip()), (left, upper, right, lower)


def _origin(root: Path, images: Sequence[Described], issues: list[Issue]) -> int:
    """Which number the first column of pixels has: 1 as VOC counts, 0 where that occurs."""
    zero = [
        i.file
        for i in images
        if any(min(box[:2]) == 0 and min(box[2:]) > 0 for _, box in i.objects)
    ]
    if zero:
        where = f"{len(zero)} files, such as {zero[0].name}"
        what = f"boxes begin at 0 in {where}, where VOC counts pixels from 1"
        issues.append(Issue(str(root), what, "all coordinates are taken to count from 0"))
    return 0 if zero else 1


@dataclass
class _Reader:
    """Makes samples of what XML files say."""

    names: tuple[str, ...]
    origin: int
    issues: list[Issue]
    number: int = 0
    """Of the image before."""

    def samples(self, images: Sequence[Described]) -> tuple[DetectionSample, ...]:
        """One of every image."""
        sizes = upright_sizes([image.path for image in images if image.size == UNKNOWN_SIZE])
        return tuple(self._sample(image, sizes.get(image.path, image.size)) for image in images)

    def _sample(self, image: Described, size: tuple[int, int]) -> DetectionSample:
        self.number += 1
        if not image.file.is_file():
            self.issues.append(
                problem(
                    str(image.file),
                    "no such annotation file",
                    "its image is taken to have no objects",
                )
            )
        raw = []
        for number, (name, corners) in enumerate(image.objects, start=1):
            if name:
                raw.append(
                    RawObject(
                        f"object {number} ({name})", self.names.index(name), self._box(corners)
                    )
                )
            else:
                self.issues.append(
                    problem(str(image.file), f"object {number} has no name", "dropped")
                )
        usable = raw if size != UNKNOWN_SIZE else []
        objects = make_objects(usable, size, file=image.file, issues=self.issues)
        return DetectionSample(image.path, objects, self.number, size, image.error)

    def _box(self, corners: Box) -> Box:
        """Corners as written, of the first and the last pixel, as the ends of the box.

        Without an area it stays so.
        """
        left, upper, right, lower = corners
        return (
            left - self.origin * (right > left),
            upper - self.origin * (lower > upper),
            right,
            lower,
        )
