"""Objects in Pascal VOC's XML: one file per image, in a folder of their own or beside the images.

Lists of names may tell the splits. labelImg writes the same files beside the images, Roboflow's
"Pascal VOC" beside those of every split.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nommer.data.formats.described import (
    DescribedImage,
    NamedObject,
    collect_described,
    without_file,
)
from nommer.data.formats.folder_names import IMAGE_FOLDERS, kind_of
from nommer.data.formats.image_files import UNKNOWN_SIZE
from nommer.data.formats.labelled import Issue, Split, problem, shorten, split_of
from nommer.data.formats.mask_layouts import find_lists
from nommer.data.formats.mask_pairs import Key, by_key, read_list
from nommer.data.formats.objects import Box, DetectionFolders, to_number
from nommer.data.formats.source import Source
from nommer.data.formats.voc_objects import read_objects
from nommer.data.image_paths import (
    direct_files,
    is_data_file,
    is_image_name,
    sub_folders,
    visible_files,
)
from nommer.data.parallel import read_all
from nommer.data.parsing import parse_xml
from nommer.errors import InputError
from nommer.shown import quote

LAYOUTS = """\
  DATA/Annotations/*.xml and DATA/JPEGImages/*.jpg   (Pascal VOC; lists in ImageSets/Main)
  DATA/*.jpg and DATA/*.xml, or DATA/train/*.xml     (labelImg, Roboflow; XML beside the images)"""

_ANNOTATIONS = ("annotations", "annotation", "xml", "xmls", "labels", "label", "ann")
_LIST_FOLDERS = ("ImageSets/Main", "ImageSets", "")
_MARK = b"<annotation"
_LOOKED_AT = 20
"""XML files of a folder that are looked into."""


@dataclass(frozen=True)
class Place:
    """A folder of images and that of their XML files, which may be the same."""

    images: Path
    annotations: Path


def find_places(source: Source) -> dict[Split, Place]:
    """The folders of images and of XML files, by split; nothing where there are none.

    "train" alone where lists tell the splits, or nothing does.
    """
    root = source.root
    if place := _place_in(source, root):
        by_split = _by_split(place)
        return by_split or {"train": place}
    found: dict[Split, Place] = {}
    for folder in sub_folders(root):
        split = split_of(folder.name)
        if split and (place := _place_in(source, folder)):
            found.setdefault(split, place)
    return found


def _place_in(source: Source, folder: Path) -> Place | None:
    by_name = {kind_of(child.name): child for child in reversed(sub_folders(folder))}
    images = next((by_name[name] for name in IMAGE_FOLDERS if name in by_name), None)
    for name in _ANNOTATIONS if images else ():
        if name in by_name and _holds_xml(
            source, visible_files(by_name[name]), named_so=name != "labels"
        ):
            return Place(images, by_name[name])  # type: ignore[arg-type]  # there are images
    for child in sub_folders(folder) if images else ():
        if _holds_xml(source, direct_files(child), named_so=False):
            return Place(images, child)  # type: ignore[arg-type]  # makesense.ai's labels_NAME
    files = direct_files(folder)
    return (
        Place(folder, folder) if _holds_xml(source, _described_by(files), named_so=False) else None
    )


def _described_by(files: Sequence[Path]) -> list[Path]:
    """XML files that are called as an image beside them."""
    stems = {path.stem for path in files if is_image_name(path)}
    return [path for path in files if path.stem in stems]


def _holds_xml(source: Source, files: Iterable[Path], *, named_so: bool) -> bool:
    """Tell if any of the first XML files is one of VOC, or there is any in a folder named so."""
    found = [path for path in files if path.suffix.lower() == ".xml"][:_LOOKED_AT]
    return (named_so and bool(found)) or any(
        _MARK in source.content(path)[:4096] for path in found if is_data_file(path)
    )


def _by_split(place: Place) -> dict[Split, Place]:
    """Sub-folders for splits in the folders of images and of XML files alike."""
    annotations = {split_of(child.name): child for child in sub_folders(place.annotations)}
    images = {split_of(child.name): child for child in sub_folders(place.images)}
    return {
        split: Place(folder, annotations[split])
        for split, folder in images.items()
        if split and split in annotations
    }


def read_voc(source: Source) -> DetectionFolders:
    """Read the XML file of every image that the lists name, or of all.

    The classes are the names that occur, sorted; their ids count from 1.

    Raises:
        InputError: lists that do not fit the images.
    """
    root, labels = source.root, source.labels
    places = source.once(find_places)
    if not places:
        raise InputError(f"{root}: found no images with XML files; accepted are\n{LAYOUTS}")
    by_split, issues = _describe(source, places)
    images = [image for part in by_split.values() for image in part]
    issues += _about_difficult(root, images)
    origin = _origin(root, images, issues, labels.first_pixel)
    moved = {split: [_moved(image, origin) for image in part] for split, part in by_split.items()}
    return collect_described(root, moved, issues)


def _describe(
    source: Source, places: dict[Split, Place]
) -> tuple[dict[Split, list[DescribedImage]], list[Issue]]:
    """Return the descriptions of the images of every split, and the issues."""
    issues: list[Issue] = []
    chosen: dict[Split, list[DescribedImage]] = {}
    for split, place in places.items():
        pairs = _pairs(place, issues)
        lists = find_lists(source.root, _LIST_FOLDERS) if len(places) == 1 else {}
        splits: dict[Split, list[Key]] = {
            part: sorted(read_list(file, pairs, place.images, issues))
            for part, file in lists.items()
        } or {split: sorted(pairs)}
        _check_lists(splits, lists, pairs, issues)
        chosen |= {part: [pairs[key] for key in keys] for part, keys in splits.items()}
    order: list[Split] = [split for split in ("train", "val", "test") if split in chosen]
    every = [image for split in order for image in chosen[split]]
    read = dict(
        zip(
            (image.path for image in every),
            read_all(partial(_read, source), every, what="reading annotations"),
            strict=True,
        )
    )
    return {split: [read[image.path] for image in chosen[split]] for split in order}, issues


def _pairs(place: Place, issues: list[Issue]) -> dict[Key, DescribedImage]:
    """Every image with the file that describes it, which may lack."""
    found, others = by_key(place.images, "images")
    files = {
        key: place.annotations.joinpath(*key[:-1], f"{path.stem}.xml")
        for key, path in found.items()
    }
    xml = {p for p in visible_files(place.annotations) if p.suffix.lower() == ".xml"}
    if place.images == place.annotations:
        others = [issue for issue in others if Path(issue.file).suffix.lower() != ".xml"]
        strays = xml - set(files.values())
    else:
        strays = set(visible_files(place.annotations)) - set(files.values())
    issues += others
    issues += [
        problem(stray, "annotation without an image", "left out") for stray in sorted(strays)
    ]
    return {key: DescribedImage(path, files[key]) for key, path in found.items()}


def _check_lists(
    splits: dict[Split, list[Key]],
    lists: dict[Split, Path],
    pairs: dict[Key, DescribedImage],
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


def _read(source: Source, image: DescribedImage) -> DescribedImage:
    """Read the XML file of an image."""
    if not is_data_file(image.file):
        return without_file(image)
    try:
        tree = parse_xml(source.content(image.file, keep=False))
        sides = (tree.findtext(f"size/{side}") or "" for side in ("width", "height"))
        width, height = (int(to_number(side.strip() or "0")) for side in sides)
    except (OSError, ValueError, OverflowError) as error:
        return replace(image, error=f"its annotation {image.file} cannot be read: {error}")
    ignores = source.labels.difficult == "ignore"
    objects, issues = read_objects(tree, image.file, ignores=ignores)
    size = (width, height) if min(width, height) > 0 else UNKNOWN_SIZE
    return replace(image, size=size, objects=objects, issues=issues)


def _about_difficult(root: Path, images: Sequence[DescribedImage]) -> list[Issue]:
    """Objects that are left out of training and evaluation."""
    objects = [item for image in images for item in image.objects]
    ignored = [item for item in objects if item.ignored]
    if not ignored:
        return []
    lost = {item.class_name for item in objects} - {o.class_name for o in objects if not o.ignored}
    what = f"{len(ignored)} objects are marked difficult"
    what += f", all of {shorten(sorted(lost))}" if lost else ""
    done = (
        "neither learned nor evaluated, as VOC does; --labels.difficult learn takes them for others"
    )
    return [problem(root, what, done) if lost else Issue(str(root), what, done)]


def _origin(
    root: Path, images: Sequence[DescribedImage], issues: list[Issue], first_pixel: str
) -> int:
    """Return the number of the first pixel: as told, or else as most boxes at the border say."""
    if first_pixel != "auto":
        return int(first_pixel)
    boxes = [(image.file, box) for image in images for o in image.objects if (box := _counted(o))]
    sound = [(file, box) for file, box in boxes if min(box[2:]) > 0]
    zero = sorted({file for file, box in sound if min(box[:2]) == 0})
    one = {file for file, box in sound if min(box[:2]) == 1}
    option = "if that is wrong, say --labels.first_pixel"
    if zero and len(zero) >= len(one):
        where = f"{len(zero)} files, such as {zero[0].name}"
        what = f"boxes begin at 0 in {where}, where VOC counts pixels from 1"
        issues.append(
            Issue(str(root), what, f"all coordinates are taken to count from 0; {option} 1")
        )
        return 0
    for file in zero:
        what = f"a box begins at 0, where those of {len(one)} other files begin at 1"
        issues.append(problem(file, what, "taken to count from 1 like the others"))
    if boxes and not one:
        what = "no box begins at 0 or 1, so the files do not tell how pixels are counted"
        done = f"coordinates are taken to count from 1, as VOC does; {option} 0"
        issues.append(Issue(str(root), what, done))
    return 1


def _moved(image: DescribedImage, origin: int) -> DescribedImage:
    """With corners of the first and the last pixel as the ends of boxes."""
    objects = tuple(
        replace(item, box=(*_from_origin(box, origin), *box[2:]))
        if (box := _counted(item))
        else item
        for item in image.objects
    )
    return replace(image, objects=objects)


def _counted(item: NamedObject) -> Box | None:
    """Return an object's box, where it is of first and last pixels."""
    return None if item.between_pixels else item.box


def _from_origin(box: Box, origin: int) -> tuple[float, float]:
    """Left and upper end of a box; without an area it stays so."""
    left, upper, right, lower = box
    return left - origin * (right > left), upper - origin * (lower > upper)
