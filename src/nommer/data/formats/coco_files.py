"""The places of the annotation files of a COCO data set.

As COCO itself ships, as Roboflow exports, and in between.
"""

import re
from pathlib import Path
from typing import Any

from nommer.data.formats.json_files import look_into
from nommer.data.formats.labelled import Issue, Split, problem, split_of
from nommer.data.formats.source import Source
from nommer.data.image_paths import direct_files, is_data_file, sub_folders
from nommer.errors import InputError

LAYOUTS = """\
  DATA/annotations/instances_train2017.json and DATA/train2017/*.jpg   (COCO; and val2017)
  DATA/train/_annotations.coco.json and DATA/train/*.jpg               (Roboflow; and valid, test)
  DATA/annotations/*.json or DATA/*.json, with train or val in the name, and DATA/images/*.jpg"""

_LISTS = ("images", "annotations", "categories")


def find_files(source: Source) -> dict[Split, Path]:
    """The annotation file of each split; empty where there is none.

    Raises:
        InputError: several files for one split, or none says of which it is.
    """
    root = source.root
    found = [
        (split_of(folder.name), path)
        for folder in sub_folders(root)
        for path in _json_files(source, folder)
    ]
    found = [(split, path) for split, path in found if split]
    for folder in [
        *(child for child in sub_folders(root) if child.name.lower() == "annotations"),
        root,
    ]:
        found = found or [(split_in(path.stem), path) for path in _json_files(source, folder)]
    instances = [
        (split, path) for split, path in found if path.stem.lower().startswith("instances")
    ]
    chosen = instances or found
    if len(chosen) == 1:
        return {chosen[0][0] or "train": chosen[0][1]}
    files: dict[Split, Path] = {}
    for split, path in chosen:
        if split is None:
            raise InputError(
                f"{path}: one of {len(chosen)} annotation files, and its name does not say which "
                "split it is"
            )
        if split in files:
            raise InputError(
                f"{root}: both {files[split].name} and {path.name} describe {split} images; keep "
                "one"
            )
        files[split] = path
    return files


def _json_files(source: Source, folder: Path) -> list[Path]:
    """Files in a folder that look like COCO's."""
    found = sorted(path for path in direct_files(folder) if path.suffix.lower() == ".json")
    return [
        path for path in found if is_data_file(path) and source.once(look_into, path).kind == "coco"
    ]


def split_in(name: str) -> Split | None:
    """The split that a word in a file's name tells."""
    return next(filter(None, map(split_of, re.findall("[a-z]+", name.lower()))), None)


def load_files(
    source: Source, files: dict[Split, Path], issues: list[Issue]
) -> dict[Split, dict[str, Any]]:
    """The content of each file, "train" first.

    A "test" file without annotations, and files beside, are left out.

    Raises:
        InputError: files that are no COCO annotations.
    """
    beside = {other for path in files.values() for other in _json_files(source, path.parent)} - set(
        files.values()
    )
    issues += [
        problem(str(path), "lies beside the annotations of instances", "left out")
        for path in sorted(beside)
    ]
    contents = {}
    for split in sorted(files, key=("train", "val", "test").index):
        content = source.once(_load, files[split])
        if "images" in content and "annotations" in content:
            contents[split] = content
        elif split == "test":
            issues.append(problem(files[split], "holds no annotations", "left out"))
        else:
            raise InputError(
                f"{files[split]}: lacks images or annotations; expected both, and categories"
            )
    return contents


def _load(source: Source, path: Path) -> dict[str, Any]:
    try:
        content = source.once(look_into, path).parse()
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    for key in _LISTS:
        entries = content.get(key, []) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(
                f"{path}: expected lists of images, annotations and categories, as COCO has them"
            )
    _check_kind(path, content.get("annotations", []))
    return content


def _check_kind(path: Path, annotations: list[dict[str, Any]]) -> None:
    """Refuse annotations that are panoptic segments.

    Raises:
        InputError: what they are, and what to do.
    """
    if any("segments_info" in entry for entry in annotations):
        raise InputError(
            f"{path}: holds panoptic segments (segments_info), which are not read: take the file "
            "of instances, or convert it by panopticapi's panoptic2detection_coco_format.py"
        )
