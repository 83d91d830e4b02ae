"""Where the annotation files of a COCO data set lie.

As COCO itself ships, as Roboflow exports, and in between.
"""

import mmap
import re
from pathlib import Path
from typing import Any

from nommer.data.archives import read_bytes
from nommer.data.formats.labelled import Issue, Split, problem, split_of
from nommer.data.image_paths import sub_folders
from nommer.data.parsing import parse_json
from nommer.errors import InputError

LAYOUTS = """\
  DATA/annotations/instances_train2017.json and DATA/train2017/*.jpg   (COCO; and val2017)
  DATA/train/_annotations.coco.json and DATA/train/*.jpg               (Roboflow; and valid, test)
  DATA/annotations/*.json or DATA/*.json, with train or val in the name, and DATA/images/*.jpg"""

_LISTS = ("images", "annotations", "categories")


def find_files(root: Path) -> dict[Split, Path]:
    """The annotation file of each split; empty where there is none.

    Raises:
        InputError: several files for one split, or none says of which it is.
    """
    found = [
        (split_of(folder.name), path)
        for folder in sub_folders(root)
        for path in _json_files(folder)
    ]
    found = [(split, path) for split, path in found if split]
    for folder in [
        *(child for child in sub_folders(root) if child.name.lower() == "annotations"),
        root,
    ]:
        found = found or [(split_in(path.stem), path) for path in _json_files(folder)]
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


def _json_files(folder: Path) -> list[Path]:
    """Files in a folder that look like COCO's."""
    found = sorted(
        path for path in folder.iterdir() if path.suffix.lower() == ".json" and path.name[0] != "."
    )
    return [path for path in found if path.is_file() and _looks_like_coco(path)]


def _looks_like_coco(path: Path) -> bool:
    """Tell if a file holds the names of two of COCO's lists.

    Parsing all of a large one would take long.
    """
    if not path.stat().st_size:
        return False
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return sum(content.find(f'"{name}"'.encode()) >= 0 for name in _LISTS) > 1


def split_in(name: str) -> Split | None:
    """The split that a word in a file's name tells."""
    return next(filter(None, map(split_of, re.findall("[a-z]+", name.lower()))), None)


def load_files(files: dict[Split, Path], issues: list[Issue]) -> dict[Split, dict[str, Any]]:
    """The content of each file, "train" first.

    A "test" file without annotations, and files beside, are left out.

    Raises:
        InputError: files that are no COCO annotations.
    """
    beside = {other for path in files.values() for other in _json_files(path.parent)} - set(
        files.values()
    )
    issues += [
        problem(str(path), "lies beside the annotations of instances", "left out")
        for path in sorted(beside)
    ]
    contents = {}
    for split in sorted(files, key=("train", "val", "test").index):
        content = _load(files[split])
        if "images" in content and "annotations" in content:
            contents[split] = content
        elif split == "test":
            issues.append(problem(files[split], "holds no annotations", "left out"))
        else:
            raise InputError(
                f"{files[split]}: lacks images or annotations; expected both, and categories"
            )
    return contents


def _load(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    for key in _LISTS:
        entries = content.get(key, []) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(
                f"{path}: expected lists of images, annotations and categories, as COCO has them"
            )
    return content
