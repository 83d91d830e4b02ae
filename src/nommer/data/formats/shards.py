"""WebDataset shards: tars in which files of one name up to its first dot are one sample.

A sample's image is the file with an image's ending, its class the number or name in the `.cls`
file, or in the `.json` under `label` or `cls`. Shards are read where they lie and member by member,
so order, split and what is left out are handled as for files in folders, with many workers and
processes alike. Streams read in order, as timm's readers have them, would allow neither an audit
nor an exact resumption, and would pad epochs.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nommer.data.archives import is_archive_name, read_bytes
from nommer.data.formats.folders import ClassFolders
from nommer.data.formats.labelled import Issue, Split, problem, split_of
from nommer.data.formats.listed import NAME_FILES, Entry, collect
from nommer.data.image_paths import direct_files, is_image_name, sub_folders, visible_files
from nommer.data.parallel import read_all
from nommer.data.parsing import parse_json
from nommer.errors import InputError

LAYOUTS = (
    "  DATA/*train*.tar and DATA/*val*.tar with KEY.jpg and KEY.cls  "
    f"(WebDataset; {NAME_FILES[1]} names numbers)"
)

_JSON_KEYS = ("label", "cls", "class")


def find_shards(root: Path) -> list[Path]:
    """The shards that `root` is or holds, sorted; nothing for other data."""
    if root.is_file():
        files = [root] if root.suffix.lower() == ".tar" else []
    elif root.is_dir():
        places = [root, *(child for child in sub_folders(root) if split_of(child.name))]
        files = [
            path
            for place in places
            for path in direct_files(place)
            if path.suffix.lower() == ".tar"
        ]
    else:
        files = []
    try:
        return files if files and _is_shard(files[0]) else []
    except InputError:  # a damaged archive is for whoever reads it to complain about
        return files if len(files) > 1 and _is_shard(files[1]) else []


def read_shards(root: Path, class_names: tuple[str, ...] | None = None) -> ClassFolders:
    """Read which samples the shards hold, and their classes.

    The split of a shard is the word for one in its name, or else that its sub-folder is called by;
    "train" without any.

    Args:
        root: folder of the shards, or a single one.
        class_names: the classes of a model to evaluate, in its order.

    Raises:
        InputError: a damaged shard, a sample without a class, or classes that do not fit.
    """
    entries: list[Entry] = []
    files = find_shards(root)
    issues = [] if root.is_file() else list(_beside(root, files))
    read = read_all(
        _read_shard, files, what="reading shards", processes=False
    )  # what is in them is remembered
    for file, (found, left) in zip(files, read, strict=True):
        split = "train" if file == root else _split(file, root)
        entries += (replace(entry, split=split) for entry in found)
        issues += left
    return collect(root, entries, class_names=class_names, issues=issues)


def _beside(root: Path, shards: list[Path]) -> Iterator[Issue]:
    """Yield an issue for everything in the folders of shards that is none."""
    places = [root, *(child for child in sub_folders(root) if split_of(child.name))]
    for path in [path for place in places for path in (*direct_files(place), *sub_folders(place))]:
        if path in shards or path in places or path.name in NAME_FILES:
            continue
        data = path.is_dir() or is_image_name(path) or is_archive_name(path)
        if data:
            yield problem(path, "lies beside the shards", "left out")
        else:
            yield Issue(str(path), "file name does not end as a shard's", "left out")


def _is_shard(file: Path) -> bool:
    """Tell if any of the first images has a class beside it."""
    samples = _samples(file)
    images = (parts for parts in list(samples.values())[:20] if any(map(is_image_name, parts)))
    return any(path.suffix.lower() in (".cls", ".json") for parts in images for path in parts)


def _samples(file: Path) -> dict[str, list[Path]]:
    """Files by what they share: the folder, and the name up to its first dot."""
    samples: dict[str, list[Path]] = defaultdict(list)
    for path in visible_files(file):
        samples[f"{path.parent}/{path.name.partition('.')[0]}"].append(path)
    return samples


def _read_shard(file: Path) -> tuple[list[Entry], list[Issue]]:
    entries, issues = [], []
    for parts in _samples(file).values():
        images = [path for path in parts if is_image_name(path)]
        if len(images) > 1:
            raise InputError(
                f"{images[1]}: a second image of the sample {images[0]}; a sample has one"
            )
        if not images:
            issues += [problem(str(path), "belongs to no image", "left out") for path in parts]
            continue
        label, error = _label(images[0], parts)
        entries.append(Entry(str(images[0]), images[0], label, error=error))
    return entries, issues


def _split(file: Path, root: Path) -> Split:
    words = [*re.split(r"[^A-Za-z]+", file.stem), *file.relative_to(root).parts[:-1]]
    return next((split for word in words if (split := split_of(word))), "train")


def _label(image: Path, parts: list[Path]) -> tuple[str, str | None]:
    """The class of a sample, from the file that tells it; "", and why, where that makes no sense.

    Raises:
        InputError: none does.
    """
    error = None
    by_ending = {path.suffix.lower(): path for path in parts}
    if ".cls" in by_ending:
        try:
            label = read_bytes(by_ending[".cls"]).decode().strip()
        except UnicodeDecodeError:
            label, error = "", f"its class in {by_ending['.cls'].name} is not UTF-8"
    elif ".json" in by_ending:
        label, error = _json_label(by_ending[".json"])
    else:
        label = ""
    if not (label or error):
        raise InputError(
            f"{image}: this sample has no class; expected a .cls file, or a .json with "
            f"{_JSON_KEYS[0]}"
        )
    return label, error


def _json_label(file: Path) -> tuple[str, str | None]:
    try:
        content = parse_json(read_bytes(file))
    except ValueError as error:
        raise InputError(f"{file}: cannot be read as JSON: {error}") from error
    found = (
        [content[key] for key in _JSON_KEYS if key in content] if isinstance(content, dict) else []
    )
    if not found:
        return "", None
    if isinstance(found[0], str | int) and not isinstance(found[0], bool):
        return str(found[0]), None
    return (
        "",
        f"its class in {file.name} is {json.dumps(found[0])[:50]}, neither a name nor a whole "
        "number",
    )
