"""The folder trees of images and their masks that are known, and the splits in them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from nommer.data.formats.folder_names import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    kind_of,
    split_and_kind,
)
from nommer.data.formats.labelled import Issue, Split, problem, split_of
from nommer.data.formats.mask_places import MASK_ENDINGS, Layout, Naming, Part
from nommer.data.formats.source import Source
from nommer.data.image_paths import (
    direct_files,
    holds_images,
    is_folder,
    is_image_name,
    sub_folders,
)
from nommer.errors import InputError

LAYOUTS = """accepted layouts for semantic segmentation:
  DATA/images/train/*.jpg and DATA/masks/train/*.png   (and val; or annotations, labels)
  DATA/train/images/*.jpg and DATA/train/masks/*.png   (and val)
  DATA/images/*.jpg and DATA/masks/*.png               (with lists, or split by nommer)
  DATA/img_dir and DATA/ann_dir, DATA/imgs and DATA/masks, DATA/image and DATA/label, ...
  DATA/images/training and DATA/annotations/training   (ADE20K)
  DATA/JPEGImages and DATA/SegmentationClass           (Pascal VOC, with ImageSets/Segmentation)
  DATA/train/*.jpg and DATA/trainannot/*.png           (CamVid; or train_masks, train_labels)
  DATA/leftImg8bit and DATA/gtFine                     (Cityscapes)
  DATA/*.png and DATA/*_mask.png                       (side by side)
a mask is named like its image, or with _mask, _label, _labels, _L or _seg behind;
classes.yaml names the classes"""

_BESIDE = ("_img", "_sat")
"""Endings of images that lie beside their masks, as Cellpose and DeepGlobe have them."""

_LIST_FOLDERS = ("", "splits", "ImageSets/Segmentation")


def find_layout(source: Source) -> Layout | None:
    """The layout of a folder, or None where it is no segmentation data.

    Raises:
        InputError: it is segmentation data, but its splits do not fit.
    """
    root = source.root
    images, masks = _images_and_masks(root)
    if images and masks:
        return _beside_each_other(root, images, masks)
    for find in (_split_first, _named_by_split, _cityscapes, _side_by_side):
        if (layout := find(root)) is not None:
            return layout
    return None


def _beside_each_other(root: Path, images: Path, masks: Path) -> Layout:
    """`images/` and `masks/`, with sub-folders for splits or without."""
    of_images, of_masks = _by_split(images), _by_split(masks)
    others = _other_masks(root, masks)
    if not of_images:
        instances = kind_of(masks.name) == "pedmasks"
        return replace(_flat(root, images, masks), issues=tuple(others), instances=instances)
    parts = {
        split: Part(folder, of_masks[split])
        for split, folder in of_images.items()
        if split in of_masks
    }
    unmatched = [folder for split, folder in of_images.items() if split not in of_masks]
    issues = _beside(images, set(of_images.values())) + _without_masks(unmatched, masks) + others
    is_ade20k = (
        masks.name.lower() == "annotations"
        and of_images.get("train", root).name.lower() == "training"
    )
    return Layout(_with_lists(root, parts), is_ade20k=is_ade20k, issues=tuple(issues))


def _beside(folder: Path, used: set[Path]) -> list[Issue]:
    """Images in `folder`, and folders of images, that belong to no split."""
    stray = [child for child in sub_folders(folder) if child not in used and holds_images(child)]
    stray += sorted(path for path in direct_files(folder) if is_image_name(path))
    return [problem(str(path), "lies beside the split folders", "left out") for path in stray]


def _without_masks(unmatched: list[Path], masks: Path) -> list[Issue]:
    """Folders of test images without masks, which cannot be evaluated and are left out.

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
    unmatched: list[Path] = []
    others: list[Issue] = []
    for split, folder in _by_split(root).items():
        images, masks = _images_and_masks(folder)
        if images and masks:
            naming = _DRIVE if masks.name.lower() == "1st_manual" else Naming()
            parts[split] = Part(images, masks, naming=naming)
            others += _other_masks(folder, masks)
        elif images:
            unmatched.append(folder)
    if not parts:
        return None
    issues = _beside(root, set(_by_split(root).values())) + _without_masks(unmatched, root)
    issues += others
    return Layout(_with_lists(root, parts), issues=tuple(issues))


def _named_by_split(root: Path) -> Layout | None:
    """`train/` and `trainannot/`, `train/` and `train_masks/`, or `train_images/` and the like."""
    images: dict[Split, Path] = {}
    masks: dict[Split, Path] = {}
    for folder in sub_folders(root):
        split, kind = split_and_kind(folder.name.lower().replace("annot", "_annotation"))
        if split and kind in MASK_FOLDERS and holds_images(folder):
            masks.setdefault(split, folder)
        elif split and kind in ("", *IMAGE_FOLDERS):
            images.setdefault(split, folder)
    parts = {split: Part(images[split], masks[split]) for split in masks if split in images}
    if not parts:
        return None
    used = {*images.values(), *(part.masks for part in parts.values())}
    unmatched = [folder for split, folder in images.items() if split not in parts]
    issues = _beside(root, used) + _without_masks(unmatched, root)
    is_camvid = all(part.masks.name.lower().endswith("annot") for part in parts.values())
    return Layout(_with_lists(root, parts), is_camvid=is_camvid, issues=tuple(issues))


_DRIVE = Naming(("_training", "_test"))

_CITYSCAPES = Naming(
    ("_leftImg8bit",),
    ("_gtFine_labelIds",),
    ("_gtFine_color", "_gtFine_instanceIds", "_gtFine_labelTrainIds", "_gtFine_polygons"),
)


def _cityscapes(root: Path) -> Layout | None:
    """`leftImg8bit/train/CITY` and `gtFine/train/CITY`, as Cityscapes is unpacked."""
    by_name = {folder.name.lower(): folder for folder in sub_folders(root)}
    images, masks = by_name.get("leftimg8bit"), by_name.get("gtfine")
    if not (images and masks and holds_images(masks)):
        return None
    of_images, of_masks = _by_split(images), _by_split(masks)
    parts: dict[Split, Part] = {
        split: Part(of_images[split], of_masks[split], naming=_CITYSCAPES)
        for split in of_masks
        if split in of_images and split != "test"  # whose masks say nothing
    }
    unused = [folder for split, folder in of_images.items() if split not in parts]
    issues = [problem(folder, "its masks are not published", "left out") for folder in unused]
    return Layout(parts, is_cityscapes=True, issues=tuple(issues)) if parts else None


def _side_by_side(root: Path) -> Layout | None:
    """Masks beside their images, told apart by `_mask` and the like behind the name."""
    folders = {split: folder for split, folder in _by_split(root).items() if paired_in(folder)}
    folders = folders or ({"train": root} if paired_in(root) else {})
    if not folders:
        return None
    naming = Naming(_BESIDE)
    parts = {split: Part(folder, folder, naming=naming) for split, folder in folders.items()}
    endings = [paired_in(folder) for folder in folders.values()]
    return Layout(parts, instances=all(ending in ("_masks", "_cp_masks") for ending in endings))


def paired_in(folder: Path) -> str:
    """Return the ending by which most images directly in a folder are masks of others, or ""."""
    stems = {path.stem for path in direct_files(folder) if is_image_name(path)}
    for ending in MASK_ENDINGS:
        bases = {stem.removesuffix(ending) for stem in stems if stem.endswith(ending)}
        own = {
            base for base in bases if base in stems or {f"{base}{end}" for end in _BESIDE} & stems
        }
        if own and 3 * len(own) >= len(stems):
            return ending
    return ""


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
        for file in _texts_in(folder):
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


def _texts_in(folder: Path) -> list[Path]:
    files = direct_files(folder) if is_folder(folder) else []
    return [file for file in files if file.suffix.lower() == ".txt"]


def _images_and_masks(folder: Path) -> tuple[Path | None, Path | None]:
    """The two folders among those in `folder`, each by the earliest of its names.

    That of masks must hold some.
    """
    by_name = {kind_of(child.name): child for child in reversed(sub_folders(folder))}
    images = (by_name[name] for name in IMAGE_FOLDERS if name in by_name)
    masks = (by_name[name] for name in MASK_FOLDERS if name in by_name)
    return next(images, None), next(filter(holds_images, masks), None)


def _other_masks(folder: Path, used: Path) -> list[Issue]:
    """More folders of masks beside the one that is used."""
    others = [
        child
        for child in sub_folders(folder)
        if child != used and kind_of(child.name) in MASK_FOLDERS and holds_images(child)
    ]
    done = f"not used, {used.name} is; move the one away that is not meant"
    return [problem(child, "another folder of masks", done) for child in others]
