"""Objects as mask files: one file per object, in a folder for every image.

Kaggle's Data Science Bowl 2018 has `ID/images/ID.png` and, for every nucleus, a file in
`ID/masks/`. All objects are of one class.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nommer.data.formats.described import DescribedImage, NamedObject, collect_described
from nommer.data.formats.labelled import Issue, Split, problem, split_of
from nommer.data.formats.object_masks import box_of
from nommer.data.formats.objects import DetectionFolders
from nommer.data.formats.source import Source
from nommer.data.image_paths import direct_files, is_folder, is_image_name, sub_folders
from nommer.data.images import ImageError
from nommer.data.masks import read_pixels
from nommer.data.parallel import read_all
from nommer.errors import InputError
from nommer.predictions.run_lengths import encode_pixels

LAYOUTS = "  DATA/ID/images/*.png and DATA/ID/masks/*.png   (a mask per object; Kaggle's DSB 2018)"

CLASS_NAME = "object"
_LOOKED_AT = 5


def find_folders(source: Source) -> dict[Split, list[Path]]:
    """The folders of single images, by split; nothing where there are none."""
    root = source.root
    if own := _of_images(root):
        return {"train": own}
    found: dict[Split, list[Path]] = {}
    for folder in sub_folders(root)[:20]:
        words = folder.name.lower().replace("-", "_").split("_")
        split = next((split for word in words if (split := split_of(word))), None)
        if split and (inside := _of_images(folder)):
            found.setdefault(split, inside)
    return found


def _of_images(root: Path) -> list[Path]:
    folders = sub_folders(root)
    looked_at = folders[:_LOOKED_AT]
    if len(folders) < 2 or any(split_of(folder.name) for folder in folders):
        return []
    if not all(is_folder(folder / "images") for folder in looked_at):
        return []
    return folders if any(is_folder(folder / "masks") for folder in looked_at) else []


def read_object_files(source: Source) -> DetectionFolders:
    """Read the masks of every image.

    Raises:
        InputError: no such folders, or one of several images.
    """
    root, found = source.root, source.once(find_folders)
    if not found:
        raise InputError(f"{root}: found no folders of images and masks; accepted are\n{LAYOUTS}")
    issues: list[Issue] = []
    splits: dict[Split, Sequence[DescribedImage]] = {}
    for split, folders in found.items():
        images = [image for folder in folders if (image := _image(folder, split, issues))]
        if images:
            splits[split] = read_all(_read, images, what="reading masks of objects")
    return collect_described(root, splits, issues)


def _image(folder: Path, split: Split, issues: list[Issue]) -> DescribedImage | None:
    """The image of a folder; None where it has none, or a "test" image no masks."""
    images, masks = folder / "images", folder / "masks"
    files = [p for p in direct_files(images) if is_image_name(p)] if is_folder(images) else []
    if len(files) > 1:
        raise InputError(
            f"{images}: holds {len(files)} images; expected one, with its masks beside"
        )
    if not files:
        issues.append(problem(folder, "no image in its folder images", "left out"))
        return None
    if not is_folder(masks):
        if split == "test":
            issues.append(Issue(str(files[0]), "images without masks", "left out"))
            return None
        done = "its image is taken to have no objects"
        issues.append(problem(masks, "no such folder of masks", done))
    return DescribedImage(files[0], masks)


def _read(image: DescribedImage) -> DescribedImage:
    objects, issues = [], list[Issue]()
    size = (0, 0)
    files = direct_files(image.file) if is_folder(image.file) else []
    for path in (path for path in files if is_image_name(path)):
        try:
            pixels = read_pixels(path).values > 0
        except ImageError as error:
            issues.append(problem(path, f"its mask {error.reason}", "dropped"))
            continue
        if size not in ((0, 0), pixels.shape[::-1]):
            reason = f"mask {path} is of another size than the others of its image"
            return replace(image, error=reason)
        size = (pixels.shape[1], pixels.shape[0])
        counts = encode_pixels(pixels)
        if pixels.any():
            box, runs = box_of(counts, size), {"size": list(pixels.shape), "counts": counts}
            objects.append(NamedObject(CLASS_NAME, box, runs, where=path.name))
        else:
            issues.append(problem(path, "its mask covers no pixel", "dropped"))
    return replace(image, size=size, objects=tuple(objects), issues=tuple(issues))
