"""Where images and their masks lie: the folder trees that are known, and which split is where."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from nommer.data.formats.labelled import Issue, Split, problem, split_of
from nommer.data.images import holds_images, is_image_name, sub_folders
from nommer.errors import InputError

LAYOUTS = """accepted layouts for semantic segmentation:
  DATA/images/train/*.jpg and DATA/masks/train/*.png   (and val; or annotations, labels)
  DATA/train/images/*.jpg and DATA/train/masks/*.png   (and val)
  DATA/images/*.jpg and DATA/masks/*.png               (with lists, or split by nommer)
  DATA/images/training and DATA/annotations/training   (ADE20K)
  DATA/JPEGImages and DATA/SegmentationClass           (Pascal VOC, with ImageSets/Segmentation)
  DATA/train/*.jpg and DATA/trainannot/*.png           (CamVid)
a mask is named like its image, or with _mask, _label, _labels, _L or _seg behind;
classes.yaml names the classes"""

_IMAGES = ("images", "jpegimages")
_MASKS = ("masks", "segmentationclass", "annotations", "labels")
_LIST_FOLDERS = ("", "splits", "ImageSets/Segmentation")


@dataclass(frozen=True)
class Part:
    """One split: a folder of images, the folder of their masks, and a list of names, if any."""

    images: Path
    masks: Path
    listed_in: Path | None = None


@dataclass(frozen=True)
class Layout:
    """How a folder of images and masks is laid out."""

    parts: dict[Split, Part]
    is_camvid: bool = False
    is_ade20k: bool = False
    issues: tuple[Issue, ...] = ()
    """Files that lie there and are not used."""


def find_layout(root: Path) -> Layout | None:
    """The layout of a folder, or None where it is no segmentation data.

    Raises:
        InputError: it is segmentation data, but its splits do not fit.
    """
    images, masks = _images_and_masks(root)
    if images and masks:
        return _beside_each_other(root, images, masks)
    return _split_first(root) or _camvid(root)


def _beside_each_other(root: Path, images: Path, masks: Path) -> Layout:
    """`images/` and `masks/`, with sub-folders for splits or without."""
    of_images, of_masks = _by_split(images), _by_split(masks)
    if not of_images:
        return _flat(root, images, masks)
    parts = {
        split: Part(folder, of_masks[split])
        for split, folder in of_images.items()
        if split in of_masks
    }
    unmatched = [folder for split, folder in of_images.items() if split not in of_masks]
    issues = _beside(images, set(of_images.values())) + _without_masks(unmatched, masks)
    is_ade20k = (
        masks.name.lower() == "annotations"
        and of_images.get("train", root).name.lower() == "training"
    )
    return Layout(_with_lists(root, parts), is_ade20k=is_ade20k, issues=tuple(issues))


def _beside(folder: Path, used: set[Path]) -> list[Issue]:
    """Images in `folder`, and folders of images, that belong to no split."""
    stray = [child for child in sub_folders(folder) if child not in used and holds_images(child)]
    stray += sorted(
        path for path in folder.iterdir() if is_image_name(path) and path.name[0] != "."
    )
    return [problem(str(path), "lies beside the split folders", "left out") for path in stray]


def _without_masks(unmatched: list[Path], masks: Path) -> list[Issue]:
    """Folders of test images without masks, which cannot be judged and are left out.

    Raises:
        InputError: a folder of another split is without masks.
    """
    for folder in unmatched:
        if split_of(folder.name) != "test":
            raise InputError(
                f"{folder}: there is no folder of masks for it; expected one in {masks}; {LAYOUTS}"
            )
    return [
        problem(str(folder), "there is no folder of masks for it", "left out")
        for folder in unmatched
    ]


def _flat(root: Path, images: Path, masks: Path) -> Layout:
    lists = find_lists(root)
    if not lists:
        return Layout({"train": Part(images, masks)})
    return Layout({split: Part(images, masks, file) for split, file in lists.items()})


def _split_first(root: Path) -> Layout | None:
    """`train/images` and `train/masks`."""
    parts: dict[Split, Part] = {}
    unmatched = []
    for split, folder in _by_split(root).items():
        images, masks = _images_and_masks(folder)
        if images and masks:
            parts[split] = Part(images, masks)
        elif images:
            unmatched.append(folder)
    if not parts:
        return None
    issues = _beside(root, set(_by_split(root).values())) + _without_masks(unmatched, root)
    return Layout(_with_lists(root, parts), issues=tuple(issues))


def _camvid(root: Path) -> Layout | None:
    """`train/` and `trainannot/`."""
    by_name = {folder.name.lower(): folder for folder in sub_folders(root)}
    splits = _by_split(root)
    annotated = {
        split: by_name.get(f"{folder.name.lower()}annot") for split, folder in splits.items()
    }
    parts = {split: Part(splits[split], masks) for split, masks in annotated.items() if masks}
    if not parts:
        return None
    used = {*splits.values(), *(part.masks for part in parts.values())}
    unmatched = [splits[split] for split in splits if split not in parts]
    issues = _beside(root, used) + _without_masks(unmatched, root)
    return Layout(_with_lists(root, parts), is_camvid=True, issues=tuple(issues))


def _by_split(folder: Path) -> dict[Split, Path]:
    """The sub-folders that hold splits."""
    found: dict[Split, Path] = {}
    for child in sub_folders(folder):
        split = split_of(child.name)
        if split in found:
            raise InputError(
                f"{folder}: both {found[split].name} and {child.name} hold {split} images; keep one"
            )
        if split:
            found[split] = child
    return found


def _with_lists(root: Path, parts: dict[Split, Part]) -> dict[Split, Part]:
    lists = find_lists(root)
    return {split: replace(part, listed_in=lists.get(split)) for split, part in parts.items()}


def find_lists(root: Path, names: Iterable[str] = _LIST_FOLDERS) -> dict[Split, Path]:
    """`train.txt` and the like, of the first of the folders below `root` that has any."""
    for folder in (root / name for name in names):
        found: dict[Split, Path] = {}
        for file in sorted(folder.glob("*.[tT][xX][tT]")):
            split = split_of(file.stem)
            if split in found:
                raise InputError(
                    f"{folder}: both {found[split].name} and {file.name} list {split} images; keep "
                    "one"
                )
            if split:
                found[split] = file
        if found:
            return found
    return {}


def _images_and_masks(folder: Path) -> tuple[Path | None, Path | None]:
    """The two folders among those in `folder`, each by the earliest of its names.

    That of masks must hold some.
    """
    by_name = {child.name.lower(): child for child in sub_folders(folder)}
    images = (by_name[name] for name in _IMAGES if name in by_name)
    masks = (by_name[name] for name in _MASKS if name in by_name)
    return next(images, None), next(filter(holds_images, masks), None)
